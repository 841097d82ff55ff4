"""The page on reasons and the list of reasons are one."""

import re
from pathlib import Path

from lastgood.notes import Remark
from lastgood.reasons import Reason

PAGE = Path(__file__).parents[3] / "docs" / "reasons.md"


def test_every_reason_and_remark_has_an_entry_with_meaning_cause_and_cure():
    entries = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))

    assert list(entries) == [word.value for word in (*Reason, *Remark)]
    for text in entries.values():
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Meaning", "Cause", "Cure"]
