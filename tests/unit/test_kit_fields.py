"""Fields take exactly what they say, and name what was wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError, fields

from loyalty.kit.clock import now, to_millisecond
from loyalty.kit.fields import (
    AMOUNT_MAX,
    Amount,
    Choice,
    Flag,
    Items,
    Moment,
    OneOf,
    QueryWhole,
    Text,
    Whole,
    flatten,
)

COLOUR = Text(5, pattern="^[a-z]+$", form="a colour")


def read(field: fields.Field[Any], value: Any) -> Any:
    """The value as a schema with this one field loads it."""
    return Schema.from_dict({"it": field})().load({"it": value})["it"]


def refusal(field: fields.Field[Any], value: Any) -> str:
    """What is said about a value that is refused."""
    with pytest.raises(ValidationError) as error:
        read(field, value)
    ((_, message),) = flatten(error.value.messages)
    return message


@pytest.mark.parametrize("value", ["milk", "Käse 2 %", "日本", "a b", " ", "'; --", "$ne"])
def test_text_takes_any_words(value: str) -> None:
    assert read(Text(10), value) == value


@pytest.mark.parametrize("value", ["a\x00b", "a\nb", "a\n", "\t", "\x7f", "a\x85", "\ud800"])
def test_text_refuses_control_characters(value: str) -> None:
    assert refusal(Text(10), value) == "Must not contain control characters."


@pytest.mark.parametrize("value", [1, 1.5, True, ["a"], {"$ne": ""}, b"a"])
def test_text_refuses_what_is_not_text(value: Any) -> None:
    assert refusal(Text(10), value) == "Must be text."


@pytest.mark.parametrize("value", ["", "x" * 11])
def test_text_has_a_length(value: str) -> None:
    assert refusal(Text(10), value) == "Must have 1 to 10 characters."


def test_text_may_be_empty_where_the_field_says_so() -> None:
    assert read(Text(10, length_min=0), "") == ""


@pytest.mark.parametrize("value", ["Red", "r d", "röd", 5])
def test_a_pattern_is_told_in_words(value: Any) -> None:
    assert refusal(COLOUR, value) == "Must be a colour."


def test_a_pattern_without_words_is_told_as_it_is() -> None:
    assert refusal(Text(5, pattern="^[a-z]+$"), "A") == "Must be text of the form ^[a-z]+$."


def test_a_newline_at_the_end_does_not_slip_past_a_pattern() -> None:
    assert refusal(COLOUR, "red\n") == "Must not contain control characters."


@given(st.integers(-5, 9))
def test_a_whole_number_between_its_bounds(value: int) -> None:
    assert read(Whole(-5, 9), value) == value


@pytest.mark.parametrize("value", [True, False, 1.0, "1", "5", [1], {"$gt": 0}, float("nan")])
def test_only_a_whole_number_is_one(value: Any) -> None:
    assert refusal(Whole(-5, 9), value) == "Must be a whole number."


@pytest.mark.parametrize("value", [-6, 10, 10**30, -(10**30)])
def test_a_whole_number_has_bounds(value: int) -> None:
    assert refusal(Whole(-5, 9), value) == "Must be between -5 and 9."


@pytest.mark.parametrize(("value", "good"), [(0, True), (AMOUNT_MAX, True), (-1, False)])
def test_an_amount_is_not_negative(value: int, *, good: bool) -> None:
    if good:
        assert read(Amount(), value) == value
    else:
        assert refusal(Amount(), value) == f"Must be between 0 and {AMOUNT_MAX}."


@given(st.integers(1, 200))
def test_a_number_in_a_query_is_its_digits(value: int) -> None:
    assert read(QueryWhole(1, 200), str(value)) == value


@pytest.mark.parametrize(
    "value", ["", "1.0", "1e2", " 1", "1\n", "+1", "٣", "0x1", "1_0", "9" * 40]
)
def test_a_number_in_a_query_is_nothing_else(value: str) -> None:
    assert refusal(QueryWhole(1, 200), value) == "Must be a whole number."


@pytest.mark.parametrize("value", ["0", "201", "-1"])
def test_a_number_in_a_query_has_bounds(value: str) -> None:
    assert refusal(QueryWhole(1, 200), value) == "Must be between 1 and 200."


@pytest.mark.parametrize("value", ["true", "yes", 1, 0, "", []])
def test_a_flag_is_true_or_false(value: Any) -> None:
    assert refusal(Flag(), value) == "Must be true or false."
    assert read(Flag(), True) is True
    assert read(Flag(), False) is False


@pytest.mark.parametrize("value", ["c", "A", 1, None, ["a"], {"a": 1}, True])
def test_a_choice_is_one_of_its_words(value: Any) -> None:
    said = refusal(Choice(["a", "b"]), value)
    assert said in ("Must be one of: a, b.", "Field may not be null.")
    assert read(Choice(["a", "b"]), "b") == "b"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T09:30:00Z", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-03-01t09:30:00z", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-03-01T09:30:00+01:00", datetime(2026, 3, 1, 8, 30, tzinfo=UTC)),
        ("2026-03-01T00:00:00-08:00", datetime(2026, 3, 1, 8, tzinfo=UTC)),
        ("2026-03-01T09:30:00.1239Z", datetime(2026, 3, 1, 9, 30, 0, 123_000, tzinfo=UTC)),
        ("2026-03-01T09:30:00.123456789Z", datetime(2026, 3, 1, 9, 30, 0, 123_000, tzinfo=UTC)),
        ("2024-02-29T23:59:59Z", datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_moment_is_utc_to_the_millisecond(text: str, moment: datetime) -> None:
    assert read(Moment(), text) == moment
    assert read(Moment(), text).tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-01",
        "2026-03-01T09:30:00",
        "2026-03-01 09:30:00Z",
        "2026-03-01T09:30Z",
        "2026-13-01T09:30:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T09:30:60Z",
        "2026-03-01T09:30:00+25:00",
        "2026-03-01T09:30:00Z\n",
        "1989-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "٢٠٢٦-03-01T09:30:00Z",
        1_772_357_400,
        True,
    ],
)
def test_a_moment_is_rfc_3339_with_an_offset(value: Any) -> None:
    assert refusal(Moment(), value).startswith("Must be an RFC 3339 time with offset")


@pytest.mark.parametrize("value", ["2026-02-29T09:30:00Z", "2026-04-31T09:30:00Z"])
def test_a_day_that_does_not_exist_is_no_moment(value: str) -> None:
    assert refusal(Moment(), value) == "Is not a date and time that exists."


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2199, 12, 31)),  # noqa: DTZ001  # made aware below
    st.integers(-14 * 60, 14 * 60).filter(lambda minutes: minutes),
)
def test_what_we_write_is_read_as_the_same_moment(local: datetime, minutes: int) -> None:
    moment = to_millisecond(local.replace(tzinfo=UTC) + timedelta(minutes=minutes))
    if 1990 <= moment.year < 2200:
        assert read(Moment(), moment.isoformat()) == moment


def test_now_is_a_moment_that_mongodb_keeps_whole() -> None:
    moment = now()
    assert moment == to_millisecond(moment)
    assert moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize("value", ["a", {"a": 1}, ("a",), None, 1])
def test_items_are_a_list(value: Any) -> None:
    assert refusal(Items(Text(3), 2), value) in ("Must be a list.", "Field may not be null.")


def test_items_have_a_number() -> None:
    assert refusal(Items(Text(3), 2), ["a", "b", "c"]) == "Must have 0 to 2 items."
    assert refusal(Items(Text(3), 2, length_min=1), []) == "Must have 1 to 2 items."


def test_the_place_of_a_wrong_item_is_its_position() -> None:
    with pytest.raises(ValidationError) as error:
        read(Items(Text(3), 5), ["a", 2, "b", "long"])
    assert [place for place, _ in flatten(error.value.messages)] == ["it.1", "it.3"]


class _Cat(Schema):
    type = Choice(["cat"], required=True)
    lives = Whole(1, 9, required=True)


class _Dog(Schema):
    type = Choice(["dog"], required=True)


PET = OneOf({"cat": _Cat, "dog": _Dog})


def test_a_shape_is_chosen_by_its_type() -> None:
    assert read(PET, {"type": "cat", "lives": 7}) == {"type": "cat", "lives": 7}
    assert read(PET, {"type": "dog"}) == {"type": "dog"}


@pytest.mark.parametrize(
    ("value", "place", "message"),
    [
        ({"type": "cow"}, "it.type", "Must be one of: cat, dog."),
        ({"type": {"$ne": 1}}, "it.type", "Must be one of: cat, dog."),
        ({}, "it.type", "Must be one of: cat, dog."),
        ({"type": "cat", "lives": 10}, "it.lives", "Must be between 1 and 9."),
        ({"type": "dog", "lives": 1}, "it.lives", "Unknown field."),
        ("cat", "it", "Must be an object."),
        ([], "it", "Must be an object."),
    ],
)
def test_a_mistake_in_a_shape_has_its_place(value: Any, place: str, message: str) -> None:
    with pytest.raises(ValidationError) as error:
        read(PET, value)
    assert flatten(error.value.messages) == [(place, message)]


def test_a_mistake_of_the_whole_stands_at_the_body() -> None:
    assert flatten({"_schema": ["Invalid input type."]}) == [("body", "Invalid input type.")]


@pytest.mark.parametrize(
    "field",
    [Text(3), Whole(0, 1), Flag(), Choice(["a"]), Moment(), Items(Text(3), 2), PET, Amount()],
)
def test_null_is_refused_everywhere(field: fields.Field[Any]) -> None:
    assert refusal(field, None) == "Field may not be null."
