"""Why these points? A posting in plain words, out of nothing but what the posting itself holds."""

from __future__ import annotations

from datetime import datetime, time
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from loyalty.program.model import POINTS, UTC_ZONE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from zoneinfo import ZoneInfo

    from loyalty.program.model import Posting

_ROUNDED = {"floor": "rounded down", "half_up": "rounded half up", "ceiling": "rounded up"}
_LIMITS = {
    "day": "The rule's limit for a day",
    "week": "The rule's limit for a week",
    "month": "The rule's limit for a month",
    "year": "The rule's limit for a year",
    "lifetime": "The rule's limit for a member",
    "budget": "The campaign's budget",
}
# Why a return takes less than is due, by the programme's policy.
_SHORT = {
    "only_pending": "not more than what is pending",
    "within_balance": "not more than the balance",
    "may_go_negative": "not more than what is due",
}

# ISO 4217: the currencies whose minor unit is not a hundredth.
_DECIMALS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
}


def explain(posting: Posting, *, currency: str, zone: ZoneInfo = UTC_ZONE) -> str:
    """What led to the posting's points, in one sentence, and in others what limits and delays them.

    Args:
        posting: of any kind.
        currency: of the programme.
        zone: whose days and times are written.
    """
    shop = _Shop(currency, zone)
    sentences = [_SENTENCES[posting.kind](posting, shop)]
    if cut := posting.inputs.get("cut"):
        sentences.append(f"{_LIMITS[cut['limit']]} leaves {posting.points} of them.")
    if pending_until := posting.inputs.get("pending_until"):
        sentences.append(f"Can be spent from {_moment(pending_until, zone)} on.")
    return " ".join(sentences)


def money(amount_minor: int, currency: str) -> str:
    """An amount for people: `21.90 EUR`, `2190 JPY`."""
    decimals = _DECIMALS.get(currency, 2)
    whole, part = divmod(amount_minor, 10**decimals)
    return f"{whole}.{part:0{decimals}} {currency}" if decimals else f"{whole} {currency}"


class _Shop(NamedTuple):
    """What the numbers of a posting are written in."""

    currency: str
    zone: ZoneInfo


def _counted(points: int, posting: Posting) -> str:
    """Points with the name of their unit, unless it is the main one."""
    return str(points) if posting.unit == POINTS else f"{points} {posting.unit}"


def _earned(posting: Posting) -> str:
    """What the rule gives, before any limit."""
    cut = posting.inputs.get("cut")
    return _counted(cut["wanted"] if cut else posting.points, posting)


def _moved(posting: Posting) -> str:
    """How many points, whichever way."""
    return _counted(abs(posting.points), posting)


