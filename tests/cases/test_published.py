"""Worked examples that other systems publish, run through the HTTP API.

published.json holds them in Carnet's rule language: a programme, and steps with what must come
out. The numbers are those of the systems named in `source`.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.builders import Api, dump, program_document, unique

if TYPE_CHECKING:
    from app import Parts

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "published.json").read_text())
HERE = {"channel": "store", "store": "S1"}


class Counter:
    """A till that plays a case: one member, one purchase at a time, and a clock that is set."""

    def __init__(self, api: Api, parts: Parts, clock: pytest.MonkeyPatch) -> None:
        self.api = api
        self.parts = parts
        self.clock = clock
        self.member = api.enrol()
        self.receipt = ""
        self.last: tuple[str, dict[str, Any]] = ("", {})

    def play(self, step: dict[str, Any]) -> None:
        """Do what the step says and see that what it says came out."""
        then = step["then"]
        if "at" in step:
            moment = datetime.fromisoformat(step["at"])
            for noun in ("journal", "rewards"):
                self.clock.setattr(f"loyalty.{noun}.views.now", lambda: moment)
        if request := self.request(step):
            self.last = request
            refused = "refused" in then
            answer = self.api.post(*request, expect=409 if refused else 201).get_json()
            assert_moved(answer, then)
            if "redeem" in step and not refused:
                self.capture(answer["redemption_id"])
        if "again" in step:
            self.assert_written_once()
        self.assert_points(then)

    def request(self, step: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """The path and the body of a step that reports something."""
        body = {"external_id": unique("case")}
        if "purchase" in step:
            self.receipt = body["external_id"]
            body |= {**HERE, "member": self.member, "currency": "EUR", **step["purchase"]}
            return "/v1/purchases", body
        if "return" in step:
            named = {"purchase": {"external_id": self.receipt}}
            return "/v1/returns", {**body, **HERE, **named, **step["return"]}
        if points := step.get("redeem", step.get("hold")):
            return "/v1/redemptions", {
                **body,
                **HERE,
                "member": self.member,
                "reward": self.reward(points),
            }
        return None

    def reward(self, points: int) -> str:
        """The id of a reward that costs so many points."""
        reward = {
            "id": f"for-{points}",
            "name": "A reward",
            "type": "amount_off",
            "price": points,
            "value": {"amount": points},
        }
        headers = {"Content-Type": "application/x-ndjson"}
        self.api.call("PUT", "/v1/rewards", data=json.dumps(reward), headers=headers, expect=200)
        return str(reward["id"])

    def capture(self, redemption_id: str) -> None:
        """Take what is held for good."""
        self.api.post(f"/v1/redemptions/{redemption_id}/capture", {}, expect=200)

    def assert_written_once(self) -> None:
        """The last request again is answered as before, and nothing is written."""
        before = dump(self.parts.database)
        answer = self.api.post(*self.last, expect=201)
        assert answer.headers["Idempotent-Replay"] == "true"
        assert dump(self.parts.database) == before

    def assert_points(self, then: dict[str, Any]) -> None:
        """Balance and lots as the member sees them at that time."""
        points = self.api.get(f"/v1/members/{self.member}/points", expect=200).get_json()
        assert points["balance"] == sum(lot["points"] for lot in points["lots"])
        assert points["balance"] == then.get("balance", points["balance"])
        assert points["lots"] == then.get("lots", points["lots"])
        assert points["held"] == then.get("held", points["held"])
        if "tier" in then:
            assert points["tier"]["name"] == then["tier"]


def assert_moved(answer: dict[str, Any], then: dict[str, Any]) -> None:
    """What the answer itself says about the points."""
    if "refused" in then:
        assert answer["code"] == then["refused"]
    if "awarded" in then:
        assert answer["points"] == then["awarded"]
    if "tier" in then:
        assert answer["tier"] == then["tier"].lower()
    if "clawed_back" in then:
        assert answer["points"] == -then["clawed_back"]


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_published_case(
    api: Api, parts: Parts, monkeypatch: pytest.MonkeyPatch, case: dict[str, Any]
) -> None:
    document = program_document(**case["program"])
    api.post("/v1/program/versions", {"program": document}, expect=201)
    counter = Counter(api, parts, monkeypatch)
    for step in case["steps"]:
        counter.play(step)
