"""Erasures meet awards, kills and whatever a life can be; nothing of the member is left."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import bson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from loyalty.audit.service import Scope, audit
from loyalty.journal.appending import append, append_together
from loyalty.journal.erasing import JournalEraser
from loyalty.journal.late import facts_of
from loyalty.journal.model import (
    ENDED,
    FactErasedError,
    InsufficientPointsError,
    ReturnExceedsPurchaseError,
)
from loyalty.journal.shells import points_of
from loyalty.kit.clock import now
from loyalty.members.model import MemberNotFoundError
from loyalty.program.lots import Lot
from loyalty.program.model import Activity
from tests.builders import NOON, enrolled, published, unique
from tests.races.lives import arrivals, documents, draft_of, is_sound, lives, publish, renamed
from tests.races.process import ROOT
from tests.races.test_late_races import bought
from tests.races.test_races import race

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app import Parts
    from loyalty.kit.settings import Settings
    from loyalty.program.model import Program

ROUNDS = 25
CANARY = "canary"
DAY = timedelta(days=1)


def eraser_of(parts: Parts) -> JournalEraser:
    return JournalEraser(parts.database, parts.secrecy)


def left(parts: Parts, *texts: str) -> list[Any]:
    """Documents of the journal that say any of the texts."""
    return [
        each
        for each in parts.database["journal"].find({"kind": {"$ne": ENDED}})
        if any(text.encode() in bson.encode(each) for text in texts)
    ]


def findings(parts: Parts) -> list[Any]:
    found = audit(
        Scope(),
        at=now() + DAY,
        scan=parts.scan,
        stores=parts.stores,
        progress=lambda *_: None,
    )
    return list(found.findings)


def is_written(parts: Parts, member: str, activity: Activity, rules: Program) -> bool:
    try:
        append(draft_of(member, activity, rules), parts.stores)
    except MemberNotFoundError:
        return False
    return True


def give(parts: Parts, rules: Program, giver: str, receiver: str, name: str) -> bool:
    """A transfer of a point, as the service writes it."""
    key = f"transfer///{name}"
    lots = (Lot(NOON + 900 * DAY, 1),)
    out = Activity("transfer", now(), points=1, key=key)
    into = Activity("transfer", now(), lots=lots, key=f"{key}/in")
    given, received = draft_of(giver, out, rules), draft_of(receiver, into, rules)
    both = [
        replace(given, document={**given.document, "receiver": receiver}),
        replace(received, document={**received.document, "giver": giver}),
    ]
    try:
        append_together(both, parts.stores)
    except (MemberNotFoundError, InsufficientPointsError):
        return False
    return True


@pytest.mark.parametrize("seed", range(3))
def test_an_award_at_once_with_an_erasure_is_erased_or_refused(parts: Parts, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  # not a secret
    rules, other = published(parts), enrolled(parts)
    assert is_written(parts, other, bought(0, "web"), rules)
    for number in range(ROUNDS):
        member = enrolled(parts)
        facts = [bought(dice.randint(-3, 3), "web") for _ in range(6)]
        for each in facts[: dice.randint(0, 2)]:
            assert is_written(parts, member, each, rules)
        calls: list[Callable[[], Any]] = [
            partial(is_written, parts, member, each, rules) for each in facts[2:]
        ]
        names = [f"{number}-{seed}-{side}" for side in "ab"]
        calls += [
            partial(give, parts, rules, giver, receiver, name)
            for giver, receiver, name in zip((member, other), (other, member), names, strict=True)
        ]
        calls.append(partial(eraser_of(parts).erase, member))
        dice.shuffle(calls)
        race(calls)
        assert left(parts, member) == []
        assert not is_written(parts, member, bought(0, "web"), rules)
        for each in facts:
            seen = bool(parts.journal.seen([each.key]))
            if seen:
                with pytest.raises(FactErasedError):
                    append(draft_of(other, each, rules), parts.stores)
    entries = list(parts.journal.entries(other))
    is_sound(entries, facts_of(entries, parts.stores.programs))
    assert findings(parts) == []


def test_two_who_shared_points_are_erased_at_once(parts: Parts) -> None:
    rules, third = published(parts), enrolled(parts)
    assert is_written(parts, third, bought(0, "web"), rules)
    for number in range(ROUNDS):
        pair = [enrolled(parts), enrolled(parts)]
        for member in pair:
            assert is_written(parts, member, bought(0, "web"), rules)
        ring = [*zip(pair, reversed(pair), strict=True), (pair[0], third), (third, pair[1])]
        for place, (giver, receiver) in enumerate(ring):
            assert give(parts, rules, giver, receiver, f"shared-{number}-{place}")
        calls: list[Callable[[], Any]] = [partial(eraser_of(parts).erase, each) for each in pair]
        calls.append(partial(is_written, parts, third, bought(number, "web"), rules))
        race(calls)
        assert left(parts, *pair, f"shared-{number}-") == []
        again = [enrolled(parts), third]
        for place in range(len(ring)):
            with pytest.raises(FactErasedError):
                give(parts, rules, third, again[0], f"shared-{number}-{place}")
    entries = list(parts.journal.entries(third))
    is_sound(entries, facts_of(entries, parts.stores.programs))
    assert findings(parts) == []


ERASE = """
import sys
from app import assemble
from loyalty.journal import erasing
from loyalty.kit.settings import Settings
settings = Settings.from_environment()
parts = assemble(settings, settings.mongodb_uri)
erasing.ENTRIES_A_CHUNK = 10

