"""Random programmes and random lives of a member, for the properties of `step`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from hypothesis import strategies as st

from loyalty.program import model
from loyalty.program.book import Book
from loyalty.program.document import ProgramSchema, read
from loyalty.program.lots import ALWAYS, NEVER, Lot
from loyalty.program.model import (
    BROWSING,
    DECISIONS,
    FULFILMENTS,
    PAYMENT_METHODS,
    About,
    Activity,
    Line,
    Payment,
    Posting,
    State,
)
from loyalty.program.rules_document import stage
from loyalty.program.step import (
    HoldGoneError,
    OverdrawnError,
    TooManyHoldsError,
    check,
    step,
)
from loyalty.program.when_document import STAGES, WEEKDAYS
from tests.builders import NOON, program_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
UNITS = ("points", "stamps")
TIERS = ("basic", "gold")
SEGMENTS = ("vip", "staff")
CONDITIONS = (
    "basket.amount >= 2000",
    "member.balance % 2 == 0 || member.stage == 'trial'",
    "details.rating >= 4",
    "lines.exists(line, line.sku == 'milk')",
    "at.hour < 12 && channel in ['web', 'app']",
)
_SCHEMA = ProgramSchema()


def _some(values: Sequence[str], most: int = 2) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object in which each name may be missing."""
    return st.fixed_dictionaries({}, optional=fields)


