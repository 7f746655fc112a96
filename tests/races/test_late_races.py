"""Late facts, returns, holds, campaigns, referrals and transfers, all at once and in bulk."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.journal.appending import append, append_together
from loyalty.journal.bulk import append_all
from loyalty.journal.late import restated
from loyalty.journal.model import InsufficientPointsError
from loyalty.journal.service import reverse
from loyalty.journal.store import RESTATING, JournalStore
from loyalty.program.lots import NEVER, Lot
from loyalty.program.model import Activity, Back
from loyalty.referrals.model import Referral
from tests.builders import BASE_RULE, NOON, enrolled, line, program_document, purchase, unique
from tests.races.lives import CALLER, draft_of, facts_in, is_sound, publish
from tests.races.test_races import race
from tests.store.watching import watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from app import Parts
    from loyalty.journal.drafts import Draft, Recorded
    from loyalty.journal.model import Entry
    from loyalty.kit.settings import Settings
    from loyalty.program.model import Program

SEED = 20260301
THREADS = 16
# Whatever arrives late changes something here: ranks, counts, windows, dates and the tier.
SENSITIVE = program_document(
    BASE_RULE,
    {"id": "third", "type": "every_nth", "n": 3, "points": 30},
    {"id": "second", "type": "nth_channel", "n": 2, "window_days": 20, "points": 50},
    {"id": "first", "type": "fixed", "per": "basket", "points": 7, "times_max": {"month": 1}},
    {"id": "silver", "type": "multiplier", "factor": "2", "when": {"tiers": ["silver"]}},
    units={"points": {"expiry": {"days": 60}}},
    tiers={
        "measure": "purchases",
        "period": "rolling",
        "rolling_days": 20,
        "ladder": [
            {"id": "basic", "name": "Basic", "threshold": 0},
            {"id": "silver", "name": "Silver", "threshold": 3},
        ],
    },
)


def bought(day: float, channel: str = "store", amount: int = 1000, **more: Any) -> Activity:
    """A purchase on a day."""
    at = NOON + timedelta(days=day)
    activity = purchase(line(amount, quantity=2), at=at, channel=channel, **more)
    return replace(activity, key=f"purchase/{channel}//{unique()}")


def appending(parts: Parts, member: str, activity: Activity, rules: Program) -> Callable[[], Any]:
    """A call to make later; a refusal is an answer too."""
    draft = draft_of(member, activity, rules)

    def call() -> Recorded | InsufficientPointsError:
        try:
            return append(draft, parts.stores)
        except InsufficientPointsError as error:
            return error

    return call


def journal_of(parts: Parts, member: str) -> list[Entry]:
    return list(parts.journal.entries(member))


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_late_facts_returns_and_holds_at_once_each_count_once_and_end_as_the_fold(
    parts: Parts, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311  # not a secret
    rules, member = publish(parts, SENSITIVE), enrolled(parts)
    first = [bought(day, dice.choice(("store", "web", "app"))) for day in (0, 5, 10, 15, 20, 25)]
    for each in first:
        append(draft_of(member, each, rules), parts.stores)
    late = [bought(dice.randint(-5, 30), dice.choice(("store", "web", "app"))) for _ in range(6)]
    backs = [
        Activity("return", each.occurred_at, "store", back=Back(each.key, lines), key=unique("r"))
        for each, lines in zip(first, [None, (("milk", 1),), None, (("milk", 1),)], strict=False)
    ]
    end = NOON + timedelta(days=40)
    holds = [
        Activity("hold", NOON, points=60, key=unique("hold"), expires_at=end) for _ in range(6)
    ]
    facts = [*late, *backs, *holds]
    race([appending(parts, member, each, rules) for each in [*facts, *late[:4]]][:THREADS])
    answers = race([appending(parts, member, each, rules) for each in facts])
    entries = journal_of(parts, member)
    taken = {each.key: each.occurred_at for each in entries if each.kind == "hold"}
    kept = [replace(each, occurred_at=taken[each.key]) for each in holds if each.key in taken]
    is_sound(entries, facts_in([*first, *late, *backs, *kept], rules))
    refused = sum(isinstance(each, InsufficientPointsError) for each in answers)
    assert len(kept) + refused == len(holds)


def campaign(mode: str, **more: Any) -> dict[str, Any]:
    """A programme with a campaign of 12 points a basket and 100 in all."""
    rule = {"id": "gift", "type": "fixed", "per": "basket", "points": 12, "budget": 100}
    return program_document(BASE_RULE, {**rule, "mode": mode, **more})


def of_the_campaign(parts: Parts) -> Counter[str]:
    """What each member's entries took of the budget; the counter says the same in all."""
    taken: Counter[str] = Counter()
    for document in parts.database["journal"].find():
        for posting in document["postings"]:
            if posting["rule"] == "gift":
                taken[document["member"]] += posting["points"]
    counted = parts.database["budgets"].find_one({"_id": "gift"})
    assert counted
    assert counted["spent"] == taken.total()
    return taken


