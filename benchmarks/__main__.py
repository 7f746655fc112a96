"""`python -m benchmarks`: side by side with peers and with the bare driver, on this machine.

Starts a MongoDB of its own in a temporary directory, runs every comparison in turn, prints a table,
writes `benchmarks/results.json` and stops all it started. It listens on the loopback only.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.cases import CASES, FULL, QUICK, advances
from benchmarks.stage import CLIENTS, THREADS, WORKERS, opened
from loyalty.kit.clock import now
from loyalty.kit.supervisor import StopAsked, stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.cases import Size
    from benchmarks.measure import Row
    from benchmarks.stage import Stage

RESULTS = Path(__file__).with_name("results.json")
_PACKAGES = ("flask", "flask-smorest", "gunicorn", "marshmallow", "numpy", "orjson", "pymongo")


@click.command()
@click.option(
    "--only", "names", type=click.Choice(list(CASES)), multiple=True, help="Some of them."
)
@click.option("--quick", is_flag=True, help="Tiny sizes: to see that it works, not for figures.")
def main(names: tuple[str, ...], *, quick: bool) -> None:
    """Run the benchmarks; full runs of all of them replace results.json."""
    began_at = time.monotonic()
    size = QUICK if quick else FULL
    try:
        with stop_on_signals():
            rows, machine = _run(names or tuple(CASES), size)
    except StopAsked:
        raise click.Abort from None
    _show(rows)
    if quick or names:
        click.echo("results.json is left as it was: only a full run of everything replaces it.")
        return
    facts = {
        "made_at": now().isoformat(),
        "seconds": round(time.monotonic() - began_at),
        "machine": machine,
        "setting": {"clients": CLIENTS, "workers": WORKERS, "threads": THREADS, **size._asdict()},
        "rows": [asdict(row) for row in rows],
    }
    RESULTS.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def _run(names: Sequence[str], size: Size) -> tuple[list[Row], dict[str, Any]]:
    rows: list[Row] = []
    with _bars() as begin, opened(size.households, begin) as stage:
        for name in names:
            advance = begin(name, advances(name, size))
            rows += CASES[name](stage, size, advance)
        return rows, _machine(stage)


@contextmanager
def _bars() -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """A bar for each stage; a new one ends the one before."""
    columns = (
        TextColumn("{task.description:<40}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def begin(name: str, total: int) -> Callable[[], None]:
            for each in progress.tasks:
                progress.update(each.id, completed=each.total)
            task = progress.add_task(name, total=total)
            return lambda: progress.advance(task)

        yield begin
        for each in progress.tasks:
            progress.update(each.id, completed=each.total)


def _show(rows: Sequence[Row]) -> None:
    """The table, and under it what limits each figure."""
    table = Table(title="Carnet beside its peers")
    for column in ("what", "Carnet", "peer", "ratio", "middle half", "goal"):
        table.add_column(column, justify="left" if column in ("what", "goal") else "right")
    for row in rows:
        mark = {True: " [green]met[/]", False: " [red]missed[/]", None: ""}[row.is_met]
        table.add_row(
            row.name,
            f"{row.value:,} {row.unit}",
            "" if row.peer is None else f"{row.peer:,}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.ratio_range is None else "{:.2f} to {:.2f}".format(*row.ratio_range),
            f"{row.goal}{mark}",
        )
    console = Console(highlight=False)
    console.print(table)
    for row in rows:
        beside = f" beside: {row.peer_name}." if row.peer_name else ""
        console.print(f"[bold]{row.name}[/]:{beside} Limited by {row.limited_by}.{_cpu(row)}")


def _cpu(row: Row) -> str:
    """Where the CPU time of a call goes, on both sides."""
    parts = [
        f"{side} " + ", ".join(f"{group} {us}" for group, us in of["cpu_us_per_call"].items())
        for side in ("ours", "peer")
        if (of := row.details.get(side))
    ]
    return f" CPU in µs a call: {'; '.join(parts)}." if parts else ""


def _machine(stage: Stage) -> dict[str, Any]:
    """What the figures depend on; nothing that names the machine."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    info = stage.parts.database.client.admin.command("buildInfo")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "mongod": info["version"],
        "packages": {name: version(name) for name in _PACKAGES},
    }


if __name__ == "__main__":
    sys.exit(main())
