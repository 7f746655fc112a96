"""Points that change hands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.builders import program_document, unique

if TYPE_CHECKING:
    from tests.builders import Api


def transfer(giver: str, receiver: str, points: int, **more: Any) -> dict[str, Any]:
    return {
        "external_id": unique("gift"),
        "giver": {"member": giver},
        "receiver": {"member": receiver},
        "points": points,
        **more,
    }


def two(shop: Api) -> tuple[str, str]:
    members = (shop.enrol(), shop.enrol())
    for member in members:
        shop.consent(member, "points_transfer")
    shop.buy(members[0], 10_000)
    return members


def lots(shop: Api, member: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shop.get(f"/v1/members/{member}/points").get_json()["lots"]
    return found


def test_points_change_hands_and_keep_their_dates(api: Api) -> None:
    document = program_document(expires_after_months=3)
    api.post("/v1/program/versions", {"program": document}, expect=201)
    giver, receiver = two(api)
    dates = {each["expires_at"] for each in lots(api, giver)}

    done = api.post("/v1/transfers", transfer(giver, receiver, 40), expect=201).get_json()

    assert (done["balance"], api.balance(giver), api.balance(receiver)) == (60, 60, 40)
    assert {each["expires_at"] for each in lots(api, receiver)} == dates
    texts = [
        posting["text"]
        for member in (giver, receiver)
        for posting in api.get(f"/v1/members/{member}/journal").get_json()["entries"][0]["postings"]
    ]
    assert all("40" in text for text in texts)


def test_the_same_transfer_again_changes_nothing(shop: Api) -> None:
    giver, receiver = two(shop)
    body = transfer(giver, receiver, 40)
    first = shop.post("/v1/transfers", body, expect=201)
    shop.consent(giver, "points_transfer", granted=False)
    again = shop.post("/v1/transfers", body, expect=201)
    assert again.get_json() == first.get_json()
    assert again.headers["Idempotent-Replay"] == "true"
    assert shop.balance(receiver) == 40
    other = shop.post("/v1/transfers", {**body, "points": 41}, expect=422)
    assert other.get_json()["code"] == "key_reused"


@pytest.mark.parametrize("side", [0, 1])
def test_both_sides_have_to_agree(shop: Api, side: int) -> None:
    members = two(shop)
    shop.consent(members[side], "points_transfer", granted=False)
    refused = shop.post("/v1/transfers", transfer(*members, 40), expect=403).get_json()
    assert refused["code"] == "consent_required"
    assert [shop.balance(member) for member in members] == [100, 0]


def test_more_than_there_is_cannot_be_given(shop: Api) -> None:
    giver, receiver = two(shop)
    refused = shop.post("/v1/transfers", transfer(giver, receiver, 101), expect=409).get_json()
    assert refused["code"] == "insufficient_points"
    assert shop.balance(receiver) == 0


def test_nobody_gives_to_himself_or_to_nobody(shop: Api) -> None:
    giver, _ = two(shop)
    refused = shop.post("/v1/transfers", transfer(giver, giver, 1), expect=409).get_json()
    assert refused["errors"][0]["field"] == "receiver"
    nobody = "m_" + "0" * 32
    refused = shop.post("/v1/transfers", transfer(giver, nobody, 1), expect=404).get_json()
    assert refused["errors"][0]["field"] == "receiver"


def test_an_unknown_unit_is_named(shop: Api) -> None:
    members = two(shop)
    body = transfer(*members, 1, unit="stamps")
    refused = shop.post("/v1/transfers", body, expect=409).get_json()
    assert (refused["code"], refused["errors"][0]["field"]) == ("unknown_unit", "unit")
