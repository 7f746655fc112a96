"""What a decision may ask for: purposes, channels, notices, ages; and what becomes of it.

A decision is refused as a whole if one part of it cannot be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty.consent.model import (
    GRANTED,
    OBJECTED,
    PENDING,
    REFUSED,
    UNSTATED,
    AgeUnknownError,
    Change,
    GuardianRequiredError,
    NotForMinorsError,
    UnknownNoticeError,
    UnknownPurposeError,
    flag_of,
)
from loyalty.consent.purposes import built_in, months_after
from loyalty.kit.errors import ConflictError, FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from loyalty.consent.model import Asked, Decision, Standing
    from loyalty.consent.purposes import Purpose
    from loyalty.consent.service import Circumstances
    from loyalty.consent.store import ConsentStore

GUARDIAN = "guardian"
# What a member has a say in: consent, and by objection (Art. 21) a legitimate interest.
DECIDED_ON = frozenset({"consent", "legitimate_interest"})
# A yes said over these may be somebody else's: the address has to answer for itself.
UNPROVEN_METHODS = frozenset({"form", "till", UNSTATED})


def require_known(names: Sequence[str], purposes: Mapping[str, Purpose]) -> None:
    """Let only names of purposes through.

    Raises:
        UnknownPurposeError: one is not; the error names its place.
    """
    for position, name in enumerate(names):
        if name not in purposes:
            mistake = FieldError(f"purposes.{position}", "Is no purpose of the shop.")
            raise UnknownPurposeError(mistake.message, errors=(mistake,))


def checked(
    decisions: Sequence[Decision],
    purposes: Mapping[str, Purpose] | None = None,
    flags: Callable[[], Collection[str]] = tuple,
) -> Mapping[str, Purpose]:
    """The purposes, if each decision names one that hangs on consent, and a channel where it must.

    A no is also taken on a channel that the purpose had when the member decided on it.

    Args:
        decisions: what a member says.
        purposes: those there are; the built-in ones if absent.
        flags: gives the names of all that the member ever decided on.

    Raises:
        UnknownPurposeError: one does not; the error names its place.
    """
    known = built_in() if purposes is None else purposes
    for position, each in enumerate(decisions):
        purpose = known.get(each.purpose)
        if purpose is None or purpose.basis not in DECIDED_ON:
            _refuse(position, "purpose", "Is no purpose that members decide on.")
        elif each.channel is not None and each.channel not in purpose.channels:
            if each.granted or each.flag not in flags():
                _refuse(position, "channel", f"{each.purpose} is not asked for on this channel.")
        elif each.granted and purpose.channels and each.channel is None:
            _refuse(position, "channel", f"{each.purpose} is agreed to channel by channel.")
    return known


def flags_of(purposes: Mapping[str, Purpose]) -> list[str]:
    """The flags of all that hangs on consent."""
    return [
        flag_of(each.name, channel)
        for each in purposes.values()
        if each.needs_consent
        for channel in each.channels or (None,)
    ]


def noticed(version: str | None, language: str | None, consents: ConsentStore) -> str | None:
    """The language of the notice that the member saw.

    Raises:
        UnknownNoticeError: there is no such version, or not in that language.
    """
    if version is None:
        return language
    languages = consents.notices.languages_of(version)
    if not languages:
        mistake = FieldError("notice_version", "No notice of this version was published.")
        raise UnknownNoticeError(mistake.message, errors=(mistake,))
    if language is None and len(languages) == 1:
        return languages[0]
    if language not in languages:
        mistake = FieldError("language", f"The notice is there in: {', '.join(sorted(languages))}.")
        raise UnknownNoticeError(mistake.message, errors=(mistake,))
    return language


def changes_of(
    decisions: Sequence[Decision],
    standing: Standing,
    how: Circumstances,
    purposes: Mapping[str, Purpose],
) -> list[Change]:
    """What the decisions change, flag by flag.

    Raises:
        GuardianRequiredError, NotForMinorsError, AgeUnknownError: as they say.
    """
    decided_at = how.decided_at or how.at
    changes: list[Change] = []
    for position, each in enumerate(decisions):
        purpose = purposes[each.purpose]
        if each.granted:
            _check_age(position, purpose, standing, how)
            changes.append(_grant(each, purpose, standing, how, decided_at))
        else:
            changes += _refusals(each, purpose, standing)
    return changes


def _refusals(decision: Decision, purpose: Purpose, standing: Standing) -> Iterator[Change]:
    """A no to one channel, or to all of them at once; an objection is always to all."""
    is_objection = decision.objection or not purpose.needs_consent
    asked: Asked = OBJECTED if is_objection else REFUSED
    if decision.channel and not is_objection:
        yield Change(purpose.name, decision.channel, asked)
        return
    channels = _channels(purpose, standing)
    # A purpose that has channels now may have been agreed to as a whole before.
    if not channels or is_objection or purpose.name in standing.flags:
        yield Change(purpose.name, None, asked)
    for channel in channels:
        yield Change(purpose.name, channel, asked)


def _channels(purpose: Purpose, standing: Standing) -> list[str]:
    """Those the purpose has, and those it once had when the member decided."""
    parts = (flag.partition(":") for flag in standing.flags)
    once = [channel for name, _, channel in parts if channel and name == purpose.name]
    return list(dict.fromkeys([*purpose.channels, *once]))


def _grant(
    decision: Decision,
    purpose: Purpose,
    standing: Standing,
    how: Circumstances,
    decided_at: datetime,
) -> Change:
    has_to_wait = decision.channel in purpose.double_opt_in and how.method in UNPROVEN_METHODS
    asked: Asked = PENDING if has_to_wait else GRANTED
    expires_at = _end(decision, purpose, standing, decided_at)
    return Change(purpose.name, decision.channel, asked, expires_at)


def _end(
    decision: Decision, purpose: Purpose, standing: Standing, decided_at: datetime
) -> datetime | None:
    """When a grant ends: as said, as the purpose has it, or when a minor comes of age."""
    ends = [decision.expires_at]
    if purpose.expires_in_months is not None:
        ends.append(months_after(decided_at, purpose.expires_in_months))
    if standing.age and standing.age.is_minor(decided_at) and purpose.minors == GUARDIAN:
        # At its majority a person is asked anew.
        ends.append(standing.age.adult_from)
    return min((each for each in ends if each is not None), default=None)


def _check_age(position: int, purpose: Purpose, standing: Standing, how: Circumstances) -> None:
    """Hold a yes to what a minor may.

    Raises:
        GuardianRequiredError, NotForMinorsError, AgeUnknownError: as they say.
    """
    refusal = _too_young(purpose, standing, how)
    if refusal is not None:
        kind, message = refusal
        mistake = FieldError(f"decisions.{position}.purpose", message)
        raise kind(message, errors=(mistake,))


def _too_young(
    purpose: Purpose, standing: Standing, how: Circumstances
) -> tuple[type[ConflictError], str] | None:
    if standing.age is None:
        is_open = purpose.unknown_age == "allowed"
        return None if is_open else (AgeUnknownError, "Is offered only if the age is known.")
    if not standing.age.is_minor(how.at) or purpose.minors == "allowed":
        return None
    if purpose.minors == "never":
        return NotForMinorsError, "Is not offered to minors."
    return None if how.method == GUARDIAN else (GuardianRequiredError, "Needs a guardian's word.")


def _refuse(position: int, name: str, message: str) -> None:
    mistake = FieldError(f"decisions.{position}.{name}", message)
    raise UnknownPurposeError(message, errors=(mistake,))
