"""Where a member stands does not hang on the order of arrival; and who can undo what."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.consent import gate, ledger, service
from loyalty.consent.model import MARKETING_CHANNELS, DecidedInFutureError, Decision, flag_of
from loyalty.consent.purposes import built_in
from loyalty.vault.permit import Permit
from tests.builders import NOON, enrolled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app import Parts

NOW = NOON + timedelta(days=2)
OWN = {"form", "call"}
FLAGS = [("personalisation", None), ("marketing", "email"), ("marketing", "sms")]


class Told(NamedTuple):
    """Something that arrives: what was decided, how, and when it had been."""

    use: int
    kind: str
    method: str
    hours_ago: int
    holds_hours: int | None


told = st.builds(
    Told,
    st.integers(0, len(FLAGS) - 1),
    st.sampled_from(["yes", "yes", "no", "objection"]),
    st.sampled_from(["form", "call", "till", "import"]),
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(1, 12)),
)


def tell(parts: Parts, member: str, each: Told) -> None:
    purpose, channel = FLAGS[each.use]
    decided_at = NOW - timedelta(hours=each.hours_ago)
    is_grant = each.kind == "yes"
    ends = decided_at + timedelta(hours=each.holds_hours) if each.holds_hours else None
    decision = Decision(
        purpose,
        is_grant,
        None if each.kind == "objection" else channel,
        each.kind == "objection",
        ends if is_grant else None,
    )
    service.record(
        member,
        [decision],
        method=each.method,
        decided_at=decided_at,
        at=NOW,
        by="tests",
        consents=parts.consents,
        members=parts.members,
    )


def oracle(arrived: Sequence[Told], use: int, at: datetime) -> bool:
    """The same rules said once more, as plainly as can be, over the whole of what arrived."""
    purpose = FLAGS[use][0]
    mine = [
        each
        for each in arrived
        if each.use == use or (each.kind == "objection" and FLAGS[each.use][0] == purpose)
    ]
    mine.sort(key=lambda each: (-each.hours_ago, each.method != "import"))
    agreed, ever_agreed, objected, until = False, False, False, at
    for each in mine:
        if each.kind == "objection":
            agreed, ever_agreed, objected = False, False, True
        elif each.kind == "no":
            ever_agreed = ever_agreed and not objected
            agreed = False
        elif each.method == "import" and (objected or (ever_agreed and not agreed)):
            continue
        elif not objected or each.method in OWN:
            agreed, ever_agreed, objected = True, True, False
            start = NOW - timedelta(hours=each.hours_ago)
            until = start + timedelta(hours=each.holds_hours or 24 * 365)
    return agreed and at < until


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(told, min_size=1, max_size=7))
def test_whatever_the_order_of_arrival_the_gate_says_what_the_plain_rules_say(
    parts: Parts, arrived: list[Told]
) -> None:
    member = enrolled(parts)
    for each in arrived:
        tell(parts, member, each)
    for use, (purpose, channel) in enumerate(FLAGS):
        for at in (NOW, NOW + timedelta(hours=5)):
            permit = gate.permit(member, purpose, channel, at=at, consents=parts.consents)
            assert (permit is not None) == oracle(arrived, use, at), (purpose, channel, at)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(told, min_size=2, max_size=6, unique_by=lambda each: each.hours_ago).flatmap(
        lambda some: st.tuples(st.just(some), st.permutations(some))
    )
)
def test_two_orders_of_arrival_end_alike(
    parts: Parts, orders: tuple[list[Told], list[Told]]
) -> None:
    ends = []
    for order in orders:
        member = enrolled(parts)
        for each in order:
            tell(parts, member, each)
        flags = parts.consents.standing(member).flags
        ends.append({name: (each.status, each.at, each.expires_at) for name, each in flags.items()})
    assert ends[0] == ends[1]
    assert ledger.verify(consents=parts.consents, progress=lambda *_: None).is_clean


def told_by(kind: str, method: str, hours_ago: int) -> Told:
    return Told(1, kind, method, hours_ago, None)


@pytest.mark.parametrize(
    ("arrived", "agrees"),
    {
        "a late till is older than the member's no": (
            [told_by("yes", "form", 8), told_by("no", "form", 3), told_by("yes", "till", 5)],
            False,
        ),
        "a later till is news": ([told_by("no", "form", 5), told_by("yes", "till", 3)], True),
        "no import undoes a withdrawal": (
            [told_by("yes", "form", 8), told_by("no", "form", 5), told_by("yes", "import", 1)],
            False,
        ),
        "no import undoes an objection": (
            [told_by("objection", "form", 5), told_by("yes", "import", 1)],
            False,
        ),
        "no till undoes an objection": (
            [told_by("objection", "call", 5), told_by("yes", "till", 1)],
            False,
        ),
        "the member undoes it": (
            [told_by("objection", "call", 5), told_by("yes", "form", 1)],
            True,
        ),
        "a plain no does not soften an objection": (
            [told_by("objection", "form", 5), told_by("no", "form", 3), told_by("yes", "till", 1)],
            False,
        ),
        "an objection that comes late closes what a till opened after it": (
            [told_by("yes", "till", 2), told_by("objection", "form", 5)],
            False,
        ),
    }.values(),
)
def test_who_can_undo_what(parts: Parts, arrived: list[Told], *, agrees: bool) -> None:
    member = enrolled(parts)
    for each in arrived:
        tell(parts, member, each)
    found = gate.permit(member, "marketing", "email", at=NOW, consents=parts.consents)
    assert found == (Permit(member, "marketing", "email") if agrees else None)


def test_an_objection_covers_all_channels_and_profiling_for_marketing(parts: Parts) -> None:
    member = enrolled(parts)
    tell(parts, member, Told(0, "yes", "form", 8, None))
    for use in (1, 2):
        tell(parts, member, Told(use, "yes", "form", 8, None))
    tell(parts, member, Told(1, "objection", "form", 4, None))

    def may(purpose: str, channel: str | None = None) -> bool:
        ask = {"at": NOW, "consents": parts.consents}
        return gate.permit(member, purpose, channel, **ask) is not None  # type: ignore[arg-type]

    assert not any(may("marketing", each) for each in MARKETING_CHANNELS)
    assert not any(may("personalisation", each) for each in MARKETING_CHANNELS)
    assert may("personalisation")
    tell(parts, member, Told(1, "yes", "form", 1, None))
    assert may("marketing", "email")
    assert may("personalisation", "email")
    assert not may("marketing", "sms")
    assert not may("personalisation", "sms")


def test_a_yes_holds_until_the_purpose_says(parts: Parts) -> None:
    member = enrolled(parts)
    tell(parts, member, Told(0, "yes", "form", 1, None))
    decided_at = NOW - timedelta(hours=1)
    last = decided_at.replace(year=decided_at.year + 3)
    for at, holds in ((last - timedelta(seconds=1), True), (last, False)):
        found = gate.permit(member, "personalisation", at=at, consents=parts.consents)
        assert (found is not None) is holds


def test_a_restriction_stops_consent_and_leaves_the_contract(parts: Parts) -> None:
    member = enrolled(parts)
    tell(parts, member, Told(0, "yes", "form", 1, None))
    how = {"at": NOW, "by": "tests", "method": "request"}
    stores = {"consents": parts.consents, "members": parts.members}
    for restricted in (True, False):
        service.restrict(member, restricted=restricted, **how, **stores)  # type: ignore[arg-type]
        for purpose, is_open in (
            ("personalisation", not restricted),
            ("security", not restricted),
            ("loyalty_programme", True),
            ("rights", True),
        ):
            found = gate.permit(member, purpose, at=NOW, consents=parts.consents)
            assert (found is not None) is is_open, (purpose, restricted)


def test_all_is_withdrawn_in_one_record(parts: Parts) -> None:
    member = enrolled(parts)
    for use in range(3):
        tell(parts, member, Told(use, "yes", "form", 1, None))
    done = service.withdraw_all(
        member,
        at=NOW,
        by="tests",
        method="request",
        consents=parts.consents,
        members=parts.members,
    )
    assert done.standing.restricted
    ever = {flag_of(*each): done.standing.flags[flag_of(*each)].status for each in FLAGS}
    assert set(ever.values()) == {"withdrawn"}
    others = {each.status for name, each in done.standing.flags.items() if name not in ever}
    assert others == {"refused"}
    for purpose, channel in FLAGS:
        assert gate.permit(member, purpose, channel, at=NOW, consents=parts.consents) is None


def test_a_withdrawal_holds_whatever_the_clocks_say(parts: Parts) -> None:
    member = enrolled(parts)
    ahead = NOW + timedelta(seconds=90)
    for granted, at, decided_at in (
        (True, ahead, None),
        (False, NOW, None),
        (True, ahead, None),
        (False, NOW, NOW - timedelta(seconds=90)),
    ):
        service.record(
            member,
            [Decision("analytics", granted)],
            method="form",
            decided_at=decided_at,
            at=at,
            by="tests",
            consents=parts.consents,
            members=parts.members,
        )
        found = gate.permit(member, "analytics", at=NOW, consents=parts.consents)
        assert (found is not None) is granted


def test_nothing_is_decided_in_the_future(parts: Parts) -> None:
    with pytest.raises(DecidedInFutureError):
        service.record(
            enrolled(parts),
            [Decision("analytics", granted=True)],
            method="form",
            decided_at=NOW + timedelta(minutes=5),
            at=NOW,
            by="tests",
            consents=parts.consents,
            members=parts.members,
        )


def test_a_yes_from_before_a_withdrawal_of_everything_does_not_outlive_it(parts: Parts) -> None:
    """A till that was offline tells later what was said earlier."""
    member = enrolled(parts)
    how: dict[str, Any] = {"by": "tests", "consents": parts.consents, "members": parts.members}
    service.withdraw_all(
        member, at=NOW - timedelta(hours=1), method="form", restricted=False, **how
    )
    tell(parts, member, Told(2, "yes", "till", 8, None))
    assert gate.permit(member, "marketing", "sms", at=NOW, consents=parts.consents) is None


@pytest.mark.parametrize(
    ("before", "since"), [((), ("email", "sms")), (("email", "sms"), ("sms",))]
)
def test_a_no_holds_though_the_shop_has_changed_the_channels_of_a_purpose(
    parts: Parts, before: tuple[str, ...], since: tuple[str, ...]
) -> None:
    member = enrolled(parts)
    purpose = built_in()["personalisation"]
    parts.consents.purposes.put([purpose._replace(channels=before)])
    channel = before[0] if before else None
    how: dict[str, Any] = {"method": "form", "at": NOW, "by": "tests"}
    stores: dict[str, Any] = {"consents": parts.consents, "members": parts.members}
    service.record(member, [Decision(purpose.name, True, channel)], **how, **stores)
    parts.consents.purposes.put([purpose._replace(channels=since)])
    service.record(member, [Decision(purpose.name, False, channel)], **how, **stores)
    assert not parts.consents.standing(member).allows(purpose.name, channel, at=NOW)


def test_a_late_word_is_weighed_against_all_that_was_said(parts: Parts) -> None:
    """However much that is: the newest no is at its end."""
    member = enrolled(parts)
    tell(parts, member, Told(0, "yes", "form", 8, None))
    (first,) = parts.database["consents"].find({"member": member})
    copies = [{**first, "_id": ObjectId(), "seq": seq} for seq in range(2, 20_002)]
    parts.database["consents"].insert_many(copies)
    tell(parts, member, Told(0, "no", "form", 2, None))
    tell(parts, member, Told(1, "no", "till", 6, None))
    assert gate.permit(member, "personalisation", at=NOW, consents=parts.consents) is None


@pytest.mark.parametrize("method", ["till", "import"])
def test_a_yes_of_just_now_does_not_overtake_the_no_after_it(parts: Parts, method: str) -> None:
    member = enrolled(parts)
    for granted, at, decided_at, by in (
        (False, NOW - timedelta(seconds=30), None, "form"),
        (True, NOW, NOW - timedelta(seconds=90), method),
    ):
        service.record(
            member,
            [Decision("analytics", granted)],
            method=by,
            decided_at=decided_at,
            at=at,
            by="tests",
            consents=parts.consents,
            members=parts.members,
        )
    assert gate.permit(member, "analytics", at=NOW, consents=parts.consents) is None
