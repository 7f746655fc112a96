"""The real service as a process of its own, with its database and workers as children."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
START_SECONDS_MAX = 60.0
POLL_SECONDS = 0.02


class Answer(NamedTuple):
    """What the service said."""

    status: int
    headers: dict[str, str]
    body: Any


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(is_so: Callable[[], bool], what: str, seconds: float = START_SECONDS_MAX) -> None:
    """Poll until something is so; the deadline is for a broken service, not a measure of speed."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(POLL_SECONDS)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    """The living children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(each) for each in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [each for each in found if is_alive(each)]


def command_of(pid: int) -> str:
    """The command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@dataclass
class Process:
    """`carnet serve` over one data directory."""

    data_dir: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Settings of its own, whatever the test run itself has."""
        own = {
            "CARNET_DATA_DIR": str(self.data_dir),
            "CARNET_WORKERS": "2",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
        }
        rest = {name: value for name, value in os.environ.items() if not name.startswith("CARNET_")}
        return {**rest, **own}

    @property
    def pid(self) -> int:
        """Of the service itself."""
        assert self.process is not None
        return self.process.pid

    def launch(self) -> None:
        """Start it, without waiting."""
        log = (self.data_dir.parent / f"{self.data_dir.name}.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                text=True,
            )

    def start(self) -> None:
        """Start it and wait until it can do its work."""
        self.launch()
        until(self.is_ready, "the service is ready")

    def is_ready(self) -> bool:
        """Whether it says that it can do its work."""
        assert self.process is not None
        assert self.process.poll() is None, "the service has stopped"
        try:
            return self.ask("GET", "/health/ready").status == 200
        except OSError:
            return False

    def stop(self) -> int:
        """Ask it to stop, or kill it where it does not; its exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """kill -9 of the service itself."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def is_free(self) -> bool:
        """Whether no process holds the lock of the data directory."""
        with (self.data_dir / "owner.lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def mongod(self) -> int:
        """The process id of its database, or 0 if it has none at the moment."""
        return next((each for each in children(self.pid) if "mongod" in command_of(each)), 0)

    def gunicorn(self) -> int:
        """The process id of gunicorn's master."""
        [pid] = [each for each in children(self.pid) if "gunicorn" in command_of(each)]
        return pid

    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers."""
        return children(self.gunicorn())

    def family(self) -> list[int]:
        """All processes that belong to it, itself last."""
        return [*self.workers(), self.gunicorn(), self.mongod(), self.pid]

    def carnet(self, *arguments: str) -> str:
        """What a command says."""
        done = subprocess.run(  # noqa: S603  # our own command
            [sys.executable, "-m", "app", *arguments],
            cwd=ROOT,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=START_SECONDS_MAX,
        )
        return done.stdout.strip()

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str = "", seconds: float = 10
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            return send(connection, method, path, body, key=key)
        finally:
            connection.close()


def send(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any, *, key: str
) -> Answer:
    """One request on a connection that stays."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    with connection.getresponse() as response:
        text = response.read()
        is_json = "json" in response.headers.get("Content-Type", "")
        return Answer(
            response.status, dict(response.headers), json.loads(text) if is_json else text
        )


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)
