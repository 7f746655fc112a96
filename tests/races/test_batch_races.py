"""Batches at the real service: cut in the middle, sent twice at once, and by clients of all kinds.

Only processes that the test started are killed: the service's own children, found in /proc.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.builders import program_document
from tests.races.process import ROOT, Process, kill, until
from tests.races.test_races import race

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SEED = 20260301
MEMBERS = 10
RECEIPTS = 1500
PATH = "/v1/batches"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A running service, gone afterwards."""
    service = Process(tmp_path_factory.mktemp("batches") / "data")
    service.start()
    yield service
    service.stop()
    until(service.is_free, "nobody holds the directory")


@pytest.fixture(scope="module")
def key(running: Process) -> str:
    """A key with every scope, of a shop whose programme is published."""
    key = running.carnet("keys", "create", "--scope", "all")
    body = {"program": program_document()}
    assert running.ask("POST", "/v1/program/versions", body, key=key).status == 201
    return key


@pytest.fixture
def members(running: Process, key: str) -> list[str]:
    """New members."""
    return [running.ask("POST", "/v1/members", {}, key=key).body["id"] for _ in range(MEMBERS)]


def receipts(members: Sequence[str], name: str, count: int = RECEIPTS) -> list[bytes]:
    """Lines with a receipt each, in the order of time, one point each."""
    lines = []
    for number in range(count):
        body = {
            "external_id": f"{name}-{number}",
            "channel": "store",
            "store": "S1",
            "member": members[number % len(members)],
            "currency": "EUR",
            "lines": [{"sku": "milk", "quantity": 1, "amount": 100}],
        }
        at = f"2026-03-01T{10 + number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        lines.append(json.dumps({"type": "purchase", "at": at, "body": body}).encode() + b"\n")
    return lines


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}


@contextmanager
def asked(service: Process, key: str, body: bytes) -> Iterator[http.client.HTTPResponse]:
    """An upload's answer, not read yet."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
    try:
        connection.request("POST", PATH, body, headers(key))
        yield connection.getresponse()
    finally:
        connection.close()


def sent(service: Process, key: str, lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """The lines of an upload's answer."""
    with asked(service, key, b"".join(lines)) as answer:
        assert answer.status == 200
        return [json.loads(each) for each in answer]


def balances(service: Process, key: str, members: Sequence[str]) -> list[int]:
    return [
        service.ask("GET", f"/v1/members/{each}/points", key=key).body["balance"]
        for each in members
    ]


