"""The house the benchmarks run in: an own database in a temporary directory, the data, the servers.

Everything that is started here is stopped when the stage closes.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bson
import orjson

from app import OF_2017, assemble, initialise
from benchmarks import load
from benchmarks.bare import TEMPLATE
from benchmarks.load import NUMBER
from loyalty.access import model as keys
from loyalty.consent import gate
from loyalty.consent.model import PERSONALISATION
from loyalty.consent.store import ConsentStore
from loyalty.importing.complete_journey import CHANNELS_BY_DIGIT, CURRENCY, Journey
from loyalty.importing.service import import_journey
from loyalty.journal.store import JournalStore
from loyalty.kit.clock import now
from loyalty.kit.embedded import EmbeddedMongo, die_with_parent
from loyalty.kit.settings import Settings
from recommend.training.service import train_and_promote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from app import Parts

    Say = Callable[[str, int], object]

CLIENTS = 16
WORKERS = 2
THREADS = 16
SCOPES = frozenset({"activities:write", "points:read", "recommendations:read"})
LINES = 3
RECEIPTS = 32
SEED = 11
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 20.0
PEER_DATABASE = "carnet-peer"
_COPIED = ("journal", "consents", "products", "meta")


@dataclass(frozen=True)
class Server:
    """A gunicorn that runs."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def worker_pids(self) -> list[int]:
        """The processes that answer."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(each) for each in children.read_text().split()]


@dataclass(frozen=True)
class Stage:
    """What a benchmark needs to know."""

    settings: Settings
    parts: Parts
    mongod: EmbeddedMongo
    key: str
    members: Sequence[str]
    agreeing: Sequence[str]
    ours: Server
    peer: Server

    def dealt(self, members: Sequence[str]) -> list[list[str]]:
        """Members for each client; no two clients share one, so that none waits for another."""
        return [list(members[client::CLIENTS]) for client in range(CLIENTS)]

    def request(self, method: str, path: str, body: bytes = b"") -> str:
        """A request as it goes over the wire, with the key."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {self.key}",
            "Accept: application/json",
        ]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]) + body.decode()

    def award(self, member: str, receipt: bytes) -> str:
        """The request of an award; its external id is a new number each time it is sent."""
        return self.request("POST", "/v1/purchases", receipt.replace(b"#member#", member.encode()))


