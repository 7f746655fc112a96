"""Sets of rules: versions that never change, and nobody's change is lost."""

from __future__ import annotations

from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest

from recommend.merchandising import service
from recommend.merchandising.model import SETS_MAX, StaleRulesError, TooManyRuleSetsError
from recommend.merchandising.store import RULES_SECONDS_MAX, RuleStore
from tests.api.test_authentication import Clock
from tests.builders import NOON

if TYPE_CHECKING:
    from app import Parts
    from recommend.merchandising.model import RuleSet


def hiding(*skus: str) -> dict[str, Any]:
    return {"rules": [{"id": "h", "type": "hide", "match": {"skus": list(skus)}}]}


def put(
    store: RuleStore,
    document: dict[str, Any],
    *,
    name: str = "default",
    replaces: int | None = None,
) -> RuleSet:
    return service.put(name, document, replaces=replaces, at=NOON, by="tests", store=store)


def test_every_version_stays_as_it_was(parts: Parts) -> None:
    store = parts.merchandising
    first, second = put(store, hiding("a")), put(store, hiding("b"))
    assert (first.version, second.version) == (1, 2)
    assert store.get("default", 1) == first
    assert store.get("default") == second == store.current("default")


def test_the_same_rules_once_more_make_no_new_version(parts: Parts) -> None:
    store = parts.merchandising
    put(store, hiding("a"))
    assert put(store, hiding("a"), replaces=0).version == 1
    assert store.names() == {"default": 1}


def test_who_read_an_old_version_is_told(parts: Parts) -> None:
    store = parts.merchandising
    put(store, hiding("a"), replaces=0)
    with pytest.raises(StaleRulesError, match="1") as refusal:
        put(store, hiding("b"), replaces=0)
    assert refusal.value.errors[0].field == "replaces"
    assert put(store, hiding("b"), replaces=1).version == 2


def test_of_racing_changes_of_one_version_one_wins(parts: Parts) -> None:
    put(parts.merchandising, hiding("a"))
    together = Barrier(8)
    won: list[int] = []
    lost: list[StaleRulesError] = []

    def change(n: int) -> None:
        store = RuleStore(parts.database)
        together.wait()
        try:
            won.append(put(store, hiding(f"b{n}"), replaces=1).version)
        except StaleRulesError as error:
            lost.append(error)

    threads = [Thread(target=change, args=(n,)) for n in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert won == [2]
    assert len(lost) == 7


def test_another_worker_obeys_within_five_seconds(parts: Parts) -> None:
    clock = Clock()
    other = RuleStore(parts.database, monotonic=clock)
    assert other.current("default").rules == ()
    put(parts.merchandising, hiding("a"))
    assert other.current("default").version == 0
    clock.seconds += RULES_SECONDS_MAX + 0.1
    assert other.current("default").version == 1


def test_there_are_only_so_many_sets(parts: Parts) -> None:
    parts.database["merchandising"].insert_many(
        {"name": f"s{n}", "version": 1} for n in range(SETS_MAX)
    )
    with pytest.raises(TooManyRuleSetsError):
        put(parts.merchandising, hiding("a"))
