"""Where decisions leave a member, whatever the order in which they came. Pure.

The end is the fold of all decisions by the time at which they were made. A decision that arrives in
order is one step; one that arrives late makes the fold begin anew.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from loyalty.consent.model import (
    GRANTED,
    OBJECTED,
    OWN_METHODS,
    PENDING,
    REFUSED,
    WITHDRAWN,
    FlagState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from loyalty.consent.model import Said

IMPORT = "import"
# Until then the link that was sent stays the one that counts, and no other is sent.
ASK_AGAIN_AFTER = timedelta(minutes=10)
# What no import may change: the member's own later word is stronger than an old list.
_CLOSED_TO_IMPORTS = frozenset({OBJECTED, WITHDRAWN, PENDING})


def fold(said: Iterable[Said]) -> dict[str, FlagState]:
    """The flags after all that was said, in the order in which it was said.

    Of two at the same moment an import comes first; else the one that arrived first does.

    Args:
        said: in the order of arrival.
    """
    flags: dict[str, FlagState] = {}
    for each in sorted(said, key=_when):
        flags[each.change.flag] = after(flags, each)
    return flags


def is_late(said: Iterable[Said], newest_at: datetime | None) -> bool:
    """Whether something older than the newest decision is among what was said."""
    return newest_at is not None and any(
        each.at < newest_at or (each.at == newest_at and each.method == IMPORT) for each in said
    )


def after(flags: Mapping[str, FlagState], said: Said) -> FlagState:
    """Where one flag stands after the next thing that was said of it."""
    change = said.change
    prior = flags.get(change.flag)
    whole = flags.get(change.purpose) if change.channel else None
    if prior is None and whole is not None and whole.status == OBJECTED:
        prior = whole
    if change.asked == OBJECTED:
        return _state(OBJECTED, said)
    if change.asked == REFUSED:
        return _refused(prior, said)
    if change.asked == PENDING:
        return _pending(prior, said)
    if prior is not None and _is_barred(prior, said):
        return prior
    return FlagState(
        GRANTED,
        said.at,
        said.method,
        change.expires_at,
        said.notice_version,
        has_signal=said.has_signal,
    )


def _when(said: Said) -> tuple[datetime, bool]:
    return said.at, said.method != IMPORT


def _state(status: str, said: Said) -> FlagState:
    return FlagState(
        status,  # type: ignore[arg-type]  # one of the statuses above
        said.at,
        said.method,
        notice_version=said.notice_version,
    )


def _refused(prior: FlagState | None, said: Said) -> FlagState:
    """An objection is not softened by a plain no."""
    if prior is not None and prior.status == OBJECTED:
        return prior._replace(pending="", pending_at=None)
    had_agreed = prior is not None and prior.status in (GRANTED, WITHDRAWN)
    return _state(WITHDRAWN if had_agreed else REFUSED, said)


def _pending(prior: FlagState | None, said: Said) -> FlagState:
    """A yes that waits for its confirmation takes nothing away and gives nothing yet."""
    if prior is not None and (prior.holds(said.at) or _is_asked_already(prior, said.at)):
        return prior
    is_objected = prior is not None and prior.status == OBJECTED
    stands = prior if prior is not None and is_objected else _state(PENDING, said)
    return stands._replace(pending=said.record_id, pending_at=said.at)


def _is_asked_already(prior: FlagState, at: datetime) -> bool:
    """Whether a link was sent just now: nobody's mailbox is filled by asking again and again."""
    return prior.pending_at is not None and at - prior.pending_at < ASK_AGAIN_AFTER


def _is_barred(prior: FlagState, said: Said) -> bool:
    """Whether a grant cannot change what stands there."""
    if said.method == IMPORT and prior.status in _CLOSED_TO_IMPORTS:
        return True
    return prior.status == OBJECTED and said.method not in OWN_METHODS
