"""The audit passes what the service wrote, and finds and names each kind of tampering.

And the upkeep: what time has made due is posted once, and lots are dated anew once.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app import main
from loyalty.audit.owing import expiries, liability
from loyalty.audit.service import Scope, audit
from loyalty.audit.upkeep import NothingToRedateError, passage, redate
from loyalty.journal.appending import append, append_together
from loyalty.journal.model import ReturnExceedsPurchaseError
from loyalty.journal.scan import JournalScan
from loyalty.kit.clock import now
from loyalty.members.service import new_member_id
from loyalty.program.lots import Lot
from loyalty.program.model import Activity, Back
from tests.builders import BASE_RULE, NOON, draft, dump, enrolled, line, purchase
from tests.races.lives import arrivals, documents, draft_of, lives
from tests.races.lives import publish as publish_next
from tests.store.test_simulation import done, published, run, values
from tests.store.watching import watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from app import Parts
    from loyalty.audit.model import Report
    from loyalty.kit.mongo import Document
    from loyalty.kit.settings import Settings
    from loyalty.program.model import Program

DAY = timedelta(days=1)
BUDGETED = {"id": "extra", "type": "first_on_channel", "points": 5, "budget": 12}
LADDER = {
    "measure": "purchases",
    "period": "rolling",
    "rolling_days": 30,
    "ladder": [
        {"id": "basic", "name": "Basic", "threshold": 0},
        {"id": "gold", "name": "Gold", "threshold": 3},
    ],
}


def audited(parts: Parts, scope: Scope | None = None) -> Report:
    return audit(
        scope or Scope(),
        at=now(),
        scan=parts.scan,
        stores=parts.stores,
        progress=lambda *_: None,
    )


def kinds(parts: Parts) -> set[str]:
    return set(audited(parts).counts)


def lived(parts: Parts, rules: Program) -> str:
    """A member to whom everything happened: early and late, back and forth."""
    member = enrolled(parts)
    first, *_ = done(
        parts, rules, member, purchase(line(3000, quantity=3)), purchase(at=NOON + DAY)
    )
    (held,) = done(parts, rules, member, held_until(3))
    resolve(parts, rules, member, held, points=15, at=NOON + 2 * DAY)
    back = Activity("return", NOON + 3 * DAY, "store", back=Back(first, (("milk", 1),)))
    done(parts, rules, member, back, Activity("adjustment", NOON + 4 * DAY, points=-3))
    # Late: it changes what came after it.
    done(parts, rules, member, purchase(at=NOON - DAY, channel="web"))
    return member


def held_until(days: int, *, points: int = 20) -> Activity:
    """A hold of the day before that."""
    at = NOON + (days - 1) * DAY
    return Activity("hold", at, points=points, expires_at=at + DAY)


def resolve(parts: Parts, rules: Program, member: str, held: str, *, points: int, at: Any) -> str:
    """The capture of a hold."""
    key = f"resolution/{held}"
    activity = Activity("capture", at + DAY / 2, points=points, hold=held, key=key)
    document = {"hold": held, "points": points}
    made = draft(member, activity, rules)
    return append(_with(made, key=key, document=document), parts.stores).entry.key


def _with(made: Any, **changes: Any) -> Any:
    values = {name: getattr(made, name) for name in made.__slots__}
    return type(made)(**{**values, **changes})


def undone(parts: Parts, rules: Program, member: str, key: str) -> str:
    """The reversal of an entry."""
    reversal = f"reversal/{key}"
    made = draft(member, Activity("reversal", NOON, key=reversal), rules)
    made = _with(made, key=reversal, document={"undoes": [key]})
    return append(made, parts.stores).entry.id


def gave(parts: Parts, rules: Program, giver: str, receiver: str, points: int) -> None:
    """A transfer."""
    lots = (Lot(parts.journal.head(giver).state.lots["points"][0].expires_at, points),)  # type: ignore[union-attr]
    out = Activity("transfer", NOON + 5 * DAY, points=points)
    into = Activity("transfer", NOON + 5 * DAY, lots=lots)
    append_together([draft(giver, out, rules), draft(receiver, into, rules)], parts.stores)


@pytest.fixture
def rules(parts: Parts) -> Program:
    return published(
        parts,
        BASE_RULE,
        BUDGETED,
        {"id": "two", "type": "nth_channel", "n": 2, "window_days": 30, "points": 40},
        expires_after_months=24,
        tiers=LADDER,
    )


@pytest.fixture
def member(parts: Parts, rules: Program) -> str:
    """A member of a shop in which much has happened."""
    member, other = lived(parts, rules), lived(parts, rules)
    (mistake,) = done(parts, rules, other, purchase(line(7000), at=NOON + 6 * DAY))
    undone(parts, rules, other, mistake)
    gave(parts, rules, member, other, 4)
    return member


def test_what_the_service_wrote_passes(parts: Parts, member: str) -> None:
    before = dump(parts.database)
    report = audited(parts)
    assert report.findings == []
    assert report.is_clean
    assert (report.members, report.entries) == (2, parts.database["journal"].count_documents({}))
    assert dump(parts.database) == before
    assert audited(parts, Scope(member_id=member)).members == 1
    assert audited(parts, Scope(sample=1)).members == 1


@examples(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(documents(), lives(), st.data())
def test_any_life_in_any_order_passes_and_its_own_programme_changes_nothing(
    parts: Parts, document: Document, life: list[Activity], data: st.DataObject
) -> None:
    parts.database["journal"].delete_many({})
    rules, member = publish_next(parts, document), enrolled(parts)
    for activity in data.draw(arrivals(life)):
        # Of returns that arrive in another order, one can ask for more than is left.
        with suppress(ReturnExceedsPurchaseError):
            append(draft_of(member, activity, rules), parts.stores)
    assert audited(parts).findings == []
    for unit in run(parts, document=document)["units"].values():
        figures = [unit["total"], *unit["by_rule"], *unit["by_tier"], *unit["expiry"]]
        assert {values(each)[2] for each in (*figures, unit["outstanding"])} == {0}


def entry_of(parts: Parts, member: str, **query: Any) -> Document:
    found = parts.database["journal"].find_one({"member": member, **query}, sort=[("seq", -1)])
    assert found
    return found


def change(parts: Parts, entry: Document, **values: Any) -> None:
    parts.database["journal"].update_one(
        {"_id": entry["_id"]},
        {"$set": {name.replace("__", "."): value for name, value in values.items()}},
    )


def more_points(parts: Parts, entry: Document) -> None:
    change(parts, entry, postings__0__points=entry["postings"][0]["points"] + 1000)


def other_inputs(parts: Parts, entry: Document) -> None:
    change(parts, entry, postings__0__inputs__basis=1)


def other_amount(parts: Parts, entry: Document) -> None:
    change(parts, entry, activity__lines__0__amount=999_900)


def other_balance(parts: Parts, entry: Document) -> None:
    change(parts, entry, balance_after=entry["balance_after"] + 1)


def other_state(parts: Parts, entry: Document) -> None:
    change(parts, entry, state__purchases=77)


def other_version(parts: Parts, entry: Document) -> None:
    change(parts, entry, program_version=99)


def other_number(parts: Parts, entry: Document) -> None:
    change(parts, entry, seq=500)


def no_kind(parts: Parts, entry: Document) -> None:
    parts.database["journal"].update_one({"_id": entry["_id"]}, {"$unset": {"kind": ""}})


def strange_kind(parts: Parts, entry: Document) -> None:
    change(parts, entry, kind="gift")


@pytest.mark.parametrize(
    ("tamper", "kind"),
    [
        (more_points, "postings"),
        (other_inputs, "postings"),
        (other_amount, "postings"),
        (other_balance, "balance_after"),
        (other_state, "state"),
        (other_version, "unknown_version"),
        (other_number, "gap"),
        (no_kind, "unreadable"),
        (strange_kind, "cannot_fold"),
    ],
)
def test_a_tampered_entry_is_found_and_named(
    parts: Parts,
    member: str,
    rules: Program,
    tamper: Callable[[Parts, Document], None],
    kind: str,
) -> None:
    done(parts, rules, member, purchase(line(100), at=NOON + 8 * DAY))
    entry = entry_of(parts, member, kind="purchase")
    tamper(parts, entry)
    found = [each for each in audited(parts).findings if each.kind == kind]
    assert str(entry["_id"]) in {each.place for each in found}
    assert member not in repr(found)
    assert kinds(parts)


def test_a_state_along_the_way_is_looked_at_too(parts: Parts, rules: Program) -> None:
    member = enrolled(parts)
    done(parts, rules, member, *(purchase(at=NOON + day * DAY) for day in range(3)))
    middle = entry_of(parts, member, seq=2)
    change(parts, middle, state__purchases=9)
    found = audited(parts).findings
    assert ("state", str(middle["_id"])) in {each[:2] for each in found}


def test_lots_that_do_not_hold_what_was_moved_are_found(parts: Parts, member: str) -> None:
    head = entry_of(parts, member)
    lots = head["state"]["lots"]
    change(parts, head, state__lots=[[lots[0][0], lots[0][1] + 5, *lots[0][2:]], *lots[1:]])
    assert {"sum", "state"} <= kinds(parts)


def test_a_missing_entry_leaves_a_gap(parts: Parts, member: str) -> None:
    parts.database["journal"].delete_one({"member": member, "seq": 2})
    assert "gap" in kinds(parts)


def test_what_refers_to_nothing_is_found(parts: Parts, member: str) -> None:
    returned = entry_of(parts, member, kind="return")
    captured = entry_of(parts, member, kind="capture")
    corrected = entry_of(parts, member, kind="correction")
    change(parts, returned, activity__purchase_key="purchase/store//nothing")
    change(parts, captured, activity__hold="hold/store//nothing")
    change(parts, corrected, activity__corrects__0__entry=str(ObjectId()))
    dangling = {each.place for each in audited(parts).findings if each.kind == "dangling"}
    assert {str(each["_id"]) for each in (returned, captured, corrected)} <= dangling


def test_a_referral_for_a_purchase_that_is_not_there_is_found(parts: Parts, rules: Program) -> None:
    member = enrolled(parts)
    made = draft(member, Activity("referral", NOON), rules)
    made = _with(made, document={"because": "purchase/store//nothing"})
    entry = append(made, parts.stores).entry
    (finding,) = audited(parts).findings
    assert finding[:2] == ("dangling", entry.id)


def planted(parts: Parts, entry: Document, **values: Any) -> str:
    """A copy of an entry, as the journal's next."""
    last = entry_of(parts, entry["member"])
    copy = {**entry, **values, "_id": ObjectId(), "seq": last["seq"] + 1}
    copy["mark"] = parts.secrecy.mark(copy["key"])
    parts.database["journal"].insert_one(copy)
    return str(copy["_id"])


