"""The page on reasons and the list of reasons are one."""

import re
from pathlib import Path

from lastgood.reasons import Reason

PAGE = Path(__file__).parents[3] / "docs" / "reasons.md"


def test_every_reason_has_an_entry_with_meaning_cause_and_cure():
    entries = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))

    assert list(entries) == [reason.value for reason in Reason]
    for text in entries.values():
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Meaning", "Cause", "Cure"]
