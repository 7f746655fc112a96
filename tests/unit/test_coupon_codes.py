"""A code is read back as what it says, and nothing else is read as a code."""

from __future__ import annotations

import base64
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loyalty.coupons import codes, views
from loyalty.coupons.codes import ALPHABET, SHORT_LENGTH, SIGNED_LENGTH, CouponMint, _check
from loyalty.coupons.model import (
    CAMPAIGNS_MAX,
    MOVES_MAX,
    SERIALS_MAX,
    Campaign,
    Coupon,
    CouponForgedError,
    CouponMistypedError,
    CouponRefusedError,
    RedemptionNotFoundError,
    Visit,
    check_limits,
    move_id,
    use_of,
)
from tests.builders import NOON

# The keys of the examples in the documentation.
MINT = CouponMint(
    seed=b"an example in the documentation.", short_key=b"an example in the documentation,"
)
OTHER = CouponMint(seed=b"o" * 32, short_key=b"p" * 32)
LAST_DAY = date(2026, 3, 31)
QR_ALPHANUMERIC = set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")
# A QR code of version 5 at error correction M holds so many alphanumeric characters.
QR_VERSION_5_M = 122

COUPONS = st.builds(Coupon, st.integers(1, CAMPAIGNS_MAX), st.integers(1, SERIALS_MAX))
DAYS = st.dates(date(1990, 1, 1), date(2149, 6, 6))


def signed(coupon: Coupon) -> str:
    return MINT.signed(coupon, last_day=LAST_DAY)


def spellings(coupon: Coupon) -> list[str]:
    """Both, without their groups."""
    return [signed(coupon), MINT.short(coupon).replace("-", "")]


@given(COUPONS, DAYS)
def test_both_spellings_are_read_as_the_coupon(coupon: Coupon, day: date) -> None:
    assert MINT.read(MINT.signed(coupon, last_day=day)) == coupon
    assert MINT.read(MINT.short(coupon)) == coupon


@given(COUPONS)
def test_a_code_is_the_same_each_time_and_fits_its_symbol(coupon: Coupon) -> None:
    code, short = spellings(coupon)
    assert signed(coupon) == code
    assert len(code) == SIGNED_LENGTH <= QR_VERSION_5_M
    assert len(short) == SHORT_LENGTH
    assert set(code + short) <= QR_ALPHANUMERIC & set(ALPHABET)


@given(COUPONS, st.data())
def test_every_change_of_a_single_character_is_a_typing_error(
    coupon: Coupon, data: st.DataObject
) -> None:
    for code in spellings(coupon):
        place = data.draw(st.integers(0, len(code) - 1))
        wrong = data.draw(st.sampled_from(ALPHABET.replace(code[place], "")))
        with pytest.raises(CouponMistypedError):
            MINT.read(code[:place] + wrong + code[place + 1 :])


def test_every_change_at_every_place_of_one_code_is_a_typing_error() -> None:
    for code in spellings(Coupon(1, 42)):
        for place, right in enumerate(code):
            for wrong in ALPHABET.replace(right, ""):
                with pytest.raises(CouponMistypedError):
                    MINT.read(code[:place] + wrong + code[place + 1 :])


@given(COUPONS, st.data())
def test_every_swap_of_neighbours_is_a_typing_error(coupon: Coupon, data: st.DataObject) -> None:
    for code in spellings(coupon):
        place = data.draw(st.integers(0, len(code) - 2))
        one, other = code[place], code[place + 1]
        assume(one != other)
        with pytest.raises(CouponMistypedError):
            MINT.read(code[:place] + other + one + code[place + 2 :])


@given(COUPONS, st.data())
def test_a_change_with_a_fitting_check_is_a_forgery(coupon: Coupon, data: st.DataObject) -> None:
    for code in spellings(coupon):
        place = data.draw(st.integers(0, len(code) - 2))
        wrong = data.draw(st.sampled_from(ALPHABET.replace(code[place], "")))
        body = code[:place] + wrong + code[place + 1 : -1]
        with pytest.raises(CouponForgedError):
            MINT.read(body + _check(body))


@given(COUPONS, COUPONS)
def test_the_proof_of_one_coupon_is_none_of_another(one: Coupon, other: Coupon) -> None:
    assume(one != other)
    # The first 17 characters of a signed code and the first 10 of a short one say which coupon.
    for mine, theirs, said in zip(spellings(one), spellings(other), (17, 10), strict=True):
        assume(mine[:said] != theirs[:said])
        body = mine[:said] + theirs[said:-1]
        with pytest.raises(CouponForgedError):
            MINT.read(body + _check(body))


