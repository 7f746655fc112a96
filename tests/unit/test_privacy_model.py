"""Deadlines, ids, certificates and the words of an export, as values."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import loyalty
from loyalty.privacy.certificate import InvalidCertificateError, Signer, verify
from loyalty.privacy.model import (
    PROOFS,
    IdentityNotProvenError,
    TooManyRightsRequestsError,
    id_of,
    months_after,
    number_of,
    request_id,
    require_proof,
)
from loyalty.privacy.words import WORDS, category_of, readable, words_of

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ((2026, 3, 1), (2026, 4, 1)),
        ((2026, 1, 31), (2026, 2, 28)),
        ((2028, 1, 31), (2028, 2, 29)),
        ((2026, 12, 15), (2027, 1, 15)),
        ((2026, 8, 31), (2026, 9, 30)),
    ],
)
def test_a_month_ends_on_the_same_date_or_the_last_of_its_month(
    received: tuple[int, int, int], due: tuple[int, int, int]
) -> None:
    assert months_after(datetime(*received, tzinfo=UTC), 1) == datetime(*due, tzinfo=UTC)


@given(MOMENTS, st.integers(0, 36))
def test_months_never_run_past_the_month_meant(moment: datetime, months: int) -> None:
    after = months_after(moment, months)
    assert (after.year * 12 + after.month) - (moment.year * 12 + moment.month) == months
    assert after.day <= moment.day
    assert after.time() == moment.time()


@given(MOMENTS, st.integers(0, 2**20 - 1))
def test_an_id_holds_its_place_in_time(moment: datetime, noise: int) -> None:
    found = request_id(moment, noise)
    assert id_of(number_of(found)) == found
    assert request_id(moment + timedelta(milliseconds=1), 0) > found
    assert number_of(found) < 2**62


def test_only_what_shows_who_somebody_is_proves_it() -> None:
    for proof in PROOFS:
        require_proof(proof)
    for proof in ("", "link", "LOGIN"):
        with pytest.raises(IdentityNotProvenError):
            require_proof(proof)


@pytest.mark.parametrize(("seconds", "told"), [(0, 1), (0.2, 1), (59.5, 60), (-5, 1), (60, 60)])
def test_the_time_to_wait_is_whole_seconds_and_enough(seconds: float, told: int) -> None:
    assert TooManyRightsRequestsError(timedelta(seconds=seconds)).retry_after_seconds == told


def test_a_signature_is_of_one_shop_and_one_document() -> None:
    mine, other = Signer(b"a" * 32), Signer(b"b" * 32)
    signed = mine.sign({"at": datetime(2026, 3, 1, tzinfo=UTC), "n": 1})
    assert signed["at"] == "2026-03-01T00:00:00Z"
    mine.verify(signed)
    verify(signed)
    for forged in (signed | {"n": 2}, signed | {"m": 1}, other.sign(signed), {}):
        with pytest.raises(InvalidCertificateError):
            mine.verify(forged)


def test_both_languages_say_the_same_things() -> None:
    english, french = WORDS["en"], WORDS["fr"]
    assert english.categories.keys() == french.categories.keys()
    for name, told in english.categories.items():
        assert all(told), name
        assert all(french.categories[name]), name
        assert told != french.categories[name]
    for word, other in zip(english, french, strict=True):
        if isinstance(word, str) and len(word) > 1:
            assert word != other
    assert len(english.months) == len(french.months) == 12


def test_whatever_a_store_holds_about_a_member_is_told_in_words() -> None:
    held = {"purchases", "engagements", "points"}  # of the journal, by the kind of entry
    for file in Path(str(loyalty.__file__)).parent.rglob("*.py"):
        for each in ast.walk(ast.parse(file.read_text())):
            if isinstance(each, ast.Call) and getattr(each.func, "id", "") == "Held":
                held |= {str(arg.value) for arg in each.args[2:3] if isinstance(arg, ast.Constant)}
    assert held >= {"identity", "profile", "purchases", "coupons", "retention"}
    assert held <= WORDS["en"].categories.keys()


def test_what_has_no_text_is_still_named() -> None:
    told = category_of("loose_ends", words_of("en"))
    assert told.heading == "Loose ends"
    assert told.why
    assert readable("closed_at", words_of("fr")) == "Clôturée le"
    assert words_of("de") == WORDS["en"]
