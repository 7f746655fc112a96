"""What the shop's e-mail tool fetches and sends for Carnet."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.kit.clock import now
from loyalty.messages.model import Message
from tests.builders import mint_key
from tests.races.test_races import posting, race

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api


def post(parts: Parts, member: str, **overrides: Any) -> str:
    """A message that waits; its id."""
    at = now()
    fields: dict[str, Any] = {
        "id": str(ObjectId()),
        "member_id": member,
        "kind": "identity_code",
        "channel": "email",
        "language": "en",
        "content": {"code": "417 233"},
        "created_at": at,
        "expires_at": at + timedelta(hours=1),
        **overrides,
    }
    parts.outbox.post(Message(**fields))
    return str(fields["id"])


def waiting(api: Api, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(
        "/v1/messages", expect=200, query_string=query
    ).get_json()["messages"]
    return found


def test_a_message_is_given_out_with_its_address_until_it_is_marked(api: Api, parts: Parts) -> None:
    member = api.enrol(("email", "ada@example.org"), ("phone", "+33142685300"))
    written, texted = post(parts, member), post(parts, member, channel="sms")
    posted = post(parts, member, channel="post")
    found = waiting(api)
    assert [each["id"] for each in found] == [written, texted, posted]
    addresses = ["ada@example.org", "+33142685300", None]
    assert [each["address"] for each in found] == addresses
    assert found[0]["content"] == {"code": "417 233"}
    api.post(f"/v1/messages/{written}/sent", None, expect=200)
    assert [each["id"] for each in waiting(api)] == [texted, posted]


def test_a_member_without_an_address_is_told_as_such(api: Api, parts: Parts) -> None:
    post(parts, api.enrol(("card", "1")))
    assert [each["address"] for each in waiting(api)] == [None]


def test_marking_again_answers_the_same_and_says_so(api: Api, parts: Parts) -> None:
    path = f"/v1/messages/{post(parts, api.enrol())}/sent"
    first, again = api.post(path, None, expect=200), api.post(path, None, expect=200)
    assert first.data == again.data
    assert "Idempotent-Replay" not in first.headers
    assert again.headers["Idempotent-Replay"] == "true"


def test_of_many_that_mark_at_once_exactly_one_is_the_first(api: Api, parts: Parts) -> None:
    path = f"/v1/messages/{post(parts, api.enrol())}/sent"
    answers = race([posting(api, path, None) for _ in range(20)])
    assert {each.status_code for each in answers} == {200}
    assert len({each.data for each in answers}) == 1
    assert sum("Idempotent-Replay" not in each.headers for each in answers) == 1


def test_the_same_message_posted_by_many_is_kept_once(api: Api, parts: Parts) -> None:
    member, message_id = api.enrol(), str(ObjectId())
    race([lambda: post(parts, member, id=message_id)] * 10)
    assert [each["id"] for each in waiting(api)] == [message_id]


def test_what_nobody_sent_in_time_is_not_given_out(api: Api, parts: Parts) -> None:
    post(parts, api.enrol(), expires_at=now() - timedelta(seconds=1))
    assert waiting(api) == []


def test_a_message_that_nobody_can_read_any_more_is_passed_over(api: Api, parts: Parts) -> None:
    gone, there = api.enrol(), api.enrol()
    for _ in range(3):
        post(parts, gone)
    last = post(parts, there)
    parts.vault.shred(gone)
    assert [each["id"] for each in waiting(api, limit=1)] == [last]


def test_unknown_messages_are_refused(api: Api) -> None:
    answer = api.post(f"/v1/messages/{ObjectId()}/sent", None, expect=404)
    assert answer.get_json()["code"] == "message_not_found"
    api.post("/v1/messages/nonsense/sent", None, expect=404)
    mistake = api.get("/v1/messages?cursor=nonsense", expect=422).get_json()
    assert mistake["errors"][0]["field"] == "cursor"


def test_only_a_key_for_messages_sees_them(api: Api, parts: Parts) -> None:
    api.speaking_with(mint_key(parts, "members:read")).get("/v1/messages", expect=403)
    member = api.enrol()
    token = api.post(f"/v1/members/{member}/token", {}, expect=201).get_json()["token"]
    api.speaking_with(token).get("/v1/messages", expect=403)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 9), st.integers(1, 5))
def test_pages_give_each_message_once(api: Api, parts: Parts, count: int, limit: int) -> None:
    parts.database["messages"].delete_many({})
    member = api.enrol()
    posted = [post(parts, member) for _ in range(count)]
    found, cursor = [], ""
    for _ in range(count + 1):
        query = {"limit": limit, **({"cursor": cursor} if cursor else {})}
        page = api.get("/v1/messages", expect=200, query_string=query).get_json()
        found += [each["id"] for each in page["messages"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert found == posted
