"""How gunicorn runs the service: `gunicorn -c python:loyalty.kit.server "app:create_app()"`."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

import orjson
from gunicorn import util
from prometheus_client import multiprocess

from loyalty.kit.http import PROBLEM_TYPE
from loyalty.kit.service import Service
from loyalty.kit.settings import Settings

if TYPE_CHECKING:
    import socket

_settings = Settings.from_environment()

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.workers
worker_class = "gthread"
threads = _settings.threads
keepalive = 30
timeout = 60
graceful_timeout = 10
# Nobody controls the server but the process that started it.
control_socket_disable = True
# Our own log line says what matters, without the path: it holds a member's id.
accesslog = None
errorlog = "-"
loglevel = "warning"
limit_request_line = 8190
limit_request_fields = 64


def post_worker_init(worker: Any) -> None:  # noqa: ANN401  # gunicorn is untyped
    """Make a fresh worker ready.

    gunicorn's own refusals (a broken request line, too large a header) come before there is a
    request, so no handler of the application sees them: they become problem+json here. And what
    lives as long as the worker is taken out of the garbage collector's sight; a request leaves no
    cycles that would have to be found soon. Only now, after the fork, threads may start.
    """
    util.write_error = _write_problem
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    if isinstance(worker.wsgi, Service):
        worker.wsgi.start_background()


def worker_exit(_server: object, worker: Any) -> None:  # noqa: ANN401  # gunicorn is untyped
    """Let what runs beside the requests end well. A worker that never began has nothing."""
    if worker.booted and isinstance(worker.wsgi, Service):
        worker.wsgi.stop_background()


def _write_problem(client: socket.socket, status: int, reason: str, _message: str) -> None:
    """Answer what is no request; without the message, which quotes what came in."""
    code = reason.lower().replace(" ", "_")
    body = orjson.dumps(
        {
            "type": f"urn:carnet:problem:{code}",
            "title": reason,
            "status": status,
            "detail": "The bytes that came in are not a request that this server reads.",
            "code": code,
            "request_id": "",
        }
    )
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n"
        f"Content-Type: {PROBLEM_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode("latin-1") + body)


def child_exit(_server: object, worker: Any) -> None:  # noqa: ANN401  # gunicorn is untyped
    """Take a dead worker's gauges out of the metrics."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
