"""What operators see: request ids, one log line a request, metrics. Nothing personal in any.

A line names the route's pattern, never the path: a path holds a member's id.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)

if TYPE_CHECKING:
    from flask import Request, Response
    from structlog.typing import FilteringBoundLogger

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_REQUESTS = Counter("carnet_requests", "Requests answered", ("route", "method", "status"))
_SECONDS = Histogram(
    "carnet_request_seconds",
    "Time to answer",
    ("route", "method"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5),
)
# Bound once a configuration, not once a line.
_BOUND: dict[str, FilteringBoundLogger] = {}
_QUIET_ROUTES = frozenset({"/health/live", "/health/ready", "/metrics"})


def configure_logs() -> None:
    """JSON lines on standard error, by structlog; the standard library's warnings join them."""
    _BOUND.clear()
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
    )


def log() -> FilteringBoundLogger:
    """The program's logger."""
    if "log" not in _BOUND:
        _BOUND["log"] = structlog.get_logger().bind()
    return _BOUND["log"]


def request_id_of(request: Request) -> str:
    """The caller's own `X-Request-Id` if it is a plain one, else a new id."""
    given = request.headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.match(given) else os.urandom(8).hex()


def note(
    request: Request, response: Response, *, seconds: float, request_id: str, key: str
) -> None:
    """Count and time a request, and write one line about it.

    Args:
        request: what came.
        response: what went.
        seconds: what it took.
        request_id: also in the answer.
        key: the id of the API key that called, or nothing.
    """
    route = request.url_rule.rule if request.url_rule else "unmatched"
    status = response.status_code
    count(route, request.method, status, seconds)
    if route not in _QUIET_ROUTES:
        log().info(
            "request",
            route=route,
            method=request.method,
            status=status,
            ms=round(seconds * 1000, 2),
            request_id=request_id,
            key=key,
        )


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def count(route: str, method: str, status: int, seconds: float) -> None:
    """Count one request. Labels come from fixed sets, so the number of series is bounded."""
    requests, timer = _series(route, method if method in _METHODS else "other", status)
    requests.inc()
    timer.observe(seconds)


@lru_cache(maxsize=4096)
def _series(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    """The two series of a request; finding them costs more than counting."""
    return _REQUESTS.labels(route, method, str(status)), _SECONDS.labels(route, method)


def exposition() -> tuple[bytes, str]:
    """The metrics of all workers in Prometheus' text form, with its content type."""
    registry: Any = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
