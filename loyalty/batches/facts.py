"""Lines of a batch as facts: the same ones, under the same keys, as in their single calls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from marshmallow import ValidationError

from loyalty.access.model import speak_for
from loyalty.batches.model import (
    LINE_BYTES_MAX,
    LINES_MAX,
    LineTooLongError,
    MalformedLineError,
    Till,
    TooManyLinesError,
)
from loyalty.batches.schemas import BatchEngagementSchema, BatchPurchaseSchema, BatchReturnSchema
from loyalty.journal.drafts import replay
from loyalty.journal.model import key_of
from loyalty.journal.returns import draw_return
from loyalty.journal.service import (
    Report,
    draw_engagement,
    draw_purchase,
    mark_of,
    named,
    recorded,
)
from loyalty.kit.http import invalid
from loyalty.kit.idempotency import fingerprint
from loyalty.members.model import InvalidIdentifierError, normal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, timedelta
    from typing import IO

    from loyalty.access.model import Caller
    from loyalty.journal.drafts import Draft, Recorded, Stores
    from loyalty.journal.model import Entry
    from loyalty.kit.errors import CarnetError
    from loyalty.kit.schemas import Input
    from loyalty.members.model import Identifier
    from loyalty.program.model import Kind

_TYPES: Mapping[str, Input] = {
    "purchase": BatchPurchaseSchema(),
    "return": BatchReturnSchema(),
    "engagement": BatchEngagementSchema(),
}
_SEQUENCE: Any = _TYPES["purchase"].fields["sequence"]
_TERMINAL: Any = _TYPES["purchase"].fields["terminal"]
_STORE: Any = _TYPES["return"].fields["body"].schema.fields["store"]  # type: ignore[attr-defined]


class Raw(NamedTuple):
    """A line as it came; without text, and with the reason, where it was not read."""

    number: int
    text: bytes
    error: CarnetError | None = None


class Sender(NamedTuple):
    """Who sends a batch.

    Attributes:
        caller: whose key it is.
        terminal: the till of the lines that name none.
        offset: what to add to the till's times so that they are ours.
    """

    caller: Caller
    terminal: str | None
    offset: timedelta


class Fact(NamedTuple):
    """What one line reports.

    `report` holds the body with our time. `body` has the till's, for the fingerprint: what the
    clocks differ by is measured anew at each upload, and the fact stays the same. `came` is what
    the entry keeps of how it came.
    """

    line: int
    type: Kind
    sequence: int | None
    body: Mapping[str, Any]
    report: Report
    came: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The key under which the fact exists once."""
        return self.report.key

    @property
    def order(self) -> tuple[datetime, bool, str]:
        """Its place among others: by time, and goods come back after they went out."""
        return self.report.body["occurred_at"], self.type == "return", self.key


