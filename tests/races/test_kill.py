"""The real service under kill -9: what was acknowledged is there, once, and adds up.

Only processes that the test started are killed: the service's own children, found in /proc.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from app import assemble
from loyalty.journal.late import facts_of
from loyalty.journal.store import RESTATING
from loyalty.kit.embedded import uri_of
from loyalty.kit.settings import Settings
from tests.builders import program_document
from tests.races.lives import is_sound
from tests.races.process import ROOT, Answer, Process, free_port, is_alive, kill, send, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from app import Parts

CLIENTS = 16
AWARDS_A_CLIENT = 50
MEMBERS = 12
KILLS = 4
SEED = 20260301
ATTEMPTS_MAX = 600
RETRY_SECONDS = 0.1


@contextmanager
def cared_for(data_dir: Path) -> Iterator[Process]:
    """A service that is gone afterwards, whatever was done to it."""
    service = Process(data_dir)
    try:
        yield service
    finally:
        if service.process is not None and service.process.poll() is None:
            service.stop()
        # A killed service's database closes its files on its own; it holds the lock until then.
        until(service.is_free, "nobody holds the directory")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Process]:
    """A service to be killed, not started yet."""
    with cared_for(tmp_path / "data") as service:
        yield service


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A running service with a programme, for tests that leave it as it was."""
    with cared_for(tmp_path_factory.mktemp("running") / "data") as service:
        prepared(service)
        yield service


def prepared(service: Process) -> str:
    """Start the service and publish a programme; the key."""
    service.start()
    key = new_key(service)
    body = {"program": program_document()}
    assert service.ask("POST", "/v1/program/versions", body, key=key).status == 201
    return key


def new_key(service: Process) -> str:
    """A key with every scope, made beside the running service."""
    return service.carnet("keys", "create", "--scope", "all")


def enrolled(service: Process, key: str, count: int) -> list[str]:
    """New members."""
    return [service.ask("POST", "/v1/members", {}, key=key).body["id"] for _ in range(count)]


def award(member: str, external_id: str, amount: int) -> dict[str, Any]:
    return {
        "external_id": external_id,
        "channel": "store",
        "member": member,
        "currency": "EUR",
        "lines": [{"sku": "milk", "quantity": 1, "amount": amount}],
    }


