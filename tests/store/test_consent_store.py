"""Consent: decisions are only ever appended, the newest holds, and unknown means no."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.consent import gate, service
from loyalty.consent.model import (
    MARKETING_CHANNELS,
    PURPOSES,
    PURPOSES_BY_CHANNEL,
    ConsentRequiredError,
    Decision,
    UnknownPurposeError,
)
from loyalty.consent.store import ConsentStore, StaleRecordError
from loyalty.kit.mongo import DURABLE
from loyalty.members.model import MemberNotFoundError
from loyalty.members.service import new_member_id
from tests.builders import NOON, dump, enrolled
from tests.store.watching import watching

if TYPE_CHECKING:
    from app import Parts
    from loyalty.consent.model import Record
    from loyalty.kit.settings import Settings

USES = [
    (purpose, channel)
    for purpose in PURPOSES
    for channel in (MARKETING_CHANNELS if purpose in PURPOSES_BY_CHANNEL else (None,))
]
YES = Decision("personalisation", granted=True)
NO = Decision("personalisation", granted=False)
FEW = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
decisions = st.builds(
    lambda use, granted: Decision(use[0], granted, use[1]), st.sampled_from(USES), st.booleans()
)


def record(parts: Parts, member_id: str, *made: Decision) -> Record:
    """A member decides."""
    return service.record(
        member_id,
        made,
        method="form",
        at=NOON,
        by="tests",
        consents=parts.consents,
        members=parts.members,
    )


def allowed(parts: Parts, member_id: str, purpose: str, channel: str | None = None) -> bool:
    """What the gate says."""
    at = NOON + timedelta(days=1)
    found = gate.permits([member_id], purpose, channel, at=at, consents=parts.consents)
    single = gate.permit(member_id, purpose, channel, at=at, consents=parts.consents)
    assert found.get(member_id) == single
    return single is not None


def test_what_was_never_asked_is_refused(parts: Parts) -> None:
    member = enrolled(parts)
    for purpose, channel in USES:
        assert not allowed(parts, member, purpose, channel)
    with pytest.raises(ConsentRequiredError):
        gate.require(member, "personalisation", at=NOON, consents=parts.consents)


def test_nobody_has_agreed_to_what_does_not_exist(parts: Parts) -> None:
    member = enrolled(parts)
    record(parts, member, *(Decision(purpose, True, channel) for purpose, channel in USES))
    assert not allowed(parts, member, "profiling")
    assert not allowed(parts, member, "marketing")
    assert not allowed(parts, member, "marketing", "fax")
    assert not allowed(parts, new_member_id(), "analytics")
    with pytest.raises(UnknownPurposeError):
        record(parts, member, Decision("profiling", granted=True))
    with pytest.raises(UnknownPurposeError):
        record(parts, member, Decision("accounting", granted=False))


def test_a_decision_holds_at_once_and_so_does_its_withdrawal(parts: Parts) -> None:
    member = enrolled(parts)
    for made, holds in ((YES, True), (NO, False), (YES, True)):
        record(parts, member, made)
        assert allowed(parts, member, "personalisation") is holds
    gate.require(member, "personalisation", at=NOON, consents=parts.consents)


def test_marketing_is_agreed_to_channel_by_channel(parts: Parts) -> None:
    member = enrolled(parts)
    record(parts, member, Decision("marketing", granted=True, channel="email"))
    assert allowed(parts, member, "marketing", "email")
    assert not allowed(parts, member, "marketing", "sms")
    assert not allowed(parts, member, "marketing")


def test_a_no_without_a_channel_is_a_no_to_all(parts: Parts) -> None:
    member = enrolled(parts)
    for channel in ("email", "sms"):
        record(parts, member, Decision("marketing", granted=True, channel=channel))
    record(parts, member, Decision("marketing", granted=False))
    for channel in MARKETING_CHANNELS:
        assert not allowed(parts, member, "marketing", channel)


def test_of_two_decisions_in_one_record_the_last_holds(parts: Parts) -> None:
    member = enrolled(parts)
    record(parts, member, YES, NO)
    assert not allowed(parts, member, "personalisation")


@FEW
@given(st.lists(st.lists(decisions, min_size=1, max_size=4), min_size=1, max_size=5))
def test_where_a_member_stands_is_the_fold_of_all_decisions_and_no_record_changes(
    parts: Parts, made: list[list[Decision]]
) -> None:
    member = enrolled(parts)
    records = []
    for some in made:
        records.append(record(parts, member, *some))
        kept = parts.consents.page(member, before_seq=None, limit=50)
        assert [each.id for each in kept] == [each.id for each in records[::-1]]
        assert [each.hash for each in kept] == [each.hash for each in records[::-1]]
    last = {each.flag: each.granted for some in made for each in some}
    for purpose, channel in USES:
        use = Decision(purpose, True, channel).flag
        assert allowed(parts, member, purpose, channel) == last.get(use, False)
    assert [each.seq for each in records] == list(range(1, len(made) + 1))


def test_a_record_says_who_what_when_how_and_on_which_notice(parts: Parts) -> None:
    member = enrolled(parts)
    parts.consents.notices.publish("2026-01", {"en": "Words"}, (), at=NOON, by="tests")
    evidence = {"form": "box 7", "guardian": {"name": "Ada"}}
    made = service.record(
        member,
        [YES, Decision("marketing", granted=False, channel="sms")],
        method="till",
        notice_version="2026-01",
        evidence=evidence,
        at=NOON,
        by="tests",
        consents=parts.consents,
        members=parts.members,
    )
    (kept,) = parts.consents.page(member, before_seq=None, limit=5)
    assert replace(kept, standing=replace(kept.standing, hash="")) == made
    assert parts.consents.get(member, made.id) == kept
    assert (kept.method, kept.notice_version, kept.language) == ("till", "2026-01", "en")
    assert (kept.recorded_at, kept.seq, kept.member_id) == (NOON, 1, member)
    assert (kept.recorded_by, kept.evidence) == ("tests", evidence)
    assert "box 7" not in repr(dump(parts.database))


def test_deciding_writes_one_new_document_and_touches_no_other(
    parts: Parts, settings: Settings
) -> None:
    member = enrolled(parts)
    record(parts, member, YES)
    before = dump(parts.database)
    with watching(settings) as watch:
        consents = ConsentStore(watch.database, parts.vault, secret=b"s")
        record(parts._replace(consents=consents), member, NO)
        (write,) = (each for each in watch.commands if "find" not in each)
    assert "insert" in write
    assert write["writeConcern"] == DURABLE.document
    after = dump(parts.database)
    assert after["consents"][:-1] == before["consents"]
    assert {**after, "consents": []} == {**before, "consents": []}


def test_a_record_under_a_number_that_is_taken_is_refused(parts: Parts) -> None:
    member = enrolled(parts)
    made = record(parts, member, YES)
    before = dump(parts.database)
    with pytest.raises(StaleRecordError):
        parts.consents.append(replace(made, id="0" * 24))
    assert dump(parts.database) == before


def test_decisions_at_once_are_all_kept_in_some_order(parts: Parts) -> None:
    member = enrolled(parts)
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda made: record(parts, member, made), [YES, NO] * 6))
    kept = parts.consents.page(member, before_seq=None, limit=50)
    assert [each.seq for each in kept] == list(range(12, 0, -1))
    newest = kept[0].decisions[0].granted
    assert allowed(parts, member, "personalisation") is newest


def test_who_is_not_a_member_decides_nothing(parts: Parts) -> None:
    with pytest.raises(MemberNotFoundError):
        record(parts, new_member_id(), YES)
    assert dump(parts.database).get("consents", []) == []


def test_pages_go_back_to_the_first_record(parts: Parts) -> None:
    member = enrolled(parts)
    for made in [YES, NO] * 3:
        record(parts, member, made)
    first = parts.consents.page(member, before_seq=None, limit=4)
    rest = parts.consents.page(member, before_seq=first[-1].seq, limit=4)
    assert [each.seq for each in (*first, *rest)] == [6, 5, 4, 3, 2, 1]


def test_where_many_stand_is_the_newest_of_each(parts: Parts) -> None:
    one, other, silent = (enrolled(parts) for _ in range(3))
    record(parts, one, YES)
    record(parts, one, NO)
    record(parts, other, YES)
    found = parts.consents.standings([one, other, silent])
    assert found == {each: parts.consents.standing(each) for each in (one, other)}
    assert found[one].flags["personalisation"].status == "withdrawn"
    assert found[other].flags["personalisation"].status == "granted"


def test_everyone_who_ever_decided_comes_once_in_pages(parts: Parts) -> None:
    members = sorted(enrolled(parts) for _ in range(7))
    for member in members[:6]:
        record(parts, member, YES)
        record(parts, member, NO)
    pages = list(parts.consents.all_member_ids(page=4))
    assert [len(page) for page in pages] == [4, 2]
    assert [each for page in pages for each in page] == members[:6]
    assert parts.consents.count_members() == 6


def test_first_records_of_many_at_once(parts: Parts) -> None:
    members = [enrolled(parts) for _ in range(3)]
    made = record(parts, members[0], YES)
    others = [
        replace(made, id=f"{n:024}", member_id=member) for n, member in enumerate(members[1:])
    ]
    parts.consents.append_all(others)
    assert all(allowed(parts, member, "personalisation") for member in members)


def test_a_later_clock_does_not_matter_the_order_of_records_does(parts: Parts) -> None:
    member = enrolled(parts)
    for made, at in ((NO, NOON + timedelta(days=9)), (YES, NOON)):
        service.record(
            member,
            [made],
            method="till",
            notice_version=None,
            at=at,
            by="tests",
            consents=parts.consents,
            members=parts.members,
        )
    assert allowed(parts, member, "personalisation")
