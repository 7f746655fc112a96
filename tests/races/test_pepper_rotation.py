"""A new pepper comes in while everybody goes on: one owner an identifier, found at every moment."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.members import rotation as module
from loyalty.members import service
from loyalty.members.model import (
    IDENTIFIERS_MAX,
    Identifier,
    IdentifierTakenError,
    Member,
    MemberNotFoundError,
    TooManyIdentifiersError,
)
from loyalty.members.rotation import IdentifierRotation, rotate_pepper
from loyalty.members.store import MemberStore, keyed_hash
from loyalty.vault.masters import MASTER_KEY_BYTES, MasterKeyError, Masters
from loyalty.vault.peppers import (
    BOTH,
    READING,
    SETTLED,
    STALE_SECONDS_MAX,
    WRITING,
    PepperLostError,
    Peppers,
    Stage,
    UnreadableDataError,
)
from loyalty.vault.store import Vault
from tests.builders import NOON, dump, permit, unique

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.client_session import ClientSession

    from app import Parts

STAGES = [
    Stage(SETTLED, 1),
    Stage(BOTH, 1, 2),
    Stage(READING, 1, 2),
    Stage(WRITING, 1, 2),
    Stage(SETTLED, 2),
]


class StoppedError(Exception):
    """The rotation was killed here."""


class Held(Peppers):
    """The peppers of a worker that stays in a stage: its transaction began in it."""

    held: Stage | None = None

    def stage(self, session: ClientSession | None = None) -> Stage:
        return self.held or super().stage(session)


def worker(parts: Parts, stage: Stage | None = None) -> MemberStore:
    """Members as a worker has them; its look-ups always know the newest stage."""
    ticks = itertools.count(step=2 * STALE_SECONDS_MAX)
    peppers = Held(parts.database, parts.vault, clock=lambda: next(ticks))
    peppers.held = stage
    return MemberStore(parts.database, parts.vault, peppers)


def rotate(parts: Parts, **more: Any) -> Stage:
    """A rotation that waits for nobody, unless told otherwise."""
    peppers = Peppers(parts.database, parts.vault)
    rotation = IdentifierRotation(parts.database, parts.vault, peppers)
    given = {"wait": lambda _: None, "progress": lambda *_: None, **more}
    return rotate_pepper(rotation, peppers, **given)


def card() -> Identifier:
    return Identifier("card", unique("card").upper())


def enrol(members: MemberStore, *identifiers: Identifier) -> str:
    member = Member(service.new_member_id(), "active", NOON)
    members.add(member, identifiers)
    return member.id


def values(members: MemberStore, member_id: str) -> set[str]:
    return {each.identifier.value for each in members.get(member_id).identifiers}


def test_every_two_neighbouring_stages_write_a_hash_in_common() -> None:
    for before, after in pairwise(STAGES):
        assert set(before.writes) & set(after.writes)
        assert after.reads in before.writes or before.reads in after.writes
    for stage in STAGES:
        assert stage.reads in stage.writes


def test_the_stages_come_one_after_the_other(parts: Parts) -> None:
    peppers = Peppers(parts.database, parts.vault)
    seen = [peppers.stage()]
    while len(seen) < len(STAGES):
        seen.append(peppers.advance(seen[-1]))
    assert seen == STAGES
    assert peppers.advance(STAGES[1]) == STAGES[-1], "who is behind changes nothing"


@pytest.mark.parametrize("numbers", list(pairwise(range(len(STAGES)))))
def test_of_many_in_neighbouring_stages_one_gets_an_identifier(
    parts: Parts, numbers: tuple[int, int]
) -> None:
    peppers = Peppers(parts.database, parts.vault)
    # The old pepper is there until nobody is in a stage that knows it.
    for before in STAGES[: min(max(numbers), STAGES.index(Stage(WRITING, 1, 2)))]:
        peppers.advance(before)
    workers = [worker(parts, STAGES[number]) for number in numbers] * 4

    def claim(store: MemberStore, wanted: Identifier) -> str | None:
        try:
            return enrol(store, wanted)
        except IdentifierTakenError:
            return None

    for _ in range(10):
        wanted = card()
        with ThreadPoolExecutor(len(workers)) as claimants:
            found = list(claimants.map(lambda each, one=wanted: claim(each, one), workers))
        (winner,) = (each for each in found if each)
        assert {each.resolve(wanted) for each in workers} <= {winner, None}
        assert parts.database["members"].count_documents({"_id": {"$in": found}}) == 1


@pytest.mark.parametrize("number", range(len(STAGES)))
def test_members_are_the_same_to_everybody_at_every_stage(parts: Parts, number: int) -> None:
    cards = [card() for _ in range(3)]
    member_id = enrol(parts.members, *cards)
    peppers = Peppers(parts.database, parts.vault)
    rotation = IdentifierRotation(parts.database, parts.vault, peppers)
    for before, _ in pairwise(STAGES[: number + 1]):
        if before.name == BOTH:
            rotation.copy(before, lambda *_: None)
        if before.name == WRITING:
            rotation.remove(before, lambda *_: None)
        peppers.advance(before)
    store = worker(parts)
    assert [store.resolve(each) for each in cards] == [member_id] * 3
    assert store.resolve_all(cards) == dict.fromkeys(cards, member_id)
    assert values(store, member_id) == {each.value for each in cards}
    assert store.addresses([permit(member_id)], "card").keys() == {member_id}
    with pytest.raises(IdentifierTakenError):
        enrol(store, cards[0])
    store.link(member_id, cards, at=NOON + timedelta(days=1))
    more = [card() for _ in range(IDENTIFIERS_MAX - 3)]
    store.link(member_id, more, at=NOON)
    with pytest.raises(TooManyIdentifiersError):
        store.link(member_id, [card()], at=NOON)
    store.unlink(member_id, store.get(member_id).identifiers[0].id)
    assert len(store.get(member_id).identifiers) == IDENTIFIERS_MAX - 1
    assert len(list(store.held(member_id))) == IDENTIFIERS_MAX
    store.erase(member_id)
    assert parts.database["identifiers"].count_documents({}) == 0


def test_everybody_is_found_afterwards_and_the_old_pepper_is_useless(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 7)
    cards = [card() for _ in range(30)]
    owners = {each: enrol(parts.members, each) for each in cards}
    old = parts.peppers.reading()
    seen: dict[str, tuple[int, int]] = {}
    waits: list[float] = []
    stage = rotate(
        parts,
        wait=waits.append,
        progress=lambda name, done, total: seen.update({name: (done, total)}),
    )
    assert stage == Stage(SETTLED, 2)
    assert waits == [module.SETTLE_SECONDS] * 3
    assert seen == {"copied": (30, 30), "removed": (30, 30)}
    store = worker(parts)
    assert {each: store.resolve(each) for each in cards} == owners
    hashes = {each["_id"] for each in parts.database["identifiers"].find()}
    assert hashes.isdisjoint(keyed_hash(each, old) for each in cards)
    assert len(hashes) == len(cards)
    kept = dump(parts.vault.database)
    assert [each["_id"] for each in kept["peppers"]] == [2]
    assert not parts.vault.has_key("pepper:1")
    assert old.key not in repr(kept).encode()
    assert repr(old) == "Pepper(number=1)"
    assert rotate(parts) == Stage(SETTLED, 3)
    assert worker(parts).resolve(cards[7]) == owners[cards[7]]


def stop_at(count: int) -> Callable[..., None]:
    """Something that kills the rotation the so-manieth time that it is called."""
    calls = itertools.count()

    def stop(*_: object) -> None:
        if next(calls) == count:
            raise StoppedError

    return stop


@pytest.mark.parametrize(
    ("place", "count"), [*(("wait", n) for n in range(3)), *(("progress", n) for n in range(8))]
)
def test_a_rotation_that_was_killed_is_carried_on(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, place: str, count: int
) -> None:
    monkeypatch.setattr(module, "PAGE", 5)
    owners = {each: enrol(parts.members, each) for each in [card() for _ in range(20)]}
    with pytest.raises(StoppedError):
        rotate(parts, **{place: stop_at(count)})
    late = {each: enrol(worker(parts), each) for each in [card() for _ in range(3)]}
    for each, owner in (owners | late).items():
        assert worker(parts).resolve(each) == owner
    assert rotate(parts) == Stage(SETTLED, 2)
    store = worker(parts)
    assert {each: store.resolve(each) for each in owners | late} == owners | late
    assert {each["pepper"] for each in parts.database["identifiers"].find()} == {2}


def test_one_that_was_killed_before_the_old_pepper_was_destroyed_destroys_it_later(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(parts.members, card())
    with monkeypatch.context() as patched:
        patched.setattr(Peppers, "destroy_left", lambda *_: None)
        rotate(parts)
    assert parts.vault.has_key("pepper:1")
    rotate(parts)
    assert [each["_id"] for each in parts.vault.database["peppers"].find()] == [3]
    assert not parts.vault.has_key("pepper:1")


def test_a_worker_learns_of_a_stage_within_a_second(parts: Parts) -> None:
    now = 100.0
    peppers = Peppers(parts.database, parts.vault, clock=lambda: now)
    assert peppers.reading().number == 1
    rotate(parts)
    assert peppers.reading().number == 1
    now += STALE_SECONDS_MAX + 0.1
    assert peppers.reading().number == 2


def before_the_first_start(parts: Parts) -> None:
    """No pepper was ever made."""
    parts.database["meta"].delete_one({"_id": "pepper"})
    parts.vault.database["peppers"].delete_many({})
    parts.vault.shred("pepper:1")


def test_many_that_begin_at_once_agree_on_one_pepper(parts: Parts) -> None:
    before_the_first_start(parts)
    stores = [Peppers(parts.database, parts.vault) for _ in range(16)]
    with ThreadPoolExecutor(8) as workers:
        found = list(workers.map(lambda each: each.reading().key, stores))
    assert len(set(found)) == 1


def test_a_pepper_that_is_lost_is_not_made_anew(parts: Parts) -> None:
    enrol(parts.members, card())
    parts.vault.database["peppers"].delete_many({})
    stranger = Peppers(parts.database, parts.vault)
    for act in (stranger.check, stranger.reading, stranger.writing):
        with pytest.raises(PepperLostError):
            act()
    assert parts.vault.database["peppers"].count_documents({}) == 0


def test_another_master_key_is_named_at_start(parts: Parts) -> None:
    masters = Masters({"local:1": {"key": b"e" * MASTER_KEY_BYTES}}, "local:1")
    with pytest.raises(MasterKeyError, match="CARNET_DATA_DIR"):
        Peppers(parts.database, Vault(parts.vault.database, masters)).check()


def test_data_of_before_is_refused_in_words(parts: Parts) -> None:
    before_the_first_start(parts)
    parts.database["members"].insert_one({"_id": "m", "profile": {"birthday": b"fernet"}})
    with pytest.raises(UnreadableDataError, match="CARNET_DATA_DIR"):
        Peppers(parts.database, parts.vault).check()


@dataclass
class Life:
    """What one worker does over and over while the pepper is rotated, and what it has seen."""

    members: MemberStore
    known: dict[Identifier, str]
    contested: list[Identifier]
    rounds: int = 0
    is_over: bool = False
    won: dict[Identifier, str] = field(default_factory=dict)
    gone: set[Identifier] = field(default_factory=set)
    mistakes: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Until the end: look up, claim what others claim, link, unlink, erase."""
        while not self.is_over:
            try:
                self.once()
            except Exception as error:  # noqa: BLE001  # shown by the test
                self.mistakes.append(repr(error))
            self.rounds += 1

    def once(self) -> None:
        known = list(self.known)[self.rounds % len(self.known)]
        if self.members.resolve(known) != self.known[known]:
            self.mistakes.append(f"not found in round {self.rounds}")
        wanted = self.contested[self.rounds % len(self.contested)]
        with suppress(IdentifierTakenError):
            self.won[wanted] = enrol(self.members, wanted)
        kept, left = card(), card()
        member_id = enrol(self.members, kept)
        self.members.link(member_id, [left], at=NOON)
        (linked,) = (
            each for each in self.members.get(member_id).identifiers if each.identifier == left
        )
        self.members.unlink(member_id, linked.id)
        self.gone.add(left)
        if self.rounds % 2:
            self.members.erase(member_id)
            self.gone.add(kept)
        else:
            self.won[kept] = member_id


