"""Every balance of a shop of three channels is the one that SQL works out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.oracle.tpcds import PARTS, PROGRAM, compare

if TYPE_CHECKING:
    from app import Parts

SCALE = 0.01
SEED = 5


def test_purchases_in_bulk_earn_what_sql_works_out(parts: Parts) -> None:
    outcome = compare(SCALE, parts.stores)
    assert not outcome.differences
    assert outcome.equal == outcome.members > 500


def test_late_returns_take_back_what_sql_works_out(parts: Parts) -> None:
    outcome = compare(SCALE, parts.stores, every=16, returns="partial")
    assert not outcome.differences
    assert outcome.equal == outcome.members > 30


def test_bonuses_fall_with_the_purchases_that_they_stand_on(parts: Parts) -> None:
    outcome = compare(SCALE, parts.stores, every=3, returns="whole", arrival="in_order")
    assert not outcome.differences
    assert outcome.equal == outcome.members > 150
    assert outcome.fallen > 0
    assert all(outcome.paid[part] for part in PARTS), "a rule that never pays is not tested"


def test_the_order_of_arrival_does_not_matter(parts: Parts) -> None:
    print(f"seed {SEED}")  # noqa: T201  # a randomised test says how to run it again
    outcome = compare(SCALE, parts.stores, every=16, returns="whole", arrival="shuffled", seed=SEED)
    assert not outcome.differences
    assert outcome.equal == outcome.members > 30


def test_a_point_more_on_one_rule_would_be_seen(parts: Parts) -> None:
    third = [
        {**rule, "points": 251} if rule["id"] == "third" else rule for rule in PROGRAM["rules"]
    ]
    outcome = compare(SCALE, parts.stores, every=4, program={**PROGRAM, "rules": third})
    assert 0 < outcome.equal < outcome.members
    assert all("third: Carnet " in each for each in outcome.differences)