_places = {"channels": _some(CHANNELS), "stores": _some(STORES)}
_products = {
    "skus": _some(SKUS),
    "categories": _some(("Food", "Food/Dairy", "Drinks")),
    "brands": _some(BRANDS[1:]),
}
_place_match = _optional(**_places)
_match = _optional(**_places, **_products)
_points = st.integers(1, 500)
_factor = st.sampled_from(("1.5", "2", "1.1", "3", "1.333", "999.999"))
_times = st.integers(1, 3)
_times_max = _optional(day=_times, week=_times, month=_times, year=_times, lifetime=_times)
_most = st.integers(1, 900)
_points_max = _optional(day=_most, week=_most, month=_most, year=_most, lifetime=_most)
_basis = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        (
            "with_tax",
            "before_discounts",
            "gift_cards_earn",
            "points_payments_earn",
            "shipping_earns",
            "order_discounts_earn",
            "coupons_earn",
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
    engagement=st.sampled_from(("follow", "share", "view")),
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
EVERY_NTH = _rule(
    "every_nth",
    _place_match,
    n=st.integers(2, 4),
    counts=st.sampled_from(("purchases", "visits", "units")),
    points=_points,
)
MILESTONE = _rule(
    "milestone",
    _match,
    measure=st.sampled_from(("purchases", "spend")),
    at=st.integers(1, 4) | st.integers(5000, 30_000),
    points=_points,
)
STREAK = _rule(
    "streak",
    _match,
    period=st.sampled_from(("day", "week", "month")),
    n=st.integers(2, 3),
    points=_points,
)
JOURNEY = _rule(
    "journey",
    _match,
    first=st.sampled_from(BROWSING),
    within_hours=st.integers(1, 1000),
    same=st.booleans(),
    other_channel=st.booleans(),
    points=_points,
)
REFERRAL = _rule("referral", _match, friend_points=_points, referrer_points=_points)
LIMITED = st.one_of(FIXED, ENGAGEMENT, NTH_CHANNEL, FIRST_ON_CHANNEL)
PLAIN = st.one_of(SPEND, SPEND, MULTIPLIER, CHANNELS_MULTIPLIER, LIMITED)
POLICIES = st.sampled_from(("within_balance", "may_go_negative"))
ANY_POLICY = POLICIES | st.just("only_pending")

_window = st.fixed_dictionaries({"days_before": st.integers(0, 9), "days_after": st.integers(0, 9)})
_clock = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
_money = st.integers(1, 9000)
_circumstances = {
    "starts_at": st.just("2026-03-20T00:00:00+01:00"),
    "ends_at": st.just("2026-05-20T00:00:00+01:00"),
    "weekdays": _some(WEEKDAYS, 5),
    "hours": st.fixed_dictionaries({"from": _clock, "to": _clock}),
    "clock": st.sampled_from(("program", "store")),
    "basket_min_amount": _money,
    "basket_max_amount": _money,
    "lines_min_amount": _money,
    "quantity_min": st.integers(1, 6),
    "payment": _some(PAYMENT_METHODS, 4),
    "fulfilment": _some(FULFILMENTS),
    "first_purchase": st.booleans(),
    "birthday": _window,
    "anniversary": _window,
    "tiers": _some(TIERS),
    "segments": _some(SEGMENTS),
    "stages": _some(STAGES, 4),
    "near": st.just([{"latitude": 52.5, "longitude": 13.4, "radius_m": 30_000}]),
    "condition": st.sampled_from(CONDITIONS),
}
# One or two circumstances at a time: with many, nothing would ever be paid.
_when = st.lists(
    st.sampled_from(sorted(_circumstances)), min_size=1, max_size=2, unique=True
).flatmap(lambda names: st.fixed_dictionaries({name: _circumstances[name] for name in names}))
_stacking = _optional(
    when=_when,
    unit=st.just("stamps"),
    priority=st.integers(-2, 2),
    group=st.booleans(),
    times_max=_times_max,
    points_max=_points_max,
    budget=st.integers(1, 2000),
    mode=st.sampled_from(("soft", "truncate", "hard")),
    on_return=st.sampled_from(("proportional", "while_it_holds", "when_undone", "keep")),
)
_SURE = st.fixed_dictionaries({"type": st.just("spend"), "points": _points, "per_amount": _most})
RULES = st.one_of(
    _SURE,
    _SURE,
    st.builds(
        lambda rule, more: {**rule, **more},
        st.one_of(PLAIN, EVERY_NTH, MILESTONE, STREAK, JOURNEY, REFERRAL),
        st.just({}) | _stacking,
    ),
)

_days_of_life = st.integers(1, 90)
_expiry = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={"months": st.integers(1, 6), "days": _days_of_life, "end_of": st.just("month")},
    ),
    st.fixed_dictionaries({"end_of": st.just("year")}),
    st.fixed_dictionaries({"months": st.integers(1, 6), "each_year_on": st.just("02-29")}),
    st.fixed_dictionaries({"on": st.just("2026-04-30")}),
    _optional(idle_months=st.integers(1, 3), idle_days=_days_of_life, months=st.just(4)),
)
_pending = st.one_of(
    st.just("return_window"),
    st.fixed_dictionaries({"days": st.integers(1, 30)}),
    st.just({"until": "2026-04-01"}),
)
_unit = _optional(expiry=_expiry, pending=_pending)
_ladder = st.builds(
    lambda period, more, threshold: {
        **more,
        **period,
        "ladder": [
            {"id": "basic", "name": "Basic", "threshold": 0},
            {"id": "gold", "name": "Gold", "threshold": threshold},
        ],
    },
    st.one_of(
        st.just({"period": "lifetime"}),
        st.just({"period": "rolling", "rolling_days": 40}),
        st.just({"period": "calendar", "calendar": "month"}),
        st.just({"period": "anniversary"}),
    ),
    st.fixed_dictionaries(
        {"measure": st.sampled_from(("spend", "points", "purchases"))},
        optional={
            "entry": st.sampled_from(("at_once", "at_review")),
            "grace_days": st.integers(0, 30),
            "counts_current": st.booleans(),
            "on_return": st.sampled_from(("subtract", "keep")),
        },
    ),
    st.sampled_from((2, 500, 9000)),
)
FRAMES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"units": st.fixed_dictionaries({"stamps": _unit}, optional={"points": _unit})},
    optional={
        "multipliers": st.sampled_from(("add", "multiply", "best")),
        "tiers": _ladder,
        "stages": st.just(
            {"loyal_purchases_min": 2, "at_risk_after_days": 20, "lapsed_after_days": 40}
        ),
    },
)
MONTHS: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.fixed_dictionaries(
    {"expires_after_months": st.integers(1, 24)}
)


