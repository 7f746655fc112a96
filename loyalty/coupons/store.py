"""Coupons in MongoDB: inserted, never changed. What nobody used takes no document at all."""

from __future__ import annotations

import random
import secrets
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from loyalty.coupons.model import (
    BATCHES_MAX,
    CAMPAIGNS_MAX,
    MOVES_MAX,
    SERIALS_MAX,
    Batch,
    Campaign,
    CampaignFullError,
    Conflict,
    Coupon,
    CouponsBusyError,
    Move,
    move_id,
)
from loyalty.kit.mongo import duplicate_index, transact
from loyalty.vault.model import Held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection
    from pymongo.database import Database

    from loyalty.kit.mongo import Document

# A campaign never changes, so it is read once; thrown away whole when it is too much.
CAMPAIGNS_KNOWN_MAX = 10_000
# A shop looks at conflicts by hand: more than these are a fault to mend, not a list to read.
CONFLICTS_MAX = 10_000
USES_COUNTED_MAX = 1_000_000
APPEND_ATTEMPTS_MAX = 100
RETRY_SECONDS_MAX = 0.004


class CampaignExistsError(Exception):
    """The id is taken, or the request was carried out before."""


class BatchExistsError(Exception):
    """The campaign has a batch of that id."""


class MoveExistsError(Exception):
    """Somebody else made that move of the coupon, or the use's key is there already."""


