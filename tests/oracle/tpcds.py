"""An independent oracle: the points of TPC-DS's customers, by Carnet and by SQL.

DuckDB makes a shop of three channels with returns (`dsdgen`, built into it: nothing is fetched).
`input.sql` says what of it both sides are given. Carnet takes it through the code that an import
and a till go through; `expected.sql` works out the points from the words of `PROGRAM` and shares no
line with Carnet. Points that expire are left out: their order is no matter of sums.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import duckdb

from loyalty.access.model import Caller
from loyalty.journal.appending import append
from loyalty.journal.bulk import append_all
from loyalty.journal.codec import activity_to_document
from loyalty.journal.drafts import Draft
from loyalty.journal.model import key_of
from loyalty.journal.returns import record_return
from loyalty.members.model import Member
from loyalty.members.service import new_member_id
from loyalty.program.document import ProgramSchema
from loyalty.program.model import Activity, Line
from loyalty.versions.service import publish

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from loyalty.journal.drafts import Stores
    from loyalty.program.model import Program

Returns = Literal["none", "partial", "whole"]
Arrival = Literal["bulk", "in_order", "shuffled"]

HERE = Path(__file__).parent
SOURCE = "tpcds"
TILL = Caller(SOURCE, frozenset())
IMPORTED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS_AT_ONCE = 500
MEMBERS_AT_ONCE = 500
DIFFERENCES_SHOWN = 5

# A rule's id is the name of its column in expected.sql.
PROGRAM: Mapping[str, Any] = {
    "name": "TPC-DS",
    "currency": "USD",
    "time_zone": "America/New_York",
    "channels": ["store", "catalog", "web"],
    "returns": {"balance": "may_go_negative", "rounding": "half_up"},
    "rules": [
        {"id": "base", "type": "spend", "points": 1, "per_amount": 100},
        {
            "id": "web",
            "type": "spend",
            "points": 3,
            "per_amount": 1000,
            "per": "line",
            "rounding": "half_up",
            "amount_min": 1_000_000,
            "only": {"channels": ["web"]},
        },
        {
            "id": "media",
            "type": "multiplier",
            "factor": "2",
            "only": {"categories": ["Books", "Music"]},
        },
        {
            "id": "electronics",
            "type": "multiplier",
            "factor": "1.5",
            "rounding": "half_up",
            "only": {"categories": ["Electronics"]},
        },
        {
            "id": "loyal",
            "type": "channels_multiplier",
            "channels_min": 2,
            "window_days": 60,
            "factor": "1.1",
        },
        {"id": "shoes", "type": "fixed", "points": 1, "only": {"categories": ["Shoes"]}},
        {
            "id": "shelf",
            "type": "fixed",
            "points": 4,
            "per": "line",
            "only": {"categories": ["Books", "Music"]},
        },
        {
            "id": "visit",
            "type": "fixed",
            "points": 20,
            "per": "basket",
            "only": {"channels": ["store"]},
            "times_max": {"month": 2},
        },
        {"id": "second", "type": "nth_channel", "n": 2, "window_days": 30, "points": 100},
        {"id": "third", "type": "nth_channel", "n": 3, "window_days": 90, "points": 250},
        {"id": "first", "type": "first_on_channel", "points": 50},
    ],
}
PARTS = (*(rule["id"] for rule in PROGRAM["rules"]), "return")


class Purchase(NamedTuple):
    """A ticket of TPC-DS; lines as `Line` takes them."""

    account: str
    channel: str
    number: int
    occurred_at: datetime
    lines: list[dict[str, Any]]


class Return(NamedTuple):
    """What comes back of one ticket at one instant, the `nth` of it; lines as a till names them."""

    account: str
    channel: str
    number: int
    occurred_at: datetime
    nth: int
    lines: list[dict[str, Any]]


@dataclass
class Outcome:
    """How the two sides compare.

    `points` is the sum of all balances; `equal` how many members have the same balance on both
    sides; `differences` names the first others, with the points of each rule on both sides. `paid`
    are the points by rule, `fallen` those of bonuses that fell with other purchases, both by SQL.
    """

    members: int = 0
    purchases: int = 0
    returns: int = 0
    points: int = 0
    equal: int = 0
    fallen: int = 0
    paid: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Note how long a part takes."""
        began_at = time.monotonic()
        yield
        self.seconds[part] = round(time.monotonic() - began_at, 2)