@given(COUPONS)
def test_codes_of_another_shop_are_forgeries(coupon: Coupon) -> None:
    for code in (OTHER.signed(coupon, last_day=LAST_DAY), OTHER.short(coupon)):
        with pytest.raises(CouponForgedError):
            MINT.read(code)


def test_a_code_of_a_later_version_is_not_read_as_one_of_this(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codes, "VERSION", 2)
    later = signed(Coupon(1, 42))
    assert MINT.read(later) == Coupon(1, 42)
    monkeypatch.undo()
    with pytest.raises(CouponForgedError):
        MINT.read(later)


@given(COUPONS, st.sampled_from([" ", "-"]), st.integers(1, 8))
def test_case_groups_and_look_alikes_do_not_matter(coupon: Coupon, gap: str, size: int) -> None:
    for code in spellings(coupon):
        groups = gap.join(code[at : at + size] for at in range(0, len(code), size))
        for text in (groups, groups.lower(), groups.replace("0", "O").replace("1", "l")):
            assert MINT.read(text) == coupon


@given(st.one_of(st.text(max_size=200), st.text(ALPHABET, min_size=20, max_size=20)))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(CouponRefusedError):
        MINT.read(text)


@pytest.mark.parametrize("code", ["", "0" * 19, "0" * 21, "0" * 119, "0" * 121, "U" * 20])
def test_a_text_of_another_form_is_a_typing_error(code: str) -> None:
    with pytest.raises(CouponMistypedError):
        MINT.read(code)


def test_codes_in_peoples_pockets_stay_valid() -> None:
    code = (
        "42G000100000AJG7ZDT1YB6XW76XV300EJGQKF04AMX22TTYKMDBQG9VTN8T"
        "XHJQXPQNPGSQ3SJXJP7VA23B2C425JYKF38HYPR14FVV67EQQR29PQGF207W"
    )
    assert signed(Coupon(1, 42)) == code
    assert MINT.short(Coupon(1, 42)) == "00010-0001A-V6H0T-EA3B0"


def test_the_examples_of_the_documentation_are_true() -> None:
    text = (Path(__file__).parents[2] / "docs" / "coupons.md").read_text()
    shown = re.findall(r"^(?:signed|short) +(\S+)$", text, re.MULTILINE)
    assert [MINT.read(each) for each in shown] == [Coupon(1, 42)] * 2
    assert [MINT.read(each) for each in (views._CODE, views._SHORT_CODE)] == [Coupon(1, 42)] * 2
    assert base64.b64decode(views._PUBLIC_KEY) == MINT.public_key
    assert MINT.public_key_pem == views._PUBLIC_KEY_PEM


@given(COUPONS, st.integers(0, MOVES_MAX // 2 - 1))
def test_a_redemption_id_leads_back_to_its_coupon(coupon: Coupon, use: int) -> None:
    assert use_of(move_id(coupon, use * 2)) == (coupon, use * 2)
    with pytest.raises(RedemptionNotFoundError):
        use_of(move_id(coupon, use * 2 + 1))


@pytest.mark.parametrize("text", ["", "x", "1-2", "1-2-3", "1-2-00\n", "\u0661-2-00", "1-2-00-00"])
def test_another_text_is_no_redemption_id(text: str) -> None:
    with pytest.raises(RedemptionNotFoundError):
        use_of(text)


def test_a_campaign_holds_from_its_start_until_just_before_its_end() -> None:
    start, end, tick = NOON, NOON + timedelta(days=1), timedelta(milliseconds=1)
    campaign = Campaign("a", 1, "A", {}, start, end, (), (), 0, NOON)

    def refusal(at: datetime) -> str:
        try:
            check_limits(campaign, Visit("web", None, at, None))
        except CouponRefusedError as error:
            return error.code
        return ""

    refusals = [refusal(at) for at in (start - tick, start, end - tick, end)]
    assert refusals == ["coupon_not_started", "", "", "coupon_expired"]


def test_the_last_day_is_the_one_before_a_campaign_that_ends_at_midnight() -> None:
    midnight = datetime(2026, 4, 1, tzinfo=UTC)

    def last_day(ends_at: datetime) -> date:
        return Campaign("a", 1, "A", {}, NOON, ends_at, (), (), 0, NOON).last_day

    assert last_day(midnight) == date(2026, 3, 31)
    assert last_day(midnight + timedelta(milliseconds=1)) == date(2026, 4, 1)
