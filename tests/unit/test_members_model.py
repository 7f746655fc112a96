"""An identifier has one normal form, so that every channel finds the same member."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.members.model import (
    Identifier,
    InvalidIdentifierError,
    normal,
)
from loyalty.members.service import fingerprint, new_member_id
from loyalty.members.views import MemberIdConverter

KINDS = ("card", "email", "phone", "app", "social:instagram", "marketplace:bay")


@pytest.mark.parametrize(
    ("kind", "value", "same"),
    [
        ("card", "9300 1234 5678", "930012345678"),
        ("card", "9300-1234-5678", "930012345678"),
        ("card", "ab-1", "AB1"),
        ("card", "0042", "0042"),
        ("email", "Ada@Example.com", "ada@example.com"),
        ("email", " ada@example.com ", "ada@example.com"),
        ("email", "ADA+shop@EXAMPLE.com", "ada+shop@example.com"),
        ("email", "ada@MÜNCHEN.example", "ada@münchen.example"),
        ("phone", "+49 (30) 123-456", "+4930123456"),
        ("phone", "0049 30 123456", "+4930123456"),
        ("phone", " +4930123456", "+4930123456"),
        ("app", " u-77X ", "u-77X"),
        ("social:instagram", "@Ada", "ada"),
        ("social:instagram", " ada", "ada"),
        ("social:instagram", " @ Ada ", "ada"),
        ("social:instagram", "@@ada", "ada"),
        ("marketplace:bay", "Buyer 9", "Buyer 9"),
    ],
)
def test_spellings_of_one_identifier_are_one(kind: str, value: str, same: str) -> None:
    assert normal(kind, value) == Identifier(kind, same)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("card", " - "),
        ("email", "ada"),
        ("email", "ada@"),
        ("email", "a b@example.com"),
        ("email", "ada@example..com"),
        ("phone", "030 123456"),
        ("phone", "+49"),
        ("phone", "call me"),
        ("phone", "+999 123456789"),
        ("app", "  "),
        ("social:instagram", "@"),
        ("social:instagram", " @ "),
        ("marketplace:bay", " "),
    ],
)
def test_what_cannot_be_an_identifier_is_refused_at_its_place(kind: str, value: str) -> None:
    with pytest.raises(InvalidIdentifierError) as refusal:
        normal(kind, value, place="identifiers.3.value")
    ((place, message),) = refusal.value.errors
    assert place == "identifiers.3.value"
    assert message == "Does not read as an identifier of this type."


@given(st.sampled_from(KINDS), st.text("@ aÄß-+04.") | st.text(max_size=60))
def test_a_normal_form_is_its_own_normal_form(kind: str, value: str) -> None:
    try:
        once = normal(kind, value)
    except InvalidIdentifierError:
        return
    assert normal(kind, once.value) == once


def test_networks_are_told_apart() -> None:
    assert normal("social:instagram", "ada") != normal("social:tiktok", "ada")


def test_an_identifier_shows_its_type_and_never_its_value() -> None:
    identifier = normal("email", "ada@example.com")
    assert "ada" not in repr(identifier) + str(identifier) + f"{[identifier]}"
    assert "email" in repr(identifier)


def test_a_new_id_has_the_form_of_one_and_is_new() -> None:
    ids = {new_member_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(MemberIdConverter.regex, each) for each in ids)


@pytest.mark.parametrize(
    "text",
    ["", "m_", "m_" + "g" * 32, "m_" + "A" * 32, "m_" + "a" * 31, "m_" + "a" * 33, "x_" + "a" * 32],
)
def test_nothing_else_has_the_form_of_an_id(text: str) -> None:
    assert not re.fullmatch(MemberIdConverter.regex, text)
    assert not re.fullmatch(MemberIdConverter.regex, "m_" + "a" * 32 + "\n")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
BODIES = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


@given(BODIES)
def test_a_fingerprint_does_not_see_the_order_of_fields(body: dict[str, object]) -> None:
    assert fingerprint(dict(reversed(body.items()))) == fingerprint(body)


@given(BODIES, BODIES)
def test_different_bodies_have_different_fingerprints(
    one: dict[str, object], other: dict[str, object]
) -> None:
    # Python holds 1 and True for equal; JSON and a fingerprint do not.
    assert (fingerprint(one) == fingerprint(other)) == (repr_of(one) == repr_of(other))


def repr_of(value: object) -> str:
    if isinstance(value, dict):
        return repr(sorted((key, repr_of(inner)) for key, inner in value.items()))
    if isinstance(value, list):
        return repr([repr_of(inner) for inner in value])
    return repr(value)


def test_a_fingerprint_reads_times() -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    assert fingerprint({"at": moment}) != fingerprint({"at": moment.replace(day=2)})
