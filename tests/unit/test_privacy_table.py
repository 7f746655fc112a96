"""The table of rights and duties names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_each_test_of_the_table_of_rights_is_there() -> None:
    table = (ROOT / "docs/privacy.md").read_text()
    named = NAMED.findall(table)
    assert len(named) > 30
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or (name and f"def {name}(" not in (ROOT / file).read_text())
    ]
    assert missing == []


def test_each_row_of_the_table_of_rights_is_shown_by_a_test() -> None:
    text = (ROOT / "docs/privacy.md").read_text()
    rows = text.split("| --- | --- | --- | --- |\n", 1)[1].split("\n\n", 1)[0].splitlines()
    assert len(rows) > 20
    assert [row for row in rows if not NAMED.search(row)] == []
