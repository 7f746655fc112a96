"""How gunicorn runs the service: `gunicorn -c python:loyalty.kit.server "app:create_app()"`."""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import multiprocess

from loyalty.kit.settings import Settings

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
limit_request_line = 4094
limit_request_fields = 64


def child_exit(_server: object, worker: Any) -> None:  # noqa: ANN401  # gunicorn is untyped
    """Take a dead worker's gauges out of the metrics."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