@pytest.mark.parametrize(("mode", "total"), [("truncate", 100), ("hard", 96), ("soft", 108)])
def test_a_campaigns_budget_holds_whoever_comes_at_once(
    parts: Parts, mode: str, total: int
) -> None:
    rules = publish(parts, campaign(mode))
    members = [enrolled(parts) for _ in range(THREADS)]
    calls = [appending(parts, each, bought(1), rules) for each in members]
    race(calls)
    taken = of_the_campaign(parts)
    assert taken.total() == total
    assert max(taken.values()) <= 12
    # Nobody is paid twice, and what comes late finds nothing left either.
    race(calls)
    race([appending(parts, each, bought(0), rules) for each in members])
    assert of_the_campaign(parts) == taken
    for each in members:
        entries = journal_of(parts, each)
        assert entries[-1].state.balance == 20 + taken[each]


def test_what_late_facts_and_reversals_give_back_to_a_campaign_is_there_for_others(
    parts: Parts,
) -> None:
    rules = publish(parts, campaign("truncate", times_max={"lifetime": 1}))
    members = [enrolled(parts) for _ in range(8)]
    first = [bought(1) for _ in members]
    late = [bought(0) for _ in members]
    for each in (first, late):
        # The late purchase is the one that is paid then: the other gives back what it had.
        race([appending(parts, *pair, rules) for pair in zip(members, each, strict=True)])
        assert of_the_campaign(parts) == dict.fromkeys(members, 12)

    def reversing(wrong: Activity) -> Callable[[], Recorded]:
        entry = parts.journal.by_key(wrong.key)
        assert entry
        body = {"reason": "mistake"}
        return lambda: reverse(entry.id, body, caller=CALLER, at=NOON, stores=parts.stores)

    race([reversing(each) for each in late[:4]])
    assert of_the_campaign(parts) == dict.fromkeys(members, 12)
    race([reversing(each) for each in first[:4]])
    assert of_the_campaign(parts).total() == 48
    others = [enrolled(parts) for _ in range(THREADS)]
    race([appending(parts, each, bought(1), rules) for each in others])
    taken = of_the_campaign(parts)
    assert sum(taken[each] for each in others) == 52
    assert taken.total() == 100


REFERRAL = {"id": "friends", "type": "referral", "friend_points": 25, "referrer_points": 40}


def friend_of(parts: Parts, referrer: str) -> str:
    """A new member whom another one brought."""
    friend = enrolled(parts)
    parts.referrals.add(Referral(friend, referrer, NOON))
    return friend


def referred(activity: Activity) -> Activity:
    """The same of a member whom somebody brought."""
    return replace(activity, about=replace(activity.about, is_referred=True))


@pytest.mark.parametrize("budget", [None, 60])
def test_a_referral_is_paid_once_however_many_first_purchases_race(
    parts: Parts, budget: int | None
) -> None:
    rule = {**REFERRAL, "budget": budget} if budget else REFERRAL
    rules, referrer = publish(parts, program_document(BASE_RULE, rule)), enrolled(parts)
    friends = [friend_of(parts, referrer) for _ in range(3)]
    calls = [
        appending(parts, each, referred(bought(day)), rules) for each in friends for day in range(5)
    ]
    race(calls)
    keys = [each.key for each in journal_of(parts, referrer)]
    assert sorted(keys) == sorted(f"referral/{each}" for each in friends)
    paid = Counter(_referral_points(journal_of(parts, each)) for each in friends)
    own = _referral_points(journal_of(parts, referrer))
    if budget:
        assert own + sum(points * times for points, times in paid.items()) == budget
    else:
        assert (paid, own) == ({25: 3}, 120)


