"""What the hooks make of the ways in which scripts save and restore, as far as it needs no TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from _lastgood_hooks.exporting import Exporting, identity
from _lastgood_hooks.keras import kind_of_file
from _lastgood_hooks.series import SeriesBook, count_checkpoints
from _lastgood_hooks.session import STARTER, Session
from _lastgood_hooks.settings import Settings
from _lastgood_hooks.steering import Ask, select_series
from _lastgood_hooks.strategies import Strategies, refused_name
from _lastgood_hooks.v1_saver import names_of, step_of
from _lastgood_hooks.variables import copy_of

GANG = '{"cluster": {"chief": ["a:1"], "worker": ["b:2"]}, "task": {"type": "worker", "index": 0}}'
EVALUATOR = '{"cluster": {"worker": ["b:2"]}, "task": {"type": "evaluator", "index": 0}}'

Told = list[dict[str, Any]]


@pytest.fixture
def make_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Session, Told]]:
    """A session of a process with this TF_CONFIG, and what it tells."""

    def make(tf_config: str | None, workers: int = 0) -> tuple[Session, Told]:
        if tf_config is None:
            monkeypatch.delenv("TF_CONFIG", raising=False)
        else:
            monkeypatch.setenv("TF_CONFIG", tf_config)
        (tmp_path / "outbox").mkdir(exist_ok=True)
        paths = (str(tmp_path / "s"), str(tmp_path / "outbox"), str(tmp_path / "p"))
        settings = Settings("r", "worker/0", 1, *paths, workers=workers)
        session, told = Session(settings), []  # type: ignore[var-annotated]
        monkeypatch.setattr(session.outbox, "write", lambda type_, **fields: told.append({"type": type_, **fields}))
        return session, told

    return make


@pytest.mark.parametrize(
    ("tf_config", "size", "may_claim", "claims_by_saving"),
    [
        (None, 1, True, True),
        ("", 1, True, True),
        ("no JSON", 1, True, True),
        ('{"cluster": {"worker": ["b:2"]}}', 1, True, True),
        (GANG, 2, True, False),
        (EVALUATOR, 1, False, False),
    ],
)
def test_a_process_that_only_saves_is_the_gangs_where_the_gang_has_one_worker(
    make_session: Callable[..., tuple[Session, Told]],
    tf_config: str | None,
    size: int,
    may_claim: bool,
    claims_by_saving: bool,
) -> None:
    by_saving = make_session(tf_config)[0]
    found = by_saving.claim_alone()
    by_asking = make_session(tf_config)[0].claim()

    assert (by_saving.gang_size, found, by_asking) == (size, claims_by_saving, may_claim)


@pytest.mark.parametrize(
    ("tf_config", "starter", "may_ask"),
    [
        (GANG, None, True),
        (GANG, "1", False),
        (None, None, False),
        (GANG.replace('"index": 0', '"index": 1'), None, False),
    ],
)
def test_a_process_that_the_trainer_starts_is_the_gangs_only_by_its_strategy_however_early_it_asks(
    make_session: Callable[..., tuple[Session, Told]],
    monkeypatch: pytest.MonkeyPatch,
    tf_config: str | None,
    starter: str | None,
    may_ask: bool,
) -> None:
    # given a gang of two by the launcher's word, and a process with this TF_CONFIG and starter
    claim = make_session(tf_config)[0].settings.claim
    monkeypatch.setenv(STARTER, f"{claim}:{starter}" if starter else "/of/another/attempt/claim-1:1")

    session = make_session(tf_config, workers=2)[0]

    assert (session.claim(), session.claim_alone()) == (may_ask, may_ask)
    assert session.claim(has_strategy=True)
    assert os.environ[STARTER] == f"{claim}:{starter or os.getpid()}"


def test_a_notice_is_told_once_for_each_kind_and_path(make_session: Callable[..., tuple[Session, Told]]) -> None:
    session, told = make_session(None)

    for path in ("/a", "/b", "/a"):
        session.notice("read", path)
    session.notice("never_asked", "/a", "2 of them")

    assert [(one["kind"], one["path"], one["detail"]) for one in told] == [
        ("read", "/a", ""),
        ("read", "/b", ""),
        ("never_asked", "/a", "2 of them"),
    ]


def test_what_is_exported_is_told_once_with_its_files_identity_and_what_it_raised(
    make_session: Callable[..., tuple[Session, Told]], tmp_path: Path
) -> None:
    session, told = make_session(None)
    exporting = Exporting(session)
    file = tmp_path / "model.keras"

    def save_with_another_inside() -> str:
        exporting.watch("hdf5", tmp_path / "inner.h5", lambda: None)
        file.write_bytes(b"content")
        return "returned"

    def fail() -> None:
        raise OSError("no space")

    returned = exporting.watch("keras", file, save_with_another_inside)
    with pytest.raises(OSError, match="no space"):
        exporting.watch("keras", file, fail)

    assert returned == "returned"
    assert [(one["kind"], one["path"], one["error"]) for one in told] == [
        ("keras", str(file), ""),
        ("keras", str(file), "OSError: no space"),
    ]
    assert told[0]["identity"] == identity(str(file)) == [7, file.stat().st_mtime_ns]
    assert identity(str(tmp_path / "missing")) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/m/model.h5", "hdf5"),
        ("w.weights.h5", "hdf5"),
        (Path("w.hdf5"), "hdf5"),
        ("w.weights.json", "hdf5"),
        ("model.keras", "keras"),
        ("/m/ckpt-1", None),
        ("/saved_model", None),
        (b"bytes.h5", None),
        (None, None),
    ],
)
def test_keras_own_files_are_known_by_their_names(name: object, kind: str | None) -> None:
    assert kind_of_file(name) == kind


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("ParameterServerStrategyV2", "ParameterServerStrategy"),
        ("ParameterServerStrategyV1", "ParameterServerStrategy"),
        ("TPUStrategyV2", "TPUStrategy"),
        ("TPUStrategy", "TPUStrategy"),
        ("MirroredStrategy", None),
        ("CollectiveAllReduceStrategy", None),
    ],
)
def test_refused_strategies_are_named_without_their_version(class_name: str, name: str | None) -> None:
    assert refused_name(class_name) == name


@pytest.mark.parametrize(
    ("prefix", "step"),
    [("/m/model.ckpt-120", 120), ("/m/model.ckpt-00000007", 7), ("/m/model", None), ("/m-3/x", None)],
)
def test_a_saver_puts_the_step_behind_the_name(prefix: str, step: int | None) -> None:
    assert step_of(prefix) == step


def test_the_names_of_what_a_saver_saves_are_those_of_variables_or_its_own() -> None:
    class Variable:
        name = "w:0"

    assert names_of([Variable()]) == ["w:0"]
    assert names_of({"b": Variable(), "a": Variable()}) == ["a", "b"]
    assert names_of(None) == []


def test_where_nothing_is_asked_and_managed_every_directory_is_somebody_elses(tmp_path: Path) -> None:
    book = SeriesBook()
    before = book.is_elsewhere("/pretrained")
    book.add_managed("/ckpt")

    assert (before, book.is_elsewhere("/pretrained"), book.is_elsewhere("/ckpt")) == (True, True, False)
    assert book.managed() == ["/ckpt"]


def test_checkpoints_are_counted_by_their_indexes(tmp_path: Path) -> None:
    for name in ("ckpt-1.index", "ckpt-2.index", "checkpoint", "ckpt-2.data-00000-of-00001"):
        (tmp_path / name).touch()

    assert count_checkpoints(str(tmp_path)) == 2
    assert count_checkpoints(os.path.join(str(tmp_path), "gone")) == 0
    assert count_checkpoints("s3://bucket/ckpts") is None


@pytest.mark.parametrize(
    ("asked", "is_meant"),
    [
        ("cp-0012.ckpt", True),
        ("cp-0007.ckpt", True),
        ("best-0012.ckpt", False),
        ("cp-0012.ckpt-3", False),
        ("weights.05-0.87", False),
    ],
)
def test_an_object_that_is_built_late_means_what_has_its_name_but_for_the_numbers(asked: str, is_meant: bool) -> None:
    from _lastgood_hooks.orders import Plan, PlannedSeries

    planned = PlannedSeries("aa", 0, ("/ck",), "/ck/cp-0007.ckpt", "d", 7, "/m.json")

    answer = select_series(Plan("restore", (planned,)), Ask("bb", 0, "/ck", f"/ck/{asked}"))

    assert (answer is planned) is is_meant


def test_of_what_is_saved_in_the_background_the_copy_counts() -> None:
    live, copy, other = object(), object(), object()

    assert copy_of(live, {live: copy}) is copy
    assert copy_of(other, {live: copy}) is other
    assert copy_of(live, None) is live


class TPUStrategyV2:
    """By its name what TensorFlow has."""


class ParameterServerStrategyV2:
    """Likewise."""


@pytest.mark.parametrize(
    ("strategy", "told_when_made", "told_when_it_raises"),
    [
        (TPUStrategyV2(), ["TPUStrategy"], []),
        (ParameterServerStrategyV2(), ["ParameterServerStrategy"], ["ParameterServerStrategy"]),
    ],
)
def test_a_script_that_tries_a_tpu_first_and_finds_none_is_not_refused(
    make_session: Callable[..., tuple[Session, Told]],
    strategy: object,
    told_when_made: list[str],
    told_when_it_raises: list[str],
) -> None:
    made, raised = make_session(None), make_session(None)

    def fail(*_: object) -> None:
        raise ValueError("Please provide a TPU Name to connect to.")

    Strategies(made[0]).refused(lambda *_: None, strategy)
    with pytest.raises(ValueError, match="TPU Name"):
        Strategies(raised[0]).refused(fail, strategy)

    told = [[one["path"] for one in each[1]] for each in (made, raised)]
    assert told == [told_when_made, told_when_it_raises]
