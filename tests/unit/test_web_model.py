"""What a form changes, and how an identifier is masked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.web.model import Choice, Purpose, choices_of, field_of, masked, shown_of

PURPOSES = [
    Purpose("personalisation", "", "", ""),
    Purpose("marketing", "", "", "", ("email", "sms")),
]
PLACES = [(each.name, channel) for each in PURPOSES for channel in each.channels]
ANSWERS = st.sampled_from(["yes", "no"])


@given(
    shown=st.lists(st.sampled_from(["yes", "no", ""]), min_size=3, max_size=3),
    sent=st.lists(st.one_of(st.none(), ANSWERS), min_size=3, max_size=3),
)
def test_only_what_the_member_touched_is_a_decision(
    shown: list[str], sent: list[str | None]
) -> None:
    form = {shown_of(*place): was for place, was in zip(PLACES, shown, strict=True)}
    form |= {field_of(*place): is_ for place, is_ in zip(PLACES, sent, strict=True) if is_}
    found = {(each.purpose, each.channel): each.granted for each in choices_of(form, PURPOSES)}
    for place, was, is_ in zip(PLACES, shown, sent, strict=True):
        if is_ is None or is_ == was:
            assert place not in found
        else:
            assert found[place] is (is_ == "yes")


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=20), max_size=8))
def test_whatever_else_a_form_holds_decides_nothing(form: dict[str, str]) -> None:
    known = {field_of(*place) for place in PLACES}
    assert known & form.keys() or choices_of(form, PURPOSES) == []


def test_a_yes_is_a_yes_on_that_channel_alone() -> None:
    form = {field_of("marketing", "sms"): "yes", shown_of("marketing", "sms"): ""}
    assert choices_of(form, PURPOSES) == [Choice("marketing", "sms", granted=True)]


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("email", "ada.lovelace@example.com", "a•••@e•••.com"),
        ("email", "a@b.example", "a•••@b•••.example"),
        ("phone", "+4915123456789", "+49 ••• 89"),
        ("card", "930012345678", "••• 5678"),
        ("card", "12345678", "••• 8"),
        ("social:insta", "adalovelace", "••• lace"),
        ("app", "x", "••• x"),
    ],
)
def test_an_identifier_is_masked(kind: str, value: str, shown: str) -> None:
    assert masked(kind, value) == shown