def _referral_points(entries: list[Entry]) -> int:
    """What a member has of referrals, by the newest word on each fact."""
    now = restated(entries)
    return sum(
        posting.points
        for each in entries
        if each.kind not in RESTATING
        for posting in now.get(each.key, each.postings)
        if posting.rule == "friends"
    )


def test_transfers_that_cross_each_other_lose_no_point_and_end(parts: Parts) -> None:
    rules = publish(parts, program_document())
    ada, bob = enrolled(parts), enrolled(parts)
    for each in (ada, bob):
        append(draft_of(each, bought(0, amount=10_000), rules), parts.stores)

    def moving(giver: str, taker: str) -> Callable[[], list[Recorded]]:
        key = unique("transfer")
        out = Activity("transfer", NOON + timedelta(days=1), points=10, key=f"{key}/out")
        lots = (Lot(NEVER, 10),)
        into = replace(out, key=f"{key}/in", points=0, lots=lots)
        drafts = [draft_of(giver, out, rules), draft_of(taker, into, rules)]
        return lambda: append_together(drafts, parts.stores)

    pairs = [(ada, bob), (bob, ada)] * (THREADS // 2)
    answers = race([moving(*pair) for pair in pairs])
    assert all(len(each) == 2 for each in answers)
    for each in (ada, bob):
        entries = journal_of(parts, each)
        assert [entry.seq for entry in entries] == list(range(1, THREADS + 2))
        assert entries[-1].state.balance == 100


def test_goods_exchanged_at_one_moment_count_once_each_though_late(parts: Parts) -> None:
    rules, member = publish(parts, SENSITIVE), enrolled(parts)
    old, newer = bought(0), bought(9, "web")
    for each in (old, newer):
        append(draft_of(member, each, rules), parts.stores)
    # By its key the purchase comes before the return, so both are late, one under the other.
    out = bought(3, "app")
    back = Activity("return", out.occurred_at, "store", back=Back(old.key), key=unique("return"))
    drafts = [draft_of(member, each, rules) for each in (back, out)]
    answers = race([lambda: append_together(drafts, parts.stores)] * 4)
    assert len({tuple(each.entry.id for each in every) for every in answers}) == 1
    is_sound(journal_of(parts, member), facts_in([old, newer, out, back], rules))


@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
def test_an_upload_of_what_came_late_ends_like_one_by_one(parts: Parts, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  # not a secret
    rules, member = publish(parts, SENSITIVE), enrolled(parts)
    life = [bought(dice.randint(0, 60), dice.choice(("store", "web"))) for _ in range(24)]
    there = dice.sample(life, 8)
    for each in there:
        append(draft_of(member, each, rules), parts.stores)
    drafts = [draft_of(member, each, rules) for each in life]
    quiet = enrolled(parts)
    other = [draft_of(quiet, bought(day), rules) for day in range(5)]
    assert append_all([drafts, other], parts.stores) == len(life) - len(there) + len(other)
    assert append_all([drafts, other], parts.stores) == 0
    is_sound(journal_of(parts, member), facts_in(life, rules))
    is_sound(journal_of(parts, quiet), facts_in([each.activity for each in other], rules))


def test_an_upload_takes_of_a_campaign_what_is_left(parts: Parts) -> None:
    rules = publish(parts, campaign("truncate"))
    groups = [
        [draft_of(member, bought(day), rules) for day in range(4)]
        for member in [enrolled(parts) for _ in range(4)]
    ]
    assert append_all(groups, parts.stores) == 16
    assert of_the_campaign(parts).total() == 100


def commands(settings: Settings, parts: Parts, fact: Draft) -> list[str]:
    """What appending a fact sends to the database."""
    with watching(settings) as watch:
        journal = JournalStore(watch.database, parts.secrecy, timeout_seconds=5)
        append(fact, parts.stores._replace(journal=journal))
        return [next(iter(each)) for each in watch.commands]


def test_an_award_is_one_read_and_one_insert_and_a_late_one_a_transaction(
    parts: Parts, settings: Settings
) -> None:
    rules, member = publish(parts, SENSITIVE), enrolled(parts)
    for day in range(2, 12):
        append(draft_of(member, bought(day), rules), parts.stores)
    on_top = commands(settings, parts, draft_of(member, bought(20), rules))
    assert on_top == ["find", "insert"]
    *reads, insert, commit = commands(settings, parts, draft_of(member, bought(1, "web"), rules))
    assert (insert, commit) == ("insert", "commitTransaction")
    assert set(reads) == {"find"}
    assert len(reads) <= 3
