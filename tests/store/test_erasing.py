"""An erasure can die at any step and is finished by the next; nothing is left and it is proven."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.kit.errors import UnavailableError
from loyalty.privacy.certificate import InvalidCertificateError, verify
from loyalty.privacy.erasing import (
    IN_FLIGHT,
    PASSES_MAX,
    Eraser,
    ErasureIncompleteError,
    advance,
    erase_member,
    start,
    work,
)
from loyalty.privacy.erasures import LEASE
from loyalty.privacy.model import RequestClosedError
from loyalty.privacy.requests import open_request, record_request, refuse
from loyalty.privacy.scan import places
from loyalty.vault.model import ShreddedError
from tests.builders import NOON, draft, dump, enrolled, program, purchase
from tests.desks import (
    Clock,
    DiedError,
    Fate,
    Mortal,
    eraser_of,
    post_message,
    put_back,
    whole_desk,
)

if TYPE_CHECKING:
    from app import Parts
    from loyalty.privacy.service import Desk

STEPS_MAX = 200
ALL = {"journal": 3, "consents": 1, "messages": 1, "members": 1, "privacy_requests": 1}
LONG = LEASE + timedelta(seconds=1)


def lived(parts: Parts, canary: str = "canary") -> str:
    """A member with something in every collection, some of it sealed."""
    from loyalty.journal.bulk import append_all  # noqa: PLC0415
    from tests.store.test_consent_store import YES, record  # noqa: PLC0415

    member_id = enrolled(parts)
    append_all([[draft(member_id, purchase(), program()) for _ in range(3)]], parts.stores)
    record(parts, member_id, YES)
    post_message(parts, member_id, {"text": canary})
    return member_id


def asked(desk: Desk, member_id: str) -> str:
    """The id of a request for erasure."""
    request = open_request(
        member_id, "erasure", proof="shop", at=NOON, by="tests", desk=desk, request_key="k"
    )
    return request.id


def everywhere(parts: Parts, *member_ids: str) -> dict[str, Any]:
    """Where members occur in the whole database."""
    return dict(places(parts.database, member_ids, progress=lambda *_: None))


def require_gone(parts: Parts, desk: Desk, member_id: str) -> None:
    """Nothing is left of the member, and the certificate says so."""
    assert everywhere(parts, member_id) == {}
    assert not parts.vault.has_key(member_id)
    assert not any(True for holder in desk.holders for _ in holder.held(member_id))
    done = desk.erasures.of_member(member_id)
    assert done.done_at
    assert done.certificate
    desk.signer.verify(done.certificate)


def test_an_erasure_removes_everything_and_is_certified(parts: Parts) -> None:
    desk, clock = whole_desk(parts), Clock()
    member_id, other = lived(parts), lived(parts)
    before = everywhere(parts, member_id, other)
    request_id = asked(desk, member_id)
    (erasure_id,) = work(eraser_of(desk, clock))
    require_gone(parts, desk, member_id)
    assert everywhere(parts, other) == {other: before[other]}
    found = desk.requests.get(request_id)
    assert (found.status, found.member_id, found.erasure_id) == ("done", None, erasure_id)
    assert found.details is None
    assert found.request_key is None
    assert sum(clock.waited) >= IN_FLIGHT.total_seconds()


def test_the_certificate_counts_what_went_and_names_nobody(parts: Parts) -> None:
    desk, member_id = whole_desk(parts), lived(parts)
    done = erase_member(member_id, reason="inactivity", eraser=eraser_of(desk))
    certificate = done.certificate
    assert certificate
    assert certificate["reason"] == "inactivity"
    assert certificate["found"] == {"journal": 3, "consents": 1, "messages": 1, "members": 1}
    assert certificate["erased"] == certificate["found"]
    assert certificate["left"] == {}
    assert {"what", "why"} == set(certificate["kept"][0])
    assert member_id not in str(certificate)
    assert "canary" not in str(certificate)


def test_a_changed_certificate_does_not_verify(parts: Parts) -> None:
    member_id = lived(parts)
    done = erase_member(member_id, reason="request", eraser=eraser_of(whole_desk(parts)))
    certificate = dict(done.certificate or {})
    verify(certificate)
    for name in certificate.keys() - {"signature", "public_key"}:
        with pytest.raises(InvalidCertificateError):
            verify({**certificate, name: "something else"})
    with pytest.raises(InvalidCertificateError):
        verify({name: value for name, value in certificate.items() if name != "signature"})


def test_what_a_request_in_flight_writes_afterwards_goes_as_well(parts: Parts) -> None:
    desk, clock = whole_desk(parts), Clock()
    member_id = lived(parts)
    late = iter([True])

    def meanwhile() -> None:
        if next(late, False):
            # It seals, and so makes a key again.
            post_message(parts, member_id, {"text": "late"})

    clock.meanwhile = meanwhile
    done = erase_member(member_id, reason="request", eraser=eraser_of(desk, clock))
    require_gone(parts, desk, member_id)
    assert done.passes == 3
    assert done.erased["messages"] == 2


def test_a_member_that_keeps_coming_back_is_not_certified(parts: Parts) -> None:
    desk, clock = whole_desk(parts), Clock()
    member_id = lived(parts)
    clock.meanwhile = lambda: post_message(parts, member_id, {"text": "again"})
    with pytest.raises(ErasureIncompleteError):
        erase_member(member_id, reason="request", eraser=eraser_of(desk, clock))
    erasure = desk.erasures.of_member(member_id)
    assert (erasure.passes, erasure.certificate) == (PASSES_MAX, None)


def mortal(desk: Desk, calls: list[str], fate: Fate) -> Desk:
    """The desk of a process that dies."""
    wrapped: dict[str, Any] = {
        name: Mortal(getattr(desk, name), calls, fate)
        for name in ("requests", "erasures", "vault", "journal")
    }
    holders = tuple(Mortal(each, calls, fate) for each in desk.holders)
    return desk._replace(**wrapped, holders=holders)


@pytest.mark.parametrize("has_effect", [False, True])
def test_killed_at_any_step_it_is_finished_by_the_next_run(
    parts: Parts, *, has_effect: bool
) -> None:
    desk, clock = whole_desk(parts), Clock()
    for after in range(1, STEPS_MAX):
        member_id = lived(parts)
        request_id = open_request(
            member_id, "erasure", proof="shop", at=NOON, by="tests", desk=desk
        ).id
        calls: list[str] = []
        dying = mortal(desk, calls, Fate(after, has_effect))
        try:
            work(eraser_of(dying, clock))
        except DiedError:
            clock.at += LONG
            work(eraser_of(desk, clock))
        require_gone(parts, desk, member_id)
        assert desk.requests.get(request_id).status == "done"
        certificate = desk.erasures.of_member(member_id).certificate or {}
        assert certificate["erased"] == certificate["found"] == ALL
        if len(calls) < after:
            break
    else:
        pytest.fail("It never came to its end.")
    assert after > 25


def test_two_workers_at_once_certify_each_erasure_once(parts: Parts) -> None:
    desk = whole_desk(parts)
    members = [lived(parts) for _ in range(6)]
    for each in members:
        open_request(each, "erasure", proof="shop", at=NOON, by="tests", desk=desk)
    faults: list[Exception] = []

    def run() -> None:
        try:
            work(Eraser(desk, Clock(), lambda _: None, lambda *_: None, timedelta(0)))
        except Exception as error:  # noqa: BLE001  # the test reports whatever it was
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for each_thread in threads:
        each_thread.start()
    for each_thread in threads:
        each_thread.join()
    assert faults == []
    for each in members:
        require_gone(parts, desk, each)
        assert desk.erasures.of_member(each).erased["journal"] == 3
    assert desk.erasures.count() == len(members)


def test_a_lease_keeps_others_away_until_it_runs_out(parts: Parts) -> None:
    desk, clock = whole_desk(parts), Clock()
    begun = desk.erasures.begin("e_" + "1" * 32, lived(parts), reason="r", asked_at=NOON, at=NOON)
    assert desk.erasures.claim(begun.id, "mine", at=clock())
    assert advance(begun.id, eraser_of(desk, clock)) is None
    clock.at += LONG
    after = advance(begun.id, eraser_of(desk, clock))
    assert after
    assert after.passes == 1


def test_no_second_pass_before_what_was_in_flight_is_over(parts: Parts) -> None:
    desk, clock = whole_desk(parts), Clock()
    begun = desk.erasures.begin("e_" + "1" * 32, lived(parts), reason="r", asked_at=NOON, at=NOON)
    eraser = eraser_of(desk, clock)
    for _ in range(3):
        advance(begun.id, eraser)
    assert desk.erasures.get(begun.id).passes == 1
    clock.at += IN_FLIGHT
    advance(begun.id, eraser)
    assert desk.erasures.get(begun.id).done_at == clock.at


def test_nothing_sealed_opens_from_the_first_pass_on(parts: Parts) -> None:
    desk, member_id = whole_desk(parts), lived(parts)
    sealed = parts.vault.seal(member_id, "a name")
    begun = desk.erasures.begin("e_" + "1" * 32, member_id, reason="r", asked_at=NOON, at=NOON)
    advance(begun.id, eraser_of(desk))
    with pytest.raises(ShreddedError):
        parts.vault.open(sealed)


def test_a_journal_is_ended_and_never_begun_anew(parts: Parts) -> None:
    desk, member_id = whole_desk(parts), lived(parts)
    assert desk.journal.end(member_id) == desk.journal.end(member_id) == 4
    erase_member(member_id, reason="request", eraser=eraser_of(desk))
    ends = parts.database["journal"].find({"member": member_id}).sort("seq")
    assert [(each["kind"], each["seq"]) for each in ends] == [("erasure", n) for n in (1, 2, 3, 4)]


def test_a_request_refused_in_time_is_not_carried_out(parts: Parts) -> None:
    desk, member_id = whole_desk(parts), lived(parts)
    request = desk.requests.get(asked(desk, member_id))
    refuse(request, "No proof.", at=NOON, by="tests", desk=desk)
    assert work(eraser_of(desk)) == []
    assert parts.members.exists(member_id)


def test_an_erasure_that_has_begun_is_not_refused(parts: Parts) -> None:
    desk, member_id = whole_desk(parts), lived(parts)
    request = desk.requests.get(asked(desk, member_id))
    with pytest.raises(RequestClosedError):
        refuse(replace(request, erasure_id="e_1"), "Late.", at=NOON, by="tests", desk=desk)


def test_an_unproven_request_is_not_carried_out(parts: Parts) -> None:
    desk, member_id = whole_desk(parts), lived(parts)
    record_request(
        member_id, "erasure", received_at=NOON, is_proven=False, at=NOON, by="tests", desk=desk
    )
    assert work(eraser_of(desk)) == []
    assert parts.members.exists(member_id)


def test_other_requests_of_an_erased_member_are_over(parts: Parts) -> None:
    desk, member_id = whole_desk(parts), lived(parts)
    open_ = open_request(
        member_id,
        "rectification",
        proof="login",
        at=NOON,
        by="member",
        desk=desk,
        details={"text": "canary"},
    )
    erase_member(member_id, reason="inactivity", eraser=eraser_of(desk))
    left = desk.requests.get(open_.id)
    assert (left.status, left.member_id, left.details) == ("done", None, None)
    assert left.closed_at
    assert desk.requests.due(overdue_at=None, limit=10) == []


def test_the_job_says_which_erasures_it_carried_out(parts: Parts) -> None:
    from loyalty.privacy.erasing import job  # noqa: PLC0415

    desk, member_id = whole_desk(parts), lived(parts)
    asked(desk, member_id)
    result = job(lambda _: eraser_of(desk))({}, None)  # type: ignore[arg-type]
    assert result == {"erasures": [desk.erasures.of_member(member_id).id]}


def test_a_stop_in_the_wait_leaves_it_for_the_next(parts: Parts) -> None:
    desk, clock, member_id = whole_desk(parts), Clock(), lived(parts)
    asked(desk, member_id)

    def stop() -> None:
        raise UnavailableError

    clock.meanwhile = stop
    with pytest.raises(UnavailableError):
        work(eraser_of(desk, clock))
    clock.meanwhile = lambda: None
    work(eraser_of(desk, clock))
    require_gone(parts, desk, member_id)


def test_a_member_that_a_restore_brought_back_can_ask_again(parts: Parts) -> None:
    desk, member_id = whole_desk(parts), lived(parts)
    backup = dump(parts.database)
    first = erase_member(member_id, reason="inactivity", eraser=eraser_of(desk))
    put_back(parts, backup)
    request_id = asked(desk, member_id)
    later = Clock(NOON + timedelta(days=1))
    assert work(eraser_of(desk, later)) == [first.id]
    require_gone(parts, desk, member_id)
    again = desk.erasures.of_member(member_id)
    assert again.id == first.id
    assert again.done_at
    assert again.done_at > later.at - timedelta(hours=1)
    assert desk.requests.get(request_id).status == "done"


def test_a_request_joins_an_erasure_that_is_under_way(parts: Parts) -> None:
    desk, member_id = whole_desk(parts), lived(parts)
    begun = desk.erasures.begin(
        "e_" + "1" * 32, member_id, reason="inactivity", asked_at=NOON, at=NOON
    )
    request_id = asked(desk, member_id)
    assert work(eraser_of(desk)) == [begun.id]
    require_gone(parts, desk, member_id)
    found = desk.requests.get(request_id)
    assert (found.status, found.erasure_id) == ("done", begun.id)


def test_an_erasure_that_cannot_end_keeps_nobody_else_waiting(parts: Parts) -> None:
    desk, clock = whole_desk(parts), Clock()
    first, second = lived(parts), lived(parts)
    erasure_id = "e_" + "0" * 32
    desk.erasures.begin(erasure_id, first, reason="r", asked_at=NOON, at=NOON - LONG)
    spent = {"$set": {"passes": PASSES_MAX}}
    parts.vault.database["erasures"].update_one({"_id": erasure_id}, spent)
    asked(desk, second)
    with pytest.raises(ErasureIncompleteError):
        work(eraser_of(desk, clock))
    require_gone(parts, desk, second)


def test_a_request_for_what_another_reason_did_is_answered(parts: Parts) -> None:
    desk, member_id = whole_desk(parts), lived(parts)
    request_id = asked(desk, member_id)
    start(member_id, reason="inactivity", eraser=eraser_of(desk))
    assert len(work(eraser_of(desk, Clock(NOON + LONG)))) == 1
    found = desk.requests.get(request_id)
    assert (found.status, found.member_id) == ("done", None)


def test_many_are_erased_at_once_and_certified_after_one_wait(parts: Parts) -> None:
    desk, clock = whole_desk(parts), Clock()
    members = [lived(parts) for _ in range(3)]
    eraser = eraser_of(desk, clock)
    for each in members:
        assert start(each, reason="inactivity", eraser=eraser).passes == 1
        assert not parts.members.exists(each)
    assert clock.waited == []
    assert len(work(eraser)) == 3
    assert sum(clock.waited) == pytest.approx(IN_FLIGHT.total_seconds())
    for each in members:
        require_gone(parts, desk, each)
