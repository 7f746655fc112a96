"""Work through a batch chunk by chunk: a verdict for each line, whatever became of the others.

Within a chunk, what is plain is written at once, each member's facts in the order of their time.
What is not (late, budgeted, a return, refused, met by another writer) goes through the single path,
with a deadline of its own. A batch may be sent again, whole or in part: what is there is replayed.
"""

from __future__ import annotations

import threading
import traceback
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import pymongo
from pymongo.errors import PyMongoError

from loyalty.batches.facts import (
    counted,
    draw,
    fact_of,
    parsed,
    record,
    replayed,
    resolved,
)
from loyalty.batches.model import (
    WAITING_MAX,
    BatchesBusyError,
    InternalError,
    Numbers,
    Verdict,
    refused,
)
from loyalty.journal.bulk import append_plain
from loyalty.journal.drafts import Recorded
from loyalty.journal.model import PurchaseNotFoundError
from loyalty.kit.clock import now
from loyalty.kit.errors import CarnetError, FieldError, UnavailableError
from loyalty.kit.mongo import is_away
from loyalty.kit.observe import log
from loyalty.program.lots import available
from loyalty.program.model import POINTS
from loyalty.program.passage import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime
    from typing import TypeAlias

    from loyalty.batches.facts import Fact, Raw, Sender
    from loyalty.batches.model import Gaps, Till
    from loyalty.batches.store import TillStore
    from loyalty.journal.drafts import Draft, Stores

    _Outcome: TypeAlias = Recorded | CarnetError

CHUNK = 200
# The common part of a chunk may take so many times the deadline of a single call.
CHUNK_DEADLINES = 5
# So many lines in a row without an answer of the database, and the rest is not tried.
AWAY_MAX = 3
_AWAY = "The database does not answer. The line may be there or not: send it again."
_by_order = attrgetter("order")


class Turnstile:
    """Lets so many batches in at a time: after an outage all tills upload at once.

    Awards of the tills that are online keep the other threads.
    """

    def __init__(self, at_once: int) -> None:
        self._places = threading.BoundedSemaphore(at_once)

    def enter(self) -> Callable[[], None]:
        """Take a place; what it gives leaves the place, once however often it is called.

        Raises:
            BatchesBusyError: there is none.
        """
        if not self._places.acquire(blocking=False):
            raise BatchesBusyError("Many tills are uploading. Nothing is lost: send it again.")
        held = [self._places]
        return lambda: held.pop().release() if held else None


class Ground(NamedTuple):
    """What a batch stands on: where facts go, how far tills have counted, and the deadline.

    `seconds` is the deadline of a single call.
    """

    stores: Stores
    tills: TillStore
    seconds: float


