"""Picks for audiences over HTTP: as a stream, and as a job with its download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Response, g, request
from prometheus_client import Counter

from loyalty.jobs.runner import Runner
from loyalty.jobs.service import ENQUEUE_ERRORS
from loyalty.jobs.store import JobStore
from loyalty.kit.clock import now
from loyalty.kit.cursor import UnknownCursorError
from loyalty.kit.http import (
    NDJSON_TYPE,
    Answer,
    Blueprint,
    idempotency_key,
    look_noter,
    provided,
    replayed,
)
from loyalty.kit.settings import Settings
from loyalty.web.backing import Centre
from recommend.artefact import Shelf
from recommend.bulk import exports
from recommend.bulk.cursors import Cursors
from recommend.bulk.formats import PARQUET_TYPE, TYPES, encoded
from recommend.bulk.model import (
    ExportNotFoundError,
    ExportNotReadyError,
    Question,
    TooManyExportsError,
)
from recommend.bulk.schemas import (
    AudienceSchema,
    DownloadSchema,
    ExportRequestSchema,
    ExportSchema,
)
from recommend.bulk.store import ExportStore
from recommend.bulk.stream import Ground, confirmed, stream
from recommend.service import Popularity, Sources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loyalty.jobs.model import Job
    from recommend.bulk.model import Export, Format, Row

blp = Blueprint("picks", __name__, description="Picks for a whole audience, for e-mail tools.")

_WRITTEN = Counter(
    "carnet_picks_rows",
    "Rows of picks written out, a member each",
    ("channel", "format", "personalised"),
)
# A batch deadline covers some dozens of reads, of which each has the database's own.
BATCH_TIMES = 5
_NDJSON_EXAMPLE = (
    '{"member_id":"m_…","address":"ada@example.com","personalised":true,"reason":"consent",'
    '"model_version":"20260301T020000Z","campaign":"spring",'
    '"unsubscribe_url":"https://loyalty.shop.example/unsubscribe/gAAAAAB…","items":['
    '{"sku":"milk-1l","score":2.71,"name":"Whole milk 1 l","price":{"amount":119,'
    '"currency":"EUR"},"image_url":null,"url":null,"because":"Because you bought it before"}],'
    '"cursor":"…"}\n'
)
_CSV_EXAMPLE = (
    '"member_id","email","personalised","reason","pick_1_sku","pick_1_name","pick_1_price",'
    '"pick_1_currency","pick_1_image_url","pick_1_url","pick_1_because","unsubscribe_url",'
    '"campaign","model_version","cursor"\r\n'
)
_FORMS = {
    NDJSON_TYPE: {"schema": {"type": "string"}, "example": _NDJSON_EXAMPLE},
    TYPES["csv"]: {"schema": {"type": "string"}, "example": _CSV_EXAMPLE},
    PARQUET_TYPE: {"schema": {"type": "string", "format": "binary"}, "example": "PAR1…PAR1"},
}
_STREAM = {200: {"description": "A row a member.", "content": _FORMS}}
_EXPORT = {
    "id": "x_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f",
    "job_id": "j_19c9f2a3b4000001",
    "status": "queued",
    "progress": None,
    "error": None,
    "channel": "email",
    "limit": 5,
    "format": "csv",
    "store": None,
    "campaign": "spring",
    "rows": 0,
    "created_at": "2026-03-01T09:30:00Z",
    "finished_at": None,
    "expires_at": "2026-03-02T09:30:00Z",
}


def ground() -> Ground:
    """What drawing and writing stand on, as the application provides it."""
    settings = provided(Settings)
    return Ground(
        shelf=provided(Shelf),
        popularity=provided(Popularity),
        sources=provided(Sources),
        door=provided(Centre).door,
        url=settings.url,
        cursors=provided(Cursors),
        batch_seconds=settings.database_timeout_seconds * BATCH_TIMES,
        clock=now,
    )


@blp.route("/picks")
@blp.requires("picks:read", bulk=True, purpose="marketing")
@blp.arguments(AudienceSchema, location="query")
@blp.doc(responses=_STREAM)
@blp.raises(UnknownCursorError)
def list_picks(query: dict[str, Any]) -> Answer:
    """Stream picks for everyone who agreed to marketing on a channel.

    A row a member, in order of id: NDJSON, CSV or Parquet, by `format` or by `Accept`. Each has the
    address of the channel where there is one, products with name, price, image and link, and a link
    that ends marketing on the channel. Consent is read live while the stream runs. Members who do
    not agree to personalisation get popular picks.

    A download that broke off goes on with `after`: the cursor of the last row that arrived whole.
    A CSV then begins with its header again; a Parquet file that broke off cannot be read.
    """
    question, stage = Question.of(query), ground()
    after = stage.cursors.read(query.get("after"), question)
    form = query.get("format") or _accepted("ndjson")
    return _sent(form, stream(question, stage, after=after), question, stage)


@blp.route("/picks/exports", methods=["POST"])
@blp.requires("picks:read", purpose="marketing")
@blp.idempotent()
@blp.arguments(ExportRequestSchema, example={"channel": "email", "format": "csv"})
@blp.response(202, ExportSchema, example=_EXPORT)
@blp.raises(TooManyExportsError, *ENQUEUE_ERRORS)
def ask_export(body: dict[str, Any]) -> Answer:
    """Draw picks for an audience as a job, for large ones.

    The answer is an export; `GET /v1/picks/exports/{id}` shows how far it is, and
    `GET /v1/picks/exports/{id}/download` gives the rows when it is done. What is kept in between
    holds no address and no name, is sealed, and is destroyed after 24 hours.
    """
    asked = exports.ask(
        Question.of(body),
        body["format"],
        at=now(),
        by=g.caller.id,
        request_key=idempotency_key(),
        exports=provided(ExportStore),
        jobs=provided(JobStore),
        runner=provided(Runner),
    )
    answer = replayed(body_of(asked.export, asked.job), 202, is_replay=asked.is_replay)
    answer.headers["Location"] = f"/v1/picks/exports/{asked.export.id}"
    return answer


@blp.route("/picks/exports/<export_id>")
@blp.requires("picks:read")
@blp.response(200, ExportSchema, example={**_EXPORT, "status": "done", "rows": 200_000})
@blp.raises(ExportNotFoundError)
def show_export(export_id: str) -> Answer:
    """Read an export: how far it is, and until when it can be downloaded.

    It is cancelled as its job is: `POST /v1/jobs/{job_id}/cancel`.
    """
    found = exports.show(
        export_id, at=now(), exports=provided(ExportStore), jobs=provided(JobStore)
    )
    return body_of(*found)


@blp.route("/picks/exports/<export_id>", methods=["DELETE"])
@blp.requires("picks:read")
@blp.response(204)
@blp.raises(ExportNotFoundError)
def remove_export(export_id: str) -> Answer:
    """Remove an export before it expires, as soon as it has been fetched.

    It is not there from this moment on; a job that is still drawing it is cancelled apart.
    """
    provided(ExportStore).end(export_id, at=now())
    return Response(status=204)


@blp.route("/picks/exports/<export_id>/download")
@blp.requires("picks:read", bulk=True, purpose="marketing")
@blp.arguments(DownloadSchema, location="query")
@blp.doc(responses=_STREAM)
@blp.raises(ExportNotFoundError, ExportNotReadyError, UnknownCursorError)
def download_export(query: dict[str, Any], export_id: str) -> Answer:
    """Download what an export's job has drawn.

    Addresses, products and consents are read at this moment, row by row: who has withdrawn since is
    not in it, and who withdrew personalisation gets popular picks. As often as wanted until it
    expires; a download that broke off goes on with `after`, as `GET /v1/picks` does. There are no
    byte ranges, for people may be missing from the second half by then.
    """
    stage, store = ground(), provided(ExportStore)
    export = exports.finished(export_id, stage, exports=store)
    after = stage.cursors.read(query.get("after"), export.question)
    rows = exports.download(export, stage, after=after, exports=store)
    form = query.get("format") or _accepted(export.format)
    return _sent(form, rows, export.question, stage)


def body_of(export: Export, job: Job) -> dict[str, Any]:
    """An export as every answer shows it."""
    return {
        "id": export.id,
        "job_id": job.id,
        "status": job.status,
        "progress": job.progress._asdict() if job.progress else None,
        "error": job.error._asdict() if job.error else None,
        **export.question._asdict(),
        "format": export.format,
        "rows": export.rows,
        "created_at": export.created_at,
        "finished_at": export.finished_at,
        "expires_at": export.expires_at,
    }


def _accepted(otherwise: Format) -> Format:
    """The form that the request's `Accept` prefers."""
    forms: dict[str, Format] = {kind: form for form, kind in TYPES.items()}
    # The default first: it is what `*/*` means.
    kinds = [TYPES[otherwise], *(each for each in forms if each != TYPES[otherwise])]
    best = request.accept_mimetypes.best_match(kinds, default=TYPES[otherwise])
    return forms[best]


def _sent(form: Format, rows: Iterator[Row], question: Question, stage: Ground) -> Response:
    """A response that asks for rows as fast as the caller reads, and stops when it is gone."""
    noted = _noted(rows, form, question)
    pieces = encoded(form, noted, question, lambda some: confirmed(some, question, stage))
    charset = "; charset=utf-8" if form == "csv" else ""
    answer = Response(pieces, content_type=TYPES[form] + charset)
    answer.headers["Vary"] = "Accept"
    name = f"picks-{question.channel}.{form}"
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _noted(rows: Iterator[Row], form: Format, question: Question) -> Iterator[Row]:
    """The same rows; each is a look at its member, and counted."""
    return _noting(rows, look_noter(), form, question)


def _noting(rows: Iterator[Row], note: Any, form: Format, question: Question) -> Iterator[Row]:  # noqa: ANN401  # what tells the watcher
    for row in rows:
        note(row.member_id)
        _WRITTEN.labels(question.channel, form, str(row.personalised).lower()).inc()
        yield row
