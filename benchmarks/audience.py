"""`python -m benchmarks.audience`: picks for a large audience, and the memory that it takes.

Makes a shop of synthetic members who agree to marketing by e-mail, half of them also to
personalisation and with purchases, trains a model, serves it the way the service runs, and streams
the whole audience in each form, then as an export. Of the worker that answers it prints the
resident memory at an eighth, a quarter, a half and the whole of the audience: it should not grow.

Beside it stands what ranking alone takes, and the batch recommend of `implicit` on the same item
factors: arithmetic without consent, history, address, product or link.
"""

from __future__ import annotations

import http.client
import io
import random
import shutil
import tempfile
import time
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np
import orjson
import pyarrow.parquet as pq
from implicit.cpu.als import AlternatingLeastSquares
from rich.console import Console
from rich.table import Table
from scipy import sparse
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from app import assemble, initialise
from benchmarks.measure import memory_mib
from benchmarks.stage import _serving
from loyalty.access import model as keys
from loyalty.catalogue.model import Price, Product
from loyalty.consent.model import MARKETING, PERSONALISATION, Decision
from loyalty.consent.service import first_record
from loyalty.kit.clock import now
from loyalty.kit.embedded import EmbeddedMongo
from loyalty.kit.settings import Settings
from loyalty.members.model import Member, normal
from loyalty.members.service import new_member_id
from recommend import artefact
from recommend import model as models
from recommend.dataset import Basket, build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app import Parts
    from benchmarks.stage import Server

SEED = 11
PAGE = 1000
BASKETS = 4
LINES = 5
LIMIT = 5
MARKS = (8, 4, 2, 1)
RANKED_MEMBERS = 5000
# A model is as good of so many, and a million people's baskets would fill this process.
LEARNT_MEMBERS = 50_000
SAMPLE_BYTES = 1_000_000
READ_BYTES = 65_536


class Streamed(NamedTuple):
    """One download: rows, seconds, and the worker's memory in MiB along the way."""

    name: str
    rows: int
    seconds: float
    mib: Sequence[float]


@click.command()
@click.option("--members", default=50_000, show_default=True)
@click.option("--items", default=5_000, show_default=True)
@click.option("--forms", default="ndjson,csv,parquet,export", show_default=True)
def main(members: int, items: int, forms: str) -> None:
    """Stream an audience of so many members and print what it took."""
    console = Console()
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="carnet-audience-"))
        stack.callback(shutil.rmtree, directory)
        mongod = EmbeddedMongo(directory)
        mongod.start()
        stack.callback(mongod.stop)
        settings = Settings(
            mongodb_uri=mongod.uri,
            data_dir=directory,
            secret="benchmarks-only-secret-of-32-bytes-and-more",  # noqa: S106  # a throw-away
            database_timeout_seconds=30.0,
        )
        parts = assemble(settings, mongod.uri)
        stack.callback(parts.close)
        initialise(settings, parts)
        baskets = _fill(parts, members, items, console)
        model = _model(baskets, settings)
        key, text = keys.mint("bench", frozenset(keys.SCOPES), at=now(), channel=None, store=None)
        parts.keys.add(key)
        found = []
        for form in forms.split(","):
            # A server of its own each time, so that one form's memory is not another's.
            with _serving("app", settings) as server:
                found.append(_measured(form, server, text))
            shutil.rmtree(directory / "metrics-app")
            console.print(f"{found[-1].name}: {found[-1].seconds:.0f} s", style="dim")
        _show(found, members, console)
        _ranking(model, baskets, console)


def _fill(parts: Parts, members: int, items: int, console: Console) -> dict[str, list[Basket]]:
    """The catalogue, the members with consents, and baskets of half of them; some of these."""
    chance = random.Random(SEED)  # noqa: S311  # the same shop in every run
    parts.catalogue.put_products(
        Product(f"p{n}", f"Product {n}", price=Price(n + 1, "EUR"), url=f"https://s.example/p{n}")
        for n in range(items)
    )
    baskets: dict[str, list[Basket]] = {}
    began, at = time.perf_counter(), now()
    for begin in range(0, members, PAGE):
        numbers = range(begin, min(begin + PAGE, members))
        people = [Member(new_member_id(), "active", at) for _ in numbers]
        parts.members.add_all(
            [
                (each, [normal("email", f"m{n}@example.org")], f"bench:{n}")
                for each, n in zip(people, numbers, strict=True)
            ]
        )
        own = {each.id: _baskets(each.id, items, chance) for each in people[::2]}
        if len(baskets) < LEARNT_MEMBERS:
            baskets |= own
        _agree(parts, [each.id for each in people], own)
        parts.database["journal"].insert_many(_entries(own), ordered=False)
    console.print(f"{members:,} members in {time.perf_counter() - began:.0f} s", style="dim")
    return baskets


def _baskets(member: str, items: int, chance: random.Random) -> list[Basket]:
    """Purchases of the last days; low numbers sell more."""
    days_ago = sorted((chance.uniform(1, 90) for _ in range(BASKETS)), reverse=True)
    newest = time.time()
    return [
        Basket(
            member,
            newest - days * 86_400,
            ("channel:store",),
            tuple({f"p{int(items * chance.random() ** 2)}" for _ in range(LINES)}),
        )
        for days in days_ago
    ]


def _agree(parts: Parts, members: Sequence[str], personal: dict[str, list[Basket]]) -> None:
    at = now() - timedelta(days=1)
    mail = Decision(MARKETING, granted=True, channel="email")
    taste = Decision(PERSONALISATION, granted=True)
    records = []
    for each in members:
        decisions = [mail, taste] if each in personal else [mail]
        records.append(first_record(each, decisions, method="import", at=at, by="bench"))
    parts.consents.append_all(records)


