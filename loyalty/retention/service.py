"""Apply the rules: warn and erase who is gone, and sweep away what is old.

Safe to stop anywhere and to run again: a warning is kept before its message is posted, under the
message's own id; a journal is closed before its member is erased, at the place that was seen, so
that whoever comes back in between either is seen or is told that there is no such member.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bson import ObjectId

from loyalty.messages.model import Message
from loyalty.retention.model import (
    LAST_CALL,
    REASON_INACTIVE,
    REASON_PROVISIONAL,
    Applied,
    Warned,
    erased_at,
    history_since,
    next_step,
    warning_cutoff,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from typing import Any, TypeAlias

    from loyalty.jobs.model import JobFunction, Report
    from loyalty.messages.service import Postman
    from loyalty.retention.model import Ended, Erase, Rules, Seen, Step, Sweep
    from loyalty.retention.store import RetentionStore

    Progress: TypeAlias = Callable[[int, int, str], None]

RENEW_EVERY = 50
RULES_SECONDS_MAX = 60.0


class Keeper(NamedTuple):
    """What applying the rules touches.

    Args:
        retention: rules, warnings, and when members were last there.
        postman: where warnings go.
        sweeps: the categories that only age takes away.
        end: closes a journal.
        erase: erases a member, or begins to.
    """

    retention: RetentionStore
    postman: Postman
    sweeps: Sequence[Sweep]
    end: Ended
    erase: Erase


class _Run(NamedTuple):
    """One run, at one moment."""

    keeper: Keeper
    rules: Rules
    at: datetime
    lease_id: str
    applied: Applied


def apply_rules(
    *, clock: Callable[[], datetime], keeper: Keeper, is_dry: bool, progress: Progress
) -> Applied:
    """Apply the rules to everybody and everything.

    Args:
        clock: the time; the whole run judges by its beginning.
        keeper: what it touches.
        is_dry: count only, and write nothing.
        progress: (done, total, stage), several times a second; it may raise to stop the run.

    Raises:
        RetentionBusyError: another run is at it.
        LeaseTakenError: another run has begun, because this one was silent for too long.
    """
    store, at, lease_id = keeper.retention, clock(), secrets.token_hex(8)
    run = _Run(keeper, store.rules().rules, at, lease_id, Applied(is_dry))
    if is_dry:
        _members(run, clock, progress)
        _sweep(run, progress)
        return run.applied
    store.take_lease(lease_id, at=at)
    try:
        _post_left_over(run)
        _members(run, clock, progress)
        _sweep(run, progress)
    finally:
        store.drop_lease(lease_id)
    return run.applied


def _members(run: _Run, clock: Callable[[], datetime], progress: Progress) -> None:
    store, rules = run.keeper.retention, run.rules
    enough = max(warning_cutoff(rules, run.at), rules.cutoff("provisional_months", run.at))
    total = store.count(enough)
    warned = store.all_warned()
    for done, member_id in enumerate(store.member_ids(enough), 1):
        progress(done, max(total, done), "members")
        if not run.applied.is_dry and done % RENEW_EVERY == 0:
            store.renew_lease(run.lease_id, at=clock())
        run.applied.looked_at += 1
        seen = store.seen(member_id, enough=enough, passive=rules.passive_engagements)
        if seen is not None:
            _member(run, member_id, seen, store.warned(member_id) if member_id in warned else None)


def _member(run: _Run, member_id: str, seen: Seen, warned: Warned | None) -> None:
    step = next_step(seen, warned, run.rules, run.at)
    if step in ("keep", "wait"):
        return
    run.applied.add(_COUNTED[step])
    if not run.applied.is_dry:
        _STEPS[step](run, member_id, seen)


def _warn(run: _Run, member_id: str, seen: Seen) -> None:
    fresh = Warned(str(ObjectId()), run.at)
    kept = run.keeper.retention.warn(member_id, fresh)
    _post(run, member_id, seen, "first", kept)


def _warn_again(run: _Run, member_id: str, seen: Seen) -> None:
    store = run.keeper.retention
    store.warn_again(member_id, str(ObjectId()), at=run.at)
    if kept := store.warned(member_id):
        _post(run, member_id, seen, "last", kept)


def _take_back(run: _Run, member_id: str, _seen: Seen) -> None:
    store = run.keeper.retention
    if kept := store.warned(member_id):
        for message_id in filter(None, (kept.first_id, kept.last_id)):
            run.keeper.postman.outbox.take_back(message_id)
    store.unwarn(member_id)


def _erase(run: _Run, member_id: str, seen: Seen, reason: str = REASON_INACTIVE) -> None:
    """Close the journal where it was seen to end, and erase; who came back stays."""
    if seen.is_ended or run.keeper.end(member_id, seq=seen.seq, at=run.at):
        run.keeper.erase(member_id, reason)
    else:
        run.applied.add("came_back")


def _forget(run: _Run, member_id: str, seen: Seen) -> None:
    _erase(run, member_id, seen, REASON_PROVISIONAL)


_STEPS: Mapping[Step, Callable[[_Run, str, Seen], None]] = {
    "warn": _warn,
    "warn_again": _warn_again,
    "back": _take_back,
    "erase": _erase,
    "forget": _forget,
}
_COUNTED: Mapping[Step, str] = {
    "warn": "warned",
    "warn_again": "warned_again",
    "back": "active_again",
    "erase": "inactive_erased",
    "forget": "provisional_erased",
}


def _post_left_over(run: _Run) -> None:
    """Post what a run that was stopped had kept and perhaps not posted; twice is once."""
    store = run.keeper.retention
    for member_id, stage, warned in list(store.unposted()):
        seen = store.seen(member_id, enough=run.at, passive=run.rules.passive_engagements)
        if seen is not None:
            _post(run, member_id, seen, stage, warned)


def _post(run: _Run, member_id: str, seen: Seen, stage: str, warned: Warned) -> None:
    """Post a warning to the address there is: an e-mail before a text message before a letter."""
    is_first = stage == "first"
    since = warned.first_at if is_first else warned.last_at or run.at
    gone_at = erased_at(since, seen, run.rules) if is_first else since + LAST_CALL
    run.keeper.postman.outbox.post(
        Message(
            id=warned.first_id if is_first else warned.last_id or "",
            member_id=member_id,
            kind="inactivity_warning",
            channel=_channel(run.keeper.postman, member_id),
            language=seen.language,
            content={"stage": stage, "erased_at": gone_at.date().isoformat()},
            created_at=since,
            expires_at=gone_at,
        )
    )
    run.keeper.retention.note_posted(member_id, stage)


def _channel(postman: Postman, member_id: str) -> str:
    for channel, kind in (("email", "email"), ("sms", "phone")):
        if member_id in postman.addresses([member_id], kind):
            return channel
    return "post"


def _sweep(run: _Run, progress: Progress) -> None:
    for done, each in enumerate(run.keeper.sweeps, 1):
        progress(done, len(run.keeper.sweeps), "categories")
        cutoff = run.rules.cutoff(each.rule, run.at)
        number = each.old(cutoff) if run.applied.is_dry else each.sweep(cutoff)
        if number:
            run.applied.add(each.category, number)


def changed(rules: Rules, values: Mapping[str, Any]) -> Rules:
    """The rules with other values."""
    passive = tuple(values.get("passive_engagements", rules.passive_engagements))
    return replace(rules, **{**values, "passive_engagements": passive})


class RuleBook:
    """The rules as a request needs them: read once a minute, not once a request."""

    def __init__(
        self, retention: RetentionStore, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._retention = retention
        self._monotonic = monotonic
        self._known: tuple[float, Rules] | None = None

    def history_since(self, at: datetime) -> datetime:
        """From when on purchases may be used to choose what to show."""
        if self._known is None or self._monotonic() - self._known[0] >= RULES_SECONDS_MAX:
            self._known = (self._monotonic(), self._retention.rules().rules)
        return history_since(self._known[1], at)


def job(keeper: Keeper, clock: Callable[[], datetime]) -> JobFunction:
    """The function that applies the rules; it may be begun again at any time."""

    def run(params: Mapping[str, Any], told: Report) -> Mapping[str, Any]:
        is_dry = bool(params.get("dry_run"))
        return apply_rules(clock=clock, keeper=keeper, is_dry=is_dry, progress=told.progress).body()

    return run
