"""Bring a journal that was written before marks into today's form, once."""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING

from pymongo import ReplaceOne
from pymongo.errors import OperationFailure

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from loyalty.journal.secrecy import Secrecy
    from loyalty.kit.mongo import Document

FORMER_INDEX = "key"
ENTRIES_A_WRITE = 500


def adopt(journal: Collection[Document], secrecy: Secrecy) -> int:
    """Mark the entries of a journal whose keys had the unique index, and seal their free text.

    It may be stopped anywhere and run again; a journal in today's form costs one look at its
    indexes.

    Returns:
        How many entries were brought into form.
    """
    if FORMER_INDEX not in journal.index_information():
        return 0
    adopted = 0
    former = iter(journal.find({"mark": {"$exists": False}}))
    while documents := list(islice(former, ENTRIES_A_WRITE)):
        changes = [ReplaceOne({"_id": each["_id"]}, secrecy.sealed(each)) for each in documents]
        journal.bulk_write(changes, ordered=False)
        adopted += len(documents)
    with contextlib.suppress(OperationFailure):
        # Another node may have been faster.
        journal.drop_index(FORMER_INDEX)
    return adopted
