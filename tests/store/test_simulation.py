"""A draft over the past: known answers, nothing written, samples that are honest."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.catalogue.model import Store
from loyalty.journal.appending import append
from loyalty.kit.clock import now
from loyalty.members.model import Profile
from loyalty.program.document import ProgramSchema
from loyalty.program.model import Activity, Back
from loyalty.simulation.model import EmptyPeriodError, question_of
from loyalty.simulation.result import body_of, tables_of
from loyalty.simulation.service import Sources, simulate
from loyalty.versions.service import publish
from tests.builders import (
    BASE_RULE,
    NOON,
    draft,
    dump,
    engagement,
    enrolled,
    line,
    program_document,
    purchase,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from app import Parts
    from loyalty.program.model import Program

DOUBLE = {**BASE_RULE, "points": 2}
DAY = timedelta(days=1)
TIERS: dict[str, Any] = {
    "measure": "spend",
    "period": "lifetime",
    "ladder": [
        {"id": "basic", "name": "Basic", "threshold": 0},
        {"id": "gold", "name": "Gold", "threshold": 5000},
    ],
}


def loaded(*rules: dict[str, Any], **overrides: Any) -> Any:
    return ProgramSchema().load(program_document(*rules, **overrides))


def published(parts: Parts, *rules: dict[str, Any], **overrides: Any) -> Program:
    """The version that rules from now on, and all the past if it is the first."""
    stores = parts.stores
    document = loaded(*rules, **overrides)
    publish(document, starts_at=None, at=now(), by="t", request_key=None, shelf=stores.programs)
    return stores.programs.at(now())


def done(parts: Parts, rules: Program, member: str, *activities: Activity) -> list[str]:
    """The keys of activities that a member did."""
    return [append(draft(member, each, rules), parts.stores).entry.key for each in activities]


def run(
    parts: Parts,
    *rules: dict[str, Any],
    ask: dict[str, Any] | None = None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    document: dict[str, Any] | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    program = ProgramSchema().load(document) if document else loaded(*rules, **overrides)
    question = question_of({"program": program, **(ask or {})})
    sources = Sources(parts.scan, parts.stores)
    found = simulate(question, at=now(), sources=sources, progress=progress)
    tables_of(body_of(found))
    return body_of(found)


def values(figure: dict[str, Any]) -> tuple[int, int, int]:
    """A figure's points: current, draft, difference."""
    sides = (figure[side]["points"]["value"] for side in ("current", "draft", "difference"))
    before, after, more = sides
    return before, after, more


def by_name(rows: list[dict[str, Any]]) -> dict[str, tuple[int, int, int]]:
    return {row["name"]: values(row) for row in rows}


def test_both_worlds_are_told_by_rule_channel_month_and_in_money(parts: Parts) -> None:
    rules = published(parts)
    anna, ben = enrolled(parts), enrolled(parts)
    done(parts, rules, anna, purchase(), purchase(line(500), at=NOON + 40 * DAY, channel="web"))
    done(parts, rules, ben, purchase(line(100)))
    app = {"id": "hello", "type": "first_on_channel", "points": 7, "only": {"channels": ["web"]}}
    worth = {"points": 10, "amount": 9}
    body = run(parts, DOUBLE, app, ask={"worth": worth})
    points = body["units"]["points"]
    assert values(points["total"]) == (16, 39, 23)
    assert by_name(points["by_rule"]) == {"base": (16, 32, 16), "hello": (0, 7, 7)}
    assert by_name(points["by_channel"]) == {"store": (11, 22, 11), "web": (5, 17, 12)}
    assert by_name(points["by_month"]) == {"2026-03": (11, 22, 11), "2026-04": (5, 17, 12)}
    assert by_name(points["by_tier"]) == {"none": (16, 39, 23)}
    # 14.4 and 35.1 cents, half up.
    costs = [points["total"][side]["cost"] for side in ("current", "draft", "difference")]
    assert costs == [14, 35, 21]
    assert values(points["outstanding"]) == (16, 39, 23)
    assert (body["members"], body["members_looked_at"], body["activities_looked_at"]) == (2, 2, 3)
    assert body["sample"] is None
    assert [body["effect"][each]["value"] for each in ("gain", "lose", "same")] == [2, 0, 0]


