"""See what a store really sends to MongoDB, and how MongoDB carries it out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo import MongoClient, monitoring

from loyalty.kit.mongo import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.kit.settings import Settings

_OF_THE_SESSION = {"lsid", "$db", "$clusterTime", "readConcern", "maxTimeMS", "txnNumber"}
_READS = {"find", "aggregate"}
_WRITES = {"insert", "update", "delete", "findAndModify", "commitTransaction"}


class Plan(NamedTuple):
    """How a read was carried out."""

    indexes: set[str]
    keys: int
    documents: int
    returned: int


class Watch(monitoring.CommandListener):
    """The commands that a client sent."""

    def __init__(self, settings: Settings) -> None:
        self.commands: list[Document] = []
        self._client: MongoClient[Document] = MongoClient(
            settings.mongodb_uri, event_listeners=[self]
        )
        self.database: Database[Document] = open_database(self._client, settings.database)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Keep a command of ours."""
        if event.command_name in _READS | _WRITES:
            self.commands.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Not looked at."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Not looked at."""

    def plan(self) -> Plan:
        """How the only read since the last look was carried out."""
        (read,) = (dict(each) for each in self.commands if _READS & each.keys())
        self.commands.clear()
        command = {name: value for name, value in read.items() if name not in _OF_THE_SESSION}
        answer = self.database.command("explain", command, verbosity="executionStats")
        # A pipeline's answer holds that of the read it begins with.
        answer = answer.get("stages", [{"$cursor": answer}])[0]["$cursor"]
        stats = answer["executionStats"]
        return Plan(
            set(_index_names(answer["queryPlanner"]["winningPlan"])),
            stats["totalKeysExamined"],
            stats["totalDocsExamined"],
            stats["nReturned"],
        )

    def close(self) -> None:
        """Let the server go."""
        self._client.close()


def _index_names(plan: Any) -> Iterator[str]:
    if isinstance(plan, dict):
        if plan.get("stage") == "IDHACK":
            yield "_id_"
        for name, inner in plan.items():
            if name == "indexName":
                yield inner
            yield from _index_names(inner)
    if isinstance(plan, list):
        for inner in plan:
            yield from _index_names(inner)


@contextmanager
def watching(settings: Settings) -> Iterator[Watch]:
    """Watch a client of its own over the test's database."""
    watch = Watch(settings)
    try:
        yield watch
    finally:
        watch.close()
