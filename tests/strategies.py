"""Random programmes and random lives of a member, for the properties of `step`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hypothesis import strategies as st

from loyalty.program.document import ProgramSchema, read
from loyalty.program.model import ENGAGEMENTS, Activity, Line, Payment, Posting, State, Undone
from loyalty.program.step import OverdrawnError, step
from tests.builders import NOON, program_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loyalty.program.model import Program

CHANNELS = ("store", "web", "app", "social")
STORES = ("S1", "S2")
BRANDS = ("", "Alba", "Boon")
CATEGORIES = {
    "milk": "Food/Dairy",
    "rye": "Food/Bakery",
    "wine": "Drinks",
    "toy": "",
    "egg": "Food",
}
SKUS = tuple(CATEGORIES)
ROUNDINGS = ("floor", "half_up", "ceiling")
ZONES = ("UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Auckland")
_SCHEMA = ProgramSchema()


def _some(values: Sequence[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


_places = {"channels": _some(CHANNELS), "stores": _some(STORES)}
_products = {
    "skus": _some(SKUS),
    "categories": _some(("Food", "Food/Dairy", "Drinks")),
    "brands": _some(BRANDS[1:]),
}
_place_match = st.fixed_dictionaries({}, optional=_places)
_match = st.fixed_dictionaries({}, optional={**_places, **_products})
_points = st.integers(1, 500)
_factor = st.sampled_from(("1.5", "2", "1.1", "3", "1.333", "999.999"))
_times = st.integers(1, 3)
_times_max = st.fixed_dictionaries(
    {}, optional={"day": _times, "week": _times, "month": _times, "lifetime": _times}
)
_basis = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        (
            "with_tax",
            "before_discounts",
            "gift_cards_earn",
            "points_payments_earn",
            "shipping_earns",
        ),
        st.booleans(),
    ),
)


def _rule(
    kind: str, match: st.SearchStrategy[Any], **fields: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"type": st.just(kind), **fields}, optional={"only": match, "excluding": match}
    )


SPEND = _rule(
    "spend",
    _match,
    points=_points,
    per_amount=st.integers(1, 2000),
    basis=_basis,
    rounding=st.sampled_from(ROUNDINGS),
    per=st.sampled_from(("basket", "line")),
    amount_min=st.sampled_from((0, 0, 1500)),
)
MULTIPLIER = _rule("multiplier", _match, factor=_factor, rounding=st.sampled_from(ROUNDINGS))
CHANNELS_MULTIPLIER = _rule(
    "channels_multiplier",
    _match,
    channels_min=st.integers(2, 3),
    window_days=st.integers(1, 60),
    factor=_factor,
    rounding=st.sampled_from(ROUNDINGS),
)
FIXED = _rule(
    "fixed",
    _match,
    points=_points,
    per=st.sampled_from(("unit", "line", "basket")),
    times_max=_times_max,
)
ENGAGEMENT = _rule(
    "engagement",
    _place_match,
    engagement=st.sampled_from(ENGAGEMENTS[:3]),
    points=_points,
    times_max=_times_max,
)
NTH_CHANNEL = _rule(
    "nth_channel",
    _place_match,
    n=st.integers(2, 4),
    window_days=st.integers(1, 60),
    points=_points,
    times_max=_times_max,
)
FIRST_ON_CHANNEL = _rule("first_on_channel", _place_match, points=_points, times_max=_times_max)
LIMITED = st.one_of(FIXED, ENGAGEMENT, NTH_CHANNEL, FIRST_ON_CHANNEL)
POLICIES = st.sampled_from(("within_balance", "may_go_negative"))
RULES = st.one_of(SPEND, SPEND, MULTIPLIER, CHANNELS_MULTIPLIER, LIMITED)


@st.composite
def documents(
    draw: st.DrawFn,
    rules: st.SearchStrategy[dict[str, Any]] = RULES,
    policies: st.SearchStrategy[str] = POLICIES,
) -> dict[str, Any]:
    """A programme's document with up to six rules."""
    drawn = draw(st.lists(rules, min_size=1, max_size=6))
    document = program_document(
        *({**rule, "id": f"r{number}"} for number, rule in enumerate(drawn)),
        time_zone=draw(st.sampled_from(ZONES)),
        returns={"balance": draw(policies), "rounding": draw(st.sampled_from(ROUNDINGS))},
    )
    months = draw(st.none() | st.integers(1, 24))
    return {**document, "expires_after_months": months} if months else document


def compiled(document: dict[str, Any], *, version: int = 1) -> Program:
    """The programme of a document that has no mistakes between its parts."""
    loaded: Any = _SCHEMA.load(document)
    return read(loaded, version=version)


def programs(
    rules: st.SearchStrategy[dict[str, Any]] = RULES,
    policies: st.SearchStrategy[str] = POLICIES,
) -> st.SearchStrategy[Program]:
    """A programme."""
    return documents(rules, policies).map(compiled)


class Back(NamedTuple):
    """Part of an earlier purchase comes back: of each line some hundredths of what is left."""

    which: int
    percents: tuple[int, ...]


class Event(NamedTuple):
    """What happens next, and how long after what happened before."""

    gap: timedelta
    what: Activity | Back


