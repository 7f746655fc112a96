"""Random programmes with most kinds of rules, random lives of one member, and what must hold.

A life is made in the order of its times and holds only returns that can be there; a test sends it
in any order it likes. `is_sound` compares a journal with a fold of the very activities that were
sent, by code that does not read the journal.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import bson
from bson.codec_options import CodecOptions
from hypothesis import strategies as st

from loyalty.access.model import Caller
from loyalty.journal.codec import (
    activity_to_document,
    posting_from_document,
    posting_to_document,
    state_from_document,
    state_to_document,
)
from loyalty.journal.drafts import EMPTY, Draft
from loyalty.journal.late import Fact, fold, restated
from loyalty.journal.store import RESTATING
from loyalty.kit.idempotency import fingerprint
from loyalty.program.book import Book, ExcessError
from loyalty.program.document import ProgramSchema
from loyalty.program.lots import balance_of
from loyalty.program.model import BROWSING, About, Activity, Back, Line
from loyalty.versions.model import Version
from tests.builders import NOON, program_document, unique

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from app import Parts
    from loyalty.journal.model import Entry
    from loyalty.program.model import Posting, Program, State

    Document = dict[str, Any]

CALLER = Caller("tests", frozenset())
CHANNELS = ("store", "web", "app")
CATEGORIES = {"milk": "Food/Dairy", "rye": "Food", "toy": ""}
ENGAGEMENTS = ("visit", "review")
UNITS = ("points", "stamps")
_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)

# --- programmes ---------------------------------------------------------------------------------

_points = st.integers(1, 50)
_some_channels = st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=2, unique=True)
_times = st.dictionaries(
    st.sampled_from(("day", "week", "month", "lifetime")), st.integers(1, 2), max_size=2
)
_points_max = st.dictionaries(
    st.sampled_from(("day", "month", "lifetime")), st.integers(50, 90), max_size=2
)
_when = st.one_of(
    st.just({"first_purchase": True}),
    st.just({"stages": ["trial", "loyal"]}),
    st.just({"tiers": ["silver", "gold"]}),
    st.just({"basket_min_amount": 1500}),
    st.just({"weekdays": ["mon", "tue", "wed", "sun"]}),
)
_window = st.sampled_from((1, 10, 40))


def _kind(name: str, *, is_of_lines: bool = True, **own: Any) -> st.SearchStrategy[Document]:
    """A rule of a kind with any of what all rules have."""
    optional: dict[str, Any] = {
        "only": st.fixed_dictionaries({"channels": _some_channels}),
        "times_max": _times,
        "points_max": _points_max,
        "priority": st.integers(-1, 1),
        "on_return": st.sampled_from(("proportional", "while_it_holds", "when_undone", "keep")),
        "unit": st.sampled_from(UNITS),
    }
    if is_of_lines:
        optional["when"] = _when
        optional["only"] |= st.fixed_dictionaries({"categories": st.just(["Food"])})
    return st.fixed_dictionaries({"type": st.just(name), **own}, optional=optional)


def _factor(name: str, **own: Any) -> st.SearchStrategy[Document]:
    """A factor on the main unit, which is the one that surely has spend points."""
    rules = _kind(name, factor=st.sampled_from(("1.5", "2")), **own)
    return rules.map(lambda rule: {**rule, "unit": "points"})


_RULES: st.SearchStrategy[Document] = st.one_of(
    _kind("spend", points=st.integers(1, 3), per_amount=st.sampled_from((50, 100, 333))),
    _kind("fixed", points=_points, per=st.sampled_from(("unit", "line", "basket"))),
    _factor("multiplier"),
    _factor("channels_multiplier", channels_min=st.integers(2, 3), window_days=_window),
    _kind(
        "nth_channel", is_of_lines=False, points=_points, n=st.integers(2, 3), window_days=_window
    ),
    _kind("first_on_channel", is_of_lines=False, points=_points),
    _kind(
        "engagement",
        is_of_lines=False,
        points=_points,
        engagement=st.sampled_from(ENGAGEMENTS),
    ),
    _kind(
        "every_nth",
        points=_points,
        n=st.integers(2, 3),
        counts=st.sampled_from(("purchases", "units")),
    ),
    _kind("milestone", points=_points, measure=st.just("purchases"), at=st.integers(1, 4)),
    _kind("milestone", points=_points, measure=st.just("spend"), at=st.integers(1000, 5000)),
    _kind("streak", points=_points, period=st.sampled_from(("day", "week")), n=st.integers(2, 3)),
    _kind(
        "journey",
        points=_points,
        first=st.sampled_from(BROWSING[:2]),
        within_hours=st.sampled_from((24, 240)),
        same=st.booleans(),
        other_channel=st.booleans(),
    ),
    st.just({"type": "referral", "friend_points": 25, "referrer_points": 40}),
)
_expiry = st.sampled_from(
    (
        {"days": 20},
        {"months": 1},
        {"months": 1, "end_of": "month"},
        {"idle_days": 15},
        {"months": 2, "idle_days": 30},
    )
)
_units = st.fixed_dictionaries(
    {"stamps": st.fixed_dictionaries({}, optional={"expiry": _expiry})},
    optional={
        "points": st.fixed_dictionaries(
            {},
            optional={"expiry": _expiry, "pending": st.sampled_from(({"days": 3}, {"days": 12}))},
        )
    },
)
_LADDER = [
    {"id": "basic", "name": "Basic", "threshold": 0},
    {"id": "silver", "name": "Silver", "threshold": 3},
    {"id": "gold", "name": "Gold", "threshold": 60},
]
_tiers = st.fixed_dictionaries(
    {"measure": st.sampled_from(("points", "purchases", "spend"))},
    optional={
        "entry": st.sampled_from(("at_once", "at_review")),
        "grace_days": st.sampled_from((0, 5)),
        "counts_current": st.booleans(),
        "on_return": st.sampled_from(("subtract", "keep")),
    },
)
_periods: st.SearchStrategy[Document] = st.sampled_from(
    (
        {"period": "lifetime"},
        {"period": "rolling", "rolling_days": 20},
        {"period": "calendar", "calendar": "month"},
        {"period": "anniversary"},
    )
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A programme's document with one to six rules; a spend rule is always there."""
    drawn = draw(st.lists(_RULES, min_size=2, max_size=6))
    base = {"id": "base", "type": "spend", "points": 1, "per_amount": 100}
    rules = [base, *({**rule, "id": f"r{number}"} for number, rule in enumerate(drawn))]
    for rule in rules:
        if rule["type"] == "referral":
            rule["id"] = "referral"
    known = {rule["id"]: rule for rule in rules}
    document = program_document(
        *known.values(),
        channels=list(CHANNELS),
        time_zone=draw(st.sampled_from(("UTC", "America/Los_Angeles"))),
        units=draw(_units),
        multipliers=draw(st.sampled_from(("add", "multiply", "best"))),
        returns={
            "balance": draw(st.sampled_from(("within_balance", "may_go_negative"))),
            "by": draw(st.sampled_from(("line", "value"))),
        },
    )
    if "tiers" in str(document) or draw(st.booleans()):
        document["tiers"] = {**draw(_tiers), **draw(_periods), "ladder": _LADDER}
    return document