def raw_lines(body: IO[bytes]) -> Iterator[Raw]:
    """The lines of a body that are not blank, by number; too long ones and the rest unread."""
    number = 0
    while text := body.readline(LINE_BYTES_MAX + 1):
        number += 1
        if number > LINES_MAX:
            detail = f"A batch has at most {LINES_MAX} lines: send this one and the rest anew."
            yield Raw(number, b"", TooManyLinesError(detail))
            return
        if len(text) > LINE_BYTES_MAX and not text.endswith(b"\n"):
            while (rest := body.readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
                pass
            yield Raw(number, b"", LineTooLongError(f"A line may have {LINE_BYTES_MAX} bytes."))
        elif text.strip():
            yield Raw(number, text)


def parsed(text: bytes) -> dict[str, Any]:
    """The JSON object that a line is.

    Raises:
        MalformedLineError: it is none.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        # The parser's own message might quote the line.
        document = None
    if type(document) is not dict:
        raise MalformedLineError
    return document


def counted(document: Mapping[str, Any], sender: Sender) -> tuple[Till, int] | None:
    """The till and the number of a line, if it has both, whatever else is wrong with it."""
    body = document.get("body")
    store = sender.caller.store or (body.get("store") if type(body) is dict else None)
    try:
        terminal = _TERMINAL.read(document.get("terminal", sender.terminal))
        till = Till(_STORE.read(store) if store else "", terminal)
        return till, _SEQUENCE.read(document.get("sequence"))
    except ValidationError:
        return None


def fact_of(number: int, document: dict[str, Any], sender: Sender, *, at: datetime) -> Fact:
    """The fact that a line reports.

    Args:
        number: the line's.
        document: the line.
        sender: who sends it.
        at: now.

    Raises:
        InvalidError: the line is not of its type's form.
        BoundKeyError: the key speaks for another channel or store.
    """
    line = _loaded(document)
    terminal = line.get("terminal", sender.terminal)
    if "sequence" in line and terminal is None:
        raise invalid({"sequence": ["Needs a terminal, in the line or as Carnet-Terminal."]})
    body = line["body"]
    told = body.setdefault("occurred_at", line.get("at"))
    store = speak_for(sender.caller, body["channel"], body.get("store"))
    key = key_of(line["type"], body["channel"], store, body["external_id"])
    came = {"clock": told if sender.offset else None, "terminal": terminal}
    came["sequence"] = line.get("sequence")
    ours = {**body, "occurred_at": told + sender.offset}
    report = Report(ours, store, key, sender.caller, at)
    kept = {name: value for name, value in came.items() if value is not None}
    return Fact(number, line["type"], line.get("sequence"), body, report, kept)


def _loaded(document: dict[str, Any]) -> dict[str, Any]:
    """The line as the schema of its type reads it.

    Raises:
        InvalidError: with each mistake and its place.
    """
    name = document.get("type")
    if type(name) is not str or name not in _TYPES:
        raise invalid({"type": [f"Must be one of: {', '.join(_TYPES)}."]})
    try:
        loaded: dict[str, Any] = _TYPES[name].load(document)
    except ValidationError as error:
        raise invalid(error.messages) from error
    return loaded


def draw(fact: Fact, stores: Stores) -> Draft:
    """The fact's draft.

    Raises:
        CarnetError: what the single call would refuse it with.
    """
    report, mark = fact.report, ""
    if fact.type == "return":
        mark = mark_now(fact, stores)
        draft = draw_return(
            report.body,
            key=fact.key,
            mark=mark,
            caller=report.caller,
            at=report.at,
            stores=stores,
        )
    else:
        drawn = draw_purchase if fact.type == "purchase" else draw_engagement
        draft = drawn(report, stores)
        mark = mark_of(fact.body, draft.member_id, report.store)
    document = {**draft.document, "came": fact.came} if fact.came else draft.document
    return replace(draft, fingerprint=mark, document=document)


def resolved(facts: Sequence[Fact], stores: Stores) -> list[Fact]:
    """The facts, with the member's id where the identifier is known: one read for all of them."""
    identifiers = [_identifier(fact) for fact in facts]
    members = stores.members.resolve_all([each for each in identifiers if each])
    return [
        _of(fact, members[each]) if each in members else fact
        for fact, each in zip(facts, identifiers, strict=True)
    ]


def _identifier(fact: Fact) -> Identifier | None:
    if "identifier" not in fact.body:
        return None
    named_by = fact.body["identifier"]
    try:
        return normal(named_by["type"], named_by["value"])
    except InvalidIdentifierError:
        # The line alone will say so.
        return None


def _of(fact: Fact, member_id: str) -> Fact:
    """The same fact, of a member by its id. The fingerprint is the same either way."""
    report = fact.report
    return fact._replace(
        body=_naming(fact.body, member_id),
        report=report._replace(body=_naming(report.body, member_id)),
    )


def _naming(body: Mapping[str, Any], member_id: str) -> dict[str, Any]:
    rest = {name: value for name, value in body.items() if name != "identifier"}
    return {**rest, "member": member_id}


def mark_now(fact: Fact, stores: Stores) -> str:
    """The fingerprint of the fact, as the single call would have it now.

    Raises:
        InvalidIdentifierError: the value is not of its type.
    """
    store = fact.report.store
    if fact.type == "return":
        return fingerprint({**fact.body, "store": store})
    return mark_of(fact.body, named(fact.body, stores), store)


def replayed(fact: Fact, entry: Entry, stores: Stores) -> Recorded:
    """The entry that the fact has already.

    Raises:
        KeyReusedError: it came with another body.
        InvalidIdentifierError: the value is not of its type.
    """
    return replay(entry, mark_now(fact, stores))


def record(fact: Fact, stores: Stores) -> Recorded:
    """Record one fact by itself, as its single call would.

    Raises:
        CarnetError: what the single call would refuse it with.
    """
    return recorded(fact.key, lambda: draw(fact, stores), lambda: mark_now(fact, stores), stores)