def _grouped(rule: dict[str, Any]) -> dict[str, Any]:
    """The rule with the group of its stage, if it is to be in one: a group is of one kind."""
    rest = {name: value for name, value in rule.items() if name != "group"}
    if not rule.get("group"):
        return rest
    rest.pop("unit", None)
    return {**rest, "group": f"stage-{stage(rule['type'])}"}


@st.composite
def documents(
    draw: st.DrawFn,
    rules: st.SearchStrategy[dict[str, Any]] = PLAIN,
    policies: st.SearchStrategy[str] = POLICIES,
    frames: st.SearchStrategy[dict[str, Any]] = MONTHS,
) -> dict[str, Any]:
    """A programme's document with up to six rules."""
    drawn = [_grouped(rule) for rule in draw(st.lists(rules, min_size=1, max_size=6))]
    ways = st.sampled_from(("first", "best"))
    groups = {name: draw(ways) for name in sorted({rule.get("group", "") for rule in drawn} - {""})}
    return program_document(
        *({**rule, "id": f"r{number}"} for number, rule in enumerate(drawn)),
        time_zone=draw(st.sampled_from(ZONES)),
        returns={
            "balance": draw(policies),
            "rounding": draw(st.sampled_from(ROUNDINGS)),
            "by": draw(st.sampled_from(("line", "value"))),
        },
        **({"groups": groups} if groups else {}),
        **draw(frames),
    )


def compiled(document: dict[str, Any], *, version: int = 1) -> Program:
    """The programme of a document that has no mistakes between its parts."""
    loaded: Any = _SCHEMA.load(document)
    return read(loaded, version=version)


def programs(
    rules: st.SearchStrategy[dict[str, Any]] = RULES,
    policies: st.SearchStrategy[str] = ANY_POLICY,
    frames: st.SearchStrategy[dict[str, Any]] = FRAMES | MONTHS,
) -> st.SearchStrategy[Program]:
    """A programme of the whole rule language."""
    return documents(rules, policies, frames).map(compiled)


class Back(NamedTuple):
    """Part of an earlier purchase comes back: hundredths of its units or, in all, of its money."""

    which: int
    percents: tuple[int, ...]
    in_money: bool = False


class Hold(NamedTuple):
    """Points are set aside for some days."""

    points: int
    unit: str
    days: int


class Resolve(NamedTuple):
    """An earlier hold is captured, so many hundredths of it, or released."""

    which: int
    kind: Literal["capture", "release"]
    percent: int


class Restore(NamedTuple):
    """An earlier redemption is undone."""

    which: int


class Redemption(NamedTuple):
    """A hold and what becomes of it, one after the other."""

    parts: tuple[Hold | Resolve | Restore, ...]


What: TypeAlias = Activity | Back | Hold | Resolve | Restore | Redemption


class Event(NamedTuple):
    """What happens next, and how long after what happened before."""

    gap: timedelta
    what: What


class Played(NamedTuple):
    """One call of `step` and what came of it."""

    before: State
    activity: Activity
    after: State
    postings: tuple[Posting, ...]


Life: TypeAlias = list[Played]

# Few draws make many lives: what goes together is drawn together.
_ABOUTS = [
    About(),
    About(birthday_in_days=0, segments=frozenset({"vip"}), zone="Europe/Berlin"),
    About(joined_at=datetime(2025, 3, 8, tzinfo=UTC), is_referred=True, place=(52.4, 13.1)),
    About(joined_at=datetime(2025, 4, 8, tzinfo=UTC), birthday_in_days=-5, zone="Pacific/Auckland"),
    About(segments=frozenset(SEGMENTS), is_referred=True, place=(48.1, 11.6)),
]
_abouts = st.sampled_from(_ABOUTS)
_budgets: st.SearchStrategy[dict[str, int]] = st.sampled_from(
    ({}, {}, {"r0": 0}, {"r0": 40, "r1": 200}, {"r1": 7, "r2": 900})
)
_methods = st.sampled_from(((), ("card",), ("cash", "wallet"), ("points", "gift_card", "invoice")))
_wheres = st.sampled_from(
    [
        *((channel, None, "") for channel in CHANNELS),
        ("store", "S1", "carried"),
        ("store", "S2", "carried"),
        ("web", None, "shipped"),
        ("app", "S1", "collected"),
    ]
)
_extras = st.sampled_from(
    [(tax, discount, brand) for tax in (0, 7, 199) for discount in (0, 50) for brand in BRANDS]
)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """A line of a receipt; one in a few is free."""
    sku = draw(st.sampled_from(SKUS))
    amount, quantity = draw(st.integers(-2000, 9999)), draw(st.integers(1, 4))
    tax, discount, brand = draw(_extras)
    return Line(sku, quantity, max(0, amount), tax, discount, CATEGORIES[sku], brand)