def publish(parts: Parts, document: Document) -> Program:
    """The programme of a document, as one more version in the database."""
    loaded: Any = ProgramSchema().load(document)
    shelf = parts.stores.programs
    shelf.forget_age()
    number = len(shelf.all()) + 1
    shelf.store.add(Version(number, loaded, NOON + timedelta(days=number), NOON, "tests"))
    return shelf.version(number)


# --- lives --------------------------------------------------------------------------------------

_lines = st.builds(
    lambda sku, quantity, amount: Line(sku, quantity, amount, category=CATEGORIES[sku]),
    st.sampled_from(tuple(CATEGORIES)),
    st.integers(1, 3),
    st.sampled_from((0, 100, 999, 2000, 3333)),
)
_purchases = st.builds(
    Activity,
    kind=st.just("purchase"),
    occurred_at=st.just(NOON),
    channel=st.sampled_from(CHANNELS),
    lines=st.lists(_lines, min_size=1, max_size=3).map(tuple),
    about=st.builds(
        About, joined_at=st.just(NOON - timedelta(days=400)), is_referred=st.just(value=True)
    ),
)
_engagements = st.builds(
    Activity,
    kind=st.just("engagement"),
    occurred_at=st.just(NOON),
    channel=st.sampled_from(CHANNELS),
    engagement=st.sampled_from((*ENGAGEMENTS, *BROWSING[:2])),
    skus=st.sampled_from(((), ("milk",), ("rye", "toy"))),
    about=st.builds(About, joined_at=st.just(NOON - timedelta(days=400))),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A return to be: of which of the purchases so far, and how much of it."""

    which: int
    units: tuple[int, ...] | None
    percent: int


_wishes = st.one_of(
    st.builds(Wish, st.integers(0, 5), st.none(), st.just(0)),
    st.builds(Wish, st.integers(0, 5), st.tuples(*[st.integers(0, 2)] * 3), st.just(0)),
    st.builds(Wish, st.integers(0, 5), st.none(), st.integers(1, 100)),
)
_gaps = st.sampled_from((0, 0, 1, 1, 24, 24, 7 * 24, 16 * 24, 33 * 24))


@st.composite
def lives(draw: st.DrawFn, *, size_min: int = 3, size_max: int = 9) -> list[Activity]:
    """What one member did, by time and key, every return with something to take back."""
    wanted = st.one_of(_purchases, _purchases, _engagements, _wishes)
    at, happened = NOON, []
    size = draw(st.integers(size_min, size_max))
    for number in range(size):
        at += timedelta(hours=draw(_gaps))
        happened.append((at, number, draw(wanted)))
    return _possible(happened, unique("life"))


def _possible(happened: Iterable[tuple[Any, int, Activity | Wish]], name: str) -> list[Activity]:
    """The activities with their times and keys, and the wishes that can come true."""
    life: list[Activity] = []
    book = Book()
    for at, number, each in happened:
        if isinstance(each, Wish):
            bought = [every for every in life if every.kind == "purchase"]
            back = _back(each, bought)
            if back is None:
                continue
            activity = Activity("return", at, "store", back=back, key=f"return/{name}/{number}")
        else:
            # Within one moment the keys decide; they need not agree with the numbers.
            key = f"{each.kind}/{name}/{number * 7 % 10}-{number}"
            activity = replace(each, occurred_at=at, key=key)
        life.append(activity)
    found = []
    for activity in sorted(life, key=order_of):
        try:
            book.complete(activity, strict=True)
        except ExcessError:
            continue
        book.record(activity, ())
        found.append(activity)
    return found


def _back(wish: Wish, bought: Sequence[Activity]) -> Back | None:
    if not bought:
        return None
    purchase = bought[wish.which % len(bought)]
    if wish.units is not None:
        pairs = zip(purchase.lines, wish.units, strict=False)
        lines = tuple((line.sku, units) for line, units in pairs if units)
        return Back(purchase.key, lines) if lines else None
    if wish.percent:
        amount = sum(line.amount for line in purchase.lines) * wish.percent // 100
        return Back(purchase.key, amount=amount) if amount else None
    return Back(purchase.key)


def order_of(activity: Activity) -> tuple[Any, str]:
    """Where an activity belongs."""
    return activity.occurred_at, activity.key


@st.composite
def arrivals(draw: st.DrawFn, life: Sequence[Activity], *, repeats: int = 2) -> list[Activity]:
    """A life as it arrives: in any order, some of it twice, no return before its purchase."""
    # Drawn one by one, orders would mostly be close to the one that they begin with.
    dice = random.Random(draw(st.integers(0, 2**32)))  # noqa: S311  # not a secret
    arrived = [each for each in life if each.back is None]
    dice.shuffle(arrived)
    for activity in dice.sample(returns := [each for each in life if each.back], len(returns)):
        keys = [each.key for each in arrived]
        after = keys.index(activity.back.purchase_key) + 1 if activity.back else 0
        arrived.insert(dice.randint(after, len(arrived)), activity)
    for _ in range(repeats if arrived else 0):
        known = dice.randrange(len(arrived))
        arrived.insert(dice.randint(known + 1, len(arrived)), arrived[known])
    return arrived


def renamed(life: Iterable[Activity], suffix: str) -> list[Activity]:
    """The same life under other keys, in the same order; keys exist once over all members."""
    found = []
    for each in life:
        back = each.back
        if back:
            back = back._replace(purchase_key=back.purchase_key + suffix)
        found.append(replace(each, key=each.key + suffix, back=back))
    return found


def draft_of(member_id: str, activity: Activity, rules: Program) -> Draft:
    """An activity as a fact to append."""
    document = {**activity_to_document(activity), "external_id": activity.key}
    return Draft(
        member_id=member_id,
        key=activity.key,
        fingerprint=fingerprint({"member": member_id, **document}),
        source="tests",
        received_at=NOON + timedelta(days=400),
        activity=activity,
        document=document,
        program=rules,
    )


# --- what must hold -----------------------------------------------------------------------------


def kept(state: State) -> State:
    """A state as it is read again after it was written."""
    return state_from_document(_written(state_to_document(state)))


def kept_postings(postings: Iterable[Posting]) -> list[Posting]:
    """Postings as they are read again after they were written."""
    documents_ = [_written(posting_to_document(each)) for each in postings]
    return [posting_from_document(each) for each in documents_]


def _written(document: Document) -> Document:
    read: Document = bson.decode(bson.encode(document), codec_options=_CODEC)
    return read


def is_sound(entries: Sequence[Entry], facts: Sequence[Fact]) -> State:
    """The state of a journal, which is that of the facts in the order of their time.

    Args:
        entries: the whole journal of a member.
        facts: what was sent and not reversed, complete in itself; decisions at their own times.
    """
    assert [each.seq for each in entries] == list(range(1, len(entries) + 1))
    assert max(Counter(each.key for each in entries).values(), default=1) == 1
    state, found = fold(EMPTY, facts)
    newest = restated(entries)
    reversed_keys = {key for each in entries if each.kind == "reversal" for key in undone_by(each)}
    own = {each.key: each.postings for each in entries if each.kind not in RESTATING}
    assert own.keys() - reversed_keys == found.keys()
    for key, (_, postings) in found.items():
        assert list(newest.get(key, own[key])) == kept_postings(postings), key
    explains_itself(entries)
    now = entries[-1].state if entries else EMPTY
    assert kept(state) == now
    return now


def explains_itself(entries: Sequence[Entry]) -> None:
    """Whether each balance follows from the one before, and each correction from what it names."""
    sums: Counter[str] = Counter()
    told: dict[str, tuple[str, tuple[Posting, ...]]] = {}
    for entry in entries:
        for posting in entry.postings:
            sums[posting.unit] += posting.points
        assert entry.balance_after == sums["points"], entry
        if entry.kind in RESTATING:
            _names_what_it_changes(entry, told)
        else:
            told[entry.key] = (entry.id, entry.postings)
    lots = entries[-1].state.lots if entries else {}
    held = {unit: balance_of(each) for unit, each in lots.items() if balance_of(each)}
    assert held == {unit: points for unit, points in sums.items() if points}


def _names_what_it_changes(entry: Entry, told: dict[str, tuple[str, tuple[Posting, ...]]]) -> None:
    """Whether a correction moves just what its restatements differ by; they are told from then."""
    moved: Counter[tuple[str, str, str]] = Counter()
    for each in entry.activity["corrects"]:
        entry_id, before = told[each["key"]]
        assert entry_id == each["entry"]
        now = tuple(posting_from_document(one) for one in each["postings"])
        assert now != before, f"{entry.key} restates {each['key']} as it was"
        for sign, postings in ((-1, before), (1, now)):
            for posting in postings:
                moved[entry_id, posting.rule, posting.unit] += sign * posting.points
        told[each["key"]] = (entry_id, now)
    posted = {(each.inputs["entry"], each.rule, each.unit): each.points for each in entry.postings}
    assert posted == {name: points for name, points in moved.items() if points}
    assert all(each.inputs["now"] - each.inputs["was"] == each.points for each in entry.postings)


def undone_by(reversal: Entry) -> list[str]:
    """The keys of the facts that a reversal undid."""
    keys: list[str] = reversal.activity["undoes"]
    return keys


def facts_in(life: Iterable[Activity], rules: Program) -> list[Fact]:
    """Activities under one programme."""
    return [Fact(each, rules) for each in life]


def by_key(entries: Iterable[Entry]) -> Mapping[str, Entry]:
    """Entries by their keys."""
    return {each.key: each for each in entries}
