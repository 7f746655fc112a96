"""What is kept of a profile, a referral and a household, and how it is read."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from loyalty.consent.model import (
    HOUSEHOLD_POOLING,
    PURPOSES,
    PURPOSES_BY_CHANNEL,
    Decision,
)
from loyalty.consent.service import record
from loyalty.households import service as households
from loyalty.households.model import (
    HOUSEHOLD_MEMBERS_MAX,
    Belonging,
    Household,
    HouseholdFullError,
    HouseholdNotFoundError,
    InOtherHouseholdError,
    NotInHouseholdError,
)
from loyalty.households.store import HouseholdStore
from loyalty.kit.errors import UnavailableError
from loyalty.members.model import MemberFacts, MemberNotFoundError, Profile
from loyalty.members.service import new_member_id
from loyalty.members.store import MemberStore
from loyalty.referrals import model as referral_model
from loyalty.referrals import store as referral_store
from loyalty.referrals.model import CircularReferralError, Referral, ReferralChainTooLongError
from loyalty.referrals.service import give_code
from loyalty.referrals.store import ReferralStore, ReferrerThereError
from loyalty.vault.peppers import Peppers
from tests.builders import NOON, dump, enrolled
from tests.store.watching import Plan, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app import Parts
    from loyalty.kit.settings import Settings
    from tests.store.watching import Watch

LEAPLING = Profile((2, 29), frozenset({"vip", "organic"}))


@pytest.fixture
def watch(settings: Settings) -> Iterator[Watch]:
    """A client whose commands are seen."""
    with watching(settings) as watch:
        yield watch


def refer(parts: Parts, member: str, referrer: str) -> None:
    parts.referrals.add(Referral(member, referrer, NOON))


def test_a_profile_is_read_as_it_was_set_and_replaced_as_a_whole(parts: Parts) -> None:
    member = enrolled(parts)
    assert parts.members.about(member) == MemberFacts(NOON, None, frozenset(), None)
    parts.members.set_profile(member, LEAPLING)
    assert parts.members.get(member).profile == LEAPLING
    assert parts.members.about(member) == MemberFacts(NOON, (2, 29), LEAPLING.segments, None)
    parts.members.set_profile(member, Profile(segments=frozenset({"new"})))
    assert parts.members.about(member) == MemberFacts(NOON, None, frozenset({"new"}), None)


def test_a_birthday_is_kept_sealed_and_says_nothing_by_its_length(parts: Parts) -> None:
    first, second = enrolled(parts), enrolled(parts)
    for member, birthday in ((first, (2, 29)), (second, (1, 1))):
        parts.members.set_profile(member, Profile(birthday))
    kept = [each["profile"] for each in parts.database["members"].find()]
    assert len({len(each) for each in kept}) == 1
    for text in ("--02-29", "--01-01", "02-29"):
        assert text not in repr(dump(parts.database))


def test_nobody_has_no_profile(parts: Parts) -> None:
    nobody = new_member_id()
    for act in (
        lambda: parts.members.about(nobody),
        lambda: parts.members.set_profile(nobody, LEAPLING),
        lambda: parts.referrals.of(nobody),
        lambda: give_code(nobody, referrals=parts.referrals),
    ):
        with pytest.raises(MemberNotFoundError):
            act()
    assert parts.database["members"].count_documents({}) == 0


def test_what_an_award_needs_of_a_member_is_one_read(parts: Parts, watch: Watch) -> None:
    member, referrer = enrolled(parts), enrolled(parts)
    refer(parts, member, referrer)
    members = MemberStore(watch.database, parts.vault, Peppers(watch.database, parts.vault))
    assert members.about(member).referrer_id == referrer
    assert watch.plan() == Plan({"_id_"}, keys=1, documents=1, returned=1)


def test_a_code_is_given_once_and_found_by_one_key(parts: Parts, watch: Watch) -> None:
    member, other = enrolled(parts), enrolled(parts)
    code, is_replay = give_code(member, referrals=parts.referrals)
    assert not is_replay
    assert give_code(member, referrals=parts.referrals) == (code, True)
    assert give_code(other, referrals=parts.referrals)[0] != code
    assert ReferralStore(watch.database).by_code(code) == member
    assert watch.plan() == Plan({"referral_code"}, keys=1, documents=1, returned=1)
    assert parts.referrals.by_code("NOBODYS0") is None


def test_a_code_that_is_taken_is_drawn_again_a_bounded_number_of_times(parts: Parts) -> None:
    first, second, third = (enrolled(parts) for _ in range(3))
    give_code(first, referrals=parts.referrals, draw=lambda: "AAAAAAAA")
    draws = iter(["AAAAAAAA", "AAAAAAAA", "BBBBBBBB"])
    assert give_code(second, referrals=parts.referrals, draw=lambda: next(draws)).code == "B" * 8
    with pytest.raises(UnavailableError):
        give_code(third, referrals=parts.referrals, draw=lambda: "AAAAAAAA")
    assert parts.referrals.code_of(third) is None


def test_a_referrer_is_recorded_once(parts: Parts) -> None:
    member, referrer, other = (enrolled(parts) for _ in range(3))
    refer(parts, member, referrer)
    before = dump(parts.database)
    for again in (referrer, other):
        with pytest.raises(ReferrerThereError):
            refer(parts, member, again)
    assert dump(parts.database) == before
    assert parts.referrals.of(member) == Referral(member, referrer, NOON)


@pytest.mark.parametrize("length", [1, 2, 3, 10])
def test_no_circle_of_any_length(parts: Parts, length: int) -> None:
    chain = [enrolled(parts) for _ in range(length)]
    for above, below in pairwise(chain):
        refer(parts, below, above)
    before = dump(parts.database)
    with pytest.raises(CircularReferralError) as refused:
        refer(parts, chain[0], chain[-1])
    assert [each.field for each in refused.value.errors] == ["code"]
    assert dump(parts.database) == before
    stranger = enrolled(parts)
    refer(parts, chain[0], stranger)


def test_two_chains_join_where_no_circle_closes(parts: Parts) -> None:
    upper, lower = ([enrolled(parts) for _ in range(3)] for _ in range(2))
    for chain in (upper, lower):
        for above, below in pairwise(chain):
            refer(parts, below, above)
    refer(parts, lower[0], upper[-1])
    with pytest.raises(CircularReferralError):
        refer(parts, upper[0], lower[-1])


def test_the_walk_up_is_bounded_and_a_newcomer_needs_none(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(referral_store, "CHAIN_MAX", 3)
    assert referral_model.CHAIN_MAX > 3
    chain = [enrolled(parts) for _ in range(6)]
    for above, below in pairwise(chain):
        refer(parts, below, above)
    veteran = enrolled(parts)
    refer(parts, enrolled(parts), veteran)
    with pytest.raises(ReferralChainTooLongError):
        refer(parts, veteran, chain[-1])
    refer(parts, veteran, chain[1])


def test_nobody_refers_nobody(parts: Parts) -> None:
    member, nobody = enrolled(parts), new_member_id()
    before = dump(parts.database)
    for pair in ((member, nobody), (nobody, member)):
        with pytest.raises(MemberNotFoundError):
            refer(parts, *pair)
    assert dump(parts.database) == before


def household(parts: Parts, *members: str, name: str | None = None) -> str:
    """A household's id; its members came in a minute apart."""
    made = households.create(name, at=NOON, request_key=None, households=parts.households)
    for number, each in enumerate(members):
        at = NOON + timedelta(minutes=number)
        parts.households.join(Belonging(each, made.household.id, at))
    return made.household.id


