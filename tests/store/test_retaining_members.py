"""The rules of retention on a real database: stopped, raced, and run again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import DeleteOne

from loyalty.accesslog.model import Place, Tally
from loyalty.consent.model import Decision
from loyalty.consent.service import record, restrict
from loyalty.journal.appending import append
from loyalty.journal.model import StaleHeadError
from loyalty.kit.errors import CarnetError
from loyalty.members.model import Member
from loyalty.members.service import new_member_id
from loyalty.privacy.requests import open_request
from loyalty.retention.model import Applied, LeaseTakenError, RetentionBusyError, Rules, Sweep
from loyalty.retention.service import Keeper, RuleBook, apply_rules
from tests.builders import draft, dump, engagement, permit, published, purchase
from tests.races.test_races import race

if TYPE_CHECKING:
    from collections.abc import Callable

    from app import Parts
    from loyalty.program.model import Program

DAY = timedelta(days=1)
LONG_AGO = datetime(2021, 6, 1, 9, tzinfo=UTC)
START = datetime(2026, 3, 1, 3, tzinfo=UTC)


class StoppedError(Exception):
    """Somebody pressed Ctrl-C."""


class Eraser:
    """Removes a member's own document, and notes whom and why."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.erased: list[tuple[str, str]] = []

    def __call__(self, member_id: str, reason: str) -> None:
        self._parts.database["members"].bulk_write([DeleteOne({"_id": member_id})])
        for holder in (self._parts.retention, self._parts.outbox, self._parts.accesslog):
            holder.erase(member_id)
        self.erased.append((member_id, reason))


@pytest.fixture
def rules(parts: Parts) -> Program:
    return published(parts)


@pytest.fixture
def eraser(parts: Parts) -> Eraser:
    return Eraser(parts)


def keeper_of(parts: Parts, eraser: Eraser, *sweeps: Sweep) -> Keeper:
    return Keeper(parts.retention, parts.postman, sweeps, parts.retention.end, eraser)


