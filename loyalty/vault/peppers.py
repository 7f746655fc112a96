"""The peppers of look-ups by keyed hash, and how one takes the place of another without a gap.

A pepper is random and sealed like what is personal, under an owner of its own, so a copy of the
data without the vault can neither read an identifier nor try guesses. Which peppers are in use
stands in `meta`, and goes through stages of which every two neighbours have a pepper in common:

| stage | claims are written under | look-ups use |
| --- | --- | --- |
| settled | old | old |
| both | old and new | old |
| reading | old and new | new |
| writing | new | new |
| settled | new | new |

So an identifier is unique throughout: whoever claims it meets the other on the pepper that both
write. A claim reads the stage inside its transaction; a look-up may be a second behind.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo.errors import DuplicateKeyError

from loyalty.kit.errors import UnavailableError
from loyalty.vault.masters import MasterKeyError
from loyalty.vault.model import ShreddedError, VaultClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.vault.store import Vault

PEPPER_BYTES = 32
STALE_SECONDS_MAX = 1.0
SETTLED, BOTH, READING, WRITING = STAGES = ("settled", "both", "reading", "writing")
_ID = "pepper"


class PepperLostError(UnavailableError):
    """The vault lacks the pepper that the data was written under."""

    def __init__(self) -> None:
        super().__init__(
            "The vault's database lacks the pepper of the identifiers: "
            "restore it together with the data."
        )


class UnreadableDataError(Exception):
    """The data was written before there was a vault; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Pepper:
    """One key for hashing, and its number."""

    number: int
    key: bytes = field(repr=False)


class Stage(NamedTuple):
    """Where a rotation stands. `fresh` is the number of the new pepper, None when settled."""

    name: str
    number: int
    fresh: int | None = None

    @property
    def writes(self) -> tuple[int, ...]:
        """The numbers of the peppers under which a claim is written."""
        if self.fresh is None:
            return (self.number,)
        return (self.fresh,) if self.name == WRITING else (self.number, self.fresh)

    @property
    def reads(self) -> int:
        """The number of the pepper by which an identifier is looked up."""
        return self.number if self.fresh is None or self.name == BOTH else self.fresh


class Peppers:
    """The document `pepper` in `meta` of the data, and the vault's collection `peppers`."""

    def __init__(
        self,
        database: Database[Document],
        vault: Vault,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members = database["members"]
        self._meta = database["meta"]
        self._kept = vault.database["peppers"]
        self._vault = vault
        self._clock = clock
        self._known: dict[int, Pepper] = {}
        self._seen: tuple[float, Stage] | None = None

    def reading(self) -> Pepper:
        """What an identifier is looked up by; the stage is a second old at most.

        Raises:
            PepperLostError: the vault does not have it.
        """
        seen = self._seen
        if seen is None or self._clock() - seen[0] > STALE_SECONDS_MAX:
            at = self._clock()
            seen = (at, self.stage())
            self._seen = seen
        return self.pepper(seen[1].reads)

    def writing(self, session: ClientSession | None = None) -> list[Pepper]:
        """What a claim is written under: read anew, within the claim's transaction.

        Raises:
            PepperLostError: the vault lacks one.
        """
        return [self.pepper(each) for each in self.stage(session).writes]

    def stage(self, session: ClientSession | None = None) -> Stage:
        """Where a rotation stands now; the first pepper is made if there is none yet."""
        found = self._meta.find_one({"_id": _ID}, session=session)
        if found is None:
            # Not within the transaction: others may be making it at the same moment.
            self._begin()
            return Stage(SETTLED, 1)
        return Stage(found["stage"], found["number"], found.get("fresh"))

    def advance(self, seen: Stage) -> Stage:
        """Go one stage on, if the stage is still the one seen; the stage after that.

        From `writing` it settles, and the old pepper is destroyed.
        """
        following = _after(seen)
        if seen.name == SETTLED:
            self._make(following.fresh or 0)
        self._meta.replace_one({"_id": _ID, **_document(seen)}, _document(following))
        stage = self.stage()
        self.destroy_left(stage)
        return stage

    def destroy_left(self, stage: Stage) -> None:
        """Destroy the peppers that a stage no longer knows, after a stop in between too."""
        for each in self._kept.find({"_id": {"$lt": stage.number}}, {"_id": 1}):
            self._vault.shred(_owner(each["_id"]))
            self._kept.delete_one({"_id": each["_id"]})

    def check(self) -> None:
        """Look at start whether the pepper is there and opens; the first one is made.

        Raises:
            UnreadableDataError: the data is of before peppers lay in the vault.
            PepperLostError: the vault does not have it.
            MasterKeyError: it is wrapped by another master than those that are set.
        """
        is_new = self._meta.find_one({"_id": _ID}, {"_id": 1}) is None
        if is_new and self._members.find_one({}, {"_id": 1}):
            raise UnreadableDataError(
                "The data was written by a version that was never released, which sealed it "
                "otherwise. Start on an empty database: set CARNET_DATA_DIR to another directory."
            )
        try:
            self.reading()
        except VaultClosedError as error:
            raise MasterKeyError(
                "What is sealed in the database is out of reach: CARNET_DATA_DIR, or "
                "CARNET_KMS_FILE, must hold the master key that it was made with."
            ) from error

    def _begin(self) -> None:
        self._make(1)
        change = {"$setOnInsert": _document(Stage(SETTLED, 1))}
        self._meta.update_one({"_id": _ID}, change, upsert=True)

    def _make(self, number: int) -> None:
        if self._kept.find_one({"_id": number}, {"_id": 1}):
            return
        sealed = self._vault.seal(_owner(number), secrets.token_bytes(PEPPER_BYTES))
        try:
            self._kept.insert_one({"_id": number, "sealed": sealed})
        except DuplicateKeyError:
            return

    def pepper(self, number: int) -> Pepper:
        """The pepper of that number.

        Raises:
            PepperLostError: the vault does not have it.
        """
        known = self._known.get(number)
        if known is None:
            known = Pepper(number, self._read(number))
            # Two at most are in use; what was left is not kept in memory.
            self._known = {number: known, **dict(list(self._known.items())[:1])}
        return known

    def _read(self, number: int) -> bytes:
        found = self._kept.find_one({"_id": number})
        if found is None:
            raise PepperLostError
        try:
            return bytes(self._vault.open(found["sealed"]))
        except ShreddedError as error:
            raise PepperLostError from error


def _after(stage: Stage) -> Stage:
    if stage.fresh is None:
        return Stage(BOTH, stage.number, stage.number + 1)
    if stage.name == WRITING:
        return Stage(SETTLED, stage.fresh)
    return Stage(READING if stage.name == BOTH else WRITING, stage.number, stage.fresh)


def _document(stage: Stage) -> dict[str, Any]:
    document: dict[str, Any] = {"stage": stage.name, "number": stage.number}
    return document if stage.fresh is None else {**document, "fresh": stage.fresh}


def _owner(number: int) -> str:
    return f"pepper:{number}"