def compare(
    scale: float,
    stores: Stores,
    *,
    every: int = 1,
    returns: Returns = "none",
    arrival: Arrival = "bulk",
    seed: int = 0,
    program: Mapping[str, Any] = PROGRAM,
) -> Outcome:
    """Bring TPC-DS in and compare every member's balance with what SQL works out.

    Args:
        scale: TPC-DS's scale factor; 0.01 has 1,000 customers.
        stores: of an empty database.
        every: keep one account in that many.
        returns: `partial` are TPC-DS's own; with `whole`, one purchase in three comes back whole.
        arrival: `bulk`: all purchases in bulk, then the returns, each late and one by one;
            `in_order`: one by one as they happened; `shuffled`: one by one in any order, only that
            a return comes after its purchase.
        seed: of the shuffling.
        program: what Carnet runs; SQL always works out `PROGRAM`.
    """
    outcome = Outcome()
    with outcome.timing("dsdgen"):
        shop = generated(scale)
    with shop:
        with outcome.timing("sql"):
            _work_out(shop, every=every, returns=returns)
        member_ids = _enrolled(shop, stores)
        _publish(program, stores)
        if arrival == "bulk":
            _bring_in_bulk(shop, member_ids, stores, outcome)
        else:
            facts: list[Purchase | Return] = [*_purchases(shop), *_returns(shop)]
            if arrival == "in_order":
                facts.sort(key=_moment)
            else:
                facts = _shuffled(facts, Random(seed))  # noqa: S311  # repeatable
            _bring_in(facts, member_ids, stores, outcome)
        with outcome.timing("comparison"):
            _judge(shop, member_ids, stores, outcome)
    return outcome


def generated(scale: float) -> duckdb.DuckDBPyConnection:
    """TPC-DS in memory, from what is built into DuckDB."""
    config = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "temp_directory": "",
    }
    shop = duckdb.connect(":memory:", config=config)
    shop.execute(f"CALL dsdgen(sf = {scale:f})")
    return shop


def _work_out(shop: duckdb.DuckDBPyConnection, *, every: int, returns: Returns) -> None:
    shop.execute(f"SET VARIABLE every = {every:d}; SET VARIABLE returns = '{returns}'")
    for name in ("input.sql", "expected.sql"):
        shop.execute((HERE / name).read_text())


def _enrolled(shop: duckdb.DuckDBPyConnection, stores: Stores) -> dict[str, str]:
    """The member of each account."""
    accounts = [name for (name,) in shop.execute("SELECT account FROM expected").fetchall()]
    member_ids = {account: new_member_id() for account in accounts}
    for start in range(0, len(accounts), MEMBERS_AT_ONCE):
        some = accounts[start : start + MEMBERS_AT_ONCE]
        members = [Member(member_ids[each], "active", IMPORTED_AT) for each in some]
        stores.members.add_all([(each, (), f"{SOURCE}:{each.id}") for each in members])
    return member_ids


def _publish(program: Mapping[str, Any], stores: Stores) -> None:
    document: Any = ProgramSchema().load(program)
    publish(
        document,
        starts_at=None,
        at=IMPORTED_AT,
        by=SOURCE,
        request_key=None,
        shelf=stores.programs,
    )


def _bring_in_bulk(
    shop: duckdb.DuckDBPyConnection,
    member_ids: Mapping[str, str],
    stores: Stores,
    outcome: Outcome,
) -> None:
    """The purchases through the bulk path, member by member; then the returns, one by one."""
    program = stores.programs.at(IMPORTED_AT)
    with outcome.timing("purchases in bulk"):
        accounts = groupby(_purchases(shop), key=attrgetter("account"))
        drafts = (
            [_draft(each, member_ids[account], program) for each in purchases]
            for account, purchases in accounts
        )
        outcome.purchases = append_all(drafts, stores)
    _bring_in(_returns(shop), member_ids, stores, outcome)


def _bring_in(
    facts: Iterable[Purchase | Return],
    member_ids: Mapping[str, str],
    stores: Stores,
    outcome: Outcome,
) -> None:
    """Facts one by one."""
    program = stores.programs.at(IMPORTED_AT)
    with outcome.timing("one by one"):
        for fact in facts:
            if isinstance(fact, Purchase):
                append(_draft(fact, member_ids[fact.account], program), stores)
                outcome.purchases += 1
            else:
                _give_back(fact, stores)
                outcome.returns += 1


def _moment(fact: Purchase | Return) -> tuple[datetime, str, str]:
    """When it happened; at one instant in the order of keys."""
    if isinstance(fact, Purchase):
        return fact.occurred_at, "purchase", f"{fact.channel}//{fact.number}"
    return fact.occurred_at, "return", f"{fact.channel}//{fact.number}-{fact.nth}"


