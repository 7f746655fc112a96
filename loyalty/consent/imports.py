"""Bring in what people agreed to before, line by line, each with where it comes from.

An import is the weakest word there is: it never overrides what a member decided later, nor a
withdrawal or an objection of any time. The same line again is the same record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pymongo
from marshmallow import ValidationError

from loyalty.consent.model import Decision
from loyalty.consent.schemas import ImportLineSchema
from loyalty.consent.service import Circumstances, recorded
from loyalty.kit.errors import CarnetError, MalformedError, TooLargeError
from loyalty.kit.http import invalid
from loyalty.kit.idempotency import fingerprint
from loyalty.members.model import MemberNotFoundError, normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from loyalty.consent.model import Record
    from loyalty.consent.store import ConsentStore
    from loyalty.members.store import MemberStore

LINES_MAX = 10_000
LINE_BYTES_MAX = 16_384
_LINE = ImportLineSchema()


class Verdict(NamedTuple):
    """What became of a line: a record, new or known, or a refusal."""

    line: int
    record: Record | None
    is_replay: bool = False
    error: CarnetError | None = None


def import_lines(
    lines: Iterable[bytes],
    *,
    at: datetime,
    by: str,
    line_seconds: float,
    consents: ConsentStore,
    members: MemberStore,
) -> Iterator[Verdict]:
    """A verdict for each line, in their order; a wrong line never stops the others.

    Args:
        lines: JSON, one object each; blank ones are left out.
        at: now.
        by: the key.
        line_seconds: the deadline of one line's work.
        consents: where the records go.
        members: who there is.

    Raises:
        TooLargeError: there are too many lines; those before are recorded.
    """
    for number, text in enumerate(lines, 1):
        if number > LINES_MAX:
            raise TooLargeError(f"An import may have {LINES_MAX} lines.")
        if not text.strip():
            continue
        try:
            with pymongo.timeout(line_seconds):
                done = _import(_read(text), at, by, consents, members)
        except CarnetError as error:
            yield Verdict(number, None, error=error)
        else:
            yield Verdict(number, done.record, done.is_replay)


def _read(text: bytes) -> dict[str, Any]:
    try:
        read: dict[str, Any] = _LINE.load(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise MalformedError("The line is not valid JSON.") from error
    except ValidationError as error:
        raise invalid(error.messages) from error
    return read


def _import(
    line: Mapping[str, Any],
    at: datetime,
    by: str,
    consents: ConsentStore,
    members: MemberStore,
) -> Any:  # noqa: ANN401  # service.Recorded
    member_id = _member(line, members)
    mark = fingerprint({**line, "member": member_id, "identifier": None})
    provenance = {
        name: line[name] for name in ("source", "notice_reference", "evidence") if name in line
    }
    how = Circumstances(
        "decision",
        "import",
        at,
        by,
        line.get("notice_version"),
        line.get("language"),
        provenance,
        line["decided_at"],
        request=(f"import:{mark}", mark),
    )
    decisions = [Decision(**each) for each in line["decisions"]]
    return recorded(member_id, decisions, how, consents=consents, members=members)


def _member(line: Mapping[str, Any], members: MemberStore) -> str:
    if "member" in line:
        member_id: str = line["member"]
        return member_id
    named = line["identifier"]
    found = members.resolve(normal(named["type"], named["value"]))
    if found is None:
        raise MemberNotFoundError
    return found