@contextmanager
def opened(households: int, say: Say) -> Iterator[Stage]:
    """Start the database, bring the data in, train, start both servers; stop all at the end."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="carnet-bench-"))
        stack.callback(shutil.rmtree, directory)
        mongod = EmbeddedMongo(directory)
        mongod.start()
        stack.callback(mongod.stop)
        settings = Settings(
            mongodb_uri=mongod.uri,
            data_dir=directory,
            secret="benchmarks-only-secret-of-32-bytes-and-more",  # noqa: S106  # a throw-away
            workers=WORKERS,
            threads=THREADS,
        )
        parts = assemble(replace(settings, database_timeout_seconds=30.0), mongod.uri)
        stack.callback(parts.database.client.close)
        key = _fill(settings, parts, households, say)
        members = sorted(each for page in parts.consents.all_member_ids(page=500) for each in page)
        permits = gate.permits(members, PERSONALISATION, at=now(), consents=parts.consents)
        agreeing = list(permits)
        ours = stack.enter_context(_serving("app", settings))
        stage = Stage(settings, parts, mongod, key, members, agreeing, ours, ours)
        _keep_template(stage)
        say("a peer on a copy of the data", 1)
        _copy(parts)
        for_peer = replace(settings, database=PEER_DATABASE)
        peer = stack.enter_context(_serving("benchmarks.peer", for_peer))
        yield replace(stage, peer=peer)


def _fill(settings: Settings, parts: Parts, households: int, say: Say) -> str:
    """Import and train; the text of a key with a till's and a shop's scopes."""
    initialise(settings, parts)
    say(f"{households} households of the Complete Journey", 1)
    import_journey(Journey(households), at=now(), stores=parts.stores, progress=_silent)
    parts.retention.set_rules(OF_2017, at=now(), by="benchmark")
    say("a model", 1)
    train_and_promote(parts.trainer, at=now(), progress=_silent)
    key, text = keys.mint("benchmark", SCOPES, at=now(), channel=None, store=None)
    parts.keys.add(key)
    return text


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


def receipts(parts: Parts) -> list[bytes]:
    """Bodies of purchases: three lines of catalogue products, on the channels of the import.

    `#member#` stands for the member and `NUMBER` for the external id.
    """
    chance = random.Random(SEED)  # noqa: S311  # the same receipts in every run
    products = [
        (each["_id"], each["price"]["amount"])
        for each in parts.database["products"].find({}, {"price": 1}).sort("_id").limit(2000)
    ]
    return [_receipt(chance, products, number) for number in range(RECEIPTS)]


def _receipt(chance: random.Random, products: list[tuple[str, int]], number: int) -> bytes:
    channel = CHANNELS_BY_DIGIT[number % len(CHANNELS_BY_DIGIT)]
    lines = []
    for sku, price in chance.sample(products, LINES):
        quantity = chance.choice((1, 1, 1, 2, 3))
        lines.append({"sku": sku, "quantity": quantity, "amount": price * quantity})
    body: dict[str, Any] = {
        "external_id": NUMBER,
        "channel": channel,
        "member": "#member#",
        "currency": CURRENCY,
        "lines": lines,
    }
    if channel == "store":
        body["store"] = "S367"
    return orjson.dumps(body)


def _keep_template(stage: Stage) -> None:
    """Keep the entry of a receipt of median size: what the bare peers insert."""
    member = stage.members[0]
    requests = [stage.award(member, receipt) for receipt in receipts(stage.parts)]
    plan = load.Plan(
        port=stage.ours.port,
        workers=stage.ours.worker_pids,
        clients=[requests],
        expect=201,
        label="t",
        seconds=STOP_SECONDS_MAX,
        warmup_seconds=0.0,
        requests_max=RECEIPTS,
    )
    load.run(plan)
    newest = stage.parts.database["journal"].find({"member": member}).sort("seq", -1)
    entries = sorted(newest.limit(RECEIPTS), key=lambda each: len(bson.encode(each)))
    entry = entries[len(entries) // 2]
    stage.parts.database["meta"].insert_one({"_id": TEMPLATE, "entry": entry})


def _copy(parts: Parts) -> None:
    """The peer's database: the same documents under the same indexes."""
    for name in _COPIED:
        out = {"$out": {"db": PEER_DATABASE, "coll": name}}
        parts.database[name].aggregate([out])
    peer = parts.database.client.get_database(PEER_DATABASE)
    JournalStore(peer, parts.secrecy, timeout_seconds=5).create_indexes()
    ConsentStore(peer, parts.vault, secret=b"").create_indexes()


@contextmanager
def _serving(module: str, settings: Settings) -> Iterator[Server]:
    """Run a module's `create_app()` the way the service runs, until the end."""
    port = _free_port()
    metrics = settings.data_dir / f"metrics-{module}"
    metrics.mkdir()
    environment = {
        **os.environ,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "CARNET_MONGODB_URI": settings.mongodb_uri,
        "CARNET_DATABASE": settings.database,
        "CARNET_DATA_DIR": str(settings.data_dir),
        "CARNET_SECRET": settings.secret,
        "CARNET_WORKERS": str(WORKERS),
        "CARNET_THREADS": str(THREADS),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "python:loyalty.kit.server"]
    with (settings.data_dir / f"{module}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command
            [*command, f"{module}:create_app()"],
            env=environment,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,  # noqa: PLW1509  # no other threads are running
        )
    try:
        _await_answer(port, process, settings.data_dir / f"{module}.log")
        yield Server(module, port, process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _await_answer(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers anything at all."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")
