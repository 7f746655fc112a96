"""Rewards in MongoDB, and who has taken how many of them.

A redemption itself is in the journal. What is kept here is only what no member's journal can say:
how many of a reward are gone. It is written in the transaction of the entry that it belongs to.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo import ASCENDING, IndexModel, ReplaceOne, ReturnDocument, UpdateOne

from loyalty.journal.model import HoldExpiredError
from loyalty.kit.mongo import transact
from loyalty.rewards.model import (
    REWARDS_MAX,
    Reward,
    RewardNotFoundError,
    TooManyRewardsError,
    refused,
)
from loyalty.vault.model import Held

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.program.model import Period

# Expired holds that one taking clears away; it adds one, so what is left over always shrinks.
SWEEP_MAX = 500


class Taking(NamedTuple):
    """One member takes one piece: until the hold expires, or for good where it has no end."""

    hold: str
    reward_id: str
    member_id: str
    taken_at: datetime
    expires_at: datetime | None


class RewardStore:
    """The collections `rewards`, `reward_counters` and `reward_takings`."""

    def __init__(self, database: Database[Document]) -> None:
        self._client = database.client
        self._rewards = database["rewards"]
        self._counters = database["reward_counters"]
        self._takings = database["reward_takings"]

    def create_indexes(self) -> None:
        """Idempotent."""
        held = IndexModel(
            [("reward", ASCENDING), ("expires_at", ASCENDING)],
            name="held",
            partialFilterExpression={"is_counted": True},
        )
        # What a counter stands on goes with the counter, in `take`; the rest goes by itself.
        expired = IndexModel(
            [("expires_at", ASCENDING)],
            name="expired",
            partialFilterExpression={"is_counted": False},
            expireAfterSeconds=0,
        )
        by_member = IndexModel(
            [("member", ASCENDING), ("reward", ASCENDING), ("taken_at", ASCENDING)],
            name="by_member",
        )
        self._takings.create_indexes([held, expired, by_member])

    def put(self, rewards: Sequence[Reward]) -> None:
        """Insert or replace rewards.

        Raises:
            TooManyRewardsError: there would be more than can be listed; nothing was written.
        """
        ids = list({each.id for each in rewards})
        if not ids:
            return
        others = self._rewards.count_documents({"_id": {"$nin": ids}})
        if others + len(ids) > REWARDS_MAX:
            raise TooManyRewardsError
        counters = [
            UpdateOne({"_id": each.id}, {"$setOnInsert": {"taken": 0}}, upsert=True)
            for each in rewards
            if each.stock is not None
        ]
        if counters:
            # Before the rewards: whoever reads a reward with a stock finds its counter.
            self._counters.bulk_write(counters)
        self._rewards.bulk_write(
            [ReplaceOne({"_id": each.id}, _document(each), upsert=True) for each in rewards]
        )

    def get(self, reward_id: str) -> Reward:
        """A reward.

        Raises:
            RewardNotFoundError: the catalogue lacks it.
        """
        found = self._rewards.find_one({"_id": reward_id})
        if found is None:
            raise RewardNotFoundError
        return _reward(found)

    def all(self) -> list[Reward]:
        """Every reward, by id."""
        found = self._rewards.find().sort("_id", ASCENDING).limit(REWARDS_MAX)
        return [_reward(each) for each in found]

    def left(self, rewards: Iterable[Reward], *, at: datetime) -> dict[str, int]:
        """How many are left of each reward with a stock; what expired holds had is left again."""
        stocks = {each.id: each.stock for each in rewards if each.stock is not None}
        ids = list(stocks)
        gone = {each["_id"]: each["taken"] for each in self._counters.find({"_id": {"$in": ids}})}
        pipeline: list[Document] = [
            {"$match": {"is_counted": True, "reward": {"$in": ids}, "expires_at": {"$lte": at}}},
            {"$group": {"_id": "$reward", "count": {"$sum": 1}}},
        ]
        back = {each["_id"]: each["count"] for each in self._takings.aggregate(pipeline)}
        return {
            reward_id: max(0, stock - gone.get(reward_id, 0) + back.get(reward_id, 0))
            for reward_id, stock in stocks.items()
        }

    def taken(
        self,
        member_id: str,
        rewards: Iterable[Reward],
        *,
        since: Mapping[Period, datetime],
        at: datetime,
    ) -> dict[str, dict[str, int]]:
        """How often the member took each reward with a limit, in each period since its start."""
        ids = [each.id for each in rewards if each.per_member]
        if not ids:
            return {}
        sums: Document = {
            period: {"$sum": {"$cond": [{"$gte": ["$taken_at", start]}, 1, 0]}}
            for period, start in since.items()
        }
        pipeline: list[Document] = [
            {"$match": {"member": member_id, "reward": {"$in": ids}, **_live(at)}},
            {"$group": {"_id": "$reward", **sums}},
        ]
        found = self._takings.aggregate(pipeline)
        return {each["_id"]: {name: each[name] for name in sums} for each in found}

    def take(
        self,
        taking: Taking,
        reward: Reward,
        since: Mapping[Period, datetime],
        session: ClientSession,
    ) -> None:
        """Count a piece as taken, in the transaction of the hold.

        The transaction must append to the taker's own journal: that is what lets only one taking
        of a member through at a time.

        Raises:
            OutOfStockError: none is left.
            RewardLimitReachedError: the member has taken it as often as one may.
        """
        is_counted = reward.stock is not None
        if is_counted:
            self._count(reward, taking.taken_at, session)
        self._hold_to_limit(taking, reward, since, session)
        document: Document = {
            "_id": taking.hold,
            "reward": taking.reward_id,
            "member": taking.member_id,
            "taken_at": taking.taken_at,
            "expires_at": taking.expires_at,
            "is_counted": is_counted,
        }
        self._takings.insert_one(document, session=session)

    def keep(self, hold: str, session: ClientSession) -> None:
        """Take for good what was held, in the transaction of the capture.

        Raises:
            HoldExpiredError: the piece went back when the hold expired.
        """
        kept = self._takings.update_one(
            {"_id": hold}, {"$set": {"expires_at": None}}, session=session
        )
        if not kept.matched_count:
            raise HoldExpiredError

    def give_back(self, hold: str, session: ClientSession) -> None:
        """Take a piece back, in the transaction of the release or the undoing."""
        found = self._takings.find_one_and_delete({"_id": hold}, session=session)
        if found and found["is_counted"]:
            self._counters.update_one(
                {"_id": found["reward"]}, {"$inc": {"taken": -1}}, session=session
            )

    def held(self, member_id: str) -> Iterator[Held]:
        """Each piece that the member took."""
        for each in self._takings.find({"member": member_id}):
            taking = str(each.pop("_id"))
            yield Held("reward_takings", taking, "rewards", {"redemption_key": taking, **each})

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Forget who took what. Pieces that are gone stay counted; open ones still come back."""
        count = 0

        def write(session: ClientSession) -> None:
            nonlocal count
            takings = list(self._takings.find({"member": member_id}, session=session))
            count = len(takings)
            ids = [each["_id"] for each in takings]
            self._takings.delete_many({"_id": {"$in": ids}}, session=session)
            open_ones = [each for each in takings if each["is_counted"] and each["expires_at"]]
            if open_ones:
                self._takings.insert_many(map(_anonymous, open_ones), session=session)

        transact(self._client, write)
        return {"reward_takings": count}

    def _count(self, reward: Reward, at: datetime, session: ClientSession) -> None:
        """Count one more, less what expired holds give back.

        Two who take at once meet at the counter: the later of them begins its transaction anew.
        """
        expired = {"is_counted": True, "reward": reward.id, "expires_at": {"$lte": at}}
        found = self._takings.find(expired, {"_id": 1}, session=session).limit(SWEEP_MAX)
        ids = [each["_id"] for each in found]
        if ids:
            self._takings.delete_many({"_id": {"$in": ids}}, session=session)
        counter = self._counters.find_one_and_update(
            {"_id": reward.id},
            {"$inc": {"taken": 1 - len(ids)}},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        if counter is None or counter["taken"] > (reward.stock or 0):
            raise refused("out_of_stock")

    def _hold_to_limit(
        self,
        taking: Taking,
        reward: Reward,
        since: Mapping[Period, datetime],
        session: ClientSession,
    ) -> None:
        for period, most in reward.per_member.items():
            query = {
                "member": taking.member_id,
                "reward": reward.id,
                "taken_at": {"$gte": since[period]},
                **_live(taking.taken_at),
            }
            if self._takings.count_documents(query, limit=most, session=session) >= most:
                raise refused("limit_reached")


def _anonymous(taking: Document) -> Document:
    day = taking["taken_at"].replace(hour=0, minute=0, second=0, microsecond=0)
    return {**taking, "_id": f"erased/{secrets.token_hex(16)}", "member": None, "taken_at": day}


def _live(at: datetime) -> Document:
    """Takings that hold at a moment: for good, or not yet expired."""
    return {"$or": [{"expires_at": None}, {"expires_at": {"$gt": at}}]}


_SETS = ("tiers", "channels", "stores")


def _document(reward: Reward) -> Document:
    document: Document = {
        "_id": reward.id,
        "name": reward.name,
        "type": reward.type,
        "price": reward.price,
        "value": dict(reward.value),
        "unit": reward.unit,
        "starts_at": reward.starts_at,
        "ends_at": reward.ends_at,
        "stock": reward.stock,
        "per_member": dict(reward.per_member),
    }
    return {**document, **{name: sorted(getattr(reward, name)) for name in _SETS}}


def _reward(document: Document) -> Reward:
    fields: dict[str, Any] = {**document, "id": document["_id"]}
    del fields["_id"]
    return Reward(**{**fields, **{name: frozenset(fields[name]) for name in _SETS}})
