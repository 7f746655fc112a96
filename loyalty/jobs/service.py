"""Ask for a job, and ask for its end."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from loyalty.jobs.model import (
    PARAMS_BYTES_MAX,
    QUEUED_MAX,
    Job,
    JobFinishedError,
    ParamsTooLargeError,
    TooManyJobsError,
    job_id,
)
from loyalty.jobs.store import JobExistsError
from loyalty.kit.errors import FieldError, UnavailableError
from loyalty.kit.idempotency import KeyReusedError, fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.jobs.runner import Runner
    from loyalty.jobs.store import JobStore

ENQUEUE_ATTEMPTS_MAX = 5
# What a view that enqueues declares, beside its own refusals.
ENQUEUE_ERRORS = (KeyReusedError, TooManyJobsError, ParamsTooLargeError)


class Enqueued(NamedTuple):
    """A job, and whether the request had been carried out before."""

    job: Job
    is_replay: bool


def enqueue(
    kind: str,
    params: Mapping[str, Any],
    *,
    at: datetime,
    by: str,
    request_key: str | None,
    jobs: JobStore,
    runner: Runner,
) -> Enqueued:
    """Queue a job; this process's runner looks at it at once.

    Args:
        kind: one of the runner's.
        params: what its function gets: values that MongoDB and JSON know, nothing personal.
        at: now.
        by: who asks.
        request_key: sent again with the same params, it leads to the same job.
        jobs: where it is kept.
        runner: of this process.

    Raises:
        KeyReusedError: the idempotency key came with other params before.
        TooManyJobsError: the queue is full.
        ParamsTooLargeError: the params are above their limit.
        ValueError: there is no such kind: a mistake of the caller's code.
    """
    if kind not in runner.kinds:
        raise ValueError(f"There is no kind of job {kind}.")
    mark = fingerprint({"kind": kind, "params": params})
    for _ in range(ENQUEUE_ATTEMPTS_MAX):
        if request_key and (seen := jobs.by_request(request_key)):
            return _replay(seen, mark)
        _check(params, jobs)
        new_id = job_id(at, secrets.randbelow(2**20))
        job = Job(new_id, kind, params, by, at, request_key=request_key, fingerprint=mark)
        try:
            jobs.add(job)
        except JobExistsError:
            continue
        runner.wake()
        return Enqueued(job, is_replay=False)
    raise UnavailableError("Too many jobs are being asked for; this one was not queued.")


def cancel(job_id: str, *, at: datetime, jobs: JobStore) -> Job:
    """Cancel a job: at once if it waits, at its next report of progress if it runs.

    Raises:
        JobNotFoundError: there is no such job.
        JobFinishedError: it is done, or has failed.
    """
    if asked := jobs.ask_to_cancel(job_id, at=at):
        return asked
    job = jobs.get(job_id)
    if job.status != "cancelled":
        mistake = FieldError("status", f"The job is {job.status}.")
        raise JobFinishedError(mistake.message, errors=(mistake,))
    return job


def _replay(seen: Job, mark: str) -> Enqueued:
    if seen.fingerprint != mark:
        raise KeyReusedError
    return Enqueued(seen, is_replay=True)


def _check(params: Mapping[str, Any], jobs: JobStore) -> None:
    if len(orjson.dumps(params)) > PARAMS_BYTES_MAX:
        raise ParamsTooLargeError(f"A job takes {PARAMS_BYTES_MAX // 1_000_000} MB at most.")
    # Callers at the same moment may each add one more: a bound on growth, not a promise.
    if jobs.has_queued(QUEUED_MAX):
        raise TooManyJobsError(f"{QUEUED_MAX} jobs are waiting. Ask again when some are done.")