def test_a_name_is_kept_sealed_and_never_printed(parts: Parts) -> None:
    household_id = household(parts, name="Canary Street")
    kept = parts.households.get(household_id)
    assert kept == Household(household_id, "Canary Street", NOON)
    assert "Canary" not in repr(dump(parts.database)) + repr(kept)


def test_members_stand_in_the_order_they_came_and_come_once(parts: Parts) -> None:
    members = [enrolled(parts) for _ in range(3)]
    household_id = household(parts, *members)
    before = parts.households.get(household_id)
    parts.households.join(Belonging(members[0], household_id, NOON + timedelta(days=1)))
    assert parts.households.get(household_id) == before
    assert parts.households.pool_of(household_id) == members
    assert parts.households.of(members[0]) == Belonging(members[0], household_id, NOON)


def test_a_member_is_in_one_household_at_a_time(parts: Parts) -> None:
    member = enrolled(parts)
    first, second = household(parts, member), household(parts)
    with pytest.raises(InOtherHouseholdError):
        parts.households.join(Belonging(member, second, NOON))
    assert parts.households.pool_of(second) == []
    with pytest.raises(NotInHouseholdError):
        parts.households.leave(second, member)
    parts.households.leave(first, member)
    with pytest.raises(NotInHouseholdError):
        parts.households.leave(first, member)
    assert parts.households.of(member) is None
    parts.households.join(Belonging(member, second, NOON))
    assert parts.households.pool_of(second) == [member]