class CouponStore:
    """The collections `coupon_campaigns`, `coupon_batches`, `coupon_uses`, `coupon_conflicts`."""

    def __init__(self, database: Database[Document]) -> None:
        self._client = database.client
        self._campaigns = database["coupon_campaigns"]
        self._batches = database["coupon_batches"]
        self._uses = database["coupon_uses"]
        self._conflicts = database["coupon_conflicts"]
        self._known: dict[int, Campaign] = {}

    def create_indexes(self) -> None:
        """Idempotent."""
        self._campaigns.create_indexes(
            [
                IndexModel([("number", ASCENDING)], name="number", unique=True),
                IndexModel([("ends_at", ASCENDING)], name="ends_at"),
                _unique_text("request_key"),
            ]
        )
        in_campaign = [("campaign", ASCENDING), ("seq", ASCENDING)]
        for collection in (self._batches, self._conflicts):
            collection.create_indexes([IndexModel(in_campaign, name="campaign_seq", unique=True)])
        by_kind = [("campaign", ASCENDING), ("kind", ASCENDING)]
        self._uses.create_indexes(
            [IndexModel(by_kind, name="campaign_kind"), _unique_text("key"), _BY_MEMBER],
        )
        self._conflicts.create_indexes([_BY_MEMBER])

    def add_campaign(self, campaign: Campaign) -> Campaign:
        """Keep a new campaign under the next free number, whatever number it comes with.

        Raises:
            CampaignExistsError: the id or the request key is taken.
            CampaignFullError: there are as many campaigns as codes can tell apart.
            CouponsBusyError: too many campaigns are being made.
        """
        document = {**asdict(campaign), "_id": campaign.id}
        del document["id"]

        def build(last: Document | None) -> Document:
            number = last["number"] + 1 if last else 1
            return document | {"number": _within(number, CAMPAIGNS_MAX)}

        try:
            kept = _append(self._campaigns, {}, "number", build)
        except DuplicateKeyError as error:
            raise CampaignExistsError from error
        return _campaign(kept)

    def campaign(self, campaign_id: str) -> Campaign | None:
        """The campaign of an id."""
        return _found(self._campaigns.find_one({"_id": campaign_id}))

    def campaign_of_number(self, number: int) -> Campaign | None:
        """The campaign that a code names."""
        if known := self._known.get(number):
            return known
        campaign = _found(self._campaigns.find_one({"number": number}))
        if campaign:
            if len(self._known) >= CAMPAIGNS_KNOWN_MAX:
                self._known.clear()
            self._known[number] = campaign
        return campaign

    def campaign_of_request(self, request_key: str) -> Campaign | None:
        """The campaign that was made under an idempotency key."""
        # The type is what makes the partial index eligible.
        query = {"request_key": {"$eq": request_key, "$type": "string"}}
        return _found(self._campaigns.find_one(query))

    def campaigns(self, *, before: int | None, limit: int) -> list[Campaign]:
        """Campaigns below a number, newest first."""
        query = {} if before is None else {"number": {"$lt": before}}
        found = self._campaigns.find(query).sort("number", DESCENDING).limit(limit)
        return [_campaign(each) for each in found]

    def running(self, *, at: datetime, limit: int) -> list[Campaign]:
        """Campaigns that are not over, those first that end first."""
        found = self._campaigns.find({"ends_at": {"$gt": at}})
        found = found.sort([("ends_at", ASCENDING), ("_id", ASCENDING)]).limit(limit)
        return [_campaign(each) for each in found]

    def add_batch(self, campaign: int, batch_id: str, *, count: int) -> Batch:
        """Set the next serials of a campaign aside for a batch.

        Raises:
            BatchExistsError: there is a batch of that id.
            CampaignFullError: the campaign has no room for it.
            CouponsBusyError: too many batches are being made in this campaign.
        """

        def build(last: Document | None) -> Document:
            seq, first = (last["seq"] + 1, last["first"] + last["count"]) if last else (1, 1)
            _within(first + count - 1, SERIALS_MAX)
            return {
                "_id": _batch_id(campaign, batch_id),
                "campaign": campaign,
                "batch": batch_id,
                "seq": _within(seq, BATCHES_MAX),
                "first": first,
                "count": count,
            }

        try:
            return _batch(_append(self._batches, {"campaign": campaign}, "seq", build))
        except DuplicateKeyError as error:
            raise BatchExistsError from error

    def batch(self, campaign: int, batch_id: str) -> Batch | None:
        """The batch of an id."""
        document = self._batches.find_one({"_id": _batch_id(campaign, batch_id)})
        return _batch(document) if document else None

    def made(self, campaign: int) -> int:
        """How many codes of a campaign were made."""
        last = self._batches.find_one({"campaign": campaign}, sort=[("seq", DESCENDING)])
        return last["first"] + last["count"] - 1 if last else 0

    def used(self, campaign: int) -> int:
        """How many coupons of a campaign are used now; counts at most a million uses."""
        uses, voids = (
            self._uses.count_documents({"campaign": campaign, "kind": kind}, limit=USES_COUNTED_MAX)
            for kind in ("use", "void")
        )
        return uses - voids

    def last_move(self, coupon: Coupon) -> Move | None:
        """What happened to a coupon last, or None if nothing ever did."""
        ends = {"$gte": move_id(coupon, 0), "$lte": move_id(coupon, MOVES_MAX - 1)}
        document = self._uses.find_one({"_id": ends}, sort=[("_id", DESCENDING)])
        return _move(document) if document else None

    def move(self, coupon: Coupon, seq: int) -> Move | None:
        """One move of a coupon."""
        document = self._uses.find_one({"_id": move_id(coupon, seq)})
        return _move(document) if document else None

    def use_of_key(self, key: str) -> Move | None:
        """The use that a caller reported under a key."""
        # The type is what makes the partial index eligible.
        document = self._uses.find_one({"key": {"$eq": key, "$type": "string"}})
        return _move(document) if document else None

    def add_move(self, move: Move) -> None:
        """Make a move: the one insert that decides every race for a coupon.

        Raises:
            MoveExistsError: the move is made already, or the key is taken.
        """
        document = {**asdict(move), "_id": move.id, "campaign": move.coupon.campaign}
        document["serial"] = move.coupon.serial
        del document["coupon"]
        try:
            self._uses.insert_one(document)
        except DuplicateKeyError as error:
            raise MoveExistsError from error

    def add_conflict(self, conflict: Conflict) -> None:
        """Note that a coupon was handed in twice; once for each report, and at most ten thousand.

        Raises:
            CouponsBusyError: too many conflicts are being noted in this campaign.
        """
        first = conflict.first
        document = {
            "_id": conflict.key,
            "campaign": conflict.coupon.campaign,
            "serial": conflict.coupon.serial,
            "first": {**_place(first), "redemption_id": first.id},
            "second": {**_place(conflict), "external_id": conflict.external_id},
            "recorded_at": conflict.received_at,
        }
        if conflict.member is not None:
            document["member"] = conflict.member

        def build(last: Document | None) -> Document:
            return document | {"seq": _within(last["seq"] + 1 if last else 1, CONFLICTS_MAX)}

        try:
            _append(self._conflicts, {"campaign": document["campaign"]}, "seq", build)
        except (DuplicateKeyError, CampaignFullError):
            return

    def conflicts(self, campaign: int, *, before: int | None, limit: int) -> list[Document]:
        """A campaign's conflicts below a `seq`, newest first, as the API shows them plus `seq`."""
        query: Document = {"campaign": campaign}
        if before is not None:
            query["seq"] = {"$lt": before}
        shown = {"_id": 0, "campaign": 0, "member": 0}
        return list(self._conflicts.find(query, shown).sort("seq", DESCENDING).limit(limit))

    def held(self, member_id: str) -> Iterator[Held]:
        """Each coupon that the member used, and each that came again with the member's name."""
        for collection in (self._uses, self._conflicts):
            for each in collection.find(_of(member_id)):
                data = {**each, "id": each["_id"]}
                del data["_id"]
                yield Held(collection.name, str(each["_id"]), "coupons", data)

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Forget who used what, under which id and when exactly; what is used stays used."""
        uses = self._uses.update_many(_of(member_id), _FORGOTTEN).modified_count
        conflicts = 0
        for each in list(self._conflicts.find(_of(member_id)).limit(CONFLICTS_MAX)):
            transact(self._client, partial(self._forget, each))
            conflicts += 1
        return {"coupon_uses": uses, "coupon_conflicts": conflicts}

    def _forget(self, conflict: Document, session: ClientSession) -> None:
        """Put a conflict that names nobody in the place of one; its id was the sender's."""
        self._conflicts.delete_one({"_id": conflict["_id"]}, session=session)
        rest = {name: value for name, value in conflict.items() if name != "member"}
        second = {**conflict["second"], "external_id": "erased"}
        nameless = {**rest, "_id": f"erased/{secrets.token_hex(16)}", "second": second}
        self._conflicts.insert_one(nameless, session=session)


