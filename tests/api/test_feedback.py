"""Feedback over HTTP: each event once, only with consent, a verdict an event."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from app import keeper
from loyalty.kit.clock import now
from loyalty.retention.service import apply_rules
from recommend.feedback import service
from recommend.feedback.store import FeedbackStore
from tests.api.test_recommending import busy as busy  # noqa: PLC0414  # a fixture
from tests.api.test_recommending import put_products, shown
from tests.api.test_recommending import trained as trained  # noqa: PLC0414  # a fixture
from tests.builders import dump, mint_key, permit, unique

if TYPE_CHECKING:
    from app import Parts
    from loyalty.vault.permit import Permit
    from recommend.taste import Signal
    from tests.api.test_recommending import Shop
    from tests.builders import Api

PATH = "/v1/feedback"
DAY = timedelta(days=1)


def event(member: str | None = None, **overrides: Any) -> dict[str, Any]:
    body = {"id": unique("event"), "kind": "click", "sku": "milk", "channel": "web"}
    return {**body, **({"member": member} if member else {}), **overrides}


def listed(member: str, *skus: str, **overrides: Any) -> dict[str, Any]:
    """A list that was shown."""
    body = event(member, kind="impression", skus=list(skus), **overrides)
    del body["sku"]
    return body


def post(api: Api, *events: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    answer = api.post(PATH, {"events": list(events)}, expect=200, **more).get_json()
    verdicts: list[dict[str, Any]] = answer["verdicts"]
    assert [each["event"] for each in verdicts] == list(range(len(events)))
    for status in ("recorded", "replayed", "not_recorded", "refused"):
        assert answer[status] == sum(each["status"] == status for each in verdicts)
    return verdicts


def said(verdicts: list[dict[str, Any]]) -> list[str]:
    return [each.get("reason") or each["status"] for each in verdicts]


def kept(parts: Parts) -> int:
    return parts.database["feedback"].count_documents({})


@pytest.fixture
def fan(api: Api) -> str:
    """A member who agrees to personalisation."""
    member = api.enrol(("card", "fan"))
    api.consent(member, "personalisation")
    return member


def test_events_are_kept_and_give_signals(api: Api, fan: str, parts: Parts) -> None:
    first = now() - DAY
    verdicts = post(
        api,
        event(fan, kind="review", stars=2, at=(first + DAY / 2).isoformat()),
        event(None, identifier={"type": "card", "value": "fan"}, at=first.isoformat()),
        listed(fan, "tea", "bread", "tea"),
    )
    assert said(verdicts) == ["recorded"] * 3
    signals = parts.feedback.signals(permit(fan))
    assert [(each.kind, each.sku, each.stars) for each in signals] == [
        ("click", "milk", 0),
        ("review", "milk", 2),
        ("impression", "tea", 0),
        ("impression", "bread", 0),
    ]
    assert signals[0].at == first.timestamp()


def test_a_retry_is_kept_once_and_another_event_under_its_id_is_refused(
    api: Api, fan: str, parts: Parts
) -> None:
    once = event(fan)
    assert said(post(api, once, once)) == ["recorded", "replayed"]
    assert said(post(api, {**once, "channel": "app"})) == ["recorded"], "another source"
    (other,) = post(api, {**once, "sku": "tea"})
    assert (other["status"], other["problem"]["code"]) == ("refused", "key_reused")
    assert kept(parts) == 2


def test_the_key_of_the_request_gives_ids_to_events_that_have_none(api: Api, fan: str) -> None:
    nameless = [event(fan), event(fan, sku="tea")]
    for each in nameless:
        del each["id"]
    headers = {"Idempotency-Key": "page-1"}
    assert said(post(api, *nameless, headers=headers)) == ["recorded", "recorded"]
    assert said(post(api, *nameless, headers=headers)) == ["replayed", "replayed"]
    (verdict, _) = post(api, *nameless)
    assert verdict["problem"]["errors"][0]["field"] == "id"


def test_racing_retries_keep_an_event_once(api: Api, fan: str, parts: Parts) -> None:
    batch = [event(fan) for _ in range(20)]
    callers = [api.speaking_with(api.key) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda caller: said(post(caller, *batch)), callers))
    assert kept(parts) == 20
    for statuses in zip(*found, strict=True):
        assert sorted(statuses) == ["recorded"] + ["replayed"] * 7


def test_without_consent_nothing_is_kept_and_no_one_learns_who_is_known(
    api: Api, fan: str, parts: Parts
) -> None:
    stranger, refuser = "m_" + "0" * 32, api.enrol()
    nobody = event(identifier={"type": "card", "value": "nobody"})
    events = (event(stranger), event(refuser), nobody)
    before = dump(parts.database)
    assert said(post(api, *events)) == ["no_consent"] * 3
    assert said(post(api, event(fan), headers={"Sec-GPC": "1"})) == ["browser_signal"]
    assert dump(parts.database) == before
    api.consent(fan, "personalisation", granted=False)
    assert said(post(api, event(fan))) == ["no_consent"]
    assert kept(parts) == 0


def test_sensitive_products_leave_no_trace(api: Api, fan: str, parts: Parts) -> None:
    put_products(api, {"sku": "pills", "name": "Pills", "sensitive": True})
    mixed = listed(fan, "pills", "milk")
    assert said(post(api, event(fan, sku="pills"), mixed, mixed)) == [
        "sensitive",
        "recorded",
        "replayed",
    ]
    assert "pills" not in str(dump(parts.database)["feedback"])


def test_who_agrees_to_it_expressly_leaves_feedback_on_sensitive_products(
    api: Api, fan: str
) -> None:
    put_products(api, {"sku": "pills", "name": "Pills", "sensitive": True})
    api.consent(fan, "sensitive_personalisation")
    assert said(post(api, event(fan, sku="pills"))) == ["recorded"]
    api.consent(fan, "personalisation", granted=False)
    assert said(post(api, event(fan, sku="pills"))) == ["no_consent"]


def test_a_browser_speaks_for_its_own_member_only(api: Api, fan: str, parts: Parts) -> None:
    other = api.enrol()
    api.consent(other, "personalisation")
    token = api.post(f"/v1/members/{fan}/token", {}, expect=201).get_json()["token"]
    browser = api.speaking_with(token)
    assert said(post(browser, event(), event(fan))) == ["recorded", "recorded"]
    (verdict,) = post(browser, event(other))
    assert verdict["problem"]["code"] == "not_your_member"
    # It cannot use up the ids under which the shop itself will report.
    mine = event()
    post(browser, mine)
    assert said(post(api, {**mine, "member": other})) == ["recorded"]
    assert {each["member"] for each in parts.database["feedback"].find()} == {fan, other}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"kind": "purchase"}, "kind"),
        ({"kind": "review", "stars": 6}, "stars"),
        ({"stars": 4}, "stars"),
        ({"skus": ["tea"]}, "sku"),
        ({"experiment": "hello"}, "variant"),
        ({"placement": "Ada's page"}, "placement"),
        ({"at": (now() + DAY).isoformat()}, "at"),
        ({"at": (now() - 40 * DAY).isoformat()}, "at"),
        ({"member": "m_1"}, "member"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_wrong_with_one_event_is_said_and_no_others_fault(
    api: Api, fan: str, wrong: dict[str, Any], field: str
) -> None:
    verdicts = post(api, event(**{"member": fan, **wrong}), event(fan))
    assert said(verdicts) == ["refused", "recorded"]
    assert verdicts[0]["problem"]["errors"][0]["field"] == field


def test_a_batch_has_one_to_five_hundred_objects(api: Api, fan: str) -> None:
    for events in ([], [event(fan)] * 501, ["click"]):
        api.post(PATH, {"events": events}, expect=422)
    assert said(post(api, *(event(fan) for _ in range(500)))) == ["recorded"] * 500


def test_a_bound_key_speaks_for_its_channel_only(api: Api, fan: str, parts: Parts) -> None:
    bound = api.speaking_with(mint_key(parts, "feedback:write", channel="web"))
    verdicts = post(bound, event(fan), event(fan, channel="app"))
    assert [each.get("problem", {}).get("code") for each in verdicts] == [None, "bound_key"]
    api.speaking_with(mint_key(parts, "picks:read")).post(PATH, {"events": []}, expect=403)


def test_nobody_has_more_in_a_day_than_a_person_makes(
    api: Api, fan: str, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MEMBER_DAY_MAX", 3)
    other = api.enrol()
    api.consent(other, "personalisation")
    yesterday = event(fan, at=(now() - DAY).isoformat())
    verdicts = post(api, *(event(fan) for _ in range(5)), yesterday, event(other))
    assert said(verdicts) == ["recorded"] * 3 + ["refused"] * 2 + ["recorded"] * 2
    assert verdicts[4]["problem"]["code"] == "too_much_feedback"
    assert verdicts[4]["problem"]["status"] == 429
    assert kept(parts) == 5


def test_what_is_old_goes_by_the_rule(api: Api, fan: str, parts: Parts) -> None:
    post(api, event(fan, at=(now() - 25 * DAY).isoformat()), event(fan))
    rules = api.get("/v1/retention", expect=200).get_json()
    fresh = {name: rules[name] for name in rules if not name.startswith("changed")}
    assert fresh["feedback_months"] == 13
    api.put("/v1/retention", {**fresh, "feedback_months": 1}, expect=200)
    later = now() + 10 * DAY
    applied = apply_rules(
        clock=lambda: later, keeper=keeper(parts), is_dry=False, progress=lambda *_: None
    )
    assert applied.counts["feedback"] == 1
    assert kept(parts) == 1


def test_what_was_kept_with_a_consent_goes_with_it(api: Api, parts: Parts) -> None:
    stays, withdraws, restricts = (api.enrol() for _ in range(3))
    for member in (stays, withdraws, restricts):
        api.consent(member, "personalisation")
        post(api, event(member), event(member))
    api.consent(withdraws, "personalisation", granted=False)
    api.post(f"/v1/members/{restricts}/restriction", {"restricted": True}, expect=200)
    run = partial(apply_rules, clock=now, keeper=keeper(parts), progress=lambda *_: None)
    assert run(is_dry=True).counts["feedback_withdrawn"] == 1
    assert kept(parts) == 6
    assert run(is_dry=False).counts["feedback_withdrawn"] == 2
    left = {each["member"] for each in parts.database["feedback"].find()}
    assert left == {stays, restricts}


@pytest.mark.usefixtures("trained")
def test_signals_are_read_only_while_the_member_agrees(
    busy: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read = FeedbackStore.signals

    def noted(store: FeedbackStore, of: Permit, **more: Any) -> list[Signal]:
        asked.append(of.member_id)
        return read(store, of, **more)

    monkeypatch.setattr(FeedbackStore, "signals", noted)
    member = busy.buyers[0]
    post(busy.api, event(member))
    shown(busy, member)
    assert asked == [member]
    busy.api.consent(member, "personalisation", granted=False)
    shown(busy, member)
    assert asked == [member]
