"""A cursor leads back to its row, tells nothing, and opens no other audience."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.kit.cursor import UnknownCursorError
from recommend.bulk.cursors import CURSOR_PATTERN, Cursors
from recommend.bulk.model import Question

MAIL = Question("email", 5)
CURSORS = Cursors(b"c" * 32)
MEMBERS = st.binary(min_size=16, max_size=16).map(lambda each: f"m_{each.hex()}")


@given(MEMBERS)
def test_it_leads_back_and_is_opaque(member: str) -> None:
    text = CURSORS.write(member, MAIL)
    assert CURSORS.read(text, MAIL) == member
    assert member[2:10] not in text
    assert re.match(CURSOR_PATTERN, text)
    assert CURSORS.write(member, MAIL._replace(limit=9, campaign="x")) == text


def test_without_one_it_is_the_beginning() -> None:
    assert CURSORS.read(None, MAIL) == ""


@given(MEMBERS, st.text(max_size=64))
def test_whatever_else_comes_is_refused(member: str, text: str) -> None:
    cursor = CURSORS.write(member, MAIL)
    for wrong, question in (
        (text, MAIL),
        (cursor, MAIL._replace(channel="sms")),
        (cursor, MAIL._replace(store="S1")),
        (cursor[:-2], MAIL),
    ):
        with pytest.raises(UnknownCursorError) as refused:
            CURSORS.read(wrong, question)
        assert refused.value.errors[0].field == "after"
    with pytest.raises(UnknownCursorError):
        Cursors(b"d" * 32).read(cursor, MAIL)
