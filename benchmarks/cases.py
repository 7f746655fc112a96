"""The comparisons: what is measured, against what, and what limits it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from app import assemble, initialise
from benchmarks import driver, gates, growth, load, oracle, past, ranking, rules, training
from benchmarks.measure import Row, Side, compare, compare_speeds, in_turn, memory_mib
from benchmarks.stage import CLIENTS, PEER_DATABASE, receipts
from loyalty.importing.complete_journey import CHANNELS_BY_DIGIT, Journey
from loyalty.importing.service import few_collections, import_journey
from loyalty.journal.bulk import append_all
from loyalty.journal.codec import activity_of, activity_to_document, entry_from_document
from loyalty.journal.drafts import Draft
from loyalty.journal.model import key_of
from loyalty.journal.store import JournalStore
from loyalty.kit.clock import now
from loyalty.members.service import new_member_id
from loyalty.program.model import Activity, Line, State
from loyalty.program.step import step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import Literal

    from app import Parts
    from benchmarks.load import Seen
    from benchmarks.stage import Server, Stage
    from loyalty.kit.mongo import Document
    from loyalty.program.model import Program

    Advance = Callable[[], None]

BATCH = 1000
SHORT_ENTRIES = 10
LATENCY_WARMUP = 20
LATENCY_TOLERANCE = 0.1
PICKS = 10
AWARDS_GOAL = 0.85
READS_GOAL = 0.85
IMPORT_GOAL = 0.4


class Size(NamedTuple):
    """How much of everything: `FULL` for figures, `QUICK` to see that all works."""

    households: int
    rounds: int
    seconds: float
    import_households: int
    import_rounds: int
    long_entries: int
    latency_pairs: int
    step_repeats: int
    oracle_scale: float
    # None: all of them.
    year_households: int | None


FULL = Size(60, 9, 2.0, 60, 5, 20_000, 600, 5, 0.1, None)
QUICK = Size(24, 2, 0.5, 8, 2, 1_000, 60, 2, 0.01, 20)


def awards(stage: Stage, size: Size, advance: Advance) -> list[Row]:
    """Awards over HTTP against a bare Flask, the bare driver and a transaction."""
    bodies = receipts(stage.parts)
    clients = [
        [stage.award(member, each) for each in bodies for member in members]
        for members in stage.dealt(stage.members)
    ]
    ours, peer = _http_pair(stage, size, clients, expect=201)
    bare, transaction = (_driver(stage, size, call) for call in ("append", "transact"))
    seen = in_turn([ours, peer, bare, transaction], size.rounds, advance)
    mine = seen[ours.name]
    return [
        compare(
            "award",
            mine,
            "bare Flask, same two calls",
            seen[peer.name],
            unit="awards/s",
            goal=AWARDS_GOAL,
            limited_by=(
                "the CPU of the workers, the larger half of it Flask, gunicorn and the driver, "
                "which the peer pays too; ours inserts together what waits at the same time"
            ),
        ),
        compare(
            "award, beside the driver",
            mine,
            "bare driver, 16 threads",
            seen[bare.name],
            unit="awards/s",
            limited_by="HTTP and Flask; the driver's side: one Python process",
        ),
        compare(
            "award, beside a transaction",
            mine,
            "two-document transaction, 16 threads",
            seen[transaction.name],
            unit="awards/s",
            limited_by="as above; a transaction is three round trips and writes two documents",
        ),
    ]


def points(stage: Stage, size: Size, advance: Advance) -> list[Row]:
    """Reading a member's points against a bare Flask with the same read."""
    paths = [f"/v1/members/{each}/points" for each in stage.members]
    return _reads(
        "points",
        stage,
        size,
        advance,
        paths=paths,
        peer_name="bare Flask, same read",
        limited_by="the workers' time in Python: gunicorn, Flask and the driver's read",
    )


def recommendations(stage: Stage, size: Size, advance: Advance) -> list[Row]:
    """Personal picks against a bare Flask with the same reads and the same ranking."""
    query = f"?channel=web&limit={PICKS}"
    paths = [f"/v1/members/{each}/recommendations{query}" for each in stage.agreeing]
    return _reads(
        "recommendations",
        stage,
        size,
        advance,
        paths=paths,
        peer_name="bare Flask, same reads and ranking",
        limited_by="the workers' time: ranking the whole catalogue and decoding sixty baskets",
    )


