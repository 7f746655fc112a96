"""What stays of erased entries for the accounts: shells without a person. Pure.

A shell says the day, where, how much money and which points moved by which rule, and carries the
mark that keeps its receipt from coming again. No key, no member, no time of day, no goods; each
shell stands on its own, so shells of one person cannot be put together.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from loyalty.journal.codec import posting_from_document, state_from_document
from loyalty.journal.model import ERASED
from loyalty.program.model import POINTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from loyalty.kit.mongo import Document

# What an erased member still had and loses, in the shell of its newest entry's day.
FORFEITURE = "forfeiture"


def shell_of(document: Mapping[str, Any]) -> Document:
    """The shell of an entry's document."""
    moved: Counter[tuple[str, str, str]] = Counter()
    for each in map(posting_from_document, document["postings"]):
        moved[each.rule, each.kind, each.unit] += each.points
    return {
        **_anonymous(document),
        "mark": document["mark"],
        "was": document["kind"],
        "booked_on": _day(document["received_at"]),
        "amount": _net(document["activity"]),
        "postings": _postings(moved),
    }


def forfeiture_of(document: Mapping[str, Any]) -> Document | None:
    """The shell that books what was still owed after a member's newest entry; None for nothing.

    Held points go with the rest: their holds come back to the lots first.
    """
    state = state_from_document(document["state"])
    moved: Counter[tuple[str, str, str]] = Counter()
    for held in state.holds.values():
        moved["release", "release", held.unit] += held.points
        moved[FORFEITURE, FORFEITURE, held.unit] -= held.points
    for unit, points in state.balances.items():
        moved[FORFEITURE, FORFEITURE, unit] -= points
    if not any(moved.values()):
        return None
    return {
        **_anonymous(document),
        "mark": os.urandom(16),
        "was": FORFEITURE,
        "booked_on": _day(document["received_at"]),
        "amount": 0,
        "postings": _postings(moved),
    }


def points_of(shell: Mapping[str, Any], unit: str = POINTS) -> int:
    """The points of a unit that an erased entry moved."""
    return sum(each["points"] for each in shell["postings"] if each["unit"] == unit)


def _anonymous(document: Mapping[str, Any]) -> Document:
    day = _day(document["occurred_at"])
    return {
        # Ids that sort by day among those of entries, and say nothing beyond the day.
        "_id": ObjectId(struct.pack(">I", max(0, int(day.timestamp()))) + os.urandom(8)),
        # Not a text, so that no question about a member meets it.
        "member": ObjectId(os.urandom(12)),
        "seq": 0,
        "kind": ERASED,
        "day": day,
        "channel": document["channel"],
        "store": document["store"],
        "currency": document["currency"],
        "program_version": document["program_version"],
    }


def _postings(moved: Mapping[tuple[str, str, str], int]) -> list[Document]:
    return [
        {"rule": rule, "kind": kind, "unit": unit, "points": points}
        for (rule, kind, unit), points in sorted(moved.items())
    ]


def _net(activity: Mapping[str, Any]) -> int:
    """What was charged for goods in minor units; below zero for what came back."""
    bought: Sequence[Mapping[str, int]] = activity.get("lines", ())
    back: Sequence[Mapping[str, int]] = activity.get("returned", ())
    return sum(each["amount"] for each in bought) - sum(each["amount"] for each in back)


def _day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