def test_a_hold_that_is_resolved_twice_is_found(parts: Parts, member: str) -> None:
    captured = entry_of(parts, member, kind="capture")
    place = planted(parts, captured, key="resolution/again")
    found = audited(parts).findings
    assert ("undone_twice", place) in {each[:2] for each in found}


def test_a_mistake_that_is_reversed_twice_is_found(parts: Parts, member: str) -> None:
    assert member
    reversal = parts.database["journal"].find_one({"kind": "reversal"})
    assert reversal
    place = planted(parts, reversal, key="reversal/again")
    found = audited(parts).findings
    assert ("undone_twice", place) in {each[:2] for each in found}


def test_a_key_that_is_there_twice_is_found_and_so_is_the_missing_index(
    parts: Parts, member: str
) -> None:
    try:
        parts.database["journal"].drop_index("mark")
        planted(parts, entry_of(parts, member, kind="purchase"))
        report = audited(parts)
    finally:
        parts.database["journal"].delete_many({})
        parts.journal.create_indexes()
    assert {"index", "key_twice"} <= set(report.counts)
    assert ("index", "mark") in {each[:2] for each in report.findings}


def test_a_campaigns_counter_is_compared_with_what_it_paid(parts: Parts, member: str) -> None:
    assert member
    parts.database["budgets"].update_one({"_id": "extra"}, {"$inc": {"spent": 3}})
    (finding,) = audited(parts).findings
    assert finding[:2] == ("budget", "extra")


