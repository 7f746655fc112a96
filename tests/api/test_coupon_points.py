"""Coupons that are worth points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.api.test_coupons import CAMPAIGNS, REDEMPTIONS, campaign_body, codes_of
from tests.builders import unique

if TYPE_CHECKING:
    from tests.builders import Api


def worth_points(shop: Api, **benefit: Any) -> str:
    """The code of a coupon that is worth fifty points."""
    body = campaign_body(benefit={"type": "points", "points": 50, **benefit})
    shop.post(CAMPAIGNS, body, expect=201)
    code: str = codes_of(shop, body["id"])[0]["code"]
    return code


def use(code: str, **more: Any) -> dict[str, Any]:
    return {"external_id": unique("use"), "code": code, "channel": "store", **more}


def test_a_use_pays_once_however_often_it_is_sent(shop: Api) -> None:
    member, code = shop.enrol(), worth_points(shop)
    body = use(code, member=member)
    shop.post(REDEMPTIONS, body, expect=201)
    shop.post(REDEMPTIONS, body, expect=201)
    assert shop.balance(member) == 50


def test_a_void_takes_the_points_back_once(shop: Api) -> None:
    member, code = shop.enrol(), worth_points(shop)
    done = shop.post(REDEMPTIONS, use(code, member=member), expect=201).get_json()
    for _ in range(2):
        shop.post(f"{REDEMPTIONS}/{done['id']}/void", None, expect=201)
    assert shop.balance(member) == 0
    shop.post(REDEMPTIONS, use(code, member=member), expect=201)
    assert shop.balance(member) == 50


def test_points_that_are_spent_cannot_be_taken_back(shop: Api) -> None:
    member, code = shop.enrol(), worth_points(shop)
    done = shop.post(REDEMPTIONS, use(code, member=member), expect=201).get_json()
    spent = {"external_id": "a1", "points": -20, "reason": "test", "actor": "test"}
    shop.post(f"/v1/members/{member}/adjustments", spent, expect=201)
    refused = shop.post(f"{REDEMPTIONS}/{done['id']}/void", None, expect=409).get_json()
    assert refused["code"] == "insufficient_points"
    assert shop.balance(member) == 30
    # The coupon is still used.
    shop.post(REDEMPTIONS, use(code, member=member), expect=409)


def test_points_need_somebody_who_gets_them(shop: Api) -> None:
    code = worth_points(shop)
    refused = shop.post(REDEMPTIONS, use(code), expect=409).get_json()
    assert (refused["code"], refused["errors"][0]["field"]) == ("coupon_needs_member", "member")
    # Nothing was used up.
    shop.post(REDEMPTIONS, use(code, member=shop.enrol()), expect=201)


def test_a_unit_that_the_programme_lacks_is_refused(shop: Api) -> None:
    code = worth_points(shop, unit="stamps")
    refused = shop.post(REDEMPTIONS, use(code, member=shop.enrol()), expect=409).get_json()
    assert refused["code"] == "unknown_unit"