@st.composite
def purchases(draw: st.DrawFn) -> Activity:
    """A purchase whose discounts and payments do not exceed what was charged."""
    bought = tuple(draw(st.lists(lines(), min_size=1, max_size=3)))
    shipping, off_share = draw(st.sampled_from(((0, 0), (0, 0), (490, 0), (0, 30), (490, 9))))
    charged = sum(line.amount + line.tax for line in bought) + shipping
    off = charged * off_share // 100
    by_card, by_points = draw(st.sampled_from(((0, 0), (0, 0), (50, 0), (0, 37), (40, 60))))
    channel, store, fulfilment = draw(_wheres)
    payable = charged - off
    return Activity(
        "purchase",
        NOON,
        channel,
        store,
        lines=bought,
        shipping_amount=shipping,
        discount_amount=off // 2,
        coupon_amount=off - off // 2,
        fulfilment=fulfilment,
        payment=Payment(payable * by_card // 100, payable * by_points // 100, draw(_methods)),
        about=draw(_abouts),
        budgets=draw(_budgets),
    )


_engagements = st.builds(
    Activity,
    kind=st.just("engagement"),
    occurred_at=st.just(NOON),
    channel=st.sampled_from(CHANNELS),
    engagement=st.sampled_from(("follow", "share", "visit", "view", "view", "cart")),
    skus=st.lists(st.sampled_from(SKUS), max_size=2, unique=True).map(tuple),
    details=st.just({}) | st.fixed_dictionaries({"rating": st.integers(1, 5)}),
    about=_abouts,
)
_units = st.sampled_from(UNITS)
_adjustments = st.builds(
    Activity,
    kind=st.just("adjustment"),
    occurred_at=st.just(NOON),
    points=st.integers(-2000, 1000),
    unit=_units,
)
_lots = st.builds(
    Lot,
    st.sampled_from((NOON + timedelta(days=20), NOON + timedelta(days=300), NEVER)),
    st.integers(1, 300),
    st.sampled_from((ALWAYS, NOON + timedelta(days=9))),
)
_transfers = st.builds(
    Activity,
    kind=st.just("transfer"),
    occurred_at=st.just(NOON),
    points=st.integers(1, 300),
    unit=_units,
    lots=st.lists(_lots, max_size=2).map(tuple),
)
_alone = st.sampled_from((Activity("referral", NOON), Activity("passage", NOON)))
_which = st.integers(0, 5)
_percents = st.tuples(*[st.sampled_from((0, 30, 100, 100))] * 4)
_backs = st.builds(Back, _which, _percents, st.booleans())
_redemptions = st.one_of(
    st.builds(Hold, st.integers(1, 60), _units, st.sampled_from((0, 3, 30, 300, 300))),
    st.builds(Resolve, _which, st.sampled_from(("capture", "release")), st.integers(0, 100)),
    st.builds(Restore, _which),
)
_whole_redemptions = st.builds(
    lambda points, resolve, restores: Redemption(
        (Hold(points, "points", 300), resolve, *[Restore(resolve.which)] * restores)
    ),
    st.integers(1, 40),
    st.builds(Resolve, _which, st.sampled_from(("capture", "release")), st.integers(0, 100)),
    st.integers(0, 1),
)
_hours = st.integers(0, 30).map(lambda count: timedelta(hours=count))
_days = st.integers(0, 90).map(lambda count: timedelta(days=count))
_anyhow = st.integers(-60, 60).map(lambda count: timedelta(days=count))
_happenings: st.SearchStrategy[What] = st.one_of(
    purchases(),
    purchases(),
    _engagements,
    _adjustments,
    _transfers,
    _alone,
    _backs,
    _redemptions,
    _whole_redemptions,
)


def events(
    gaps: st.SearchStrategy[timedelta] = _hours | _days,
    happenings: st.SearchStrategy[What] = _happenings,
) -> st.SearchStrategy[list[Event]]:
    """A life that begins with a purchase."""
    first = st.builds(Event, gaps, purchases())
    rest = st.lists(st.builds(Event, gaps, happenings), min_size=2, max_size=10)
    return st.builds(lambda event, others: [event, *_flat(others)], first, rest)


def _flat(happened: Sequence[Event]) -> Iterator[Event]:
    """The events, a redemption in its parts."""
    for event in happened:
        if isinstance(event.what, Redemption):
            for part in event.what.parts:
                yield Event(event.gap / 4, part)
        else:
            yield event


AWARDS: st.SearchStrategy[list[Event]] = events(happenings=purchases() | _engagements)
EVER: st.SearchStrategy[list[Event]] = events()
IN_NO_ORDER: st.SearchStrategy[list[Event]] = events(gaps=_anyhow)


def play(program: Program, happened: Sequence[Event]) -> Life:
    """What `step` makes of a life. What the member cannot do does not happen."""
    life: Life = []
    state, at, book = State(), NOON, Book()
    for number, event in enumerate(happened):
        at += event.gap
        activity = _drawn(event.what, life, at)
        if activity is None:
            continue
        key = f"{activity.kind}-{number:02}"
        activity = book.complete(replace(activity, occurred_at=at, key=key))
        if activity.kind in DECISIONS and is_refused(state, activity):
            continue
        after, postings = step(program, state, activity)
        book.record(activity, postings)
        life.append(Played(state, activity, after, postings))
        state = after
    return life


def is_refused(state: State, activity: Activity) -> bool:
    """Whether the member cannot do that."""
    try:
        check(state, activity)
    except (OverdrawnError, HoldGoneError, TooManyHoldsError):
        return True
    return False


def _drawn(what: What, life: Life, at: datetime) -> Activity | None:
    """The activity that is meant; None if there is nothing yet that it could be about."""
    if isinstance(what, Activity):
        return what
    if isinstance(what, Hold):
        expires_at = at + timedelta(days=what.days)
        return Activity("hold", at, points=what.points, unit=what.unit, expires_at=expires_at)
    if isinstance(what, Redemption):
        return None
    found = _chosen(life, _ABOUT[type(what)], what.which)
    return found and _about_earlier(what, found, life, at)


_ABOUT = {Back: "purchase", Resolve: "hold", Restore: "capture"}


def _about_earlier(
    what: Back | Resolve | Restore, earlier: Activity, life: Life, at: datetime
) -> Activity | None:
    if isinstance(what, Back):
        return Activity("return", at, earlier.channel, back=_back(earlier, what))
    if isinstance(what, Resolve):
        points = earlier.points * what.percent // 100 if what.kind == "capture" else 0
        return Activity(what.kind, at, points=points, unit=earlier.unit, hold=earlier.key)
    restored = {each.activity.hold for each in life if each.activity.kind == "restore"}
    return None if earlier.hold in restored else Activity("restore", at, hold=earlier.hold)


def _chosen(life: Life, kind: str, which: int) -> Activity | None:
    found = [each.activity for each in life if each.activity.kind == kind]
    return found[which % len(found)] if found else None


def _back(bought: Activity, what: Back) -> model.Back:
    if all(percent == 100 for percent in what.percents):
        return model.Back(bought.key)
    if what.in_money:
        amount = sum(line.amount for line in bought.lines) * what.percents[0] // 100
        return model.Back(bought.key, amount=amount)
    return model.Back(bought.key, units_of(bought, what.percents))


def units_of(bought: Activity, percents: Sequence[int]) -> tuple[tuple[str, int], ...]:
    """So many hundredths of the units of each line."""
    units = (
        (line.sku, line.quantity * percent // 100)
        for line, percent in zip(bought.lines, percents, strict=False)
    )
    return tuple((sku, quantity) for sku, quantity in units if quantity)
