"""A decision at one instance of the service is what the next request at another one obeys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from loyalty.consent import gate, ledger, service
from loyalty.consent.model import Decision
from loyalty.kit.clock import now
from recommend.bulk import stream as picks

if TYPE_CHECKING:
    import pytest

    from app import Parts
    from tests.builders import Api

ALTERNATIONS = 1000
MAIL = "/v1/picks?channel=email&limit=1"


def test_a_thousand_alternations_are_never_stale_on_the_other_instance(
    shop: Api, elsewhere: Api, parts: Parts
) -> None:
    member = shop.enrol(("card", "1"))
    path = f"/v1/members/{member}"
    sides = [Side(shop, path), Side(elsewhere, path)]
    stale = 0
    for number in range(ALTERNATIONS):
        granted = number % 2 == 0
        writer, reader = sides[number // 2 % 2], sides[1 - number // 2 % 2]
        writer.decide(granted=granted)
        stale += reader.agrees() is not granted
    assert stale == 0
    assert parts.consents.standing(member).seq == ALTERNATIONS
    assert ledger.verify(consents=parts.consents, progress=lambda *_: None).is_clean


class Side:
    """One instance, called without the checks of the document: there are thousands of calls."""

    def __init__(self, api: Api, path: str) -> None:
        self._client = api.client
        self._headers = {"Authorization": f"Bearer {api.key}"}
        self._path = path

    def decide(self, *, granted: bool) -> None:
        decision = {"purpose": "personalisation", "granted": granted}
        body = {"decisions": [decision]}
        done = self._client.put(f"{self._path}/consents", json=body, headers=self._headers)
        assert done.status_code == 200

    def agrees(self) -> bool:
        """What a use of the consent does: without a model, its reason tells."""
        shown = self._client.get(f"{self._path}/recommendations", headers=self._headers)
        return bool(shown.get_json()["reason"] == "no_model")


def agreeing(parts: Parts, api: Api, count: int) -> list[str]:
    members = sorted(api.enrol() for _ in range(count))
    for member in members:
        decide(parts, member, granted=True)
    return members


def decide(parts: Parts, member: str, *, granted: bool) -> None:
    service.record(
        member,
        [Decision("marketing", granted, "email" if granted else None)],
        method="form",
        at=now(),
        by="tests",
        consents=parts.consents,
        members=parts.members,
    )


def test_who_withdraws_elsewhere_while_a_stream_runs_is_not_in_what_is_left_of_it(
    shop: Api, elsewhere: Api, parts: Parts
) -> None:
    members = agreeing(parts, shop, picks.BATCH * 3)
    headers = {"Authorization": f"Bearer {shop.key}"}
    stream = shop.client.get(MAIL, headers=headers, buffered=False)
    lines = stream.iter_encoded()
    seen = [orjson.loads(next(lines))["member_id"] for _ in range(3)]
    assert seen == members[:3]
    ways: list[dict[str, Any]] = [
        {"purpose": "marketing", "granted": False, "channel": "email"},
        {"purpose": "marketing", "granted": False},
        {"purpose": "marketing", "granted": False, "objection": True},
    ]
    gone = [members[picks.BATCH + 5], members[picks.BATCH * 2], members[-1]]
    for member, way in zip(gone, ways, strict=True):
        elsewhere.put(f"/v1/members/{member}/consents", {"decisions": [way]}, expect=200)
    rest = [orjson.loads(line)["member_id"] for line in lines]
    assert not set(gone) & set(rest)
    assert [*seen, *rest] == [each for each in members if each not in gone]


def test_restricting_and_asking_for_erasure_stop_a_running_stream_too(
    shop: Api, parts: Parts
) -> None:
    members = agreeing(parts, shop, picks.BATCH + 2)
    headers = {"Authorization": f"Bearer {shop.key}"}
    lines = shop.client.get(MAIL, headers=headers, buffered=False).iter_encoded()
    next(lines)
    how: dict[str, Any] = {"at": now(), "by": "tests", "method": "request"}
    how |= {"consents": parts.consents, "members": parts.members}
    service.restrict(members[-2], restricted=True, **how)
    service.withdraw_all(members[-1], **how)
    rest = {orjson.loads(line)["member_id"] for line in lines}
    assert not rest & {members[-2], members[-1]}
    for member in members[-2:]:
        assert gate.permit(member, "marketing", "email", at=now(), consents=parts.consents) is None


def test_who_withdraws_between_the_reading_and_the_sending_of_a_batch_is_left_out(
    shop: Api, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = agreeing(parts, shop, 5)
    draw = picks.draw

    def withdrawn_meanwhile(*args: Any) -> Any:
        found = draw(*args)
        decide(parts, members[2], granted=False)
        return found

    monkeypatch.setattr(picks, "draw", withdrawn_meanwhile)
    answer = shop.get(MAIL, expect=200)
    found = [orjson.loads(line)["member_id"] for line in answer.data.splitlines()]
    assert found == [*members[:2], *members[3:]]
