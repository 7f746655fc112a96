"""Purposes as data: what a use is for, on what basis it stands, and how it is asked for. Pure.

The built-in ones are in `purposes.json`; a shop changes them and adds its own.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import orjson

from loyalty.kit.errors import ConflictError, FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

CONSENT: Literal["consent"] = "consent"
Basis: TypeAlias = Literal["consent", "contract", "legal_obligation", "legitimate_interest"]
BASES: tuple[Basis, ...] = ("consent", "contract", "legal_obligation", "legitimate_interest")
MINORS = ("guardian", "never", "allowed")
PURPOSE_PATTERN = "^[a-z][a-z0-9_]{0,39}$"
PURPOSES_MAX = 100
MONTHS_MAX = 120


class WeakerBasisError(ConflictError):
    """A built-in purpose would stand on something else than it does."""

    code = "weaker_basis"
    title = "A built-in purpose keeps its lawful basis"


class PurposeChannelsError(ConflictError):
    """A purpose would be agreed to in a way that nothing in the program asks for."""

    code = "purpose_channels"
    title = "The channels do not fit the purpose"


class PurposeText(NamedTuple):
    """What a person reads about a purpose, in one language."""

    title: str
    description: str
    benefit: str


class Purpose(NamedTuple):
    """One reason for using personal data.

    Attributes:
        name: what views, permits and records call it.
        basis: the lawful basis.
        article: of the GDPR, `6(1)(a)`.
        channels: those it is agreed to one by one; empty if it holds everywhere.
        texts: by language (ISO 639-1).
        retention: how long what it uses is kept, as an ISO 8601 duration.
        data: categories of the register that it uses.
        dpv: the nearest term of the Data Privacy Vocabulary.
        minors: whether a minor needs a `guardian`, is never asked, or is `allowed` alone.
        unknown_age: whether someone of unknown age is `allowed` to agree or is `refused`.
        expires_in_months: after which a grant ends; None: it does not.
        ask_again_after_months: how long a no is left in peace.
        double_opt_in: the channels on which a yes by form or till waits for a confirmation.
    """

    name: str
    basis: Basis
    article: str
    channels: tuple[str, ...]
    texts: Mapping[str, PurposeText]
    retention: str
    data: tuple[str, ...]
    dpv: str
    minors: str
    unknown_age: str
    expires_in_months: int | None
    ask_again_after_months: int
    double_opt_in: tuple[str, ...]

    def text(self, language: str) -> PurposeText:
        """What it says in a language, else in English, else in any."""
        texts = self.texts
        return texts.get(language) or texts.get("en") or next(iter(texts.values()))

    @property
    def needs_consent(self) -> bool:
        """Whether nothing but the member's yes opens it."""
        return self.basis == CONSENT


def purpose_of(body: Mapping[str, Any]) -> Purpose:
    """The purpose of a document or a checked body."""
    lists = {name: tuple(body[name]) for name in ("channels", "data", "double_opt_in")}
    texts = {language: PurposeText(**each) for language, each in body["texts"].items()}
    return Purpose(**{**body, **lists, "texts": texts})


def body_of(purpose: Purpose) -> dict[str, Any]:
    """The purpose as JSON."""
    lists = {name: list(getattr(purpose, name)) for name in ("channels", "data", "double_opt_in")}
    texts = {language: each._asdict() for language, each in purpose.texts.items()}
    return {**purpose._asdict(), **lists, "texts": texts}


@functools.cache
def built_in() -> Mapping[str, Purpose]:
    """The purposes that Carnet itself knows, by name."""
    text = resources.files("loyalty.consent").joinpath("purposes.json").read_bytes()
    return {each["name"]: purpose_of(each) for each in orjson.loads(text)}


def check_basis(purpose: Purpose, place: str) -> None:
    """Hold a built-in purpose to its basis: the gate knows it by that.

    Raises:
        WeakerBasisError: it would stand on another one.
    """
    own = built_in().get(purpose.name)
    if own and purpose.basis != own.basis:
        mistake = FieldError(place, f"Stands on {own.basis}.")
        raise WeakerBasisError(mistake.message, errors=(mistake,))


def check_channels(purpose: Purpose, place: str) -> None:
    """Hold a built-in purpose to being agreed to channel by channel, or everywhere at once.

    Raises:
        PurposeChannelsError: it would change that, or confirm on a channel that it does not have.
    """
    own = built_in().get(purpose.name)
    mistake: FieldError | None = None
    if own and bool(own.channels) != bool(purpose.channels):
        how = "one channel at least" if own.channels else "no channels"
        mistake = FieldError(f"{place}.channels", f"{purpose.name} has {how}.")
    elif not set(purpose.double_opt_in) <= set(purpose.channels):
        mistake = FieldError(f"{place}.double_opt_in", "Must be among the purpose's channels.")
    if mistake:
        raise PurposeChannelsError(mistake.message, errors=(mistake,))


def months_after(moment: datetime, months: int) -> datetime:
    """The same day so many months later, or the last one of that month."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    for day in range(moment.day, moment.day - 4, -1):
        try:
            return moment.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    raise ValueError(months)