def _moment(moment: datetime | str, zone: ZoneInfo) -> str:
    """A day, with the time where it is not a day's first moment. In a journal it may be text."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    local = moment.astimezone(zone)
    day = f"{local.day} {local:%B %Y}"
    return day if local.time() == time.min else f"{day}, {local:%H:%M} ({zone.key})"


def _spend(posting: Posting, shop: _Shop) -> str:
    inputs = posting.inputs
    each = " line by line" if inputs["per"] == "line" else ""
    return (
        f"{money(inputs['basis'], shop.currency)} at {inputs['points']} for every "
        f"{money(inputs['per_amount'], shop.currency)}{each}, {_ROUNDED[inputs['rounding']]}: "
        f"{_earned(posting)}."
    )


def _multiplier(posting: Posting, _: _Shop) -> str:
    inputs = posting.inputs
    alive = inputs.get("channels_alive")
    why = f" because {alive} channels are in use" if alive else ""
    return (
        f"{_decimal(inputs['base'])} spend points times {inputs['factor']}{why}, "
        f"{_ROUNDED[inputs['rounding']]}, add {_earned(posting)}."
    )


def _decimal(exact: str) -> str:
    """A fraction for people: `28.5`, and `about 1.33` where the decimals have no end."""
    if exact.isdecimal():
        return exact
    rounded = round(Fraction(exact), 2)
    text = f"{float(rounded):.2f}".rstrip("0").rstrip(".")
    return text if rounded == Fraction(exact) else f"about {text}"


def _fixed(posting: Posting, _: _Shop) -> str:
    inputs = posting.inputs
    each = f"{inputs['points']} for each of {inputs['count']} ({inputs['per']})"
    return f"{each}: {_earned(posting)}."


def _engagement(posting: Posting, _: _Shop) -> str:
    return f"{_earned(posting)} for the engagement '{posting.inputs['engagement']}'."


def _nth_channel(posting: Posting, _: _Shop) -> str:
    inputs = posting.inputs
    return (
        f"{_earned(posting)} for channel number {inputs['n']} ({inputs['channel']}) within "
        f"{inputs['window_days']} days."
    )


def _first_on_channel(posting: Posting, _: _Shop) -> str:
    return f"{_earned(posting)} for the first activity ever on {posting.inputs['channel']}."


def _every_nth(posting: Posting, _: _Shop) -> str:
    inputs = posting.inputs
    times = {0: "not this time", 1: "once now"}.get(inputs["due"], f"{inputs['due']} times now")
    return (
        f"With {inputs['counted']} more, the count of {inputs['counts']} is {inputs['count']}; "
        f"every {inputs['n']} pay, {times}: {_earned(posting)}."
    )


def _milestone(posting: Posting, shop: _Shop) -> str:
    inputs = posting.inputs
    numbers = [inputs["counted"], inputs["count"], inputs["at"]]
    if inputs["measure"] == "spend":
        more, so_far, goal = (money(number, shop.currency) for number in numbers)
    else:
        more, so_far, goal = (str(number) for number in numbers)
        goal = f"{goal} purchases"
    outcome = "the milestone pays" if inputs["count"] >= inputs["at"] else "not there yet"
    return f"With {more} more, {so_far} of {goal} are reached, {outcome}: {_earned(posting)}."


def _streak(posting: Posting, _: _Shop) -> str:
    inputs = posting.inputs
    outcome = "the streak pays" if inputs["count"] >= inputs["n"] else "not there yet"
    running = f"Bought in {inputs['count']} of {inputs['n']} {inputs['period']}s running"
    return f"{running}, {outcome}: {_earned(posting)}."


def _journey(posting: Posting, _: _Shop) -> str:
    inputs = posting.inputs
    return (
        f"{_earned(posting)} for buying on {inputs['channel']} within {inputs['within_hours']} "
        f"hours after '{inputs['first']}' on {inputs['first_channel']} (full hours between "
        f"them: {inputs['hours']})."
    )


def _referral(posting: Posting, _: _Shop) -> str:
    if posting.inputs["side"] == "friend":
        return f"{_earned(posting)} for the first purchase of a member who was referred."
    return f"{_earned(posting)} for referring a member who has now bought for the first time."


def _clawback(posting: Posting, _: _Shop) -> str:
    inputs = posting.inputs
    short = f" ({_SHORT[inputs['policy']]})" if inputs["due"] != -posting.points else ""
    way = "gives" if posting.points > 0 else "takes"
    took = f"{_ROUNDED[inputs['rounding']]}, {way} back {_moved(posting)}{short}."
    if fallen := inputs.get("fallen"):
        rules = " and ".join(f"'{rule}'" for rule in fallen)
        return f"What {rules} stood on was returned: of {inputs['awarded']} earned this, {took}"
    whole = "".join(
        f" '{rule}' is lost whole: the basket that is left is too small for it."
        for rule in inputs.get("too_short", ())
    )
    return f"The purchase earned {inputs['awarded']}; the returned part of it, {took}{whole}"


def _adjustment(posting: Posting, _: _Shop) -> str:
    given = _counted(posting.points, posting)
    sign = "+" if posting.points >= 0 else ""
    return f"{sign}{given} by hand or by a coupon; the entry names the reason and the actor."


def _expiry(posting: Posting, _: _Shop) -> str:
    return f"{_moved(posting)} expired before this activity."


def _hold(posting: Posting, shop: _Shop) -> str:
    until = _moment(posting.inputs["expires_at"], shop.zone)
    return f"{_moved(posting)} set aside for a redemption until {until}."


def _capture(posting: Posting, _: _Shop) -> str:
    inputs = posting.inputs
    return (
        f"Of {_counted(inputs['held'], posting)} that were set aside {inputs['captured']} were "
        f"redeemed, {posting.points} go back."
    )


def _release(posting: Posting, shop: _Shop) -> str:
    ended_at = posting.inputs.get("expired_at")
    how = f"ran out on {_moment(ended_at, shop.zone)}" if ended_at else "was released"
    return f"The hold {how}: {_moved(posting)} go back with the dates they had."


def _restore(posting: Posting, _: _Shop) -> str:
    return f"The redemption was undone: {_moved(posting)} go back with the dates they had."


def _transfer(posting: Posting, _: _Shop) -> str:
    way = "went to" if posting.points < 0 else "came from"
    return f"{_moved(posting)} {way} another member with the dates they had."


def _redate(posting: Posting, _: _Shop) -> str:
    return f"{_moved(posting)} moved: what is there was dated anew by the programme's new terms."


def _correction(posting: Posting, _: _Shop) -> str:
    inputs = posting.inputs
    sign = "+" if posting.points >= 0 else ""
    return (
        f"{sign}{_counted(posting.points, posting)}: '{posting.rule}' moved {inputs['was']} with "
        f"the {inputs['kind']} {inputs['entry']}; by what is known now it is {inputs['now']}."
    )


_SENTENCES: Mapping[str, Callable[[Posting, _Shop], str]] = {
    "spend": _spend,
    "multiplier": _multiplier,
    "fixed": _fixed,
    "engagement": _engagement,
    "nth_channel": _nth_channel,
    "first_on_channel": _first_on_channel,
    "every_nth": _every_nth,
    "milestone": _milestone,
    "streak": _streak,
    "journey": _journey,
    "referral": _referral,
    "clawback": _clawback,
    "adjustment": _adjustment,
    "expiry": _expiry,
    "hold": _hold,
    "capture": _capture,
    "release": _release,
    "restore": _restore,
    "transfer": _transfer,
    "redate": _redate,
    "reversal": _correction,
    "correction": _correction,
}
