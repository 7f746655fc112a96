"""Cursors: ours come back, nothing else does."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.kit import cursor
from loyalty.kit.cursor import UnknownCursorError


@given(st.integers(0, 2**62 - 1))
def test_a_cursor_comes_back_as_the_position_it_was_made_of(position: int) -> None:
    text = cursor.write(position)
    assert cursor.read(text) == position
    assert text.isascii()
    assert not set(text) & set("=+/ ")


def test_no_cursor_is_the_first_page() -> None:
    assert cursor.read(None) is None


@pytest.mark.parametrize("text", ["", "x", "====", "s5", "é", "AAAA", "c2FiYw", "!!!!", "5"])
def test_what_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(UnknownCursorError):
        cursor.read(text)


@pytest.mark.parametrize("position", [-1, 2**62, 10**40])
def test_a_position_that_no_list_has_is_refused(position: int) -> None:
    forged = base64.urlsafe_b64encode(f"s{position}".encode()).decode().rstrip("=")
    with pytest.raises(UnknownCursorError):
        cursor.read(forged)


@given(st.text(max_size=80))
def test_no_text_at_all_is_more_than_refused(text: str) -> None:
    try:
        position = cursor.read(text)
    except UnknownCursorError:
        return
    assert position is not None
    assert 0 <= position < 2**62