class Client(threading.Thread):
    """A till: keeps its connection, and repeats each award until it is acknowledged."""

    def __init__(self, service: Process, key: str, members: list[str], number: int) -> None:
        super().__init__(name=f"till {number}")
        self.service, self.key, self.members, self.number = service, key, members, number
        self.acknowledged: dict[str, tuple[str, int]] = {}
        self.retries = 0
        self.unexpected: list[Any] = []
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)

    def run(self) -> None:
        dice = random.Random(SEED + self.number)  # noqa: S311  # not a secret
        for number in range(AWARDS_A_CLIENT):
            member, amount = dice.choice(self.members), 100 * dice.randint(1, 50)
            external_id = f"{self.number}-{number}"
            self.insist(award(member, external_id, amount))
            self.acknowledged[external_id] = (member, amount // 100)
        self.connection.close()

    def insist(self, body: dict[str, Any]) -> None:
        for _ in range(ATTEMPTS_MAX):
            try:
                answer = send(self.connection, "POST", "/v1/purchases", body, key=self.key)
            except (OSError, http.client.HTTPException):
                self.connection.close()
            else:
                if answer.status == 201:
                    return
                if answer.status != 503:
                    self.unexpected.append(answer)
            self.retries += 1
            time.sleep(RETRY_SECONDS)  # what any client does between two tries
        raise AssertionError(f"{body['external_id']} was never acknowledged")


def check_books(parts: Parts, clients: list[Client], members: list[str]) -> None:
    """Every acknowledged award is there once, no number is missing, every balance is the fold."""
    promised = {name: claim for each in clients for name, claim in each.acknowledged.items()}
    found: dict[str, tuple[str, int]] = {}
    times: Counter[str] = Counter()
    for member in members:
        entries = list(parts.journal.entries(member))
        is_sound(entries, facts_of(entries, parts.stores.programs))
        for entry in entries:
            if entry.kind not in RESTATING:
                times[entry.activity["external_id"]] += 1
                found[entry.activity["external_id"]] = (member, entry.points)
    assert len(promised) == CLIENTS * AWARDS_A_CLIENT
    assert found == promised
    assert set(times.values()) == {1}


def wreak(service: Process, acknowledged: Callable[[], int]) -> None:
    """kill -9 a worker or the database whenever another share of the awards is through."""
    step_size = CLIENTS * AWARDS_A_CLIENT // (KILLS + 2)
    for number in range(1, KILLS + 1):
        until(lambda goal=number * step_size: acknowledged() >= goal, "awards go on")  # type: ignore[misc]
        if number % 2 == 0:
            kill(service.workers()[0])
            continue
        mongod = service.mongod()
        kill(mongod)
        if number == 1:
            # And once more while it is starting again.
            until(lambda pid=mongod: service.mongod() not in {0, pid}, "it starts again")  # type: ignore[misc]
            kill(service.mongod())


def test_nothing_acknowledged_is_lost_or_doubled_under_kill_9(service: Process) -> None:
    print(f"seed {SEED}")  # noqa: T201  # shown when the test fails
    key = prepared(service)
    members = enrolled(service, key, MEMBERS)
    clients = [Client(service, key, members, number) for number in range(CLIENTS)]
    for each in clients:
        each.start()
    wreak(service, lambda: sum(len(each.acknowledged) for each in clients))
    for each in clients:
        each.join(120)
        assert not each.is_alive(), each.name
    assert [answer for each in clients for answer in each.unexpected] == []
    assert sum(each.retries for each in clients) > 0, "nobody noticed a kill"
    settings = Settings(secret="x" * 32, data_dir=service.data_dir)
    parts = assemble(settings, uri_of(service.data_dir))
    check_books(parts, clients, members)
    for member in members:
        shown = service.ask("GET", f"/v1/members/{member}/points", key=key).body
        head = parts.journal.head(member)
        assert shown["balance"] == (head.state.balance if head else 0)
    parts.database.client.close()


def test_a_killed_service_leaves_nobody_behind_and_finds_its_data_again(service: Process) -> None:
    key = prepared(service)
    [member] = enrolled(service, key, 1)
    body = award(member, "R1", 2000)
    first = service.ask("POST", "/v1/purchases", body, key=key)
    family = service.family()
    assert len(family) == 5
    service.kill()
    until(lambda: not any(is_alive(each) for each in family), "all its children are gone")
    service.start()
    assert service.ask("GET", f"/v1/members/{member}/points", key=key).body["balance"] == 20
    again = service.ask("POST", "/v1/purchases", body, key=key)
    assert again.body == first.body
    assert again.headers["Idempotent-Replay"] == "true"
    family = service.family()
    assert service.stop() == 0
    assert not any(is_alive(each) for each in family)


def test_two_services_on_one_directory_get_a_clear_error(running: Process) -> None:
    second = Process(running.data_dir, free_port())
    done = subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        cwd=ROOT,
        env=second.environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode > 0
    assert f"in use by process {running.pid}" in done.stderr
    assert "Traceback" not in done.stderr
    assert running.is_ready()


def test_what_a_crash_left_lying_about_stops_no_start(service: Process) -> None:
    key = prepared(service)
    [member] = enrolled(service, key, 1)
    family = service.family()
    for each in reversed(family):
        kill(each)
    until(lambda: not any(is_alive(each) for each in family), "all are gone")
    assert service.process is not None
    service.process.wait()
    assert (service.data_dir / "db" / "mongod.lock").read_text().strip()
    assert (service.data_dir / "owner.lock").read_text() == str(family[-1])
    service.start()
    assert service.ask("GET", f"/v1/members/{member}", key=key).status == 200


def test_a_database_that_hangs_is_503_in_time_and_never_a_hang(running: Process) -> None:
    key = new_key(running)
    [member] = enrolled(running, key, 1)
    hanging = award(member, "hanging", 100)
    consent = {"decisions": [{"purpose": "analytics", "granted": True}]}
    asked = (
        ("GET", "/health/ready", None),
        ("GET", f"/v1/members/{member}/points", None),
        ("GET", f"/v1/members/{member}/recommendations", None),
        ("PUT", f"/v1/members/{member}/consents", consent),
        ("POST", "/v1/members", {"identifiers": [{"type": "card", "value": "1"}]}),
        ("POST", "/v1/purchases", hanging),
    )

    def timed(request: tuple[str, str, Any]) -> tuple[float, Answer]:
        began = time.monotonic()
        answer = running.ask(*request, key=key, seconds=30)
        return time.monotonic() - began, answer

    mongod = running.mongod()
    os.kill(mongod, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(len(asked)) as pool:
            answers = list(pool.map(timed, asked))
        assert running.ask("GET", "/health/live").status == 200
    finally:
        os.kill(mongod, signal.SIGCONT)
    for seconds, answer in answers:
        assert answer.status == 503, answer
        assert seconds < 5, answer  # the goal is 3 s; beyond 5 s it hangs
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Content-Type"] == "application/problem+json"
    until(running.is_ready, "it is ready again")
    # Nobody could say whether it was written; sending it again settles it.
    assert running.ask("POST", "/v1/purchases", hanging, key=key).status == 201
    shown = running.ask("GET", f"/v1/members/{member}/points", key=key)
    assert shown.body["balance"] == 1


def test_bytes_that_are_no_request_get_a_problem_too(running: Process) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
        client.sendall(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    status = json.loads(body)["status"]
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert 400 <= status < 500
    assert b"xxx" not in body


def test_a_key_revoked_by_command_is_refused_by_every_worker(running: Process) -> None:
    key = new_key(running)
    assert running.ask("GET", "/v1/program", key=key).status == 200
    key_id = key.split("_")[1]
    assert key_id in running.carnet("keys", "list")
    running.carnet("keys", "revoke", key_id)
    # Each request comes to either worker; each may know the key for less than a second more.
    until(
        lambda: {running.ask("GET", "/v1/program", key=key).status for _ in range(8)} == {401},
        "every worker refuses the key",
    )