def test_a_worth_that_only_one_programme_knows_counts_for_both(parts: Parts) -> None:
    rules = published(parts)
    done(parts, rules, enrolled(parts), purchase(channel="web"))
    worth = {"points": {"worth": {"points": 1, "amount": 3}}}
    body = run(parts, DOUBLE, units=worth, channels=["store"])
    sides = body["units"]["points"]["total"]
    assert [sides[side]["cost"] for side in ("current", "draft", "difference")] == [30, 0, -30]
    assert any("no channel web" in note for note in body["notes"])


def test_the_draft_that_rules_already_changes_nothing(parts: Parts) -> None:
    rules = published(parts, BASE_RULE, expires_after_months=2, tiers=TIERS)
    member = enrolled(parts)
    bought, _ = done(parts, rules, member, purchase(line(9000)), engagement("follow"))
    back = Activity("return", NOON + 2 * DAY, "store", back=Back(bought, (("milk", 1),)))
    done(parts, rules, member, back)
    done(parts, rules, member, Activity("adjustment", NOON + 3 * DAY, points=50))
    body = run(parts, BASE_RULE, expires_after_months=2, tiers=TIERS)
    points = body["units"]["points"]
    assert values(points["total"]) == (0, 0, 0)
    assert by_name(points["by_rule"]) == {"base": (90, 90, 0), "return": (-90, -90, 0)}
    assert by_name(points["expiry"]) == {"2026-05": (50, 50, 0)}
    assert body["effect"]["same"]["value"] == 1
    assert [(row["current"], row["draft"]) for row in body["tiers"]] == [("basic", "basic")]
    assert points["redating"]["members"]["value"] == 0


def test_nothing_is_written(parts: Parts) -> None:
    rules = published(parts)
    for _ in range(3):
        done(parts, rules, enrolled(parts), purchase(), purchase(at=NOON + DAY))
    before = dump(parts.database)
    run(parts, {**DOUBLE, "budget": 30}, tiers=TIERS, ask={"sample": {"members": 2}})
    assert dump(parts.database) == before


def test_a_period_begins_with_the_lots_and_counts_of_before(parts: Parts) -> None:
    rules = published(parts, BASE_RULE, expires_after_months=1)
    member = enrolled(parts)
    done(parts, rules, member, purchase(line(3000)), purchase(at=NOON + 10 * DAY))
    starts_at = NOON + 5 * DAY
    body = run(parts, DOUBLE, ask={"starts_at": starts_at, "ends_at": NOON + 60 * DAY})
    points = body["units"]["points"]
    assert values(points["total"]) == (10, 20, 10)
    # The 30 of before keep their date in both worlds; the draft's own points never expire.
    assert by_name(points["expiry"]) == {"2026-04": (40, 30, -10)}
    assert values(points["outstanding"]) == (0, 20, 20)


def test_what_was_bought_before_is_taken_back_as_it_was_awarded(parts: Parts) -> None:
    rules = published(parts)
    member = enrolled(parts)
    (bought,) = done(parts, rules, member, purchase(line(3000)))
    back = Activity("return", NOON + 10 * DAY, "store", back=Back(bought))
    done(parts, rules, member, back)
    keeping = {**DOUBLE, "on_return": "keep"}
    body = run(parts, keeping, ask={"starts_at": NOON + DAY})
    assert values(body["units"]["points"]["total"]) == (-30, -30, 0)
    body = run(parts, keeping)
    assert values(body["units"]["points"]["total"]) == (0, 60, 60)


def test_what_expired_before_the_period_is_none_of_it(parts: Parts) -> None:
    rules = published(parts, BASE_RULE, expires_after_months=1)
    member = enrolled(parts)
    done(parts, rules, member, purchase(), purchase(line(200), at=NOON + 61 * DAY))
    body = run(parts, DOUBLE, ask={"starts_at": NOON + 60 * DAY, "ends_at": NOON + 70 * DAY})
    points = body["units"]["points"]
    assert points["expiry"] == []
    assert values(points["outstanding"]) == (2, 4, 2)