def is_once(service: Process, key: str, members: Sequence[str], count: int = RECEIPTS) -> bool:
    """Whether each member has the points of its receipts, each once."""
    return balances(service, key, members) == [count // MEMBERS] * MEMBERS


def test_a_batch_that_is_killed_in_the_middle_is_simply_sent_again(
    running: Process, key: str, members: list[str]
) -> None:
    lines = receipts(members, "killed")
    with asked(running, key, b"".join(lines)) as answer:
        promised = [json.loads(answer.readline()) for _ in range(250)]
        for worker in running.workers():
            kill(worker)
        with pytest.raises((http.client.IncompleteRead, OSError)):
            answer.read()
    until(running.is_ready, "new workers answer")
    *verdicts, last = sent(running, key, lines)
    assert last["summary"]["recorded"] + last["summary"]["replayed"] == RECEIPTS
    assert last["summary"]["recorded"] > 0, "it was not killed in the middle"
    for before, now in zip(promised, verdicts, strict=False):
        assert now == {**before, "status": "replayed"}
    assert is_once(running, key, members)


def test_two_tills_with_the_same_receipts_at_once_record_each_once(
    running: Process, key: str, members: list[str]
) -> None:
    print(f"seed {SEED}")  # noqa: T201  # shown when the test fails
    lines = receipts(members, "twice", 600)
    shuffled = random.Random(SEED).sample(lines, len(lines))  # noqa: S311
    answers = race([partial(sent, running, key, each) for each in (lines, lines, shuffled)])
    summaries = [each[-1]["summary"] for each in answers]
    assert [each["refused"] for each in summaries] == [0, 0, 0]
    assert sum(each["recorded"] for each in summaries) == 600
    first, second, third = ({line["entry_id"] for line in each[:-1]} for each in answers)
    assert first == second == third
    assert is_once(running, key, members, 600)


def test_single_calls_and_a_batch_meet_at_one_member(
    running: Process, key: str, members: list[str]
) -> None:
    lines = receipts(members[:1], "met", 200)
    bodies = [
        {**json.loads(each)["body"], "external_id": f"online-{number}"}
        for number, each in enumerate(lines[:40])
    ]
    with ThreadPoolExecutor(4) as pool:
        batch = pool.submit(sent, running, key, lines)
        singles = list(
            pool.map(lambda body: running.ask("POST", "/v1/purchases", body, key=key), bodies)
        )
    assert {each.status for each in singles} == {201}
    assert batch.result()[-1]["summary"]["recorded"] == 200
    assert balances(running, key, members[:1]) == [240]


def test_a_client_that_sends_everything_before_it_reads_is_answered(
    running: Process, key: str
) -> None:
    # Far more both ways than the buffers in between can hold.
    line = b'{"type": "return", "' + b"x" * 1500 + b'": 1}\n'
    body = line * 10_000
    head = "".join(f"{name}: {value}\r\n" for name, value in headers(key).items())
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        client.connect(("127.0.0.1", running.port))
        start = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{head}\r\n"
        client.sendall(start.encode() + body)
        with http.client.HTTPResponse(client) as answer:
            answer.begin()
            assert answer.status == 200
            assert sum(b'"refused"' in each for each in answer) == 10_001


def test_a_client_that_streams_its_body_and_hangs_up_gives_its_place_back(
    running: Process, key: str, members: list[str]
) -> None:
    lines = receipts(members, "hung-up", 300)
    for _ in range(12):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        connection.request("POST", PATH, iter(lines), headers(key), encode_chunked=True)
        connection.close()
    done: list[dict[str, Any]] = []

    def is_done() -> bool:
        with asked(running, key, b"".join(lines)) as answer:
            found = [json.loads(each) for each in answer]
            done[:] = found if answer.status == 200 else []
        assert answer.status in {200, 503}
        return bool(done)

    until(is_done, "a place is free again")
    assert done[-1]["summary"]["refused"] == 0
    assert is_once(running, key, members, 300)


def test_a_body_that_is_cut_records_nothing(running: Process, key: str, members: list[str]) -> None:
    text = b"".join(receipts(members, "cut", 10))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers(key).items())
    for length in (f"Content-Length: {len(text) + 1}", "Transfer-Encoding: chunked"):
        body = text if "Length" in length else f"{len(text):x}\r\n".encode() + text + b"\r\n"
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as client:
            start = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{length}\r\n{head}\r\n"
            client.sendall(start.encode() + body)
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda sock=client: sock.recv(65536), b""))  # type: ignore[misc]
        assert answer.startswith(b"HTTP/1.1 400 "), answer[:100]
    assert balances(running, key, members) == [0] * MEMBERS


def test_the_loop_of_the_documentation_works_as_it_stands(
    running: Process,
    key: str,
    members: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [code] = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/offline-tills.md").read_text(), re.DOTALL
    )
    assert code.count("\n") < 60
    till: dict[str, Any] = {}
    exec(compile(code, "offline-tills.md", "exec"), till)  # noqa: S102  # our own documentation
    monkeypatch.chdir(tmp_path)
    sale = json.loads(receipts(members, "documented", 1)[0])["body"]
    for number in range(5):
        till["note"]("purchase", {**sale, "external_id": f"documented-{number}"})
    till["note"]("purchase", {**sale, "currency": "USD", "external_id": "wrong"})
    back = {"external_id": "back", "channel": "store", "store": "S1"}
    till["note"]("return", {**back, "purchase": {"external_id": "documented-later"}})
    assert till["upload"]("http://127.0.0.1:1", key, "till-3") == 7
    url = f"http://127.0.0.1:{running.port}"
    until(lambda: till["upload"](url, key, "till-3") == 1, "all but the return is there")
    assert balances(running, key, members[:1]) == [5]
    assert "wrong_currency" in (tmp_path / "wrong.ndjson").read_text()
    till["note"]("purchase", {**sale, "external_id": "documented-later"})
    until(lambda: till["upload"](url, key, "till-3") == 0, "nothing waits")
    assert balances(running, key, members[:1]) == [5]