def test_everybody_goes_on_while_the_pepper_is_rotated(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 5)
    known = {each: enrol(parts.members, each) for each in [card() for _ in range(40)]}
    contested = [card() for _ in range(200)]
    lives = [Life(worker(parts), known, contested) for _ in range(4)]
    threads = [threading.Thread(target=each.run) for each in lives]
    for thread in threads:
        thread.start()

    def until_all_know(_: float) -> None:
        """As long as it takes everybody to end what began under the stage before."""
        before = [each.rounds for each in lives]
        while any(each.rounds < old + 2 for each, old in zip(lives, before, strict=True)):
            threads[0].join(0.005)

    for number in (2, 3):
        assert rotate(parts, wait=until_all_know) == Stage(SETTLED, number)
    for life in lives:
        life.is_over = True
    for thread in threads:
        thread.join()
    assert [each.mistakes for each in lives] == [[]] * 4
    won = [(each, owner) for life in lives for each, owner in life.won.items()]
    assert len({each for each, _ in won}) == len(won), "nobody got what another one had"
    store = worker(parts)
    for each, owner in [*won, *known.items()]:
        assert store.resolve(each) == owner
    assert not store.resolve_all([each for life in lives for each in life.gone])
    count = parts.database["identifiers"].count_documents({})
    assert count == len(won) + len(known)


def test_linking_while_a_member_is_erased_leaves_nothing_behind(parts: Parts) -> None:
    store = worker(parts)
    for _ in range(25):
        member_id = enrol(store, card())

        def link(_: int, member_id: str = member_id) -> None:
            with suppress(MemberNotFoundError):
                worker(parts).link(member_id, [card()], at=NOON)

        with ThreadPoolExecutor(6) as workers:
            links = workers.map(link, range(5))
            erased = workers.submit(store.erase, member_id)
            list(links)
        assert erased.result()["members"] == 1
        assert parts.database["identifiers"].count_documents({"member": member_id}) == 0
        assert store.erase(member_id) == {"members": 0, "identifiers": 0}
