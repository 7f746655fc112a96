"""Requests are never doubled, deadlines are a month, codes are few: under races, too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import encode

from loyalty.access.tokens import PROOF_LASTS
from loyalty.kit.idempotency import KeyReusedError
from loyalty.members.model import Identifier, Member, MemberNotFoundError
from loyalty.members.service import new_member_id
from loyalty.privacy import requests
from loyalty.privacy.identity import CODE_LASTS, check_code, send_code
from loyalty.privacy.model import (
    DAY,
    PROOFS,
    TRIES_A_DAY_MAX,
    AlreadyExtendedError,
    ErasesItselfError,
    IdentityNotProvenError,
    NoAddressError,
    Request,
    RequestClosedError,
    Step,
    TooManyCodesError,
    TooManyRightsRequestsError,
)
from loyalty.privacy.requests import open_request, record_request
from loyalty.privacy.store import CODE_TRIES_MAX, CODES_AN_HOUR_MAX, HOUR
from tests.builders import NOON, enrolled

if TYPE_CHECKING:
    from datetime import datetime

    from app import Parts
    from loyalty.privacy.model import Kind

SECOND = timedelta(seconds=1)
WORKERS = 12


def ask(
    parts: Parts, member_id: str, kind: Kind = "rectification", at: datetime = NOON, **more: Any
) -> Request:
    """A request with proof."""
    given: dict[str, Any] = {"proof": "login", "by": "member", **more}
    return open_request(member_id, kind, at=at, desk=parts.desk, **given)


def test_an_open_request_is_given_back_not_doubled(parts: Parts) -> None:
    member_id = enrolled(parts)
    first = ask(parts, member_id, details={"text": "a"})
    assert ask(parts, member_id, details={"text": "b"}).id == first.id
    assert ask(parts, member_id, "objection").id != first.id
    assert ask(parts, enrolled(parts)).id != first.id
    requests.complete(first, at=NOON, by="k", desk=parts.desk)
    assert ask(parts, member_id).id != first.id


def test_what_is_written_while_a_request_is_open_is_added_to_it(parts: Parts) -> None:
    member_id = enrolled(parts)
    first = ask(parts, member_id, details={"text": "My name is wrong."})
    with ThreadPoolExecutor(4) as pool:
        words = [f"And so is my street {each}." for each in range(4)]
        list(pool.map(lambda each: ask(parts, member_id, details={"text": each}), words))
    again = ask(parts, member_id, details={"text": words[0]})
    assert again.id == first.id
    told = (again.details or {})["text"].split("\n\n")
    assert told[0] == "My name is wrong."
    assert sorted(told[1:]) == words
    assert [each.what for each in again.steps] == ["received", *["added"] * 4]
    kept = ask(parts, member_id, "objection", request_key="k", details={"text": "a"})
    assert ask(parts, member_id, "objection", request_key="k", details={"text": "a"}) == kept


def test_many_at_once_open_one_request(parts: Parts) -> None:
    member_id, desk = enrolled(parts), parts.desk
    for _ in range(5):
        with ThreadPoolExecutor(WORKERS) as pool:
            found = list(pool.map(lambda _: ask(parts, member_id), range(3)))
        assert len({each.id for each in found}) == 1
        requests.complete(found[0], at=NOON, by="k", desk=desk)
    assert parts.database["privacy_requests"].count_documents({}) == 5


def test_a_key_leads_to_the_same_request_even_when_it_is_answered(parts: Parts) -> None:
    member_id = enrolled(parts)
    first = ask(parts, member_id, request_key="k", details={"text": "a"})
    requests.complete(first, at=NOON, by="k", desk=parts.desk)
    again = ask(parts, member_id, request_key="k", details={"text": "a"})
    assert (again.id, again.status) == (first.id, "done")
    with pytest.raises(KeyReusedError):
        ask(parts, member_id, request_key="k", details={"text": "b"})


@pytest.mark.parametrize("proof", ["", "link", "something"])
def test_without_proof_nothing_is_opened(parts: Parts, proof: str) -> None:
    with pytest.raises(IdentityNotProvenError):
        ask(parts, enrolled(parts), proof=proof)
    assert parts.database["privacy_requests"].count_documents({}) == 0
    assert proof not in PROOFS


def test_nobody_has_no_requests(parts: Parts) -> None:
    with pytest.raises(MemberNotFoundError):
        ask(parts, new_member_id())


def test_a_month_and_once_two_more(parts: Parts) -> None:
    request = ask(parts, enrolled(parts), at=NOON.replace(day=31))
    assert request.due_at == NOON.replace(month=4, day=30)
    extended = requests.extend(request, "Many archives.", at=NOON, by="k", desk=parts.desk)
    assert extended.due_at == NOON.replace(month=6, day=30)
    for stale in (request, extended):
        with pytest.raises(AlreadyExtendedError):
            requests.extend(stale, "Again.", at=NOON, by="k", desk=parts.desk)
    assert [each.what for each in extended.steps] == ["received", "extended"]
    assert extended.reason == "Many archives."


def test_overdue_is_what_is_open_after_its_day(parts: Parts) -> None:
    request, store = ask(parts, enrolled(parts)), parts.requests
    assert store.due(overdue_at=request.due_at, limit=9) == []
    late = request.due_at + SECOND
    assert [each.id for each in store.due(overdue_at=late, limit=9)] == [request.id]
    assert request.is_overdue(late)
    page = store.page(status=None, overdue_at=late, before_id=None, limit=9)
    assert [each.id for each in page] == [request.id]
    done = requests.complete(request, at=late, by="k", desk=parts.desk)
    assert not done.is_overdue(late)
    assert store.due(overdue_at=late, limit=9) == []


def test_an_answer_is_given_once(parts: Parts) -> None:
    member_id, desk = enrolled(parts), parts.desk
    request = ask(parts, member_id)

    def end(number: int) -> str:
        try:
            if number % 2:
                return requests.complete(request, at=NOON, by="k", desk=desk).status
            return requests.refuse(request, "No.", at=NOON, by="k", desk=desk).status
        except RequestClosedError:
            return ""

    with ThreadPoolExecutor(WORKERS) as pool:
        ends = [each for each in pool.map(end, range(WORKERS)) if each]
    assert ends == [desk.requests.get(request.id).status]
    with pytest.raises(RequestClosedError):
        requests.extend(desk.requests.get(request.id), "x", at=NOON, by="k", desk=desk)


def test_nobody_completes_an_erasure_by_hand(parts: Parts) -> None:
    request = ask(parts, enrolled(parts), "erasure")
    with pytest.raises(ErasesItselfError):
        requests.complete(request, at=NOON, by="k", desk=parts.desk)


def test_a_letter_waits_until_somebody_vouches_for_it(parts: Parts) -> None:
    member_id, received_at = enrolled(parts), NOON - 10 * DAY
    recorded = record_request(
        member_id,
        "rectification",
        received_at=received_at,
        is_proven=False,
        at=NOON,
        by="k",
        desk=parts.desk,
        details={"text": "a letter"},
    ).request
    assert recorded.status == "waiting_for_identity"
    known = ask(parts, member_id, proof="code", details={"text": "other"})
    assert (known.id, known.status, known.proof) == (recorded.id, "open", "code")
    assert known.received_at == received_at
    assert known.due_at == recorded.due_at
    assert known.details == {"text": "a letter\n\nother"}
    assert [each.what for each in known.steps] == ["received", "added", "identified"]


def test_too_many_in_a_day_are_refused_until_the_first_is_a_day_old(parts: Parts) -> None:
    member_id, most = enrolled(parts), TRIES_A_DAY_MAX["access"]
    for number in range(most):
        request = ask(parts, member_id, "access", NOON + number * SECOND)
        requests.complete(request, at=NOON, by="k", desk=parts.desk)
    at = NOON + HOUR
    with pytest.raises(TooManyRightsRequestsError) as refused:
        ask(parts, member_id, "access", at)
    assert refused.value.retry_after_seconds == 23 * 3600
    ask(parts, member_id, "portability", at)
    ask(parts, enrolled(parts), "access", at)
    ask(parts, member_id, "access", NOON + DAY)


def test_an_open_one_that_is_asked_for_again_counts(parts: Parts) -> None:
    member_id, most = enrolled(parts), TRIES_A_DAY_MAX["access"]
    for _ in range(most):
        ask(parts, member_id, "access")
    with pytest.raises(TooManyRightsRequestsError):
        ask(parts, member_id, "access", NOON + SECOND)


def test_many_at_once_get_no_more_than_there_may_be(parts: Parts) -> None:
    member_id, most = enrolled(parts), TRIES_A_DAY_MAX["access"]

    def export(number: int) -> int:
        try:
            found = ask(parts, member_id, "access", NOON + number * SECOND)
            requests.complete(found, at=NOON, by="k", desk=parts.desk)
        except TooManyRightsRequestsError:
            return 0
        except RequestClosedError:
            return 1
        return 1

    with ThreadPoolExecutor(WORKERS) as pool:
        assert sum(pool.map(export, range(40))) <= most


def test_what_a_member_wrote_is_not_readable_in_the_database(parts: Parts) -> None:
    member_id = enrolled(parts)
    request = ask(parts, member_id, details={"text": "canary"})
    requests.refuse(request, "canary, too", at=NOON, by="k", desk=parts.desk)
    raw = b"".join(encode(each) for each in parts.database["privacy_requests"].find())
    assert b"canary" not in raw
    (held,) = parts.requests.held(member_id)
    assert held.data["details"] == {"text": "canary"}
    assert held.data["reason"] == "canary, too"


def test_an_answer_is_told_and_an_erasure_is_not(parts: Parts) -> None:
    member_id = enrolled(parts)
    request = ask(parts, member_id, language="fr")
    requests.refuse(request, "Non.", at=NOON, by="k", desk=parts.desk)
    ask(parts, member_id, "erasure")
    told = [(each.kind, each.language, each.content["reason"]) for each in messages(parts)]
    assert told == [("request_received", "fr", None), ("request_done", "fr", "Non.")]


def messages(parts: Parts) -> list[Any]:
    return parts.outbox.waiting(after=None, limit=99, at=NOON)


# --- codes ---


def reachable(parts: Parts, *identifiers: Identifier) -> str:
    member_id = new_member_id()
    parts.members.add(Member(member_id, "active", NOON), identifiers)
    return member_id


def code_of(parts: Parts) -> str:
    """The code in the newest message."""
    newest: str = messages(parts)[-1].content["code"]
    return newest


def test_a_code_is_right_once_within_its_time(parts: Parts) -> None:
    member_id, desk = reachable(parts, Identifier("email", "a@b.example")), parts.desk
    sent = send_code(member_id, language="en", at=NOON, desk=desk)
    code = code_of(parts)
    assert (sent.channel, len(code), code.isdigit()) == ("email", 6, True)
    assert not check_code(member_id, code, at=NOON + CODE_LASTS, desk=desk)
    assert check_code(member_id, code, at=NOON + CODE_LASTS - SECOND, desk=desk)
    assert not check_code(member_id, code, at=NOON, desk=desk)


def test_a_code_is_of_one_member_and_the_newest_counts(parts: Parts) -> None:
    one, other = (reachable(parts, Identifier("email", f"{each}@b.example")) for each in "xy")
    desk = parts.desk
    send_code(one, language="en", at=NOON, desk=desk)
    first = code_of(parts)
    send_code(other, language="en", at=NOON, desk=desk)
    assert not check_code(other, first, at=NOON, desk=desk)
    send_code(one, language="en", at=NOON + SECOND, desk=desk)
    second = code_of(parts)
    if first != second:
        assert not check_code(one, first, at=NOON + SECOND, desk=desk)
    assert check_code(one, second, at=NOON + SECOND, desk=desk)


def test_five_tries_and_no_more_under_a_race(parts: Parts) -> None:
    member_id, desk = reachable(parts, Identifier("email", "a@b.example")), parts.desk
    send_code(member_id, language="en", at=NOON, desk=desk)
    code = code_of(parts)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    with ThreadPoolExecutor(WORKERS) as pool:
        checks = pool.map(lambda _: check_code(member_id, wrong, at=NOON, desk=desk), range(20))
    assert not any(checks)
    kept = parts.database["identity_codes"].find_one({"_id": member_id})
    assert kept
    assert kept["tries"] == CODE_TRIES_MAX
    assert not check_code(member_id, code, at=NOON, desk=desk)


def test_a_right_code_wins_once_under_a_race(parts: Parts) -> None:
    member_id, desk = reachable(parts, Identifier("email", "a@b.example")), parts.desk
    send_code(member_id, language="en", at=NOON, desk=desk)
    code = code_of(parts)
    with ThreadPoolExecutor(WORKERS) as pool:
        checks = list(pool.map(lambda _: check_code(member_id, code, at=NOON, desk=desk), range(5)))
    assert checks.count(True) == 1


def test_three_codes_an_hour_under_a_race(parts: Parts) -> None:
    member_id, desk = reachable(parts, Identifier("phone", "+4915123456789")), parts.desk

    def send(at: datetime) -> str:
        try:
            return send_code(member_id, language="en", at=at, desk=desk).channel
        except TooManyCodesError:
            return ""

    with ThreadPoolExecutor(WORKERS) as pool:
        sent = list(pool.map(send, [NOON] * WORKERS))
    assert sent.count("sms") == CODES_AN_HOUR_MAX
    with pytest.raises(TooManyCodesError) as refused:
        send_code(member_id, language="en", at=NOON + HOUR - SECOND, desk=desk)
    assert refused.value.retry_after_seconds == 1
    assert send(NOON + HOUR) == "sms"


def test_a_code_is_kept_as_a_hash_and_sealed_in_its_message(parts: Parts) -> None:
    member_id, desk = reachable(parts, Identifier("email", "a@b.example")), parts.desk
    send_code(member_id, language="en", at=NOON, desk=desk)
    code = code_of(parts).encode()
    for name in ("identity_codes", "messages"):
        (document,) = parts.database[name].find()
        texts = [value for value in document.values() if isinstance(value, str)]
        assert not any(code.decode() in text for text in texts if not text.startswith("m_"))
    kept = parts.database["identity_codes"].find_one({"_id": member_id}) or {}
    assert len(kept["digest"]) == 32


def test_nobody_is_sent_a_code_without_an_address(parts: Parts) -> None:
    member_id = reachable(parts, Identifier("card", "1"))
    with pytest.raises(NoAddressError):
        send_code(member_id, language="en", at=NOON, desk=parts.desk)
    with pytest.raises(MemberNotFoundError):
        send_code(new_member_id(), language="en", at=NOON, desk=parts.desk)
    assert not check_code(member_id, "000000", at=NOON, desk=parts.desk)


def test_a_holder_has_nothing_left_after_it_erased(parts: Parts) -> None:
    member_id, desk = reachable(parts, Identifier("email", "a@b.example")), parts.desk
    ask(parts, member_id)
    send_code(member_id, language="en", at=NOON, desk=desk)
    for holder in (parts.requests, parts.codes, parts.outbox):
        assert list(holder.held(member_id))
        assert sum(holder.erase(member_id).values())
        assert not sum(holder.erase(member_id).values())
        assert not list(holder.held(member_id))


def test_a_stale_value_changes_nothing(parts: Parts) -> None:
    request = ask(parts, enrolled(parts))
    step = Step("x", NOON, "k")
    assert parts.requests.change(request, {"erasure_id": "e_1"}, step=step)
    assert parts.requests.change(request, {"erasure_id": "e_2"}, step=step) is None
    fresh = replace(request, erasure_id="e_1")
    assert parts.requests.change(fresh, {"erasure_id": "e_2"}, step=step)


def test_a_proof_lasts_as_long_as_a_token() -> None:
    assert timedelta(minutes=15) == PROOF_LASTS


def test_answered_requests_have_an_end_and_open_ones_none(parts: Parts) -> None:
    member = enrolled(parts)
    answered, still_open = ask(parts, member, "access"), ask(parts, member, "erasure")
    requests.complete(answered, at=NOON + DAY, by="tests", desk=parts.desk)
    store = parts.requests
    assert (store.old(NOON + DAY), store.sweep(NOON + DAY)) == (0, 0)
    late = NOON + 900 * DAY
    assert (store.old(late), store.sweep(late), store.sweep(late)) == (1, 1, 0)
    assert store.get(still_open.id).is_open
