"""What a fact of one member does to another: a referral is paid, or falls.

Both journals are written in one transaction. A referral is paid once for each friend: when the
friend first buys; when that purchase is wholly returned, the referrer's points fall with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty.journal.drafts import Draft
from loyalty.journal.model import FactErasedError
from loyalty.program.model import Activity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loyalty.journal.drafts import Stores
    from loyalty.journal.model import Entry


def ripples_of(plans: Iterable[tuple[Draft, Sequence[Entry]]], stores: Stores) -> list[Draft]:
    """The drafts that follow from planned entries, for other members."""
    ripples = []
    for draft, (entry, *_) in plans:
        if not draft.program.has_referrals:
            continue
        if entry.kind == "return":
            ripple = _fallen(draft, entry, stores)
        else:
            ripple = _paid(draft, entry, stores)
        if ripple:
            ripples.append(ripple)
    return ripples


def _paid(draft: Draft, entry: Entry, stores: Stores) -> Draft | None:
    """The referrer's share, when the friend's first purchase brought the friend's own."""
    is_first = any(
        posting.kind == "referral" and posting.inputs["side"] == "friend"
        for posting in entry.postings
    )
    key = f"referral/{draft.member_id}"
    if not is_first or stores.journal.seen([key]):
        return None
    referrer_id = stores.members.about(draft.member_id).referrer_id
    if referrer_id is None or not stores.members.exists(referrer_id):
        return None
    activity = Activity("referral", draft.activity.occurred_at, key=key)
    return _ripple(draft, referrer_id, activity, {"because": draft.key})


def _fallen(draft: Draft, entry: Entry, stores: Stores) -> Draft | None:
    """The reversal of the referrer's share, when the purchase that brought it is undone."""
    whole = [
        posting.inputs["purchase"]
        for posting in entry.postings
        if posting.kind == "clawback" and posting.inputs.get("whole")
    ]
    paid = _share_of(draft.member_id, stores) if whole else None
    key = f"reversal/referral/{draft.member_id}"
    if paid is None or paid.activity["because"] not in whole or stores.journal.seen([key]):
        return None
    activity = Activity("reversal", draft.received_at, key=key)
    document = {"undoes": [paid.key], "reason": "The friend's purchase was returned."}
    return _ripple(draft, paid.member_id, activity, document)


def _share_of(friend_id: str, stores: Stores) -> Entry | None:
    """What the referrer of a friend was paid, unless the referrer was erased with it."""
    try:
        return stores.journal.by_key(f"referral/{friend_id}")
    except FactErasedError:
        return None


def _ripple(
    draft: Draft, member_id: str, activity: Activity, document: Mapping[str, object]
) -> Draft:
    return Draft(
        member_id=member_id,
        key=activity.key,
        fingerprint="",
        source=draft.source,
        received_at=draft.received_at,
        activity=activity,
        document=document,
        program=draft.program,
    )
