"""Bring the Complete Journey in through the same code as the API: members, consents, awards."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.consent.model import (
    ANALYTICS,
    MARKETING,
    PERSONALISATION,
    SOCIAL_ENGAGEMENT,
    STAFF_VIEW,
    Decision,
)
from loyalty.consent.service import first_record
from loyalty.importing.complete_journey import PROGRAM
from loyalty.journal.bulk import append_all
from loyalty.journal.codec import activity_to_document
from loyalty.journal.drafts import Draft
from loyalty.journal.model import key_of
from loyalty.journal.service import complete_lines
from loyalty.members.model import Member, normal
from loyalty.members.service import fingerprint, new_member_id
from loyalty.program.document import ProgramSchema
from loyalty.program.model import Activity
from loyalty.versions import service as versions
from loyalty.versions.model import NoProgramError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from loyalty.catalogue.model import Product
    from loyalty.importing.complete_journey import Household, Journey, Receipt
    from loyalty.journal.drafts import Stores
    from loyalty.members.model import Identifier
    from loyalty.program.model import Program

SOURCE = "import:complete-journey"
HOUSEHOLDS_A_WRITE = 50


@contextmanager
def few_collections() -> Iterator[None]:
    """Let Python look for garbage cycles rarely: an import makes many objects and no cycles."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class Imported(NamedTuple):
    """What an import brought in."""

    members: int
    entries: int
    products: int


def import_journey(
    journey: Journey,
    *,
    at: datetime,
    stores: Stores,
    progress: Callable[[str, int, int], None],
) -> Imported:
    """Import products, stores, members, consents and purchases; safe to run again.

    Args:
        journey: the data.
        at: now.
        stores: where to.
        progress: called with a stage, what is done and the total of it.
    """
    products = list(journey.products())
    stores.catalogue.put_products(products)
    stores.catalogue.put_stores(journey.stores())
    progress("products", len(products), len(products))
    program = _program(at, stores)
    total, done = journey.receipt_count, 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress("baskets", done, total)

    with few_collections():
        drafts = _drafts(journey, program, at, stores)
        entries = append_all(drafts, stores, progress=advance)
    return Imported(len(journey.household_numbers), entries, len(products))


def _program(at: datetime, stores: Stores) -> Program:
    """The programme that rules, published now if the shop has none."""
    try:
        return stores.programs.at(at)
    except NoProgramError:
        document: Any = ProgramSchema().load(PROGRAM)
        versions.publish(
            document, starts_at=None, at=at, by=SOURCE, request_key=None, shelf=stores.programs
        )
        return stores.programs.at(at)


def _drafts(
    journey: Journey, program: Program, at: datetime, stores: Stores
) -> Iterator[list[Draft]]:
    households = journey.households()
    while group := list(islice(households, HOUSEHOLDS_A_WRITE)):
        member_ids = _enrol(group, at, stores)
        _ask_consent(group, member_ids, at, stores)
        for household in group:
            # One read for all that a household ever bought.
            skus = {line["sku"] for receipt in household.receipts for line in receipt.lines}
            known = stores.catalogue.products(sorted(skus))
            member_id = member_ids[household.number]
            yield [_draft(each, member_id, program, at, known) for each in household.receipts]


def _enrol(group: list[Household], at: datetime, stores: Stores) -> dict[int, str]:
    """The members of the households by number; those that are new are enrolled together."""
    keys = {each.number: f"{SOURCE}:{each.number}" for each in group}
    known = stores.members.requested(list(keys.values()))
    fresh = [
        (Member(new_member_id(), "active", at), _identifiers(each), keys[each.number])
        for each in group
        if keys[each.number] not in known
    ]
    if fresh:
        stores.members.add_all(fresh)
    known.update({key: member.id for member, _, key in fresh})
    return {number: known[key] for number, key in keys.items()}


def _identifiers(household: Household) -> list[Identifier]:
    return [normal("card", household.card), normal("email", household.email)]


def _ask_consent(
    group: list[Household], member_ids: dict[int, str], at: datetime, stores: Stores
) -> None:
    """Record the decisions of those members who never decided anything."""
    decided = stores.consents.standings(list(member_ids.values()))
    records = [
        first_record(member_ids[each.number], _decisions(each), method="import", at=at, by=SOURCE)
        for each in group
        if member_ids[each.number] not in decided
    ]
    if records:
        stores.consents.append_all(records)


def _decisions(household: Household) -> list[Decision]:
    return [
        Decision(PERSONALISATION, household.agrees),
        Decision(MARKETING, household.number % 2 == 0, "email"),
        Decision(SOCIAL_ENGAGEMENT, household.agrees),
        Decision(STAFF_VIEW, household.agrees),
        Decision(ANALYTICS, granted=True),
    ]


def _draft(
    receipt: Receipt,
    member_id: str,
    program: Program,
    at: datetime,
    known: Mapping[str, Product],
) -> Draft:
    activity = Activity(
        kind="purchase",
        occurred_at=receipt.at,
        channel=receipt.channel,
        store=receipt.store,
        lines=complete_lines(receipt.lines, known),
    )
    document = activity_to_document(activity)
    document["external_id"] = receipt.number
    return Draft(
        member_id=member_id,
        key=key_of("purchase", receipt.channel, receipt.store, receipt.number),
        fingerprint=fingerprint({"lines": document["lines"], "member": member_id}),
        source=SOURCE,
        received_at=at,
        activity=activity,
        document=document,
        program=program,
    )
