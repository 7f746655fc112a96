"""Birthdays, referral codes, who is one person, what goes into a pool: pure rules."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from loyalty.households.service import spendable
from loyalty.journal.model import Head
from loyalty.kit.clock import day_in, days_to
from loyalty.members.model import (
    BIRTHDAY_PATTERN,
    SEGMENTS_MAX,
    Identifier,
    normal,
    read_birthday,
    write_birthday,
)
from loyalty.members.schemas import ProfileSchema
from loyalty.program.lots import NEVER, Lot
from loyalty.program.model import State
from loyalty.referrals.model import CODE_ALPHABET, CODE_LENGTH, is_one_person, read_code, show_code
from loyalty.referrals.service import new_code

LEAP = 2024
birthdays = st.dates(date(LEAP, 1, 1), date(LEAP, 12, 31)).map(lambda day: (day.month, day.day))
days = st.dates(date(1990, 1, 1), date(2199, 12, 31))


def test_exactly_the_days_of_a_leap_year_are_birthdays() -> None:
    taken = {
        (month, day)
        for month in range(100)
        for day in range(100)
        if re.fullmatch(BIRTHDAY_PATTERN, f"--{month:02}-{day:02}")
    }
    assert taken == {
        (month, day)
        for month in range(1, 13)
        for day in range(1, calendar.monthrange(LEAP, month)[1] + 1)
    }


@given(birthdays)
def test_a_birthday_is_read_as_it_was_written(birthday: tuple[int, int]) -> None:
    text = write_birthday(birthday)
    assert ProfileSchema().load({"birthday": text})["birthday"] == text
    assert read_birthday(text) == birthday


@pytest.mark.parametrize(
    ("year", "kept"), [(2024, (2, 29)), (2025, (2, 28)), (2000, (2, 29)), (2100, (2, 28))]
)
def test_29_february_is_kept_in_every_year_and_stays_in_its_month(
    year: int, kept: tuple[int, int]
) -> None:
    assert day_in(2, 29, year) == date(year, *kept)


@pytest.mark.parametrize(
    ("birthday", "on", "expected"),
    [
        ((3, 1), date(2026, 3, 1), 0),
        ((3, 1), date(2026, 2, 26), 3),
        ((3, 1), date(2026, 3, 4), -3),
        ((1, 1), date(2026, 12, 31), 1),
        ((12, 31), date(2026, 1, 1), -1),
        ((2, 29), date(2026, 2, 28), 0),
        ((2, 29), date(2026, 3, 1), -1),
        ((2, 29), date(2028, 2, 28), 1),
        ((2, 29), date(2028, 3, 1), -1),
    ],
)
def test_the_nearest_birthday_is_counted_across_the_year(
    birthday: tuple[int, int], on: date, expected: int
) -> None:
    assert days_to(*birthday, on=on) == expected


@given(birthdays, days)
def test_the_days_lead_to_the_birthday_and_none_is_nearer(
    birthday: tuple[int, int], on: date
) -> None:
    distance = days_to(*birthday, on=on)
    assert -182 <= distance <= 183
    reached = on + timedelta(days=distance)
    assert reached == day_in(*birthday, reached.year)
    for nearer in range(1 - abs(distance), abs(distance)):
        day = on + timedelta(days=nearer)
        assert day != day_in(*birthday, day.year)


def test_a_profile_left_out_is_an_empty_one() -> None:
    assert ProfileSchema().load({}) == {"birthday": None, "segments": []}
    assert ProfileSchema().load({"birthday": None}) == {"birthday": None, "segments": []}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"birthday": "--02-30"}, "birthday"),
        ({"birthday": "--13-01"}, "birthday"),
        ({"birthday": "--1-1"}, "birthday"),
        ({"birthday": "1984-02-29"}, "birthday"),
        ({"birthday": "--02-29\n"}, "birthday"),
        ({"birthday": "--٠٢-29"}, "birthday"),
        ({"birthday": 229}, "birthday"),
        ({"segments": None}, "segments"),
        ({"segments": "vip"}, "segments"),
        ({"segments": ["VIP"]}, "segments"),
        ({"segments": [""]}, "segments"),
        ({"segments": ["x" * 65]}, "segments"),
        ({"segments": ["vip\n"]}, "segments"),
        ({"segments": [f"s{number}" for number in range(SEGMENTS_MAX + 1)]}, "segments"),
        ({"born": "--02-29"}, "born"),
    ],
    ids=range(15),
)
def test_what_is_no_profile_is_refused_by_name(body: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ProfileSchema().load(body)
    assert isinstance(refused.value.messages, dict)
    assert set(refused.value.messages) == {field}


def test_codes_differ_and_hold_no_letter_that_is_taken_for_a_digit() -> None:
    codes = {new_code() for _ in range(500)}
    assert len(codes) == 500
    assert {len(code) for code in codes} == {CODE_LENGTH}
    assert set("".join(codes)) == set(CODE_ALPHABET)
    assert not set("ILOU") & set(CODE_ALPHABET)


@given(st.text(CODE_ALPHABET, min_size=CODE_LENGTH, max_size=CODE_LENGTH))
def test_a_code_is_read_however_it_is_typed(code: str) -> None:
    shown = show_code(code)
    typed = (shown, shown.lower(), code, f" {shown} ", shown.replace("-", " "))
    misread = code.replace("0", "o").replace("1", "l")
    assert {read_code(each) for each in (*typed, misread, misread.replace("l", "I"))} == {code}


def identifiers(*pairs: tuple[str, str]) -> list[Identifier]:
    return [normal(kind, value) for kind, value in pairs]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (("email", "ada@example.com"), ("email", "ada+two@example.com")),
        (("email", "ada+one@example.com"), ("email", "Ada+two@EXAMPLE.com")),
        (("email", "ada.lovelace@gmail.com"), ("email", "adalovelace@googlemail.com")),
        (("email", "ada@example.com"), ("app", "Ada@example.com")),
        (("email", "ada@example.com"), ("marketplace:bay", "ada+bay@example.com")),
        (("phone", "+4930901820"), ("app", "+49 30 901820")),
        (("app", "+49 30 901820"), ("social:chat", "0049 30 901820")),
    ],
)
def test_one_mailbox_or_telephone_is_one_person(
    mine: tuple[str, str], theirs: tuple[str, str]
) -> None:
    others = [("card", "1"), ("email", "someone@example.org")]
    assert is_one_person(identifiers(mine, ("card", "2")), identifiers(*others, theirs))


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (("email", "ada@example.com"), ("email", "ada@example.org")),
        (("email", "ada.l@example.com"), ("email", "adal@example.com")),
        (("email", "ada@example.com"), ("email", "bob+ada@example.com")),
        (("social:insta", "ada"), ("social:other", "ada")),
        (("app", "77"), ("marketplace:bay", "77")),
        (("card", "0049301820100"), ("phone", "+49301820100")),
        (("phone", "+4930901820"), ("phone", "+4930901821")),
    ],
)
def test_like_names_are_not_one_person(mine: tuple[str, str], theirs: tuple[str, str]) -> None:
    assert not is_one_person(identifiers(mine), identifiers(theirs))
    assert not is_one_person([], identifiers(theirs))


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("lots", "expected"),
    [
        ((), 0),
        ((Lot(NEVER, 7),), 7),
        ((Lot(NOON + HOUR, 3), Lot(NEVER, 7)), 10),
        ((Lot(NOON, 3), Lot(NEVER, 7)), 7),
        ((Lot(NEVER, 3, NOON + HOUR), Lot(NEVER, 7, NOON)), 7),
        ((Lot(NEVER, -5),), 0),
    ],
    ids=["nothing", "all", "not yet expired", "expired", "pending", "a debt"],
)
def test_what_can_be_spent_now_goes_into_the_pool(lots: tuple[Lot, ...], expected: int) -> None:
    head = Head(1, State(lots={"points": lots, "stars": (Lot(NEVER, 100),)}))
    assert spendable(head, "points", NOON) == expected
    assert spendable(head, "stars", NOON) == 100
    assert spendable(head, "unknown", NOON) == 0
    assert spendable(None, "points", NOON) == 0