def test_a_late_arrival_counts_where_it_belongs(parts: Parts) -> None:
    first = {"id": "hi", "type": "first_on_channel", "points": 5}
    rules = published(parts, first)
    member = enrolled(parts)
    done(parts, rules, member, purchase(at=NOON + 40 * DAY), purchase(channel="web"), purchase())
    points = run(parts, {**first, "points": 7})["units"]["points"]
    assert values(points["total"]) == (10, 14, 4)
    assert by_name(points["by_month"]) == {"2026-03": (10, 14, 4)}


def test_decisions_stand_in_both_worlds_and_can_leave_a_debt(parts: Parts) -> None:
    rules = published(parts)
    member = enrolled(parts)
    hold = Activity("hold", NOON + DAY, points=80, expires_at=NOON + 999 * DAY)
    done(parts, rules, member, purchase(line(10_000)), hold)
    body = run(parts, {**BASE_RULE, "per_amount": 200})
    points = body["units"]["points"]
    assert values(points["outstanding"]) == (20, -30, -50)
    assert points["debtors"] == {"current": {"value": 0}, "draft": {"value": 1}}
    assert body["effect"]["lose"]["value"] == 1


def test_tiers_are_told_from_where_to_where(parts: Parts) -> None:
    rules = published(parts, tiers=TIERS)
    for amount in (100, 3000, 9000):
        done(parts, rules, enrolled(parts), purchase(line(amount)))
    lower = [TIERS["ladder"][0], {**TIERS["ladder"][1], "threshold": 2000}]
    body = run(parts, tiers={**TIERS, "ladder": lower})
    rows = {(row["current"], row["draft"]): row["members"]["value"] for row in body["tiers"]}
    assert rows == {("basic", "basic"): 1, ("basic", "gold"): 1, ("gold", "gold"): 1}


def test_whom_a_new_expiry_affects_is_said_beforehand(parts: Parts) -> None:
    rules = published(parts, BASE_RULE, expires_after_months=12)
    done(parts, rules, enrolled(parts), purchase(line(3000)))
    done(parts, rules, enrolled(parts), purchase(line(500), at=NOON + 40 * DAY))
    ask = {"ends_at": NOON + 60 * DAY}
    body = run(parts, BASE_RULE, expires_after_months=24, ask=ask)
    redating = body["units"]["points"]["redating"]
    assert redating["members"]["value"] == 2
    assert by_name(redating["by_month"]) == {
        "2027-03": (30, 0, -30),
        "2027-04": (5, 0, -5),
        "2028-03": (0, 30, 30),
        "2028-04": (0, 5, 5),
    }


def test_a_budget_ends_when_all_members_together_have_used_it_up(parts: Parts) -> None:
    rules = published(parts)
    members = [enrolled(parts) for _ in range(4)]
    for number, member in enumerate(members):
        done(parts, rules, member, purchase(at=NOON + number * DAY))
    body = run(parts, BASE_RULE, {**BASE_RULE, "id": "extra", "budget": 25})
    points = by_name(body["units"]["points"]["by_rule"])
    assert points["base"] == (40, 40, 0)
    # Ten a day: used up within the third day, before noon or after it.
    assert points["extra"][1] in (20, 30)
    (budget,) = body["budgets"]
    assert budget["runs_out_at"].date() == (NOON + 2 * DAY).date()
    lasting = run(parts, BASE_RULE, {**BASE_RULE, "id": "extra", "budget": 40})
    assert lasting["budgets"][0]["runs_out_at"] is None
    assert by_name(lasting["units"]["points"]["by_rule"])["extra"] == (0, 40, 40)


def test_what_a_draft_asks_of_a_member_is_looked_up(parts: Parts) -> None:
    rules = published(parts)
    born, unknown = enrolled(parts), enrolled(parts)
    parts.members.set_profile(born, Profile((3, 2), frozenset()))
    for member in (born, unknown):
        done(parts, rules, member, purchase())
    birthday = {"id": "birthday", "type": "fixed", "points": 9, "per": "basket"}
    body = run(parts, {**birthday, "when": {"birthday": {"days_before": 1, "days_after": 1}}})
    points = by_name(body["units"]["points"]["by_rule"])
    assert points == {"base": (20, 0, -20), "birthday": (0, 9, 9)}
    assert any("as it is today" in note for note in body["notes"])


