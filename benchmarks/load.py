"""The load generator: one process, one epoll loop, keep-alive clients with ready-made requests.

It imports the standard library only and does next to nothing a request, so that two cores stay
with the server. Reads a plan as JSON on standard input, writes what it saw as JSON on standard
output; `run` starts it from another process.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Stands in a request's body where a number that no other request has will go, of the same length.
NUMBER = "#unique-number#"
CONNECT_SECONDS = 10.0
CONNECTIONS_MAX = 500
ANSWER_SECONDS_MAX = 10.0
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True)
class Plan:
    """What to send: each client sends its own requests in turn, again and again.

    The clients are spread evenly over the `workers`, given by process id. `label` makes the numbers
    of this plan its own. With `requests_max` the run ends by count.
    """

    port: int
    workers: Sequence[int]
    clients: Sequence[Sequence[str]]
    expect: int
    label: str
    seconds: float
    warmup_seconds: float = 0.3
    requests_max: int = 1_000_000


@dataclass(frozen=True)
class Seen:
    """What came back within the counted time; `cpu_seconds` is the generator's own.

    `sent` counts every request, those of the warm-up and the last ones too.
    """

    answers: int
    seconds: float
    cpu_seconds: float
    sent: int
    latencies_ms: list[float] = field(repr=False)

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def run(plan: Plan) -> Seen:
    """Carry out a plan in a process of its own.

    Raises:
        RuntimeError: an answer was not the expected one.
    """
    done = subprocess.run(  # noqa: S603  # our own module
        [sys.executable, __file__],
        input=json.dumps(asdict(plan)).encode(),
        capture_output=True,
        check=False,
        timeout=plan.seconds + plan.warmup_seconds + 60,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-2000:])
    return Seen(**json.loads(done.stdout))


def _connections(plan: Plan) -> list[socket.socket]:
    """One connection for each client, as many at one worker as at another.

    Left alone, the kernel hands out sixteen connections as 8 and 8 or as 14 and 2, which alone
    moves the speed of two workers by a third.
    """
    most = -(-len(plan.clients) // len(plan.workers))
    held: dict[int, list[socket.socket]] = {pid: [] for pid in plan.workers}
    for _ in range(CONNECTIONS_MAX):
        each = socket.create_connection(("127.0.0.1", plan.port), CONNECT_SECONDS)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        mine = held[_worker_of(each, plan)]
        if len(mine) < most:
            mine.append(each)
        else:
            each.close()
        found = [one for some in held.values() for one in some]
        if len(found) >= len(plan.clients):
            return found
    raise RuntimeError("one worker takes no connections")


def _worker_of(connection: socket.socket, plan: Plan) -> int:
    """The worker that accepted a connection, by the kernel's table of sockets."""
    there = f"0100007F:{plan.port:04X}"
    here = f"0100007F:{connection.getsockname()[1]:04X}"
    deadline = time.monotonic() + CONNECT_SECONDS
    while time.monotonic() < deadline:
        for line in Path("/proc/net/tcp").read_text().splitlines():
            columns = line.split()
            if columns[1:3] == [there, here]:
                for pid in plan.workers:
                    if _holds(pid, f"socket:[{columns[9]}]"):
                        return pid
        time.sleep(0.001)
    raise RuntimeError("nobody accepted the connection")


def _holds(pid: int, name: str) -> bool:
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if str(fd.readlink()) == name:
                return True
        except FileNotFoundError:  # closed in the meantime
            continue
    return False


class _Client:
    """One connection and the requests it sends."""

    def __init__(self, connection: socket.socket, requests: Sequence[str]) -> None:
        self.socket = connection
        # Split where the number goes: a request is three pieces put together.
        self._requests = [each.encode().partition(NUMBER.encode()) for each in requests]
        self._turn = 0
        self._buffer = b""
        self.sent_at = 0.0

    def send(self, number: bytes) -> None:
        before, mark, after = self._requests[self._turn % len(self._requests)]
        self._turn += 1
        self.sent_at = time.perf_counter()
        self.socket.sendall(before + (number if mark else b"") + after)

    def receive(self, status_line: bytes) -> bool:
        """Whether the answer is complete now."""
        data = self.socket.recv(65536)
        if not data:
            raise RuntimeError("the server closed the connection")
        self._buffer += data
        head_end = self._buffer.find(_HEAD_END)
        if head_end < 0:
            return False
        head = self._buffer[:head_end].lower()
        length = int(head[head.index(_LENGTH) + len(_LENGTH) :].split(b"\r\n", 1)[0])
        if len(self._buffer) < head_end + len(_HEAD_END) + length:
            return False
        if not self._buffer.startswith(status_line):
            raise RuntimeError(f"unexpected answer: {self._buffer[:1000].decode()}")
        self._buffer = b""
        return True


class _Run:
    """The loop over all clients."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._clients = [
            _Client(connection, requests)
            for connection, requests in zip(_connections(plan), plan.clients, strict=True)
        ]
        self._status_line = f"HTTP/1.1 {plan.expect} ".encode()
        self._width = len(NUMBER) - len(plan.label) - 1
        self._sent = 0

    def measure(self) -> Seen:
        by_fd = {each.socket.fileno(): each for each in self._clients}
        poll = select.epoll()
        for fd, client in by_fd.items():
            poll.register(fd, select.EPOLLIN)
            self._send(client)
        counted_from = time.perf_counter() + self._plan.warmup_seconds
        until = counted_from + self._plan.seconds
        cpu_from = time.process_time()
        latencies: list[float] = []
        waiting = len(by_fd)
        last_at = counted_from
        while waiting:
            ready = poll.poll(ANSWER_SECONDS_MAX)
            if not ready:
                raise RuntimeError("no answer in time")
            for fd, _ in ready:
                client = by_fd[fd]
                if not client.receive(self._status_line):
                    continue
                at = time.perf_counter()
                if counted_from <= at < until:
                    latencies.append((at - client.sent_at) * 1000)
                    last_at = at
                if at < until and self._sent < self._plan.requests_max:
                    self._send(client)
                else:
                    waiting -= 1
        return Seen(
            answers=len(latencies),
            seconds=last_at - counted_from,
            cpu_seconds=time.process_time() - cpu_from,
            sent=self._sent,
            latencies_ms=latencies,
        )

    def _send(self, client: _Client) -> None:
        self._sent += 1
        client.send(f"{self._plan.label}-{self._sent:0{self._width}}".encode())


def main() -> None:
    """Read a plan, carry it out, write what was seen."""
    seen = _Run(Plan(**json.load(sys.stdin))).measure()
    json.dump(asdict(seen), sys.stdout)


if __name__ == "__main__":
    main()
