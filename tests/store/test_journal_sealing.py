"""What callers write freely about a member is sealed at rest, and rules and readers see it open."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import bson
import pytest

from loyalty.journal.appending import append
from loyalty.journal.late import Fact
from loyalty.members.model import MemberNotFoundError
from tests.builders import NOON, engagement, enrolled, published, purchase, unique
from tests.races.lives import draft_of, is_sound

if TYPE_CHECKING:
    from app import Parts
    from loyalty.program.model import Activity, Program

LIKED = {
    "id": "liked",
    "type": "engagement",
    "engagement": "review",
    "points": 7,
    "times_max": {"lifetime": 2},
    "when": {"condition": "details.rating >= 4"},
}


def review(day: int, rating: int) -> Activity:
    at = NOON + timedelta(days=day)
    made = engagement("review", at=at, details={"rating": rating})
    return replace(made, key=f"engagement/web//{unique()}")


@pytest.fixture
def rules(parts: Parts) -> Program:
    return published(parts, LIKED)


@pytest.mark.parametrize("seed", range(4))
def test_late_facts_are_folded_by_what_was_sealed(parts: Parts, rules: Program, seed: int) -> None:
    facts = [review(day, rating) for day, rating in enumerate((5, 2, 4, 5, 1, 4))]
    arriving = list(facts)
    random.Random(seed).shuffle(arriving)  # noqa: S311  # not a secret
    member = enrolled(parts)
    for each in arriving:
        append(draft_of(member, each, rules), parts.stores)
    entries = list(parts.journal.entries(member))
    state = is_sound(entries, [Fact(each, rules) for each in facts])
    assert state.balance == 14
    told = {each.key: each.activity["details"] for each in entries if each.kind == "engagement"}
    assert told == {each.key: each.details for each in facts}
    kept = b"".join(bson.encode(each) for each in parts.database["journal"].find())
    assert b"rating" not in kept


def test_what_was_sealed_is_nobodys_once_the_key_is_gone(parts: Parts, rules: Program) -> None:
    member = enrolled(parts)
    append(draft_of(member, review(0, 5), rules), parts.stores)
    parts.vault.shred(member)
    with pytest.raises(MemberNotFoundError):
        list(parts.journal.entries(member))
    assert parts.scan.documents(member) == []


def test_a_purchase_seals_nothing_and_makes_no_key(parts: Parts, rules: Program) -> None:
    member = enrolled(parts)
    bought: Any = replace(purchase(), key=f"purchase/store//{unique()}")
    append(draft_of(member, bought, rules), parts.stores)
    assert not parts.vault.has_key(member)