class Slow(erasing.JournalEraser):
    def _unname(self, *args):
        return asked(super()._unname, *args)
    def _erase_chunk(self, *args):
        return asked(super()._erase_chunk, *args)

def asked(step, *args):
    print("next", flush=True)
    sys.stdin.readline()
    return step(*args)

Slow(parts.database, parts.secrecy).erase(sys.argv[1])
"""


def test_an_erasure_that_is_killed_anywhere_is_finished_by_the_next(
    parts: Parts, settings: Settings
) -> None:
    rules, other = published(parts), enrolled(parts)
    assert is_written(parts, other, bought(0, "web"), rules)
    environment = {
        **os.environ,
        "CARNET_MONGODB_URI": settings.mongodb_uri,
        "CARNET_DATABASE": settings.database,
        "CARNET_DATA_DIR": str(settings.data_dir),
        "CARNET_SECRET": settings.secret or "",
    }
    # Before others' journals, after them, in the middle of the entries, and at their end.
    for steps in (0, 1, 9):
        member = enrolled(parts)
        facts = [bought(number, "web") for number in range(80)]
        assert all(is_written(parts, member, each, rules) for each in facts)
        give(parts, rules, member, other, f"killed-{steps}")
        shells = sum(1 for _ in parts.scan.shells())
        command = [sys.executable, "-c", ERASE, member]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        # The interpreter that runs this, with a program of this file's own.
        with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as child:  # noqa: S603
            assert child.stdin
            assert child.stdout
            for _ in range(steps):
                assert child.stdout.readline() == b"next\n"
                child.stdin.write(b"\n")
                child.stdin.flush()
            assert child.stdout.readline() == b"next\n"
            child.kill()
        eraser_of(parts).erase(member)
        assert left(parts, member) == []
        assert len(parts.journal.seen([each.key for each in facts])) == len(facts)
        # The transfer and what is forfeited are shells as well.
        assert sum(1 for _ in parts.scan.shells()) == shells + len(facts) + 2
        assert findings(parts) == []


def sums(postings: Sequence[Any]) -> Counter[tuple[str, str]]:
    moved: Counter[tuple[str, str]] = Counter()
    for each in postings:
        moved[each.kind, each.unit] += each.points
    return Counter({place: points for place, points in moved.items() if points})


@st.composite
def meetings(draw: st.DrawFn) -> list[list[Activity]]:
    """What three members did, each in an order of its own."""
    return [draw(arrivals(draw(lives(size_max=6)))) for _ in range(3)]


@examples(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents(), meetings(), st.integers(0, 2))
def test_whatever_they_did_one_goes_and_the_others_stay_as_they_were(
    parts: Parts, document: Any, told: list[list[Activity]], turn: int
) -> None:
    rules = publish(parts, document)
    members = [enrolled(parts) for _ in told]
    gone, *others = members[turn:] + members[:turn]
    name = unique(CANARY)
    told = [*told[turn:], *told[:turn]]
    told[0] = [with_canaries(each, name) for each in renamed(told[0], f"-{name}")]
    for member, life in zip([gone, *others], told, strict=True):
        for each in life:
            try:
                append(draft_of(member, each, rules), parts.stores)
            except ReturnExceedsPurchaseError:
                continue
    shared = [give(parts, rules, gone, others[0], f"{name}-1")]
    shared.append(give(parts, rules, others[1], gone, f"{name}-2"))
    entries = list(parts.journal.entries(gone))
    moved = sums([posting for each in entries for posting in each.postings])
    head = parts.journal.head(gone)
    before = [parts.journal.head(each) for each in others]
    known = {shell["_id"] for shell in parts.scan.shells()}

    eraser_of(parts).end(gone)
    parts.vault.shred(gone)
    eraser_of(parts).erase(gone)

    assert left(parts, gone, name) == []
    for member, was in zip(others, before, strict=True):
        own = list(parts.journal.entries(member))
        state = is_sound(own, facts_of(own, parts.stores.programs))
        if was:
            assert (state.lots, state.tier, state.counters) == (
                was.state.lots,
                was.state.tier,
                was.state.counters,
            )
    shells = [each for each in parts.scan.shells() if each["_id"] not in known]
    of_facts = [each for each in shells if each["was"] != "forfeiture"]
    kept: Counter[tuple[str, str]] = Counter()
    for shell in of_facts:
        for posting in shell["postings"]:
            kept[posting["kind"], posting["unit"]] += posting["points"]
    assert Counter({place: points for place, points in kept.items() if points}) == moved
    units = set(head.state.balances) if head else set()
    assert all(sum(points_of(each, unit) for each in shells) == 0 for unit in units)
    for fact in entries:
        with pytest.raises(FactErasedError):
            parts.journal.by_key(fact.key)
    assert findings_of(parts, others) == []


def with_canaries(activity: Activity, name: str) -> Activity:
    """The activity with goods and details that nobody else has."""
    if activity.kind == "engagement":
        return replace(activity, details={f"{name}_x".replace("-", "_"): 1})
    if activity.kind == "purchase":
        lines = tuple(replace(each, brand=name) for each in activity.lines)
        return replace(activity, lines=lines)
    return activity


def findings_of(parts: Parts, members: Sequence[str]) -> list[Any]:
    found: list[Any] = []
    for each in members:
        report = audit(
            Scope(member_id=each),
            at=now(),
            scan=parts.scan,
            stores=parts.stores,
            progress=lambda *_: None,
        )
        found += report.findings
    return found


def test_what_comes_in_between_is_unnamed_before_it_goes(parts: Parts) -> None:
    """A transfer that is written into the place of an entry that went a moment ago."""
    rules, member, other = published(parts), enrolled(parts), enrolled(parts)
    for each in (member, other):
        assert is_written(parts, each, bought(0, "web"), rules)
    come = iter([True])

    class Interrupted(JournalEraser):
        """Meets a writer between the look at others and the removal of the member's own."""

        def _others(self, member_id: str) -> dict[str, set[str]]:
            found = super()._others(member_id)
            if next(come, False):
                # As one that had read the journal before it was ended.
                ended = {"member": member_id, "kind": ENDED}
                parts.database["journal"].delete_many(ended)
                assert give(parts, rules, other, member, "between")
                self.end(member_id)
            return found

    eraser = Interrupted(parts.database, parts.secrecy)
    eraser.erase(member)
    eraser.erase(member)
    assert left(parts, member, "between") == []