def bulk_import(stage: Stage, size: Size, advance: Advance) -> list[Row]:
    """The import of the Complete Journey against `insert_many` of the entries that it made."""
    journey = Journey(size.import_households)
    whole, appending, inserting = [], [], []
    baskets = 0
    for number in range(size.import_rounds):
        parts = _empty(stage, f"carnet-import-{number}")
        seconds, baskets = _import(journey, parts)
        whole.append(baskets / seconds)
        advance()
        documents: list[Document] = list(parts.database["journal"].find())
        appending.append(baskets / _append_all(documents, parts))
        advance()
        inserting.append(baskets / _insert_many(documents, parts))
        advance()
        parts.database.client.drop_database(parts.database.name)
        parts.database.client.close()
    peer_name = "insert_many of the same documents"
    details = {"baskets": baskets, "households": size.import_households}
    return [
        compare_speeds(
            "import, whole",
            whole,
            peer_name,
            inserting,
            unit="baskets/s",
            goal=IMPORT_GOAL,
            limited_by=(
                "one core of Python: reading the table, lines, step(); and a transaction for each "
                "member enrolled. insert_many has its documents ready"
            ),
            details=details,
        ),
        compare_speeds(
            "import, append_all alone",
            appending,
            peer_name,
            inserting,
            unit="baskets/s",
            goal=IMPORT_GOAL,
            limited_by="one core of Python: step() over ten lines a basket, then the encoding",
            details=details,
        ),
    ]