def test_where_a_store_is_is_looked_up(parts: Parts) -> None:
    rules = published(parts)
    parts.catalogue.put_stores([Store("S1", "Mitte", "Europe/Berlin", 52.5, 13.4)])
    done(parts, rules, enrolled(parts), purchase(store="S1"), purchase(store="S2", at=NOON + DAY))
    near = [{"latitude": 52.5, "longitude": 13.41, "radius_m": 5000}]
    body = run(parts, {"id": "near", "type": "fixed", "points": 4, "when": {"near": near}})
    assert by_name(body["units"]["points"]["by_rule"])["near"] == (0, 4, 4)


def test_who_did_nothing_in_the_period_neither_gains_nor_loses(parts: Parts) -> None:
    rules = published(parts)
    done(parts, rules, enrolled(parts), purchase())
    done(parts, rules, enrolled(parts), purchase(at=NOON + 9 * DAY))
    body = run(parts, DOUBLE, ask={"starts_at": NOON + DAY})
    assert body["members"] == 2
    assert [body["effect"][each]["value"] for each in ("gain", "lose", "same")] == [1, 0, 0]


def test_what_a_budget_refused_then_is_paid_out_of_the_drafts_own(parts: Parts) -> None:
    extra = {**BASE_RULE, "id": "extra", "mode": "hard"}
    rules = published(parts, {**extra, "budget": 5})
    done(parts, rules, enrolled(parts), purchase())
    body = run(parts, {**extra, "budget": 100})
    assert by_name(body["units"]["points"]["by_rule"]) == {"extra": (0, 10, 10)}


def shop_of(parts: Parts, count: int) -> None:
    rules = published(parts)
    for number in range(count):
        done(parts, rules, enrolled(parts), purchase(line(100 * (number + 1))))


def test_a_sample_says_how_sure_it_is_and_is_the_same_again(parts: Parts) -> None:
    shop_of(parts, 30)
    ask = {"sample": {"members": 12, "seed": "s"}}
    body, again = run(parts, DOUBLE, ask=ask), run(parts, DOUBLE, ask=ask)
    assert body["units"] == again["units"]
    assert (body["members"], body["members_looked_at"]) == (30, 12)
    assert body["sample"]["members"] == 12
    total = body["units"]["points"]["total"]["current"]["points"]
    assert total["low"] < total["value"] < total["high"]
    assert total["standard_error"] > 0
    other = run(parts, DOUBLE, ask={"sample": {"members": 12, "seed": "t"}})
    assert other["units"] != body["units"]
    whole = run(parts, DOUBLE, ask={"sample": {"percent": 100}})
    assert values(whole["units"]["points"]["total"]) == (465, 930, 465)
    assert "low" not in whole["units"]["points"]["total"]["current"]["points"]


def test_few_members_percentiles_are_not_told(parts: Parts) -> None:
    shop_of(parts, 22)
    percentiles = run(parts, DOUBLE)["effect"]["percentiles"]
    assert percentiles["50"] == 11
    assert percentiles["25"] is None
    assert percentiles["99"] is None


def test_progress_is_told_for_each_member_and_ends_the_work_when_it_raises(parts: Parts) -> None:
    shop_of(parts, 5)
    told: list[tuple[int, int, str]] = []
    run(parts, DOUBLE, progress=lambda *each: told.append(each))
    assert told[-1] == (5, 5, "members")
    assert len(told) >= 5

    def stop(*_: object) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run(parts, DOUBLE, progress=stop)


def test_a_period_that_ends_before_it_begins_is_refused(parts: Parts) -> None:
    published(parts)
    with pytest.raises(EmptyPeriodError):
        run(parts, ask={"starts_at": NOON, "ends_at": NOON})


def test_an_empty_shop_costs_nothing(parts: Parts) -> None:
    published(parts)
    body = run(parts, DOUBLE, ask={"sample": {"percent": 10}})
    assert body["units"] == {}
    assert body["members"] == 0
