"""What is kept to recognise a retry tells nobody whether a guess at what was sent is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty.kit.idempotency import fingerprint
from tests.builders import dump

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api

KEYED = {"Idempotency-Key": "one"}


def test_no_bare_digest_of_what_is_personal_is_kept(api: Api, parts: Parts) -> None:
    identifiers = [{"type": "email", "value": "ada@example.com"}]
    bodies: list[dict[str, Any]] = [{"identifiers": identifiers}, {"name": "Lovelace"}]
    path = "/v1/members"
    member = api.post(path, bodies[0], headers=KEYED, expect=201).get_json()["id"]
    assert api.post(path, bodies[0], headers=KEYED, expect=201).get_json()["id"] == member
    for _ in range(2):
        api.post("/v1/households", bodies[1], headers=KEYED, expect=201)
    decided = {
        "decisions": [{"purpose": "analytics", "granted": True}],
        "method": "guardian",
        "guardian": {"name": "Anne Milbanke", "relation": "mother", "evidence": {"form": "7"}},
    }
    for is_replay in (False, True):
        made = api.put(f"{path}/{member}/consents", decided, headers=KEYED, expect=200)
        assert ("Idempotent-Replay" in made.headers) is is_replay
    details = {"text": "Not 1815."}
    for _ in range(2):
        api.post(f"{path}/{member}/rectification", details, headers=KEYED, expect=202)
    api.post(f"{path}/{member}/rectification", {"text": "Else."}, headers=KEYED, expect=422)
    asked = {"member": member, "kind": "rectification", "details": details}
    kept = str(dump(parts.database))
    for body in (*bodies, decided, asked):
        assert fingerprint(body) not in kept
