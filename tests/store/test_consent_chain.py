"""Tampering with consent records shows: a field, a gap, a swap, a cut end; and erasing does not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from click.testing import CliRunner

import app
from loyalty.consent import ledger, service
from loyalty.consent.chain import BadCheckpointError
from loyalty.consent.model import Decision
from loyalty.kit.clock import now
from loyalty.kit.settings import Settings
from tests.builders import NOON, dump, enrolled

if TYPE_CHECKING:
    from app import Parts
    from loyalty.consent.ledger import Verdict


FIELDS: dict[str, Any] = {
    "member": "m_" + "0" * 32,
    "seq": 7,
    "kind": "age",
    "decisions": [],
    "decisions.0.asked": "granted",
    "decisions.0.channel": "email",
    "decisions.0.expires_at": NOON,
    "flags": {},
    "flags.analytics.s": "granted",
    "flags.analytics.until": NOON,
    "restricted": True,
    "age": {"adult_from": None},
    "newest_at": NOON - timedelta(1),
    "method": "call",
    "notice_version": "another",
    "language": "fr",
    "evidence": b"another",
    "signal": True,
    "decided_at": NOON - timedelta(1),
    "recorded_at": NOON - timedelta(1),
    "recorded_by": "somebody",
    "previous": "0" * 64,
    "hash": "0" * 64,
    "anything": "new",
}


def decide(parts: Parts, member: str, times: int) -> None:
    for number in range(times):
        service.record(
            member,
            [Decision("analytics", number % 2 == 1)],
            method="form",
            evidence={"form": "box 7"},
            at=NOON,
            by="tests",
            consents=parts.consents,
            members=parts.members,
        )


@pytest.fixture
def member(parts: Parts) -> str:
    """A member with five records, among others."""
    found, *others = (enrolled(parts) for _ in range(3))
    decide(parts, found, 5)
    for each in others:
        decide(parts, each, 2)
    return found


def verified(parts: Parts, against: str | None = None) -> Verdict:
    return ledger.verify(consents=parts.consents, progress=lambda *_: None, against=against)


def kept(parts: Parts) -> str:
    """A checkpoint over all that is there."""
    ahead = timedelta(seconds=-2)
    return ledger.checkpoint(at=now(), consents=parts.consents, settled=ahead)


@pytest.mark.usefixtures("member")
def test_records_that_nobody_touched_are_clean(parts: Parts) -> None:
    assert verified(parts) == ledger.Verdict(9, 3, 0, (), None)
    kept(parts)
    verdict = verified(parts)
    assert verdict.is_clean
    assert verdict.checkpoint is not None
    assert verdict.checkpoint.tally.records == 9


@pytest.mark.parametrize("field", FIELDS)
def test_any_field_that_is_changed_shows(parts: Parts, member: str, field: str) -> None:
    seqs = range(1, 6)
    for seq in (1, 3, 5):
        query = {"member": member, "seq": seq}
        before = parts.database["consents"].find_one(query)
        parts.database["consents"].update_one(query, {"$set": {field: FIELDS[field]}})
        verdict = verified(parts)
        assert not verdict.is_clean, (field, seq)
        assert verdict.findings[0].seq in {*seqs, 7}
        assert before is not None
        parts.database["consents"].replace_one({"_id": before["_id"]}, before)
    assert verified(parts).is_clean


@pytest.mark.parametrize("seq", [1, 3])
def test_a_record_that_was_left_out_shows(parts: Parts, member: str, seq: int) -> None:
    parts.database["consents"].delete_one({"member": member, "seq": seq})
    verdict = verified(parts)
    assert "missing" in verdict.findings[0].problem
    assert verdict.findings[0].member_id == member


def test_two_records_that_changed_places_show(parts: Parts, member: str) -> None:
    consents = parts.database["consents"]
    three, four = (consents.find_one({"member": member, "seq": seq}) for seq in (3, 4))
    assert three is not None
    assert four is not None
    consents.delete_many({"_id": {"$in": [three["_id"], four["_id"]]}})
    consents.insert_many([{**three, "seq": 4}, {**four, "seq": 3}])
    assert verified(parts).problems >= 2


def test_a_record_of_another_member_does_not_fit_in(parts: Parts, member: str) -> None:
    consents = parts.database["consents"]
    other = consents.find_one({"member": {"$ne": member}, "seq": 2})
    assert other is not None
    consents.insert_one({**other, "_id": ObjectId(), "member": member, "seq": 6})
    assert not verified(parts).is_clean


@pytest.mark.parametrize("count", [1, 2, 5], ids=["the last", "the last two", "all of them"])
def test_an_end_that_was_cut_off_shows_by_the_checkpoint(
    parts: Parts, member: str, count: int
) -> None:
    text = kept(parts)
    query = {"member": member, "seq": {"$gt": 5 - count}}
    parts.database["consents"].delete_many(query)
    (finding,) = verified(parts).findings
    assert f"{count} records are missing" in finding.problem
    # Whoever takes away the kept checkpoint too cannot take away the text.
    parts.database["consent_checkpoints"].delete_many({})
    assert verified(parts).is_clean
    assert not verified(parts, text).is_clean


def test_a_chain_that_was_made_anew_shows_by_the_checkpoint(parts: Parts, member: str) -> None:
    kept(parts)
    parts.database["consents"].delete_many({"member": member})
    decide(parts, member, 5)
    assert not verified(parts).is_clean


def test_what_comes_after_a_checkpoint_is_not_held_against_it(parts: Parts, member: str) -> None:
    past = timedelta(seconds=60)
    ledger.checkpoint(at=now(), consents=parts.consents, settled=past)
    decide(parts, member, 3)
    assert verified(parts).is_clean


def test_an_erasure_takes_its_part_out_of_the_sum_and_leaves_no_name(
    parts: Parts, member: str
) -> None:
    texts = [kept(parts), kept(parts)]
    for _ in range(2):
        parts.consents.erase(member)
    assert parts.consents.standing(member).seq == 0
    for text in (None, *texts):
        assert verified(parts, text).is_clean
    assert member not in repr(dump(parts.database)["consent_erasures"])
    parts.database["consents"].delete_one({"seq": 2})
    assert not verified(parts).is_clean


def test_an_erasure_that_was_stopped_and_begun_again_counts_once(parts: Parts, member: str) -> None:
    kept(parts)
    before = list(parts.database["consents"].find({"member": member}))
    parts.consents.erase(member)
    parts.database["consents"].insert_many(before[:2])
    assert not verified(parts).is_clean
    assert parts.consents.erase(member) == {"consents": 2}
    assert verified(parts).is_clean


def test_a_forged_checkpoint_is_refused(parts: Parts) -> None:
    text = kept(parts)
    for forged in ("", "x", "a.b", text[:-6] + "AAAAA=", text.replace(".", "A.", 1)):
        with pytest.raises(BadCheckpointError):
            parts.consents.read_checkpoint(forged)


def test_decisions_at_once_make_one_chain(parts: Parts) -> None:
    member = enrolled(parts)
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda _: decide(parts, member, 3), range(4)))
    assert verified(parts) == ledger.Verdict(12, 1, 0, (), None)


def test_an_export_holds_every_record_with_its_evidence(parts: Parts, member: str) -> None:
    held = list(parts.consents.held(member))
    assert [each.data["seq"] for each in held] == [1, 2, 3, 4, 5]
    assert {each.data["evidence"]["form"] for each in held} == {"box 7"}
    parts.vault.shred(member)
    assert [each.data["evidence"] for each in parts.consents.held(member)] == [None] * 5
    assert verified(parts).is_clean


def test_the_commands_say_so_and_exit_by_it(
    parts: Parts, member: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "from_environment", classmethod(lambda _: settings))
    run = CliRunner().invoke
    made = run(app.main, ["consents", "checkpoint"])
    assert made.exit_code == 0, made.output
    clean = run(app.main, ["consents", "verify", "--checkpoint", made.stdout.splitlines()[0]])
    assert clean.exit_code == 0, clean.output
    assert "3 members, 9 records, 0 findings" in clean.output
    parts.database["consents"].update_one(
        {"member": member, "seq": 3}, {"$set": {"method": "call"}}
    )
    found = run(app.main, ["consents", "verify"])
    assert found.exit_code == 1
    assert member in found.output
    assert run(app.main, ["consents", "verify", "--checkpoint", "x"]).exit_code == 1
