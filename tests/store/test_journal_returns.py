"""Returns through the journal: they find their purchase and see what of it is left."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.access.model import Caller
from loyalty.journal.appending import append
from loyalty.journal.model import PurchaseNotFoundError, ReturnExceedsPurchaseError
from loyalty.journal.returns import record_return
from loyalty.program.document import ProgramSchema
from loyalty.versions.service import publish
from tests.builders import (
    BASE_RULE,
    NOON,
    draft,
    enrolled,
    line,
    program_document,
    purchase,
    unique,
)

if TYPE_CHECKING:
    from app import Parts
    from loyalty.journal.drafts import Recorded, Stores

_seconds = itertools.count(1)
TILL = Caller("till", frozenset())
FEW = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
RULES = (
    {**BASE_RULE, "per": "line"},
    {"id": "egg", "type": "fixed", "points": 3, "only": {"skus": ["egg"]}},
    {"id": "all", "type": "multiplier", "factor": "1.333", "rounding": "half_up"},
)


@pytest.fixture
def stores(parts: Parts) -> Stores:
    """The stores of a shop with rules."""
    stores = parts.stores
    publish(
        ProgramSchema().load(program_document(*RULES)),
        starts_at=None,
        at=NOON,
        by="tests",
        request_key=None,
        shelf=stores.programs,
    )
    return stores


def buy(stores: Stores, member: str, *lines: Any) -> str:
    """The receipt of a purchase."""
    receipt = unique("receipt")
    bought = draft(member, purchase(*lines), stores.programs.at(NOON), external_id=receipt)
    append(bought, stores)
    return receipt


def later() -> datetime:
    """A moment after all that were before."""
    return NOON + timedelta(seconds=next(_seconds))


def give_back(stores: Stores, receipt: str, **quantities: int) -> Recorded:
    """Return units of a purchase, or all that is left."""
    body: dict[str, Any] = {
        "external_id": unique("return"),
        "channel": "store",
        "purchase": {"external_id": receipt},
    }
    if quantities:
        body["lines"] = [{"sku": sku, "quantity": count} for sku, count in quantities.items()]
    return record_return(body, caller=TILL, at=later(), stores=stores)


BASKETS = st.lists(
    st.builds(
        line,
        st.integers(0, 9999),
        sku=st.sampled_from(("milk", "egg", "toy")),
        quantity=st.integers(1, 5),
    ),
    min_size=1,
    max_size=4,
)


@FEW
@given(BASKETS, st.data())
def test_whatever_the_pieces_all_of_the_points_come_back(
    parts: Parts, stores: Stores, basket: list[Any], data: st.DataObject
) -> None:
    member = enrolled(parts)
    receipt = buy(stores, member, *basket)
    left = {
        sku: sum(each.quantity for each in basket if each.sku == sku) for sku in ("milk", "egg")
    }
    for _ in range(3):
        piece = {
            sku: count for sku, most in left.items() if (count := data.draw(st.integers(0, most)))
        }
        if piece:
            give_back(stores, receipt, **piece)
            left = {sku: most - piece.get(sku, 0) for sku, most in left.items()}
    if any(left.values()) or any(each.sku == "toy" for each in basket):
        give_back(stores, receipt)
    head = parts.journal.head(member)
    assert head
    assert head.state.balance == 0
    with pytest.raises(ReturnExceedsPurchaseError):
        give_back(stores, receipt)


def test_more_than_was_bought_is_refused_and_nothing_is_written(
    parts: Parts, stores: Stores
) -> None:
    member = enrolled(parts)
    receipt = buy(stores, member, line(quantity=2))
    give_back(stores, receipt, milk=1)
    for wrong in ({"milk": 2}, {"egg": 1}):
        with pytest.raises(ReturnExceedsPurchaseError):
            give_back(stores, receipt, **wrong)
    assert [each.kind for each in parts.journal.entries(member)] == ["purchase", "return"]


def test_a_purchase_that_is_not_there_cannot_come_back(stores: Stores) -> None:
    with pytest.raises(PurchaseNotFoundError):
        give_back(stores, "none")


def test_a_return_keeps_what_came_back_and_what_for(parts: Parts, stores: Stores) -> None:
    member = enrolled(parts)
    receipt = buy(stores, member, line(1001, quantity=2))
    entry = give_back(stores, receipt, milk=1).entry
    assert entry.activity["purchase_key"] == f"purchase/store//{receipt}"
    assert entry.activity["returned"] == [
        {"position": 0, "sku": "milk", "quantity": 1, "amount": 500}
    ]
    assert entry.activity["undoes"] == [f"purchase/store//{receipt}"]
    assert entry.activity["back_lines"] == [["milk", 1]]
    assert [each.key for each in parts.journal.related(member, f"purchase/store//{receipt}")] == [
        f"purchase/store//{receipt}",
        entry.key,
    ]


def test_money_comes_back_without_goods_until_none_is_left(parts: Parts, stores: Stores) -> None:
    member = enrolled(parts)
    receipt = buy(stores, member, line(1000), line(3000, sku="toy"))
    entry = money_back(stores, receipt, 1000).entry
    assert [(each["sku"], each["amount"]) for each in entry.activity["returned"]] == [
        ("milk", 250),
        ("toy", 750),
    ]
    with pytest.raises(ReturnExceedsPurchaseError) as refusal:
        money_back(stores, receipt, 3001)
    assert refusal.value.errors[0] == ("amount", "1 more than is left.")
    money_back(stores, receipt, 3000)
    head = parts.journal.head(member)
    assert head
    assert (head.state.balance, head.state.purchases) == (0, 0)


def money_back(stores: Stores, receipt: str, amount: int) -> Recorded:
    """Return money of a purchase."""
    body = {
        "external_id": unique("return"),
        "channel": "store",
        "purchase": {"external_id": receipt},
        "amount": amount,
    }
    return record_return(body, caller=TILL, at=later(), stores=stores)


def test_goods_that_come_back_after_their_money_bring_nothing_more(
    parts: Parts, stores: Stores
) -> None:
    member = enrolled(parts)
    receipt = buy(stores, member, line(1000, quantity=2))
    other = buy(stores, member, line(1000))
    money_back(stores, receipt, 1000)
    entry = give_back(stores, receipt, milk=2).entry
    assert entry.points == 0
    head = parts.journal.head(member)
    assert head
    assert head.state.purchases == 1
    give_back(stores, other)
    head = parts.journal.head(member)
    assert head
    assert (head.state.balance, head.state.purchases) == (0, 0)


def test_a_return_of_goods_sold_on_another_till_whose_clock_is_behind_comes_after_the_sale(
    parts: Parts, stores: Stores
) -> None:
    member = enrolled(parts)
    receipt = buy(stores, member, line())
    body = {
        "external_id": unique("return"),
        "channel": "store",
        "purchase": {"external_id": receipt},
        "occurred_at": NOON - timedelta(minutes=3),
    }
    entry = record_return(body, caller=TILL, at=NOON, stores=stores).entry
    assert entry.occurred_at == NOON
    assert entry.state.balance == 0
