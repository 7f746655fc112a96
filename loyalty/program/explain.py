"""Why these points? A posting in plain words, out of nothing but what the posting itself holds."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loyalty.program.model import Posting

_ROUNDED = {"floor": "rounded down", "half_up": "rounded half up", "ceiling": "rounded up"}

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


def explain(posting: Posting, *, currency: str) -> str:
    """One sentence with the numbers that led to the posting's points."""
    if posting.kind == "spend":
        return _spend(posting, currency)
    return _SENTENCES[posting.kind](posting)


def money(amount_minor: int, currency: str) -> str:
    """An amount for people: `21.90 EUR`, `2190 JPY`."""
    decimals = _DECIMALS.get(currency, 2)
    whole, part = divmod(amount_minor, 10**decimals)
    return f"{whole}.{part:0{decimals}} {currency}" if decimals else f"{whole} {currency}"


def _spend(posting: Posting, currency: str) -> str:
    inputs = posting.inputs
    each = " line by line" if inputs["per"] == "line" else ""
    return (
        f"{money(inputs['basis'], currency)} at {inputs['points']} for every "
        f"{money(inputs['per_amount'], currency)}{each}, {_ROUNDED[inputs['rounding']]}: "
        f"{posting.points}."
    )


def _multiplier(posting: Posting) -> str:
    inputs = posting.inputs
    alive = inputs.get("channels_alive")
    why = f" because {alive} channels are in use" if alive else ""
    return (
        f"{_decimal(inputs['base'])} spend points times {inputs['factor']}{why}, "
        f"{_ROUNDED[inputs['rounding']]}, add {posting.points}."
    )


def _decimal(exact: str) -> str:
    """A fraction for people: `28.5`, and `about 1.33` where the decimals have no end."""
    if exact.isdecimal():
        return exact
    rounded = round(Fraction(exact), 2)
    text = f"{float(rounded):.2f}".rstrip("0").rstrip(".")
    return text if rounded == Fraction(exact) else f"about {text}"


def _fixed(posting: Posting) -> str:
    inputs = posting.inputs
    return f"{inputs['points']} for each of {inputs['count']} ({inputs['per']}): {posting.points}."


def _engagement(posting: Posting) -> str:
    return f"{posting.points} for the engagement '{posting.inputs['engagement']}'."


def _nth_channel(posting: Posting) -> str:
    inputs = posting.inputs
    return (
        f"{posting.points} for channel number {inputs['n']} ({inputs['channel']}) within "
        f"{inputs['window_days']} days."
    )


def _first_on_channel(posting: Posting) -> str:
    return f"{posting.points} for the first activity ever on {posting.inputs['channel']}."


def _clawback(posting: Posting) -> str:
    inputs = posting.inputs
    short = " (not more than the balance)" if inputs["due"] != -posting.points else ""
    return (
        f"The purchase earned {inputs['awarded']}; the returned part of it, "
        f"{_ROUNDED[inputs['rounding']]}, takes back {-posting.points}{short}."
    )


def _adjustment(posting: Posting) -> str:
    return f"{posting.points:+} by hand; the entry names the reason and the actor."


def _expiry(posting: Posting) -> str:
    return f"{-posting.points} expired before this activity."


_SENTENCES: Mapping[str, Callable[[Posting], str]] = {
    "multiplier": _multiplier,
    "fixed": _fixed,
    "engagement": _engagement,
    "nth_channel": _nth_channel,
    "first_on_channel": _first_on_channel,
    "clawback": _clawback,
    "adjustment": _adjustment,
    "expiry": _expiry,
}
