"""Bring a new pepper in for the identifiers, without downtime and safe to stop.

Uniqueness holds at every moment, by the stages of `vault.peppers`; what is left to do here is to
give the identifiers that were there before a second hash, and in the end to take the first away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo import ASCENDING

from loyalty.kit.mongo import transact
from loyalty.members.model import Identifier
from loyalty.members.store import keyed_hash
from loyalty.vault.peppers import BOTH, SETTLED, WRITING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.vault.peppers import Pepper, Peppers, Stage
    from loyalty.vault.store import Vault

    Progress = Callable[[str, int, int], None]

PAGE = 200
# A claim reads its stage in a transaction, and the server ends one that is older than a minute at
# its next look, half a minute apart; a look-up's stage is a second old at most. So after this long
# nobody acts on the stage before.
SETTLE_SECONDS = 91.0
# Both, reading, writing: a rotation that was stopped has fewer to go.
_STEPS_MAX = 3


class IdentifierRotation:
    """The documents of `identifiers`, page by page."""

    def __init__(self, database: Database[Document], vault: Vault, peppers: Peppers) -> None:
        self._client = database.client
        self._identifiers = database["identifiers"]
        self._vault = vault
        self._peppers = peppers

    def copy(self, stage: Stage, progress: Progress) -> int:
        """Give each identifier that has only the old hash the new one as well; how many had not."""
        fresh, copied = self._peppers.pepper(stage.fresh or 0), 0
        query: Document = {"pepper": stage.number, "twin": {"$ne": fresh.number}}
        for page in self._pages(query, "copied", progress):
            copied += self._copy(page, query, fresh)
        return copied

    def remove(self, stage: Stage, progress: Progress) -> int:
        """Remove the old hash of each identifier that has the new one; how many went."""
        removed, query = 0, {"pepper": stage.number, "twin": stage.fresh}
        for page in self._pages(query, "removed", progress):
            ids = [each["_id"] for each in page]
            done = self._identifiers.delete_many({"_id": {"$in": ids}, **query})
            removed += done.deleted_count
        return removed

    def _pages(self, query: Document, stage: str, progress: Progress) -> Iterator[list[Document]]:
        total, done, last = self._identifiers.count_documents(query), 0, ""
        while page := self._page(query, last):
            yield page
            done, last = done + len(page), page[-1]["_id"]
            progress(stage, done, max(done, total))

    def _page(self, query: Document, last: str) -> list[Document]:
        found = self._identifiers.find({**query, "_id": {"$gt": last}})
        return list(found.sort("_id", ASCENDING).limit(PAGE))

    def _copy(self, page: list[Document], query: Document, fresh: Pepper) -> int:
        values = self._vault.open_all([each["sealed"] for each in page])
        # Whose key is gone is being erased.
        twins = {
            each["_id"]: _twin(each, value, fresh)
            for each, value in zip(page, values, strict=True)
            if value is not None
        }
        copied = 0

        def write(session: ClientSession) -> None:
            nonlocal copied
            own = {**query, "_id": {"$in": list(twins)}}
            # Both unlinking and erasing delete these documents: what went meanwhile stays away.
            found = self._identifiers.find(own, {"_id": 1}, session=session)
            left = [each["_id"] for each in found]
            if left:
                change = {"$set": {"twin": fresh.number}}
                self._identifiers.update_many({"_id": {"$in": left}}, change, session=session)
                self._identifiers.insert_many([twins[each] for each in left], session=session)
            copied = len(left)

        transact(self._client, write)
        return copied


def _twin(document: Document, value: str, fresh: Pepper) -> Document:
    key = keyed_hash(Identifier(document["type"], value), fresh)
    return {**document, "_id": key, "pepper": fresh.number}


def rotate_pepper(
    rotation: IdentifierRotation,
    peppers: Peppers,
    *,
    wait: Callable[[float], None],
    progress: Progress,
    settle_seconds: float = SETTLE_SECONDS,
) -> Stage:
    """Put a new pepper in the place of the old one, or carry on with what was stopped.

    Args:
        rotation: the identifiers.
        peppers: where the stage stands.
        wait: called with seconds between two stages, until every worker knows the stage.
        progress: called with what is done, how much of it, and the total.
        settle_seconds: how long that is; less than the default is for a service that stands still.

    Returns:
        The stage at the end: settled, with the number of the new pepper.
    """
    stage = peppers.stage()
    peppers.destroy_left(stage)
    if stage.name == SETTLED:
        stage = peppers.advance(stage)
    for _ in range(_STEPS_MAX):
        if stage.name == SETTLED:
            break
        wait(settle_seconds)
        if stage.name in (BOTH, WRITING):
            rotation.copy(stage, progress)
        if stage.name == WRITING:
            rotation.remove(stage, progress)
        stage = peppers.advance(stage)
    return stage