def _append(
    collection: Collection[Document],
    scope: Document,
    order: str,
    build: Callable[[Document | None], Document],
) -> Document:
    """Insert what follows the last document of a scope; a unique index on `order` decides races.

    Raises:
        DuplicateKeyError: on another index than the one that orders.
        CouponsBusyError: the place after the last was taken too often.
    """
    for attempt in range(APPEND_ATTEMPTS_MAX):
        document = build(collection.find_one(scope, sort=[(order, DESCENDING)]))
        try:
            collection.insert_one(document)
        except DuplicateKeyError as error:
            if not duplicate_index(error).endswith(order):
                raise
            time.sleep(random.uniform(0, RETRY_SECONDS_MAX) * min(attempt, 1))  # noqa: S311
            continue
        return document
    raise CouponsBusyError


_BY_MEMBER = IndexModel(
    [("member", ASCENDING)],
    name="member",
    partialFilterExpression={"member": {"$type": "string"}},
)
_DAYS = {
    name: {"$dateTrunc": {"date": f"${name}", "unit": "day"}}
    for name in ("occurred_at", "received_at")
}
_FORGOTTEN: list[dict[str, Any]] = [
    {"$set": {"member": None, "key": None, "fingerprint": "", **_DAYS}},
]


def _of(member_id: str) -> Document:
    # The type is what makes the partial index eligible.
    return {"member": {"$eq": member_id, "$type": "string"}}


def _unique_text(field: str) -> IndexModel:
    return IndexModel(
        [(field, ASCENDING)],
        name=field,
        unique=True,
        partialFilterExpression={field: {"$type": "string"}},
    )


def _within(number: int, maximum: int) -> int:
    if number > maximum:
        raise CampaignFullError
    return number


def _batch_id(campaign: int, batch_id: str) -> str:
    return f"{campaign}/{batch_id}"


def _place(report: Move | Conflict) -> Document:
    return {
        "channel": report.channel,
        "store": report.store,
        "occurred_at": report.occurred_at,
    }


def _found(document: Document | None) -> Campaign | None:
    return _campaign(document) if document else None


def _campaign(document: Document) -> Campaign:
    lists = {name: tuple(document[name]) for name in ("channels", "stores")}
    fields = {**document, **lists, "id": document["_id"]}
    del fields["_id"]
    return Campaign(**fields)


def _batch(document: Document) -> Batch:
    return Batch(
        document["campaign"],
        document["batch"],
        document["seq"],
        document["first"],
        document["count"],
    )


def _move(document: Document) -> Move:
    fields = {**document, "coupon": Coupon(document["campaign"], document["serial"])}
    for name in ("_id", "campaign", "serial"):
        del fields[name]
    return Move(**fields)
