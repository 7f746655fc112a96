"""Stock: the newest count holds, and a worker remembers only what is sold out."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest

from loyalty.catalogue.model import EVERY_PLACE, Counted
from loyalty.catalogue.stock import STOCK_SECONDS_MAX, StockStore
from tests.api.test_authentication import Clock
from tests.builders import NOON

if TYPE_CHECKING:
    from app import Parts

HERE = "store:S1"


def counted(sku: str, *, minutes: int = 0, available: bool = False, place: str = HERE) -> Counted:
    return Counted(sku, place, available, None, NOON + timedelta(minutes=minutes))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stock(parts: Parts, clock: Clock) -> StockStore:
    return StockStore(parts.database, timeout_seconds=5, monotonic=clock)


def test_only_what_is_sold_out_there_is_known_of_a_place(stock: StockStore) -> None:
    stock.put(
        [
            counted("milk"),
            counted("oats", available=True),
            counted("jam", place="store:S2"),
            counted("tea", place=EVERY_PLACE),
        ]
    )
    assert stock.sold_out(HERE) == {"milk"}
    assert stock.sold_out("store:S2") == {"jam"}
    assert stock.sold_out(EVERY_PLACE) == {"tea"}
    assert stock.sold_out("channel:web") == frozenset()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_late_upload_does_not_undo_a_newer_count(
    stock: StockStore, order: tuple[int, ...]
) -> None:
    counts = [
        counted("milk", minutes=0, available=True),
        counted("milk", minutes=1, available=False),
        counted("milk", minutes=2, available=True),
    ]
    for n in order:
        stock.put([counts[n]])
    assert stock.counts("milk", [HERE]) == [counts[2]]


def test_one_upload_with_several_counts_of_a_product_keeps_the_newest(stock: StockStore) -> None:
    stock.put([counted("milk", minutes=2), counted("milk", minutes=1, available=True)])
    assert stock.sold_out(HERE) == {"milk"}
    stock.put([counted("jam", available=True), counted("jam")])
    assert "jam" in stock.sold_out(HERE)


def test_what_looks_like_an_operator_is_kept_as_it_is(stock: StockStore) -> None:
    stock.put([counted("$counted_at")])
    assert stock.sold_out(HERE) == {"$counted_at"}
    assert stock.counts("$counted_at", [HERE]) == [counted("$counted_at")]


def test_another_worker_sees_a_change_within_five_seconds(
    parts: Parts, stock: StockStore, clock: Clock
) -> None:
    assert stock.sold_out(HERE) == frozenset()
    StockStore(parts.database, timeout_seconds=5).put([counted("milk")])
    assert stock.sold_out(HERE) == frozenset()
    clock.seconds += STOCK_SECONDS_MAX + 0.1
    assert stock.sold_out(HERE) == {"milk"}


def test_what_is_put_here_is_seen_here_at_once(stock: StockStore) -> None:
    assert stock.sold_out(HERE) == frozenset()
    stock.put([counted("milk")])
    assert stock.sold_out(HERE) == {"milk"}


def test_counts_are_of_the_widest_place_first(stock: StockStore) -> None:
    counts = [counted("milk", place=EVERY_PLACE, available=True), counted("milk")]
    stock.put(reversed(counts))
    assert stock.counts("milk", [HERE, "channel:web"]) == counts
    assert stock.counts("milk", []) == counts[:1]
    assert stock.counts("oats", [HERE]) == []


def test_the_newest_of_racing_uploads_holds(parts: Parts, stock: StockStore) -> None:
    together = Barrier(8)

    def upload(minutes: int) -> None:
        own = StockStore(parts.database, timeout_seconds=5)
        together.wait()
        for n in range(5):
            own.put([counted("milk", minutes=minutes * 5 + n, available=(minutes, n) != (7, 4))])

    threads = [Thread(target=upload, args=(each,)) for each in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert stock.counts("milk", [HERE]) == [counted("milk", minutes=39)]
    assert parts.database["stock"].count_documents({}) == 1


def test_the_list_of_a_place_is_read_from_the_index_alone(parts: Parts, stock: StockStore) -> None:
    stock.put(counted(f"p{n}", available=n % 10 != 0) for n in range(1500))
    query = {"place": HERE, "available": False}
    found = parts.database["stock"].find(query, {"_id": 0, "sku": 1}).explain()
    assert found["executionStats"]["nReturned"] == 150
    assert found["executionStats"]["totalKeysExamined"] <= 151
    assert stock.sold_out(HERE) == {f"p{n}" for n in range(0, 1500, 10)}