def latency(stage: Stage, size: Size, advance: Advance) -> list[Row]:
    """An award for a member with ten entries and for one with many thousand, turn by turn."""
    short = [new_member_id() for _ in range(size.latency_pairs)]
    long = new_member_id()
    drafts = [_drafts(each, SHORT_ENTRIES, stage.parts) for each in short]
    append_all([*drafts, _drafts(long, size.long_entries, stage.parts)], stage.parts.stores)
    advance()
    body = receipts(stage.parts)[0]
    requests = [stage.award(member, body) for each in short for member in (each, long)]
    plan = _plan(stage.ours, [requests], 201, "l", seconds=120.0)
    seen = load.run(replace(plan, warmup_seconds=0.0, requests_max=len(requests)))
    advance()
    of_short = median(seen.latencies_ms[2 * LATENCY_WARMUP :: 2])
    of_long = median(seen.latencies_ms[2 * LATENCY_WARMUP + 1 :: 2])
    ratio = of_long / of_short
    return [
        Row(
            name=f"award on {size.long_entries:,} entries",
            value=round(of_long, 2),
            unit="ms, one client",
            limited_by="two round trips to mongod and the sync of its journal to the disk",
            peer_name=f"award on {SHORT_ENTRIES} entries",
            peer=round(of_short, 2),
            ratio=round(ratio, 3),
            goal=f"equal within {LATENCY_TOLERANCE:.0%}",
            is_met=abs(ratio - 1) <= LATENCY_TOLERANCE,
            details={"awards_each": len(seen.latencies_ms) // 2 - LATENCY_WARMUP},
        )
    ]


def memory(stage: Stage, size: Size, advance: Advance) -> list[Row]:
    """What a worker holds after it has served every kind of request."""
    bodies = receipts(stage.parts)
    writes = [
        [stage.award(each, bodies[0]) for each in some] for some in stage.dealt(stage.members)
    ]
    query = f"?channel=web&limit={PICKS}"
    paths = [f"/v1/members/{each}/recommendations{query}" for each in stage.agreeing]
    reads = _gets(stage, paths)
    for server in (stage.ours, stage.peer):
        load.run(_plan(server, writes, 201, "m", seconds=size.seconds))
        load.run(_plan(server, reads, 200, "m", seconds=size.seconds))
        advance()
    ours = [memory_mib(pid) for pid in stage.ours.worker_pids]
    peer = [memory_mib(pid) for pid in stage.peer.worker_pids]
    mine, theirs = (median(pss for _, pss in some) for some in (ours, peer))
    return [
        Row(
            name="memory of a worker",
            value=round(mine, 1),
            unit="MiB PSS",
            limited_by="imported code: numpy, scipy, cryptography, schemas; the model is mapped",
            peer_name="bare Flask with the model",
            peer=round(theirs, 1),
            ratio=round(mine / theirs, 3),
            details={
                "ours_rss_mib": [rss for rss, _ in ours],
                "peer_rss_mib": [rss for rss, _ in peer],
            },
        )
    ]


def steps(stage: Stage, size: Size, advance: Advance) -> list[Row]:
    """`step()` alone, over the imported activities of every member."""
    program = stage.parts.stores.programs.at(now())
    histories = [
        [activity_of(entry) for entry in stage.parts.journal.entries(member)]
        for member in stage.members
    ]
    count = sum(len(each) for each in histories)
    seconds = []
    for _ in range(size.step_repeats):
        seconds.append(_fold(program, histories))
        advance()
    lines = sum(len(each.lines) for history in histories for each in history)
    return [
        Row(
            name="step()",
            value=round(median(seconds) / count * 1e6, 1),
            unit="µs/activity",
            limited_by="Python: the demo programme's nine rules over the lines of real baskets",
            details={"activities": count, "lines_per_activity": round(lines / count, 1)},
        )
    ]


CASES: dict[str, Callable[[Stage, Size, Advance], list[Row]]] = {
    # Reads first, while both sides hold the same data: the awards that follow differ in content.
    "points": points,
    "recommendations": recommendations,
    "gate": gates.cost,
    "awards": awards,
    "import": bulk_import,
    "latency": latency,
    "memory": memory,
    "step": steps,
    "rules": rules.growth,
    "simulation": past.simulation,
    "year": lambda stage, size, advance: past.year(stage, size, advance, _empty),
    "oracle": oracle.balances,
    "ranking": ranking.ranking,
    "training": training.training,
    "growth": growth.growth,
}


def advances(name: str, size: Size) -> int:
    """How often a case will report progress."""
    return {
        "awards": 4 * size.rounds,
        "gate": len(gates.RECORDS),
        "points": 2 * size.rounds,
        "recommendations": 2 * size.rounds,
        "import": 3 * size.import_rounds,
        "latency": 2,
        "memory": 2,
        "step": size.step_repeats,
        "rules": 2,
        "simulation": size.step_repeats,
        "year": 2,
        "oracle": len(oracle.RUNS),
        "ranking": 3,
        "training": 2,
        "growth": growth.ADVANCES,
    }[name]


def _reads(
    name: str,
    stage: Stage,
    size: Size,
    advance: Advance,
    *,
    paths: Sequence[str],
    peer_name: str,
    limited_by: str,
) -> list[Row]:
    ours, peer = _http_pair(stage, size, _gets(stage, paths), expect=200)
    seen = in_turn([ours, peer], size.rounds, advance)
    row = compare(
        name,
        seen[ours.name],
        peer_name,
        seen[peer.name],
        unit="reads/s",
        goal=READS_GOAL,
        limited_by=limited_by,
    )
    return [row]


def _gets(stage: Stage, paths: Sequence[str]) -> list[list[str]]:
    """The paths dealt out to the clients; where there are few, a client reads what others read."""
    requests = [stage.request("GET", each) for each in paths]
    return [requests[client % len(requests) :: CLIENTS] for client in range(CLIENTS)]


def _http_pair(
    stage: Stage, size: Size, clients: list[list[str]], *, expect: int
) -> tuple[Side, Side]:
    def side(server: Server) -> Side:
        def run(label: str) -> Seen:
            return load.run(_plan(server, clients, expect, label, seconds=size.seconds))

        pids = {"workers": server.worker_pids, "mongod": _mongod(stage)}
        return Side(server.name, run, pids)

    return side(stage.ours), side(stage.peer)


def _plan(
    server: Server, clients: Sequence[Sequence[str]], expect: int, label: str, *, seconds: float
) -> load.Plan:
    return load.Plan(
        port=server.port,
        workers=server.worker_pids,
        clients=clients,
        expect=expect,
        label=label,
        seconds=seconds,
    )


def _driver(stage: Stage, size: Size, call: Literal["append", "transact"]) -> Side:
    def run(label: str) -> Seen:
        plan = driver.Plan(
            uri=stage.mongod.uri,
            database=PEER_DATABASE,
            call=call,
            members=stage.dealt(stage.members),
            label=label,
            seconds=size.seconds,
        )
        return driver.run(plan)

    return Side(call, run, {"mongod": _mongod(stage)})


def _mongod(stage: Stage) -> list[int]:
    assert stage.mongod.pid, "mongod runs"
    return [stage.mongod.pid]


def _empty(stage: Stage, name: str) -> Parts:
    settings = replace(stage.settings, database=name, database_timeout_seconds=30.0)
    parts = assemble(settings, settings.mongodb_uri)
    initialise(settings, parts)
    return parts


def _import(journey: Journey, parts: Parts) -> tuple[float, int]:
    """Seconds from the table to the last acknowledged entry, enrolments and consents included.

    The products come before and are not counted.
    """
    began_at = time.perf_counter()

    def watch(stage: str, _done: int, _total: int) -> None:
        nonlocal began_at
        if stage == "products":
            began_at = time.perf_counter()

    done = import_journey(journey, at=now(), stores=parts.stores, progress=watch)
    return time.perf_counter() - began_at, done.entries


def _append_all(documents: Sequence[Document], parts: Parts) -> float:
    """Seconds of `append_all` with the drafts of the same baskets ready."""
    program = parts.stores.programs.at(now())
    drafts: dict[str, list[Draft]] = {}
    for entry in map(entry_from_document, documents):
        draft = Draft(
            member_id=entry.member_id,
            key=entry.key,
            fingerprint=entry.fingerprint,
            source=entry.source,
            received_at=entry.received_at,
            activity=activity_of(entry),
            document=entry.activity,
            program=program,
        )
        drafts.setdefault(entry.member_id, []).append(draft)
    _clear(parts)
    began_at = time.perf_counter()
    with few_collections():
        written = append_all(drafts.values(), parts.stores)
    seconds = time.perf_counter() - began_at
    assert written == len(documents)
    return seconds


def _insert_many(documents: Sequence[Document], parts: Parts) -> float:
    """Seconds to insert the documents."""
    _clear(parts)
    began_at = time.perf_counter()
    for begin in range(0, len(documents), BATCH):
        parts.database["journal"].insert_many(documents[begin : begin + BATCH], ordered=True)
    return time.perf_counter() - began_at


def _clear(parts: Parts) -> None:
    """An empty journal with its indexes."""
    parts.database["journal"].drop()
    JournalStore(parts.database, parts.secrecy, timeout_seconds=5).create_indexes()


def _drafts(member_id: str, count: int, parts: Parts) -> list[Draft]:
    """Purchases of one member, one an hour until yesterday, on the import's channels."""
    at = now()
    program = parts.stores.programs.at(at)
    first_at = at - timedelta(days=1, hours=count)
    return [
        _draft(member_id, number, first_at + timedelta(hours=number), program)
        for number in range(count)
    ]


def _draft(member_id: str, number: int, at: datetime, program: Program) -> Draft:
    channel = CHANNELS_BY_DIGIT[number % len(CHANNELS_BY_DIGIT)]
    lines = tuple(Line(f"sku-{number % 97 + each}", 1, 199 + each) for each in range(3))
    activity = Activity("purchase", at, channel, None, lines)
    return Draft(
        member_id=member_id,
        key=key_of("purchase", channel, None, f"{member_id}-{number}"),
        fingerprint="0" * 64,
        source="benchmark",
        received_at=at,
        activity=activity,
        document=activity_to_document(activity),
        program=program,
    )


def _fold(program: Program, histories: Sequence[Sequence[Activity]]) -> float:
    began_at = time.perf_counter()
    for history in histories:
        state = State()
        for activity in history:
            state, _ = step(program, state, activity)
    return time.perf_counter() - began_at
