"""Inserts that travel together: each has its own outcome, and nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.errors import (
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    ServerSelectionTimeoutError,
)

from loyalty.kit.group import GroupInsert
from loyalty.kit.mongo import connect, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.collection import Collection

    from app import Parts

THREADS = 24


@pytest.fixture
def things(parts: Parts) -> Iterator[Collection[dict[str, Any]]]:
    collection = parts.database["things"]
    collection.create_index("name", unique=True, name="name")
    yield collection
    collection.drop()


class Gate:
    """A collection that lets nothing through until it is opened, and counts what went together."""

    def __init__(self, collection: Collection[dict[str, Any]]) -> None:
        self.collection = collection
        self.open = threading.Event()
        self.arrived = threading.Event()
        self.sizes: list[int] = []

    def insert_one(self, document: dict[str, Any]) -> None:
        self._pass(1)
        self.collection.insert_one(document)

    def insert_many(self, documents: list[dict[str, Any]], *, ordered: bool) -> None:
        self._pass(len(documents))
        self.collection.insert_many(documents, ordered=ordered)

    def _pass(self, size: int) -> None:
        self.sizes.append(size)
        self.arrived.set()
        self.open.wait(30)


def outcome(group: GroupInsert, document: dict[str, Any]) -> type[Exception] | None:
    try:
        group.insert(document)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the outcome
        return type(error)
    return None


def behind_a_gate(
    things: Collection[dict[str, Any]], documents: list[dict[str, Any]], *, seconds: float = 20
) -> tuple[list[type[Exception] | None], list[int]]:
    """The outcome of each insert when all but the first gather behind the first."""
    gate = Gate(things)
    group = GroupInsert(gate, timeout_seconds=seconds)  # type: ignore[arg-type]
    with ThreadPoolExecutor(len(documents)) as pool:
        first = pool.submit(outcome, group, documents[0])
        assert gate.arrived.wait(30)
        rest = [pool.submit(outcome, group, each) for each in documents[1:]]
        while len(group._waiting) < len(rest):
            assert not first.done()
        gate.open.set()
        return [first.result(), *(each.result() for each in rest)], gate.sizes


def test_what_waits_goes_together(things: Collection[dict[str, Any]]) -> None:
    documents = [{"name": number} for number in range(THREADS)]
    outcomes, sizes = behind_a_gate(things, documents)
    assert outcomes == [None] * THREADS
    assert sizes == [1, THREADS - 1]
    assert things.count_documents({}) == THREADS


def test_each_has_its_own_outcome(things: Collection[dict[str, Any]]) -> None:
    names = [0, 1, 1, 2, 0, 3]
    outcomes, _ = behind_a_gate(things, [{"name": name} for name in names])
    assert outcomes[0] is None
    assert outcomes.count(DuplicateKeyError) == 2
    assert outcomes[4] is DuplicateKeyError
    assert sorted(each["name"] for each in things.find()) == [0, 1, 2, 3]


def test_one_that_cannot_be_written_spoils_nobody_else(things: Collection[dict[str, Any]]) -> None:
    documents = [{"name": 0}, {"name": 1}, {"name": 2**70}, {"name": 2}]
    outcomes, _ = behind_a_gate(things, documents)
    assert outcomes == [None, None, OverflowError, None]
    assert things.count_documents({}) == 3


def test_many_at_once_are_all_there(things: Collection[dict[str, Any]]) -> None:
    group = GroupInsert(things, timeout_seconds=20)
    documents = [{"name": number % 200} for number in range(400)]
    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = list(pool.map(lambda each: outcome(group, each), documents))
    assert outcomes.count(None) == 200
    assert outcomes.count(DuplicateKeyError) == 200
    assert things.count_documents({}) == 200
    assert not group._is_led


def test_who_waits_too_long_gives_up_and_the_group_goes_on(
    things: Collection[dict[str, Any]],
) -> None:
    gate = Gate(things)
    group = GroupInsert(gate, timeout_seconds=0.2)  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(outcome, group, {"name": 0})
        assert gate.arrived.wait(30)
        second = pool.submit(outcome, group, {"name": 1})
        assert second.result() is NetworkTimeout
        gate.open.set()
        assert first.result() in (None, NetworkTimeout, ExecutionTimeout)
    assert outcome(group, {"name": 2}) is None
    assert things.find_one({"name": 1}) is None


def test_a_leader_that_dies_does_not_look_like_one_that_wrote(
    things: Collection[dict[str, Any]],
) -> None:
    class Dying(Gate):
        def insert_many(self, documents: list[dict[str, Any]], *, ordered: bool) -> None:
            raise SystemExit(len(documents), ordered)

    gate = Dying(things)
    group = GroupInsert(gate, timeout_seconds=20)  # type: ignore[arg-type]
    ends: list[BaseException | None] = []

    def insert(name: int) -> None:
        try:
            group.insert({"name": name})
        except BaseException as error:  # noqa: BLE001  # the death is what this is about
            ends.append(error)
        else:
            ends.append(None)

    threads = [threading.Thread(target=insert, args=(name,)) for name in range(4)]
    threads[0].start()
    assert gate.arrived.wait(30)
    for each in threads[1:]:
        each.start()
    while len(group._waiting) < 3:
        assert threads[0].is_alive()
    gate.open.set()
    for each in threads:
        each.join(30)
    assert [end is None for end in ends].count(True) == 1
    assert {type(end) for end in ends} == {type(None), SystemExit, NetworkTimeout}
    assert things.count_documents({}) == 1
    assert not group._is_led


def test_a_server_that_is_away_is_an_error_for_all_and_the_group_recovers() -> None:
    client = connect("mongodb://127.0.0.1:9/?directConnection=true", timeout_seconds=0.2)
    group = GroupInsert(open_database(client, "x")["things"], timeout_seconds=0.2)
    with ThreadPoolExecutor(4) as pool:
        outcomes = set(pool.map(lambda name: outcome(group, {"name": name}), range(8)))
    assert outcomes <= {ServerSelectionTimeoutError, NetworkTimeout}
    assert not group._is_led
    assert not group._waiting
    client.close()
