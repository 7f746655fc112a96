"""Who withdrew since a model was trained is counted: all of them, and nobody else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.consent import service
from loyalty.consent.model import Decision
from loyalty.journal.bulk import append_all
from loyalty.journal.store import JournalStore
from loyalty.kit.clock import now
from recommend.training.reading import Roll, agreed_baskets, agreed_signals
from recommend.training.withdrawals import withdrawn_since, withdrew_meanwhile
from tests.builders import draft, enrolled, line, permit, program, purchase
from tests.store.test_feedback_store import add
from tests.store.watching import watching

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings as ServiceSettings

FEW = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
answers = st.lists(st.sampled_from(["yes", "no", "restrict", "other"]), max_size=2)
MINUTE = timedelta(minutes=1)


def decide(parts: Parts, member_id: str, answer: str, at: datetime) -> None:
    """A member agrees, refuses, has the use of their data restricted, or speaks of another use."""
    if answer == "restrict":
        service.restrict(
            member_id,
            restricted=True,
            method="form",
            at=at,
            by="tests",
            consents=parts.consents,
            members=parts.members,
        )
        return
    made = Decision("personalisation", granted=answer == "yes")
    if answer == "other":
        made = Decision("marketing", granted=False, channel="email")
    service.record(
        member_id,
        [made],
        method="form",
        at=at,
        by="tests",
        consents=parts.consents,
        members=parts.members,
    )


def agrees(said: list[str]) -> bool:
    """Where a member stands after all this."""
    relevant = [each for each in said if each in ("yes", "no")]
    return bool(relevant) and relevant[-1] == "yes" and "restrict" not in said


def count(parts: Parts, since: datetime, enough: int = 0) -> int:
    return withdrawn_since(
        since,
        at=since + 2 * MINUTE,
        consents=parts.consents,
        erasures=parts.erasures,
        enough=enough,
    )


@FEW
@given(st.lists(st.tuples(answers, answers), min_size=1, max_size=4))
def test_counted_is_who_agreed_then_and_does_not_now(
    parts: Parts, lives: list[tuple[list[str], list[str]]]
) -> None:
    since = now()
    before = count(parts, since)
    for earlier, later in lives:
        member = enrolled(parts)
        for answer in earlier:
            decide(parts, member, answer, since - MINUTE)
        for answer in later:
            decide(parts, member, answer, since + MINUTE)
    expected = [agrees(earlier) and not agrees([*earlier, *later]) for earlier, later in lives]
    assert count(parts, since) - before == sum(expected)


def test_who_was_erased_counts_and_counting_ends_early(parts: Parts) -> None:
    since = now()
    for number in range(3):
        member = enrolled(parts)
        decide(parts, member, "yes", since - MINUTE)
        decide(parts, member, "no", since + MINUTE)
        parts.erasures.begin(f"e_{number}", f"m_{number}", reason="r", asked_at=since, at=since)
    assert count(parts, since) == 6
    assert 2 <= count(parts, since, enough=2) < 6
    assert count(parts, since + 3 * MINUTE) == 0


def test_during_a_training_those_who_were_read_count_alone(parts: Parts) -> None:
    since = now()
    read, unread = enrolled(parts), enrolled(parts)
    for member in (read, unread):
        decide(parts, member, "yes", since - MINUTE)
    roll = Roll()
    roll.add([read])
    for member in (read, unread):
        decide(parts, member, "no", since)
    gone = withdrew_meanwhile(
        since, roll, at=now() + MINUTE, consents=parts.consents, erasures=parts.erasures
    )
    assert gone == 1
    assert (read in roll, unread in roll, len(roll)) == (True, False, 1)


def test_the_stream_of_a_training_holds_the_newest_of_all_who_agree(parts: Parts) -> None:
    rules = program()
    ids = sorted(enrolled(parts) for _ in range(5))
    for number, member in enumerate(ids):
        bought = [purchase(line(sku=f"s{n}")) for n in range(number)]
        append_all([[draft(member, each, rules) for each in bought]], parts.stores)
        decide(parts, member, "no" if number == 3 else "yes", now())
    roll = Roll()
    told: list[tuple[str, int, int]] = []
    found = list(agreed_baskets(parts.sources, progress=lambda *each: told.append(each), roll=roll))
    assert [each.member for each in found] == [ids[1], *[ids[2]] * 2, *[ids[4]] * 4]
    assert ids[3] not in roll
    assert len(roll) == 4
    assert told[-1] == ("read", 5, 5)


def test_feedback_is_read_of_those_who_were_read_and_still_agree(parts: Parts) -> None:
    stays, leaves, unread = ids = [enrolled(parts) for _ in range(3)]
    for member in ids:
        decide(parts, member, "yes", now())
        add(parts.feedback, member, "cart", "impression")
    roll = Roll()
    roll.add([stays, leaves])
    decide(parts, leaves, "no", now())
    found = [(member, each.kind) for member, each in agreed_signals(parts.sources, roll)]
    assert found == [(stays, "cart")]
    assert unread not in roll


@FEW
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 6))
def test_many_pasts_in_one_read_are_those_of_single_reads(
    parts: Parts, lengths: list[int], limit: int
) -> None:
    rules = program()
    ids = [enrolled(parts) for _ in lengths]
    drafts = [
        [draft(member, purchase(line(sku=f"s{n}")), rules) for n in range(length)]
        for member, length in zip(ids, lengths, strict=True)
    ]
    append_all([each for each in drafts if each], parts.stores)
    permits = [permit(each) for each in ids]
    singly = {each.member_id: parts.journal.history(each, limit=limit) for each in permits}
    many = parts.journal.histories([*permits, permits[0]], limit=limit)
    assert many == {member: baskets for member, baskets in singly.items() if baskets}


def test_a_long_past_is_not_read_to_its_end(parts: Parts, settings: ServiceSettings) -> None:
    rules = program()
    long, short = sorted(enrolled(parts) for _ in range(2))
    append_all([[draft(long, purchase(), rules) for _ in range(300)]], parts.stores)
    append_all([[draft(short, purchase(), rules) for _ in range(3)]], parts.stores)
    with watching(settings) as watch:
        journal = JournalStore(watch.database, parts.secrecy, timeout_seconds=5)
        found = journal.histories([permit(long), permit(short)], limit=20)
        assert {member: len(each) for member, each in found.items()} == {long: 20, short: 3}
        # One read up to the entry too many, and one behind that member.
        assert [each["batchSize"] for each in watch.commands] == [21, 21]