def _shuffled(facts: list[Purchase | Return], chance: Random) -> list[Purchase | Return]:
    """In any order, but every return after its purchase, which is before it in `facts`.

    The returns of those who shop alone wait for all purchases and come in their own order: the
    newest of them stand on the head, and meet bonuses that corrections gave.
    """
    turns: list[float] = []
    bought: dict[tuple[str, int], float] = {}
    for fact in facts:
        ticket = (fact.channel, fact.number)
        if isinstance(fact, Purchase):
            bought[ticket] = chance.random()
            turns.append(bought[ticket])
        elif fact.account.startswith("alone"):
            turns.append(1)
        else:
            turns.append(chance.uniform(bought[ticket], 1))
    in_turn = sorted(zip(turns, facts, strict=True), key=itemgetter(0))
    return [fact for _, fact in in_turn]


def _purchases(shop: duckdb.DuckDBPyConnection) -> Iterator[Purchase]:
    """All tickets, account by account in their order."""
    query = """
        SELECT account, channel, number, occurred_at,
               list({'sku': sku, 'quantity': quantity, 'amount': amount, 'category': category}
                    ORDER BY position)
        FROM purchase JOIN line USING (channel, number)
        GROUP BY ALL ORDER BY account, occurred_at, any_value(key)
    """
    for account, channel, number, at, lines in _rows(shop, query):
        yield Purchase(account, channel, number, at.replace(tzinfo=UTC), lines)


def _returns(shop: duckdb.DuckDBPyConnection) -> Iterator[Return]:
    """All returns in the order they happened."""
    query = """
        SELECT account, channel, number, returned.occurred_at, nth,
               list({'sku': sku, 'quantity': quantity} ORDER BY position)
        FROM returned JOIN purchase USING (channel, number)
        GROUP BY ALL ORDER BY returned.occurred_at, channel, number, nth
    """
    for account, channel, number, at, nth, lines in _rows(shop, query):
        yield Return(account, channel, number, at.replace(tzinfo=UTC), nth, lines)


def _rows(shop: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, read with a cursor of its own."""
    cursor = shop.cursor().execute(query)
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        yield from rows


def _draft(purchase: Purchase, member_id: str, program: Program) -> Draft:
    activity = Activity(
        kind="purchase",
        occurred_at=purchase.occurred_at,
        channel=purchase.channel,
        lines=tuple(Line(**each) for each in purchase.lines),
    )
    number = str(purchase.number)
    key = key_of("purchase", purchase.channel, None, number)
    document = {**activity_to_document(activity), "external_id": number}
    return Draft(
        member_id=member_id,
        key=key,
        fingerprint=key,
        source=SOURCE,
        received_at=IMPORTED_AT,
        activity=activity,
        document=document,
        program=program,
    )


def _give_back(back: Return, stores: Stores) -> None:
    body = {
        "channel": back.channel,
        "external_id": f"{back.number}-{back.nth}",
        "occurred_at": back.occurred_at,
        "purchase": {"external_id": str(back.number)},
        "lines": back.lines,
    }
    record_return(body, caller=TILL, at=IMPORTED_AT, stores=stores)


def _judge(
    shop: duckdb.DuckDBPyConnection,
    member_ids: Mapping[str, str],
    stores: Stores,
    outcome: Outcome,
) -> None:
    """Compare all members; of the first that differ, say which rules do."""
    query = f"SELECT account, {', '.join(PARTS)} FROM expected ORDER BY account"  # noqa: S608
    balances = _balances(list(member_ids.values()), stores)
    paid: Counter[str] = Counter()
    for account, *points in _rows(shop, query):
        member_id = member_ids[account]
        parts = dict(zip(PARTS, map(int, points), strict=True))
        paid.update(parts)
        balance = balances.get(member_id, 0)
        outcome.members += 1
        outcome.points += balance
        if balance == sum(parts.values()):
            outcome.equal += 1
        elif len(outcome.differences) < DIFFERENCES_SHOWN:
            outcome.differences.append(_difference(account, parts, member_id, stores))
    outcome.paid = dict(paid)
    (outcome.fallen,) = next(_rows(shop, "SELECT sum(fallen)::BIGINT FROM lost"))


def _balances(member_ids: list[str], stores: Stores) -> dict[str, int]:
    balances: dict[str, int] = {}
    for start in range(0, len(member_ids), MEMBERS_AT_ONCE):
        heads = stores.journal.heads(member_ids[start : start + MEMBERS_AT_ONCE])
        balances.update({each: head.state.balance for each, head in heads.items()})
    return balances


def _difference(account: str, parts: Mapping[str, int], member_id: str, stores: Stores) -> str:
    ours: Counter[str] = Counter()
    for entry in stores.journal.entries(member_id):
        for posting in entry.postings:
            ours[posting.rule] += posting.points
    unequal = [
        f"{rule}: Carnet {ours[rule]}, SQL {parts.get(rule, 0)}"
        for rule in sorted({*ours, *parts})
        if ours[rule] != parts.get(rule, 0)
    ]
    return f"{account}: {'; '.join(unequal)}"
