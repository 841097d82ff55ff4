"""Every event can be written to the journal and read back; nothing else can."""

import json
import math
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shell_builders import W0, a_save, an_attempt

from lastgood_controller.codec import EVENT_TYPES, CodecError, decode_event, encode_event, kind_of
from lastgood_controller.events import (
    Decision,
    Event,
    Fact,
    WorkerConnected,
)
from lastgood_controller.model import (
    SeriesId,
    WorkerId,
)

TEXTS = st.text(st.characters(), max_size=8)

st.register_type_strategy(
    WorkerId,
    st.builds(WorkerId, st.text(st.characters(exclude_characters="/"), min_size=1, max_size=5), st.integers(0, 2**31)),
)
st.register_type_strategy(str, TEXTS)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


@pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES.keys())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(choice=st.data())
def test_every_event_comes_back_from_the_journal_as_it_was(event_type: type, choice: st.DataObject) -> None:
    # Given
    event = choice.draw(st.from_type(event_type))

    # When
    again = decode_event(kind_of(event), encode_event(event))

    # Then
    assert again == event
    assert type(again) is event_type


def test_every_event_has_a_kind() -> None:
    assert set(EVENT_TYPES.values()) == {*get_args(Fact), *get_args(Decision)} == set(get_args(Event))


def test_the_form_in_the_journal_is_the_documented_one() -> None:
    # Given
    event = an_attempt(3)

    # When
    body = json.loads(encode_event(event))

    # Then
    assert body == {
        "version": 1,
        "event": {
            "number": 3,
            "addresses": {"worker/0": "127.0.0.1:40000", "worker/1": "127.0.0.1:40001"},
            "steering": True,
        },
    }


def test_a_field_that_an_older_journal_lacks_takes_its_default() -> None:
    # Given
    event = a_save(save_duration_s=0.0)
    body = json.loads(encode_event(event))
    del body["event"]["report"]["save_duration_s"]

    # When, Then
    assert decode_event("SaveReported", json.dumps(body)) == event


def _broken(change: Any) -> str:
    body = json.loads(encode_event(a_save()))
    change(body)
    return json.dumps(body)


@pytest.mark.parametrize(
    ("kind", "body", "sentence"),
    [
        ("Nonsense", "{}", "expected a kind of event that this version of lastgood knows, found 'Nonsense'"),
        ("SaveReported", "{", "the body of a SaveReported is not JSON"),
        ("SaveReported", "[]", "found version None"),
        ("SaveReported", _broken(lambda b: b.update(version=2)), "found version 2: a newer lastgood wrote it"),
        ("SaveReported", _broken(lambda b: b["event"].update(more=1)), "only fields of SaveReported, found ['more']"),
        ("SaveReported", _broken(lambda b: b["event"].pop("save")), "expected the fields ['save'] of SaveReported"),
        (
            "SaveReported",
            _broken(lambda b: b["event"]["report"].update(step="ten")),
            "SaveReported.report.step: expected int, found 'ten'",
        ),
        (
            "SaveReported",
            _broken(lambda b: b["event"]["report"].update(worker="chief")),
            "SaveReported.report.worker: expected a worker such as worker/1, found 'chief'",
        ),
        (
            "SaveReported",
            _broken(lambda b: b["event"]["report"].update(unsaved_variables="x")),
            "expected a list, found 'x'",
        ),
    ],
)
def test_a_body_that_is_not_understood_is_refused_with_its_place(kind: str, body: str, sentence: str) -> None:
    with pytest.raises(CodecError) as refused:
        decode_event(kind, body)

    assert sentence in str(refused.value)


def test_a_number_that_json_has_no_form_for_is_refused() -> None:
    event = a_save()
    with pytest.raises(CodecError, match="SaveReported cannot be recorded"):
        encode_event(replace(event, report=replace(event.report, save_duration_s=math.nan)))


def test_a_value_of_a_foreign_type_is_refused() -> None:
    event = an_attempt()
    with pytest.raises(CodecError, match="type set has no form"):
        encode_event(replace(event, addresses={W0: {"a"}}))  # type: ignore[dict-item]


def test_identities_keep_their_types() -> None:
    event = decode_event("SaveReported", encode_event(a_save()))
    assert isinstance(event.save.series, SeriesId)  # type: ignore[union-attr]
    assert not isinstance(event, WorkerConnected)
