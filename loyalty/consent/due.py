"""Whom to ask again: whose yes runs out or was given under older words, and who may be asked."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from loyalty.consent.model import GRANTED, REFUSED, WITHDRAWN, UnknownPurposeError
from loyalty.consent.purposes import months_after
from loyalty.kit.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.consent.model import FlagState, Standing
    from loyalty.consent.purposes import Purpose
    from loyalty.consent.store import ConsentStore

LOOKED_AT_MAX = 2000
Reason: TypeAlias = Literal["expired", "expires", "new_notice", "refused_long_ago"]


class Due(NamedTuple):
    """A member to ask again, and why."""

    member_id: str
    reason: Reason
    decided_at: datetime
    expires_at: datetime | None


class DuePage(NamedTuple):
    """A page of them, and the member after whom the next one begins; None: it was the last."""

    found: list[Due]
    after: str | None


class Question(NamedTuple):
    """What is asked for.

    `newest` is the number of the newest notice that changed the words, `numbers` those of all.
    """

    purpose: Purpose
    channel: str | None
    within: timedelta
    at: datetime
    newest: int
    numbers: Mapping[str, int]


def due(
    purpose: str,
    channel: str | None,
    *,
    within_days: int,
    after: str,
    limit: int,
    at: datetime,
    consents: ConsentStore,
) -> DuePage:
    """Members to ask again, in the order of their ids.

    Never one who refused within the purpose's interval, and never one who objected or whose data
    is restricted: to ask would be to use it. It looks at a bounded number of members, so a page can
    be short, or empty, before the last.

    Raises:
        UnknownPurposeError: the shop has none of that name, or it has no such channel.
    """
    question = _question(purpose, channel, within_days, at, consents)
    found: list[Due] = []
    looked_at = 0
    while looked_at < LOOKED_AT_MAX:
        ids = consents.members_after(after, limit=200)
        standings = consents.standings(ids)
        for each in ids:
            after = each
            if (one := _due(each, standings.get(each), question)) is not None:
                found.append(one)
                if len(found) == limit:
                    return DuePage(found, after)
        if not ids:
            return DuePage(found, None)
        looked_at += len(ids)
    return DuePage(found, after)


def _question(
    name: str, channel: str | None, within_days: int, at: datetime, consents: ConsentStore
) -> Question:
    purpose = consents.purposes.all().get(name)
    if purpose is None or not purpose.needs_consent:
        raise _unknown("purpose", "Is no purpose that members decide on.")
    if (channel is None) == bool(purpose.channels) or (
        channel is not None and channel not in purpose.channels
    ):
        raise _unknown("channel", "Name one of the purpose's channels, if it has any.")
    notices = consents.notices
    newest, numbers = notices.newest_for(name), notices.numbers()
    return Question(purpose, channel, timedelta(days=within_days), at, newest, numbers)


def _due(member_id: str, standing: Standing | None, question: Question) -> Due | None:
    state = standing.state(question.purpose.name, question.channel) if standing else None
    if standing is None or state is None or standing.restricted:
        return None
    reason = reason_of(state, question)
    return Due(member_id, reason, state.at, state.expires_at) if reason else None


def reason_of(state: FlagState, question: Question) -> Reason | None:
    """Why a member with such a state is to be asked again; None: not."""
    if state.status in (REFUSED, WITHDRAWN):
        again_at = months_after(state.at, question.purpose.ask_again_after_months)
        return "refused_long_ago" if question.at >= again_at else None
    if state.status != GRANTED:
        return None
    if not state.holds(question.at):
        return "expired"
    if question.numbers.get(state.notice_version or "", 0) < question.newest:
        return "new_notice"
    is_soon = state.expires_at is not None and state.expires_at < question.at + question.within
    return "expires" if is_soon else None


def _unknown(field: str, message: str) -> UnknownPurposeError:
    return UnknownPurposeError(message, errors=(FieldError(field, message),))
