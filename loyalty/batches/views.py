"""Batches over HTTP: NDJSON in, NDJSON out.

The body is put aside before the first line is worked on, so that a client which sends all of it
before it reads anything never meets a server that waits for a reader. Beyond a size it lies in an
unnamed file that goes with the request. The answer is a stream.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any

import orjson
from flask import Response, g, request
from marshmallow import ValidationError

from loyalty.batches.facts import Sender, raw_lines
from loyalty.batches.model import (
    BatchesBusyError,
    ClockImplausibleError,
    IncompleteBodyError,
    clock_offset,
)
from loyalty.batches.schemas import (
    BatchEngagementSchema,
    BatchPurchaseSchema,
    BatchReturnSchema,
    BatchSummarySchema,
    VerdictSchema,
)
from loyalty.batches.service import Batch, Ground, Turnstile
from loyalty.kit.clock import now
from loyalty.kit.errors import TooLargeError, UnsupportedMediaError
from loyalty.kit.fields import MOMENT_PATTERN
from loyalty.kit.http import (
    NDJSON_TYPE,
    ORJSON_OPTIONS,
    Answer,
    Blueprint,
    invalid,
    provided,
    refusal_of_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from loyalty.batches.model import Gaps, Verdict

blp = Blueprint(
    "batches", __name__, description="What a till saw while it was offline, many lines at once."
)

# What of a body, and of verdicts that wait for others, is kept in memory.
MEMORY_BYTES = 1_000_000
BLOCK_BYTES = 65_536
_CLOCK: Any = BatchPurchaseSchema().fields["at"]
_TERMINAL: Any = BatchPurchaseSchema().fields["terminal"]
_HEADERS = [
    {
        "in": "header",
        "name": "Carnet-Clock",
        "description": "What the till's clock says as it uploads. The difference to ours is added "
        "to each time of the batch.",
        "schema": {"type": "string", "format": "date-time", "pattern": MOMENT_PATTERN},
    },
    {
        "in": "header",
        "name": "Carnet-Terminal",
        "description": "The till, for lines that name no `terminal`.",
        "schema": {"type": "string", "pattern": _TERMINAL.metadata["pattern"]},
    },
]
_LINE = {
    "type": "purchase",
    "sequence": 17,
    "at": "2026-03-01T09:30:00+01:00",
    "body": {
        "external_id": "R-20260301-0042",
        "channel": "store",
        "store": "S1",
        "identifier": {"type": "card", "value": "9300 1234 5678"},
        "currency": "EUR",
        "lines": [{"sku": "milk-1l", "quantity": 2, "amount": 2190}],
    },
}
_VERDICT = {
    "line": 1,
    "sequence": 17,
    "status": "recorded",
    "entry_id": "69a4120c7f1b2c3d4e5f6071",
    "points": 21,
    "balance": 21,
    "occurred_at": "2026-03-01T08:30:00Z",
}
_LINES = [BatchPurchaseSchema, BatchReturnSchema, BatchEngagementSchema]


@blp.route("/batches", methods=["POST"])
@blp.requires("activities:write", bulk=True, purpose="loyalty_programme")
@blp.doc(
    parameters=_HEADERS,
    requestBody={
        "required": True,
        "content": {NDJSON_TYPE: {"schema": {"oneOf": _LINES}, "example": _LINE}},
    },
)
@blp.response(
    200,
    {"oneOf": [VerdictSchema, BatchSummarySchema]},
    content_type=NDJSON_TYPE,
    example=_VERDICT,
)
@blp.raises(
    ClockImplausibleError,
    IncompleteBodyError,
    BatchesBusyError,
    TooLargeError,
    UnsupportedMediaError,
)
def post_batch() -> Answer:
    """Upload what a till saw while it was offline.

    NDJSON, a line for each purchase, return or engagement; at most 10,000 lines of 64 KiB. `body`
    is exactly what the single call takes, and under the same rules: the line is the same fact as
    in that call. So a batch that broke off is simply sent again, whole or in part, also after some
    of it went through the single calls; what is there is `replayed`. No `Idempotency-Key` is
    needed.

    The answer is a stream: a verdict for each line, in their order, and a summary as the last
    line. A wrong line never stops the others. An answer without summary was cut: send the batch
    again. A refused line with `retry` may succeed later as it is; without, it has to be put right.
    `fact_erased` is final: the fact was recorded, and erased since with its member.

        {"type":"purchase","sequence":17,"at":"2026-03-01T09:30:00Z","body":{…}}
        {"type":"return","sequence":19,"at":"2026-03-01T09:31:00Z","body":{…}}

        {"line":1,"sequence":17,"status":"recorded","entry_id":"…","points":21,"balance":21,…}
        {"line":2,"sequence":19,"status":"refused","problem":{"code":"purchase_not_found",…},
         "retry":true}
        {"summary":{"lines":2,"recorded":1,"replayed":0,"refused":1,"retry":1,"gaps":1,"tills":[…]}}

    A return may come before its purchase: it is tried again when the rest is done, and its verdict
    and those after it wait until then.

    Clocks: with `Carnet-Clock` the difference to ours is added to each time of the batch if it is
    more than 5 seconds; more than 24 hours are refused. The verdict and the journal have our time,
    the entry's `activity.came.clock` the till's.

    Numbers: `sequence` is the till's own count. The summary names what is missing since the last
    batch. A gap is a warning, never a refusal.
    """
    sender = Sender(g.caller, _terminal(), clock_offset(_clock(), now()))
    with ExitStack() as held:
        body: IO[bytes] = held.enter_context(_spool())
        _put_aside(body)
        held.callback(provided(Turnstile).enter())
        stream = _Stream(Batch(sender, provided(Ground)), body, held.pop_all())
    response = Response(stream.lines(), content_type=NDJSON_TYPE)
    # Also if nobody ever reads the answer.
    response.call_on_close(stream.close)
    return response


def _clock() -> Any:  # noqa: ANN401  # a moment or None, as the field reads it
    return _header("Carnet-Clock", _CLOCK)


def _terminal() -> str | None:
    terminal: str | None = _header("Carnet-Terminal", _TERMINAL)
    return terminal


def _header(name: str, field: Any) -> Any:  # noqa: ANN401  # marshmallow's own
    """A header as a field reads it, or None.

    Raises:
        InvalidError: it is not of the field's form.
    """
    value = request.headers.get(name)
    try:
        return None if value is None else field.read(value)
    except ValidationError as error:
        raise invalid({name: error.messages}) from error


def _spool() -> Any:  # noqa: ANN401  # the type of the file is not said in Python 3.11
    return SpooledTemporaryFile(max_size=MEMORY_BYTES)


def _put_aside(body: IO[bytes]) -> None:
    """Read the whole request body into a file, block by block.

    Raises:
        UnsupportedMediaError: the content type is not NDJSON.
        IncompleteBodyError: the connection ended before the body did.
    """
    if request.mimetype not in (NDJSON_TYPE, "application/jsonl"):
        raise UnsupportedMediaError(f"Send the body as {NDJSON_TYPE}, one JSON object a line.")
    count = 0
    while block := request.stream.read(BLOCK_BYTES):
        count += body.write(block)
    if request.content_length is not None and count < request.content_length:
        raise IncompleteBodyError("Nothing was recorded: send it again.")
    body.seek(0)


class _Stream:
    """The answer's lines, and what has to be let go when they have been read."""

    def __init__(self, batch: Batch, body: IO[bytes], held: ExitStack) -> None:
        self._batch = batch
        self._body = body
        self._held = held

    def close(self) -> None:
        """Let go of the body and of the place among the batches."""
        self._held.close()

    def lines(self) -> Iterator[bytes]:
        """The verdicts in the order of the lines, then the summary.

        From the first chunk on in which a line waits for others, verdicts wait too: in a file, with
        a blank line in the place of each that is missing.
        """
        batch = self._batch
        verdicts = batch.verdicts(raw_lines(self._body))
        with self._held, _spool() as later:
            for chunk in verdicts:
                block = b"".join(_verdict(each) if each else b"\n" for each in chunk)
                if later.tell() or None in chunk:
                    later.write(block)
                else:
                    yield block
            late = batch.late_verdicts()
            later.seek(0)
            for line in later:
                yield _verdict(next(late)) if line == b"\n" else line
            yield _line({"summary": _summary(batch)})


def _line(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=ORJSON_OPTIONS | orjson.OPT_APPEND_NEWLINE)


def _verdict(verdict: Verdict) -> bytes:
    document: dict[str, Any] = {"line": verdict.line}
    if verdict.sequence is not None:
        document["sequence"] = verdict.sequence
    document["status"] = verdict.status
    if verdict.error is None:
        document |= {
            "entry_id": verdict.entry_id,
            "points": verdict.points,
            "balance": verdict.balance,
            "occurred_at": verdict.at,
        }
        return _line(document)
    problem = refusal_of_line(verdict.error)
    return _line({**document, "problem": problem, "retry": verdict.may_retry})


def _summary(batch: Batch) -> dict[str, Any]:
    gaps = batch.gaps()
    return {
        "lines": sum(batch.counts.values()),
        **batch.counts,
        "retry": batch.retry,
        "clock_offset_seconds": batch.sender.offset / timedelta(seconds=1),
        "gaps": sum(each.missing_count for each in gaps),
        "tills": [_till(each) for each in gaps],
    }


def _till(gaps: Gaps) -> dict[str, Any]:
    document = gaps._asdict()
    till = document.pop("till")
    return {"store": till.store or None, "terminal": till.terminal, **document}
