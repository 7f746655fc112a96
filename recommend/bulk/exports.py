"""The job form: a worker draws the picks part by part, each download writes those who agree then.

A worker that is killed is followed by another one, which goes on after the last part that is kept.
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pymongo

from loyalty.jobs.service import enqueue
from recommend.bulk.model import (
    EXPORT_LASTS,
    EXPORTS_MAX,
    Draft,
    Export,
    ExportNotFoundError,
    ExportNotReadyError,
    Part,
    Question,
    TooManyExportsError,
)
from recommend.bulk.store import PartExistsError
from recommend.bulk.stream import BATCH, agreed_of, draw, steadily, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from loyalty.jobs.model import Job, JobFunction, Report
    from loyalty.jobs.runner import Runner
    from loyalty.jobs.store import JobStore
    from recommend.bulk.model import Format, Row
    from recommend.bulk.store import ExportStore
    from recommend.bulk.stream import Ground

KIND = "picks_export"
# Batches a part: what a killed worker's successor draws again at most.
PART_BATCHES = 8


class Asked(NamedTuple):
    """An export with its job, and whether the request had been carried out before."""

    export: Export
    job: Job
    is_replay: bool


def ask(
    question: Question,
    form: Format,
    *,
    at: datetime,
    by: str,
    request_key: str | None,
    exports: ExportStore,
    jobs: JobStore,
    runner: Runner,
) -> Asked:
    """Queue an export.

    Args:
        question: what is asked for.
        form: of a download that does not name another one.
        at: now.
        by: who asks.
        request_key: sent again with the same question, it leads to the same export.
        exports: where it is kept.
        jobs: where the job is kept.
        runner: of this process.

    Raises:
        KeyReusedError: the idempotency key came with another question before.
        TooManyJobsError: the queue is full.
        TooManyExportsError: so many are kept already.
    """
    is_known = request_key is not None and jobs.by_request(request_key) is not None
    # Callers at the same moment may each add one more: a bound on growth, not a promise.
    if not is_known and exports.is_full(at=at):
        raise TooManyExportsError(f"{EXPORTS_MAX} exports are kept. Remove those you have fetched.")
    export_id = _export_id(request_key)
    params = {"export": export_id, "format": form, **question._asdict()}
    asked = enqueue(KIND, params, at=at, by=by, request_key=request_key, jobs=jobs, runner=runner)
    # On a replay the first request's times stand, for they are set once.
    export = exports.begin(_export(params, asked.job.created_at, asked.job.id))
    return Asked(export, asked.job, asked.is_replay)


def _export_id(request_key: str | None) -> str:
    """A new id; the same one for the same idempotency key, so that a retry has the same body."""
    if request_key is None:
        return f"x_{secrets.token_hex(16)}"
    return f"x_{hashlib.sha256(f'{KIND}:{request_key}'.encode()).hexdigest()[:32]}"


def _export(params: Mapping[str, Any], at: datetime, job_id: str | None) -> Export:
    question, form = Question.of(params), params["format"]
    return Export(params["export"], job_id, question, form, at, at + EXPORT_LASTS)


def show(
    export_id: str, *, at: datetime, exports: ExportStore, jobs: JobStore
) -> tuple[Export, Job]:
    """An export and its job.

    Raises:
        ExportNotFoundError: there is none, or it has expired.
    """
    export = exports.get(export_id, at=at)
    if export.job_id is None:
        # Asked for at this very moment: its answer has not been sent yet.
        raise ExportNotFoundError
    return export, jobs.get(export.job_id)


def job(ground: Ground, exports: ExportStore, eraser: ExportStore) -> JobFunction:
    """The function that draws an export.

    Args:
        ground: what drawing stands on.
        exports: where parts are kept.
        eraser: the same through the user who may destroy keys: what has expired goes first.
    """

    def run(params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        eraser.sweep(ground.clock())
        export = exports.begin(_export(params, ground.clock(), None))
        parts = _draw_all(export, ground, exports, report)
        rows = exports.rows(export.id)
        exports.finish(export.id, at=ground.clock(), rows=rows)
        return {"export": export.id, "rows": rows, "parts": parts}

    return run


def _draw_all(export: Export, ground: Ground, exports: ExportStore, report: Report) -> int:
    """Draw what is not there yet; how many parts there are then."""
    total = ground.sources.consents.count_members()
    number, last = exports.newest(export.id)

    def tell(more: int) -> None:
        report.progress(min(number * PART_BATCHES * BATCH + more, total), total, "members")

    while True:
        drafts, end = _stretch(last, export.question, ground, tell)
        if end == last:
            return number
        # Another worker may have the job by now: its part stands, and who has the lease goes on.
        with suppress(PartExistsError):
            part = Part(export.id, number + 1, end, drafts)
            exports.add(part, expires_at=export.expires_at)
        number, last = exports.newest(export.id)


def _stretch(
    last: str, question: Question, ground: Ground, tell: Callable[[int], None]
) -> tuple[list[Draft], str]:
    """The drafts of the next members, and the last of these members; the same one at the end."""
    drafts: list[Draft] = []
    for number in range(PART_BATCHES):
        tell(number * BATCH)
        with pymongo.timeout(ground.batch_seconds):
            ids = ground.sources.consents.members_after(last, limit=BATCH)
            drafts += draw(agreed_of(ids, question, ground), question, ground)
        if not ids:
            break
        last = ids[-1]
    return drafts, last


def finished(export_id: str, ground: Ground, *, exports: ExportStore) -> Export:
    """An export that can be downloaded.

    Raises:
        ExportNotFoundError: there is none, or it has expired.
        ExportNotReadyError: its job has not done it.
    """
    with pymongo.timeout(ground.batch_seconds):
        export = exports.get(export_id, at=ground.clock())
    if export.finished_at is None:
        raise ExportNotReadyError
    return export


def download(export: Export, ground: Ground, *, after: str, exports: ExportStore) -> Iterator[Row]:
    """The rows of those who agree at the moment of writing; one part is in memory.

    Args:
        export: a finished one.
        ground: what writing stands on.
        after: go on after this member.
        exports: where the parts are.
    """
    last = after
    while (found := _next_part(export.id, last, ground, exports)) is not None:
        last, drafts = found
        for begin in range(0, len(drafts), BATCH):
            yield from write(drafts[begin : begin + BATCH], export.question, ground)


def _next_part(
    export_id: str, last: str, ground: Ground, exports: ExportStore
) -> tuple[str, list[Draft]] | None:
    return steadily(lambda: exports.drafts(export_id, after=last), ground)