def test_twelve_are_a_full_household(parts: Parts) -> None:
    members = [enrolled(parts) for _ in range(HOUSEHOLD_MEMBERS_MAX)]
    household_id, one_more = household(parts, *members), enrolled(parts)
    with pytest.raises(HouseholdFullError):
        parts.households.join(Belonging(one_more, household_id, NOON))
    parts.households.join(Belonging(members[3], household_id, NOON))
    parts.households.leave(household_id, members[3])
    parts.households.join(Belonging(one_more, household_id, NOON))
    assert len(parts.households.pool_of(household_id)) == HOUSEHOLD_MEMBERS_MAX


def test_there_is_no_such_household(parts: Parts) -> None:
    member, nowhere = enrolled(parts), households.new_household_id()
    with pytest.raises(HouseholdNotFoundError):
        parts.households.get(nowhere)
    with pytest.raises(HouseholdNotFoundError):
        parts.households.join(Belonging(member, nowhere, NOON))
    with pytest.raises(NotInHouseholdError):
        parts.households.leave(nowhere, member)
    assert parts.households.of(member) is None


def test_who_belongs_to_a_household_is_read_in_order_from_the_index(
    parts: Parts, watch: Watch
) -> None:
    members = [enrolled(parts) for _ in range(5)]
    household_id = household(parts, *members)
    household(parts, enrolled(parts))
    store = HouseholdStore(watch.database, parts.vault)
    store.get(household_id)
    watch.commands = [each for each in watch.commands if each["find"] == "household_members"]
    assert watch.plan() == Plan({"household"}, keys=5, documents=5, returned=5)
    store.of(members[0])
    assert watch.plan() == Plan({"_id_"}, keys=1, documents=1, returned=1)


def decide(parts: Parts, member: str, purpose: str, *, granted: bool) -> None:
    record(
        member,
        [Decision(purpose, granted)],
        method="form",
        notice_version=None,
        at=NOON,
        by="tests",
        consents=parts.consents,
        members=parts.members,
    )


def contributors(parts: Parts, household_id: str) -> list[str]:
    return households.contributors(
        household_id, at=NOON, households=parts.households, consents=parts.consents
    )


def test_those_contribute_whose_newest_decision_says_yes(parts: Parts) -> None:
    never, yes, no = (enrolled(parts) for _ in range(3))
    household_id = household(parts, never, yes, no)
    contributing = []
    for member, granted in ((yes, True), (no, True), (no, False), (yes, False), (yes, True)):
        decide(parts, member, HOUSEHOLD_POOLING, granted=granted)
        contributing.append(contributors(parts, household_id))
    assert contributing == [[yes], [yes, no], [yes], [], [yes]]


def test_another_purpose_is_no_yes_to_pooling(parts: Parts) -> None:
    member = enrolled(parts)
    household_id = household(parts, member)
    for purpose in set(PURPOSES) - {HOUSEHOLD_POOLING, *PURPOSES_BY_CHANNEL}:
        decide(parts, member, purpose, granted=True)
    assert contributors(parts, household_id) == []