def run(
    keeper: Keeper,
    at: datetime,
    *,
    is_dry: bool = False,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Applied:
    return apply_rules(clock=lambda: at, keeper=keeper, is_dry=is_dry, progress=progress)


def member_since(parts: Parts, at: datetime = LONG_AGO, status: Any = "active") -> str:
    member = Member(new_member_id(), status, at)
    parts.members.add(member, [])
    return member.id


def buys(parts: Parts, rules: Program, member: str, at: datetime) -> None:
    append(draft(member, purchase(at=at), rules), parts.stores)


def decides(parts: Parts, member: str, at: datetime, method: str = "form") -> None:
    record(
        member,
        [Decision("personalisation", granted=True)],
        method=method,
        notice_version=None,
        at=at,
        by="tests",
        consents=parts.consents,
        members=parts.members,
    )


def stages(parts: Parts) -> list[tuple[str, str]]:
    """Who was sent which warning."""
    found = parts.outbox.waiting(after=None, limit=100, at=LONG_AGO)
    return [(each.member_id, each.content["stage"]) for each in found]


def test_an_inactive_member_is_warned_twice_and_erased(
    parts: Parts, rules: Program, eraser: Eraser
) -> None:
    member, keeper = member_since(parts), keeper_of(parts, eraser)
    buys(parts, rules, member, LONG_AGO)
    assert run(keeper, START).counts == {"warned": 1}
    assert stages(parts) == [(member, "first")]
    assert run(keeper, START + 29 * DAY).counts == {}
    assert run(keeper, START + 30 * DAY).counts == {"warned_again": 1}
    assert stages(parts) == [(member, "first"), (member, "last")]
    assert run(keeper, START + 30 * DAY).counts == {}
    assert run(keeper, START + 31 * DAY).counts == {"inactive_erased": 1}
    assert eraser.erased == [(member, "inactivity")]
    assert run(keeper, START + 32 * DAY).counts == {}


def test_a_warning_goes_to_the_address_there_is_and_says_the_day(
    parts: Parts, eraser: Eraser
) -> None:
    member_since(parts)
    run(keeper_of(parts, eraser), START)
    (message,) = parts.outbox.waiting(after=None, limit=9, at=START)
    assert message.channel == "post"
    assert message.content == {"stage": "first", "erased_at": "2026-04-01"}


@pytest.mark.parametrize("act", ["buy", "play", "login", "decide"])
def test_whatever_a_member_does_keeps_it(
    parts: Parts, rules: Program, eraser: Eraser, act: str
) -> None:
    member, keeper = member_since(parts), keeper_of(parts, eraser)
    run(keeper, START)
    at = START + 10 * DAY
    if act == "buy":
        buys(parts, rules, member, at)
    elif act == "play":
        append(draft(member, engagement("survey", at=at), rules), parts.stores)
    elif act == "login":
        parts.members.note_login(member, at=at)
    else:
        decides(parts, member, at)
    assert run(keeper, START + 31 * DAY).counts == {"active_again": 1}
    assert stages(parts) == []
    assert parts.retention.warned(member) is None
    assert eraser.erased == []


@pytest.mark.parametrize("passive", ["email_open", "import", "browser_signal"])
def test_what_is_no_act_of_the_member_keeps_nobody(
    parts: Parts, rules: Program, eraser: Eraser, passive: str
) -> None:
    member, keeper = member_since(parts), keeper_of(parts, eraser)
    at = START - DAY
    if passive == "email_open":
        append(draft(member, engagement(passive, at=at), rules), parts.stores)
    else:
        decides(parts, member, at, passive)
    assert run(keeper, START).counts == {"warned": 1}


def test_who_asked_to_keep_the_data_or_waits_for_an_answer_is_kept(
    parts: Parts, eraser: Eraser
) -> None:
    restricted, waiting = member_since(parts), member_since(parts)
    keeper, at = keeper_of(parts, eraser), LONG_AGO
    how: dict[str, Any] = {
        "at": at,
        "by": "tests",
        "method": "request",
        "consents": parts.consents,
        "members": parts.members,
    }
    restrict(restricted, restricted=True, **how)
    open_request(waiting, "rectification", proof="shop", at=at, by="tests", desk=parts.desk)
    assert run(keeper, START).counts == {}
    restrict(restricted, restricted=False, **how)
    parts.database["privacy_requests"].update_one({"member": waiting}, {"$unset": {"is_open": 1}})
    assert run(keeper, START).counts == {"warned": 2}


def test_a_purchase_that_arrives_late_counts_when_it_happened(
    parts: Parts, rules: Program, eraser: Eraser
) -> None:
    member = member_since(parts)
    buys(parts, rules, member, START - 10 * DAY)
    buys(parts, rules, member, LONG_AGO)
    assert run(keeper_of(parts, eraser), START).counts == {}


def test_provisional_members_go_without_a_word(
    parts: Parts, rules: Program, eraser: Eraser
) -> None:
    gone = member_since(parts, START - 400 * DAY, "provisional")
    there = member_since(parts, START - 400 * DAY, "provisional")
    buys(parts, rules, there, START - 10 * DAY)
    assert run(keeper_of(parts, eraser), START).counts == {"provisional_erased": 1}
    assert eraser.erased == [(gone, "provisional")]
    assert stages(parts) == []


def test_a_dry_run_counts_and_writes_nothing(parts: Parts, eraser: Eraser) -> None:
    member_since(parts)
    member_since(parts, START - 400 * DAY, "provisional")
    at = START - 200 * DAY
    place = Place("m", "k", "security", "/x", at.date())
    parts.accesslog.add({place: Tally(1, at, at)})
    parts.database["access_log"].update_many({}, {"$set": {"last_at": at}})
    parts.retention.set_rules(Rules(access_log_days=100), at=START, by="tests")
    log = Sweep("access_log_days", "access_log", parts.accesslog.old, parts.accesslog.sweep)
    keeper, before = keeper_of(parts, eraser, log), dump(parts.database)
    would = run(keeper, START, is_dry=True).counts
    assert dump(parts.database) == before
    assert would == run(keeper, START).counts


def test_stopped_at_any_point_and_run_again_ends_the_same(parts: Parts, eraser: Eraser) -> None:
    keeper, names = keeper_of(parts, eraser), ("first", "last")
    for stop_at in range(1, 5):
        parts.database["retention_warnings"].delete_many({})
        parts.database["messages"].delete_many({})
        parts.database["members"].delete_many({})
        members = [member_since(parts) for _ in range(3)]
        eraser.erased.clear()
        for day in (0, 30, 31):

            def stop(done: int, _total: int, _stage: str, stop_at: int = stop_at) -> None:
                if done == stop_at:
                    raise StoppedError

            at = START + day * DAY
            if stop_at <= 3:
                with pytest.raises(StoppedError):
                    run(keeper, at, progress=stop)
            run(keeper, at)
            if day < 31:
                expected = [(each, stage) for each in members for stage in names[: 1 + day // 30]]
                assert sorted(stages(parts)) == sorted(expected)
        assert sorted(eraser.erased) == sorted((each, "inactivity") for each in members)


def test_killed_between_the_record_of_a_warning_and_its_message_it_is_posted_once(
    parts: Parts, eraser: Eraser, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, keeper = member_since(parts), keeper_of(parts, eraser)
    for when in ("before", "after"):

        def die(message: Any, when: str = when, post: Any = parts.outbox.post) -> None:
            if when == "after":
                post(message)
            raise StoppedError

        with monkeypatch.context() as patch:
            patch.setattr(parts.outbox, "post", die)
            with pytest.raises(StoppedError):
                run(keeper, START)
    run(keeper, START)
    run(keeper, START + DAY)
    assert stages(parts) == [(member, "first")]


def test_killed_between_the_end_of_the_journal_and_the_erasure_it_goes_on(
    parts: Parts, eraser: Eraser
) -> None:
    member, keeper = member_since(parts), keeper_of(parts, eraser)
    run(keeper, START)
    run(keeper, START + 30 * DAY)

    def die(member_id: str, reason: str) -> None:  # noqa: ARG001
        raise StoppedError

    with pytest.raises(StoppedError):
        run(keeper._replace(erase=die), START + 31 * DAY)
    assert run(keeper, START + 31 * DAY).counts == {"inactive_erased": 1}
    assert eraser.erased == [(member, "inactivity")]


def test_who_buys_at_the_moment_of_the_erasure_either_stays_or_is_refused(
    parts: Parts, rules: Program, eraser: Eraser
) -> None:
    """Never both: an acknowledged purchase, and an erased member."""
    keeper = keeper_of(parts, eraser)
    outcomes = set()
    for _ in range(25):
        member = member_since(parts)
        run(keeper, START)
        run(keeper, START + 30 * DAY)
        at = START + 31 * DAY

        def buy(member: str = member, at: datetime = at) -> bool:
            try:
                buys(parts, rules, member, at)
            except (CarnetError, StaleHeadError, KeyError):
                return False  # the journal is closed
            return True

        def sweep(at: datetime = at) -> bool:
            return bool(run(keeper, at))

        calls: list[Callable[[], bool]] = [buy, sweep]
        is_bought, _ = race(calls)
        is_erased = member in {each for each, _ in eraser.erased}
        assert not (is_bought and is_erased)
        assert is_bought or is_erased
        outcomes.add(is_bought)
        parts.database["members"].delete_many({})
    assert outcomes


def test_two_runs_at_once_do_not_mix(parts: Parts, eraser: Eraser) -> None:
    members = {member_since(parts) for _ in range(20)}
    keeper = keeper_of(parts, eraser)

    def attempt() -> bool:
        try:
            run(keeper, START)
        except RetentionBusyError:
            return False
        return True

    assert any(race([attempt] * 4))
    assert {member for member, _ in stages(parts)} == members
    assert len(stages(parts)) == len(members)


def test_a_run_that_was_silent_for_too_long_is_taken_over(parts: Parts) -> None:
    store = parts.retention
    store.take_lease("one", at=START)
    with pytest.raises(RetentionBusyError):
        store.take_lease("two", at=START + timedelta(seconds=59))
    store.take_lease("two", at=START + timedelta(seconds=61))
    with pytest.raises(LeaseTakenError):
        store.renew_lease("one", at=START)
    store.drop_lease("one")
    store.renew_lease("two", at=START)


def test_a_warning_is_held_and_erased(parts: Parts, eraser: Eraser) -> None:
    member = member_since(parts)
    run(keeper_of(parts, eraser), START)
    (held,) = parts.retention.held(member)
    assert held.data["first_at"] == START
    assert parts.retention.erase(member) == {"retention_warnings": 1}
    assert parts.retention.erase(member) == {"retention_warnings": 0}


def test_requests_learn_of_other_rules_within_a_minute(parts: Parts) -> None:
    clock = [0.0]
    book = RuleBook(parts.retention, monotonic=lambda: clock[0])
    assert book.history_since(START) == datetime(2024, 3, 1, 3, tzinfo=UTC)
    parts.retention.set_rules(Rules(model_history_months=1), at=START, by="tests")
    clock[0] = 59
    assert book.history_since(START) == datetime(2024, 3, 1, 3, tzinfo=UTC)
    clock[0] = 60
    assert book.history_since(START) == datetime(2026, 2, 1, 3, tzinfo=UTC)


def test_the_history_for_recommendations_can_have_an_age(parts: Parts, rules: Program) -> None:
    member = member_since(parts)
    for at in (LONG_AGO, START):
        buys(parts, rules, member, at)
    assert len(parts.journal.history(permit(member), limit=9)) == 2
    (newest,) = parts.journal.history(permit(member), limit=9, since=START)
    assert newest.occurred_at == START