class Batch:
    """One batch on its way: the verdicts of its lines, then of those that waited, then counts."""

    def __init__(self, sender: Sender, ground: Ground) -> None:
        self.sender = sender
        self._ground = ground
        self._numbers = Numbers()
        self._before: dict[Till, int] = {}
        self._kept: dict[Till, int] = {}
        self._waiting: list[Fact] = []
        self._away = 0
        self.counts = {"recorded": 0, "replayed": 0, "refused": 0}
        self.retry = 0

    def verdicts(self, lines: Iterable[Raw]) -> Iterator[list[Verdict | None]]:
        """A verdict a line, in their order, chunk by chunk; None for a return that waits.

        Memory holds one chunk, and at most `WAITING_MAX` returns that wait for their purchase.
        """
        rest = iter(lines)
        while chunk := list(islice(rest, CHUNK)):
            found = self._chunk(chunk)
            self._remember()
            verdicts = [found.get(raw.number) for raw in chunk]
            yield [self._counted(each) if each else None for each in verdicts]

    def late_verdicts(self) -> Iterator[Verdict]:
        """The verdicts of the returns that waited, in the order of their lines."""
        waiting, self._waiting = self._waiting, []
        found = {fact.line: self._alone(fact) for fact in sorted(waiting, key=_by_order)}
        for fact in sorted(waiting, key=lambda each: each.line):
            yield self._counted(_verdict(fact, found[fact.line]))

    def gaps(self) -> list[Gaps]:
        """What the numbers of the tills say."""
        return self._numbers.gaps(self._before)

    def _counted(self, verdict: Verdict) -> Verdict:
        self.counts[verdict.status] += 1
        self.retry += verdict.may_retry
        return verdict

    def _remember(self) -> None:
        """Keep how far the tills have counted. A gap is a warning: nothing fails with it."""
        ground, highest = self._ground, self._numbers.highest
        news = {till: top for till, top in highest.items() if self._kept.get(till) != top}
        if not news or self._away >= AWAY_MAX:
            return
        try:
            with pymongo.timeout(ground.seconds):
                before = ground.tills.reach(news, at=now())
        except PyMongoError as error:
            log().warning("tills_not_kept", kind=type(error).__name__)
            return
        # Only the first answer speaks of the time before this batch.
        fresh = {till: top for till, top in before.items() if till not in self._kept}
        self._before.update(fresh)
        self._kept.update(news)

    def _chunk(self, chunk: Sequence[Raw]) -> dict[int, Verdict]:
        """The verdicts of a chunk by line; those that wait are missing."""
        at, found, facts = now(), {}, []
        for raw in chunk:
            read = self._read(raw, at)
            if isinstance(read, Verdict):
                found[raw.number] = read
            else:
                facts.append(read)
        for fact, outcome in self._outcomes(facts):
            found[fact.line] = _verdict(fact, outcome)
        return found

    def _read(self, raw: Raw, at: datetime) -> Fact | Verdict:
        """What a line reports, or why it reports nothing that could be recorded."""
        if raw.error:
            return refused(raw.number, None, raw.error)
        number = None
        try:
            document = parsed(raw.text)
            # Also if the rest of the line is wrong: it did come.
            number = counted(document, self.sender)
            if number:
                self._numbers.note(*number)
            return fact_of(raw.number, document, self.sender, at=at)
        except CarnetError as error:
            return refused(raw.number, number[1] if number else None, error)

    def _outcomes(self, facts: Sequence[Fact]) -> Iterator[tuple[Fact, _Outcome]]:
        """What became of each fact, in no order; a return that waits is kept and missing."""
        done = self._together(facts)
        keys: set[str] = set()
        alone: list[Fact] = []
        twins: list[Fact] = []
        for fact in facts:
            if fact.line in done:
                yield fact, done[fact.line]
            else:
                # Of lines with one key the first counts, whatever times they claim.
                (twins if fact.key in keys else alone).append(fact)
            keys.add(fact.key)
        for fact in [*sorted(alone, key=_by_order), *twins]:
            outcome = self._alone(fact)
            if isinstance(outcome, PurchaseNotFoundError) and len(self._waiting) < WAITING_MAX:
                self._waiting.append(fact)
            else:
                yield fact, outcome

    def _together(self, facts: Sequence[Fact]) -> dict[int, _Outcome]:
        """What can be settled in common, by line: replays, and what is plain."""
        done: dict[int, _Outcome] = {}
        if self._away >= AWAY_MAX or not facts:
            return done
        stores, seconds = self._ground.stores, self._ground.seconds
        try:
            with pymongo.timeout(seconds * CHUNK_DEADLINES):
                facts = resolved(facts, stores)
                done.update(_replays(facts, stores))
                drafts = _plain_drafts([each for each in facts if each.line not in done], stores)
                entries = append_plain([draft for _, draft in drafts], stores)
                for position, entry in entries.items():
                    done[drafts[position][0].line] = Recorded(entry, is_replay=False)
            self._away = 0
        except Exception as error:  # noqa: BLE001  # one line's fault must not become all lines'
            # What is not done goes alone, and finds there what was written.
            _note_fault(error)
        return done

    def _alone(self, fact: Fact) -> _Outcome:
        """What becomes of a fact on the single path."""
        if self._away >= AWAY_MAX:
            return UnavailableError(_AWAY)
        try:
            with pymongo.timeout(self._ground.seconds):
                outcome = record(fact, self._ground.stores)
        except CarnetError as error:
            # It may have come without a question to the database, so it proves nothing.
            return error
        except Exception as error:  # noqa: BLE001  # the next line must have its turn
            _note_fault(error)
            if isinstance(error, PyMongoError) and is_away(error):
                self._away += 1
                return UnavailableError(_AWAY)
            return InternalError("The fault is logged. Sending the line again is safe.")
        self._away = 0
        return outcome


def _replays(facts: Sequence[Fact], stores: Stores) -> dict[int, _Outcome]:
    """Replay before state, for all that is there in one read; by line."""
    seen = stores.journal.by_keys([fact.key for fact in facts])
    found: dict[int, _Outcome] = {}
    for fact in facts:
        if entry := seen.get(fact.key):
            try:
                found[fact.line] = replayed(fact, entry, stores)
            except CarnetError as error:
                found[fact.line] = error
    return found


def _plain_drafts(facts: Sequence[Fact], stores: Stores) -> list[tuple[Fact, Draft]]:
    """The drafts of what may be plain, each key once; what is refused goes alone."""
    firsts: dict[str, Fact] = {}
    for fact in facts:
        firsts.setdefault(fact.key, fact)
    drafts = []
    for fact in firsts.values():
        if fact.type != "return":
            try:
                drafts.append((fact, draw(fact, stores)))
            except CarnetError:
                continue
    return drafts


def _verdict(fact: Fact, outcome: _Outcome) -> Verdict:
    if isinstance(outcome, CarnetError):
        # The single call's places lie inside the line's body.
        outcome.errors = tuple(
            FieldError(f"body.{each.field}", each.message) for each in outcome.errors
        )
        return refused(fact.line, fact.sequence, outcome)
    entry = outcome.entry
    return Verdict(
        fact.line,
        fact.sequence,
        "replayed" if outcome.is_replay else "recorded",
        entry.id,
        entry.points,
        available(
            settle(entry.state, entry.received_at)[0].lots.get(POINTS, ()), entry.received_at
        ),
        entry.occurred_at,
    )


def _note_fault(error: Exception) -> None:
    """Log what happened and where; a message might quote someone's data."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]
    log().error("batch_fault", kind=type(error).__name__, places=places)