def _entries(baskets: dict[str, list[Basket]]) -> list[dict[str, Any]]:
    """What a reader of histories reads of an entry, and no more: no award is made here."""
    return [
        {
            "member": member,
            "seq": seq,
            "mark": f"bench:{member}:{seq}",
            "kind": "purchase",
            "channel": "store",
            "store": "S1",
            "occurred_at": _moment(basket.at),
            "activity": {"lines": [{"sku": sku, "quantity": 1} for sku in basket.items]},
        }
        for member, own in baskets.items()
        for seq, basket in enumerate(own, start=1)
    ]


def _moment(seconds: float) -> Any:  # noqa: ANN401  # a time
    at = now()
    return at + timedelta(seconds=seconds - at.timestamp())


def _model(baskets: dict[str, list[Basket]], settings: Settings) -> models.Model:
    dataset = build(each for own in baskets.values() for each in own)
    model = models.train(dataset, models.Settings(factors=settings.model_factors))
    artefact.save(model, settings.model_dir, "bench", created_at=0.0)
    artefact.promote(settings.model_dir, "bench")
    return model


def _measured(form: str, server: Server, key: str) -> Streamed:
    if form == "export":
        return _export(server, key)
    path = f"/v1/picks?channel=email&limit={LIMIT}&format={form}"
    return _stream(form, path, server, key)


def _export(server: Server, key: str) -> Streamed:
    """Draw as a job, then download; the seconds are of the download."""
    began = time.perf_counter()
    body = orjson.dumps({"channel": "email", "limit": LIMIT})
    export = orjson.loads(_call(server, key, "POST", "/v1/picks/exports", body))
    path = f"/v1/picks/exports/{export['id']}"
    while export["status"] in ("queued", "running"):
        time.sleep(0.5)
        export = orjson.loads(_call(server, key, "GET", path))
    assert export["status"] == "done", export
    drawn_seconds = time.perf_counter() - began
    found = _stream("export", f"{path}/download", server, key)
    return found._replace(name=f"export ({drawn_seconds:.0f} s of drawing apart)")


def _call(server: Server, key: str, method: str, path: str, body: bytes | None = None) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        return connection.getresponse().read()


def _stream(name: str, path: str, server: Server, key: str) -> Streamed:
    """Read it all, and look at the workers' memory about every megabyte."""
    began, size = time.perf_counter(), 0
    pieces: list[bytes] = []
    seen: list[tuple[int, float]] = []
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        while piece := answer.read1(READ_BYTES):
            pieces.append(piece)
            size += len(piece)
            if not seen or size - seen[-1][0] > SAMPLE_BYTES:
                seen.append((size, max(memory_mib(pid)[0] for pid in server.worker_pids)))
    seconds = time.perf_counter() - began
    mib = [next(mib for at, mib in reversed(seen) if at <= size / each) for each in MARKS]
    return Streamed(name, _rows(name, b"".join(pieces)), seconds, mib)


def _rows(name: str, whole: bytes) -> int:
    if name == "parquet":
        found: int = pq.ParquetFile(io.BytesIO(whole)).metadata.num_rows
        return found
    return whole.count(b"\n") - (name == "csv")


def _show(found: Sequence[Streamed], members: int, console: Console) -> None:
    table = Table(title=f"{members:,} members, {LIMIT} picks each")
    for column in ("form", "rows", "rows/s", "picks/s", *(f"MiB at 1/{each}" for each in MARKS)):
        is_text = column == "form"
        table.add_column(column, justify="left" if is_text else "right", no_wrap=is_text)
    for name, rows, seconds, mib in found:
        per_second = rows / seconds
        table.add_row(
            name,
            f"{rows:,}",
            f"{per_second:,.0f}",
            f"{per_second * LIMIT:,.0f}",
            *(f"{each:.0f}" for each in mib),
        )
    console.print(table)


def _ranking(model: models.Model, baskets: dict[str, list[Basket]], console: Console) -> None:
    """Ranking alone, one core: ours one by one, implicit's in one batch of the same members."""
    some = list(baskets.values())[:RANKED_MEMBERS]
    histories = [[(each.at, each.items) for each in own] for own in some]
    with threadpool_limits(1):
        began = time.perf_counter()
        for history in histories:
            models.rank(model, history, (), LIMIT)
        ours = time.perf_counter() - began
        theirs = _implicit_seconds(model, histories)
    for name, seconds in (("ranking alone", ours), ("implicit's batch recommend", theirs)):
        console.print(f"{name}: {len(some) * LIMIT / seconds:,.0f} picks/s on one core")


def _implicit_seconds(model: models.Model, histories: Sequence[models.History]) -> float:
    """The same members folded in and ranked by `implicit` on the same item factors."""
    positions = {sku.decode(): n for n, sku in enumerate(model.items)}
    bought = [
        (row, positions[sku])
        for row, history in enumerate(histories)
        for _, skus in history
        for sku in skus
        if sku in positions
    ]
    rows, columns = zip(*bought, strict=True)
    shape = (len(histories), len(positions))
    counts = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape)
    part = model.collaborative
    vectors = np.array(part.taste if part.taste.size else part.smooth)
    peer = AlternatingLeastSquares(factors=vectors.shape[1], num_threads=1)
    peer.item_factors = vectors
    peer.user_factors = np.zeros((shape[0], vectors.shape[1]), np.float32)
    members = np.arange(shape[0])
    began = time.perf_counter()
    peer.user_factors = peer.recalculate_user(members, counts)
    peer.recommend(members, counts, N=LIMIT, filter_already_liked_items=False)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
