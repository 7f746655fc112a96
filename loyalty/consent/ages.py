"""A member's age: kept sealed, and told to the gate as no more than it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty.consent.age import age_of
from loyalty.consent.model import GRANTED, PENDING, REFUSED, Change
from loyalty.consent.service import Circumstances, Next, append
from loyalty.kit.errors import ConflictError, FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date, datetime

    from loyalty.consent.model import Age, Record, Standing
    from loyalty.consent.purposes import Purpose
    from loyalty.consent.store import ConsentStore
    from loyalty.members.store import MemberStore


class ImplausibleAgeError(ConflictError):
    """Nobody was born then: in the future, or more than a life ago."""

    code = "implausible_age"
    title = "The date of birth cannot be"


YEARS_MAX = 130


def set_age(
    member_id: str,
    country: str,
    born_on: date,
    *,
    at: datetime,
    by: str,
    method: str,
    consents: ConsentStore,
    members: MemberStore,
) -> Record:
    """Keep when and where a member was born, sealed; a minor's own grants end with it.

    Args:
        member_id: whose.
        country: whose law counts, ISO 3166-1 alpha-2.
        born_on: the day of birth.
        at: now.
        by: the key.
        method: how it became known.
        consents: where it is kept.
        members: who there is.

    Raises:
        MemberNotFoundError: there is no such member.
        ImplausibleAgeError: the day lies in the future, or 130 years back.
    """
    if not 0 <= at.year - born_on.year <= YEARS_MAX or born_on > at.date():
        mistake = FieldError("born_on", "Is no day on which a member can be born.")
        raise ImplausibleAgeError(mistake.message, errors=(mistake,))
    age = age_of(born_on, country, at=at)
    purposes = consents.purposes.all()

    def draw(standing: Standing) -> Next:
        return Next(list(_lapsing(standing, age, purposes, at)), age=age)

    evidence = {"country": country, "born_on": born_on.isoformat()}
    how = Circumstances("age", method, at, by, evidence=evidence)
    return append(member_id, draw, how, consents=consents, members=members)


def _lapsing(
    standing: Standing, age: Age, purposes: Mapping[str, Purpose], at: datetime
) -> Iterator[Change]:
    """What a minor had agreed to and could not."""
    if not age.is_minor(at):
        return
    for flag, state in standing.flags.items():
        name, _, channel = flag.partition(":")
        minors = purposes[name].minors if name in purposes else "guardian"
        by_guardian = minors == "guardian" and state.method == "guardian"
        # Over an objection a yes can wait, too.
        is_open = state.status in (GRANTED, PENDING) or state.pending
        if is_open and minors != "allowed" and not by_guardian:
            yield Change(name, channel or None, REFUSED)