def test_a_transfer_without_its_other_half_is_found(parts: Parts, member: str) -> None:
    given = entry_of(parts, member, kind="transfer")
    taken = parts.database["journal"].find_one({"kind": "transfer", "member": {"$ne": member}})
    assert taken
    change(parts, taken, postings__0__points=3)
    named = {each.place for each in audited(parts).findings if each.kind == "transfer"}
    assert named == {str(given["_id"]), str(taken["_id"])}


def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setenv("CARNET_MONGODB_URI", settings.mongodb_uri)
    monkeypatch.setenv("CARNET_DATABASE", settings.database)
    monkeypatch.setenv("CARNET_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("CARNET_SECRET", settings.secret)
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner().invoke(main, list(arguments))


def test_the_command_exits_with_1_on_findings(
    parts: Parts, member: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = command(settings, monkeypatch, "audit")
    assert clean.exit_code == 0, clean.output
    assert "0 findings" in clean.output
    entry = entry_of(parts, member, kind="purchase")
    more_points(parts, entry)
    found = command(settings, monkeypatch, "audit", "--member", member)
    assert found.exit_code == 1
    assert str(entry["_id"]) in found.output
    assert member not in found.output


# Upkeep.


def test_a_passage_posts_what_is_due_once(parts: Parts) -> None:
    rules = published(parts, BASE_RULE, expires_after_months=1, tiers=LADDER)
    member, young = enrolled(parts), enrolled(parts)
    done(parts, rules, member, *(purchase(at=NOON + day * DAY) for day in range(3)))
    done(parts, rules, young, purchase(at=now() - DAY))
    before = dump(parts.database)
    shown = passed(parts, is_dry=True)
    assert dump(parts.database) == before
    assert (shown.members, shown.written) == (1, 0)
    assert shown.moved == {"expiry points": -30, "tier": 1}
    assert passed(parts).written == 1
    entry = parts.journal.page(member, before_seq=None, limit=1)[0]
    assert entry.kind == "passage"
    assert [(each.kind, each.points) for each in entry.postings] == [("expiry", -30)]
    assert entry.state.tier
    assert entry.state.tier.tier == "basic"
    assert passed(parts).members == 0
    assert audited(parts).is_clean


def passed(parts: Parts, *, is_dry: bool = False) -> Any:
    return passage(
        at=now(),
        scan=parts.scan,
        stores=parts.stores,
        is_dry=is_dry,
        progress=lambda *_: None,
    )


def redone(parts: Parts, unit: str = "points", *, version: int = 1, is_dry: bool = False) -> Any:
    return redate(
        unit,
        from_version=version,
        at=now(),
        scan=parts.scan,
        stores=parts.stores,
        is_dry=is_dry,
        progress=lambda *_: None,
    )


def test_lots_are_dated_anew_once_and_of_one_unit_only(parts: Parts) -> None:
    stamps = {"id": "stamp", "type": "fixed", "per": "basket", "points": 1, "unit": "stamps"}
    short = {"stamps": {"expiry": {"months": 20}}, "points": {"expiry": {"months": 20}}}
    long = {"stamps": {"expiry": {"months": 30}}, "points": {"expiry": {"months": 30}}}
    rules = published(parts, BASE_RULE, stamps, units=short)
    members = [enrolled(parts) for _ in range(3)]
    for each in members:
        done(parts, rules, each, purchase())
    published(parts, BASE_RULE, stamps, units=long)
    before = dump(parts.database)
    shown = redone(parts, is_dry=True)
    assert dump(parts.database) == before
    assert shown.done.members == 3
    assert (shown.before, shown.after) == ({"2027-11": 30}, {"2028-09": 30})
    assert redone(parts).done.written == 3
    head = parts.journal.head(members[0])
    assert head
    assert head.state.lots["points"][0].expires_at.year == 2028
    assert head.state.lots["stamps"][0].expires_at.year == 2027
    assert redone(parts).done.members == 0
    assert redone(parts, "stamps").done.written == 3
    # A late fact is folded before the redating, which is folded again as it was decided.
    done(parts, rules, members[0], purchase(at=NOON - DAY))
    assert audited(parts).findings == []


def test_a_redating_that_changes_nothing_is_refused(parts: Parts) -> None:
    published(parts)
    published(parts)
    with pytest.raises(NothingToRedateError):
        redone(parts)


# What is owed.


def test_what_is_owed_is_what_the_heads_say(parts: Parts) -> None:
    worth = {"points": {"expiry": {"months": 1}, "worth": {"points": 10, "amount": 1}}}
    rules = published(parts, BASE_RULE, units=worth)
    gone, here = enrolled(parts), enrolled(parts)
    done(parts, rules, gone, purchase(line(4000)), held_until(2, points=10))
    done(parts, rules, here, purchase(line(5000), at=now() - DAY))
    body = liability(at=now(), scan=parts.scan, stores=parts.stores, progress=lambda *_: None)
    (unit,) = body["units"]
    assert unit["outstanding"] == {"points": 50, "amount": 5}
    assert body["members"] == 2
    # Of 40 that came to their end, all expired: the hold that ran out gave its ten back.
    assert unit["breakage"]["rate"] == 1
    assert unit["breakage"]["expected"]["points"] == 50


def test_what_was_returned_is_no_breakage(parts: Parts) -> None:
    worth = {"points": {"expiry": {"months": 1}}}
    rules = published(parts, BASE_RULE, units=worth)
    member = enrolled(parts)
    (bought,) = done(parts, rules, member, purchase(line(4000, quantity=4)))
    back = Activity("return", NOON + DAY, "store", back=Back(bought, (("milk", 2),)))
    captured = held_until(4, points=5)
    _, held = done(parts, rules, member, back, captured)
    resolve(parts, rules, member, held, points=5, at=NOON + 3 * DAY)
    body = liability(at=now(), scan=parts.scan, stores=parts.stores, progress=lambda *_: None)
    # 40 awarded, 20 taken back, 5 spent: 15 of 20 expired.
    assert body["units"][0]["breakage"]["rate"] == 0.75


def test_what_expires_soon_is_listed_member_by_member(parts: Parts) -> None:
    rules = published(parts, BASE_RULE, expires_after_months=1)
    members = sorted(enrolled(parts) for _ in range(5))
    for each in members:
        done(parts, rules, each, purchase(at=now() - DAY))
    ask = {"channel": None, "at": now(), "scan": parts.scan, "consents": parts.consents}
    seen, after = [], ""
    while True:
        page = expiries(within_days=40, after=after, limit=2, **ask)  # type: ignore[arg-type]
        seen += [member for member, _ in page.found]
        if page.after is None:
            break
        after = page.after
    assert seen == members
    assert expiries(within_days=5, after="", limit=9, **ask).found == []  # type: ignore[arg-type]


def test_the_heads_of_all_read_one_entry_a_member(parts: Parts, settings: Settings) -> None:
    rules = published(parts)
    for _ in range(4):
        done(parts, rules, enrolled(parts), *(purchase(at=NOON + day * DAY) for day in range(6)))
    with watching(settings) as watch:
        scan = JournalScan(watch.database, parts.secrecy)
        found = scan.heads_page("", limit=3)
        assert [each.seq for each in found] == [6, 6, 6]
        assert [each.member_id for each in found] == sorted(each.member_id for each in found)
        plan = watch.plan()
        assert plan.indexes == {"member_seq"}
        assert plan.keys <= 4
        assert plan.documents <= 4
    assert len(list(parts.scan.member_ids())) == 4
    assert [each.member_id for each in parts.scan.heads()] == list(parts.scan.member_ids())
    assert list(parts.scan.documents(new_member_id())) == []