class Played(NamedTuple):
    """One call of `step` and what came of it."""

    before: State
    activity: Activity
    after: State
    postings: tuple[Posting, ...]


Life: TypeAlias = list[Played]


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """A line of a receipt; one in a few is free."""
    sku = draw(st.sampled_from(SKUS))
    return Line(
        sku,
        quantity=draw(st.integers(1, 4)),
        amount=draw(st.just(0) | st.integers(0, 9999)),
        tax=draw(st.sampled_from((0, 7, 199))),
        discount=draw(st.sampled_from((0, 50))),
        category=CATEGORIES[sku],
        brand=draw(st.sampled_from(BRANDS)),
    )


@st.composite
def purchases(draw: st.DrawFn) -> Activity:
    """A purchase whose payments do not exceed what was charged."""
    bought = tuple(draw(st.lists(lines(), min_size=1, max_size=4)))
    shipping = draw(st.sampled_from((0, 490)))
    payable = sum(line.amount + line.tax for line in bought) + shipping
    by_card = draw(st.just(0) | st.integers(0, payable))
    by_points = draw(st.just(0) | st.integers(0, payable - by_card))
    return Activity(
        "purchase",
        NOON,
        draw(st.sampled_from(CHANNELS)),
        draw(st.none() | st.sampled_from(STORES)),
        lines=bought,
        shipping_amount=shipping,
        payment=Payment(by_card, by_points),
    )


_engagements = st.builds(
    Activity,
    kind=st.just("engagement"),
    occurred_at=st.just(NOON),
    channel=st.sampled_from(CHANNELS),
    engagement=st.sampled_from(ENGAGEMENTS[:3]),
)
_adjustments = st.builds(
    Activity,
    kind=st.just("adjustment"),
    occurred_at=st.just(NOON),
    points=st.integers(-2000, 1000),
)
_backs = st.builds(Back, st.integers(0, 5), st.tuples(*[st.sampled_from((0, 30, 100, 100))] * 4))
_hours = st.integers(0, 30).map(lambda count: timedelta(hours=count))
_days = st.integers(0, 90).map(lambda count: timedelta(days=count))
_late = st.integers(-60, 60).map(lambda count: timedelta(days=count))
_happenings: st.SearchStrategy[Activity | Back] = st.one_of(
    purchases(), _engagements, _adjustments, _backs
)


def events(
    gaps: st.SearchStrategy[timedelta] = _hours | _days,
    happenings: st.SearchStrategy[Activity | Back] = _happenings,
) -> st.SearchStrategy[list[Event]]:
    """A life in order of time."""
    return st.lists(st.builds(Event, gaps, happenings), max_size=12)


AWARDS: st.SearchStrategy[list[Event]] = events(happenings=purchases() | _engagements)
IN_ORDER: st.SearchStrategy[list[Event]] = events()
LATE: st.SearchStrategy[list[Event]] = events(gaps=_late)
EVER: st.SearchStrategy[list[Event]] = IN_ORDER | LATE


def play(program: Program, happened: Sequence[Event]) -> Life:
    """What `step` makes of a life. What would overdraw does not happen."""
    life: Life = []
    state, at = State(), NOON
    for event in happened:
        at += event.gap
        activity = complete(event.what, life)
        if activity is None:
            continue
        try:
            after, postings = step(program, state, replace(activity, occurred_at=at))
        except OverdrawnError:
            continue
        life.append(Played(state, replace(activity, occurred_at=at), after, postings))
        state = after
    return life


def complete(what: Activity | Back, life: Life) -> Activity | None:
    """The activity, a return with what it undoes; None if there is nothing to return yet."""
    if isinstance(what, Activity):
        return what
    bought = [each for each in life if each.activity.kind == "purchase"]
    if not bought:
        return None
    number = what.which % len(bought)
    return give_back(bought[number], f"purchase-{number}", what.percents, life)


def give_back(purchase: Played, key: str, percents: Sequence[int], life: Life) -> Activity:
    """The return of some hundredths of what is left of each line of a purchase."""
    earlier = [
        each for each in life if each.activity.undone and each.activity.undone.purchase_key == key
    ]
    weights = weights_of(purchase.activity)
    before = [
        sum(each.activity.undone.returned_now[position] for each in earlier if each.activity.undone)
        for position in range(len(weights))
    ]
    now = [
        (weight - back) * percent // 100
        for weight, back, percent in zip(weights, before, percents, strict=False)
    ]
    undone = Undone(
        purchase_key=key,
        postings=purchase.postings,
        weights=weights,
        returned_before=tuple(before),
        returned_now=tuple(now),
        clawback_due_before=sum(due_of(each) for each in earlier),
    )
    return Activity("return", NOON, purchase.activity.channel, undone=undone)


def weights_of(purchase: Activity) -> tuple[int, ...]:
    """What part of a purchase each line is: its amount, or its units if all were free."""
    amounts = tuple(line.amount for line in purchase.lines)
    return amounts if any(amounts) else tuple(line.quantity for line in purchase.lines)


def due_of(played: Played) -> int:
    """What a return had to take back, whether it could or not."""
    return sum(each.inputs["due"] for each in played.postings if each.kind == "clawback")
