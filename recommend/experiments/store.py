"""Experiments in MongoDB. A unique index lets one run at a time."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from loyalty.kit.mongo import duplicate_index
from recommend.experiments.model import (
    EXPERIMENTS_MAX,
    Experiment,
    ExperimentBusyError,
    ExperimentNotFoundError,
    ExperimentsOverlapError,
    TooManyExperimentsError,
    Variant,
)

if TYPE_CHECKING:
    from pymongo.database import Database

    from loyalty.kit.mongo import Document


class ExperimentStore:
    """The collection `experiments`, keyed by name. It holds nothing of any member."""

    def __init__(self, database: Database[Document]) -> None:
        self._experiments = database["experiments"]

    def create_indexes(self) -> None:
        """Idempotent."""
        running = IndexModel(
            [("status", ASCENDING)],
            name="running",
            unique=True,
            partialFilterExpression={"status": "running"},
        )
        self._experiments.create_indexes([running])

    def find(self, name: str) -> Experiment | None:
        """The experiment of a name."""
        found = self._experiments.find_one({"_id": name})
        return _experiment(found) if found else None

    def get(self, name: str) -> Experiment:
        """The same.

        Raises:
            ExperimentNotFoundError: there is none of that name.
        """
        found = self.find(name)
        if found is None:
            raise ExperimentNotFoundError
        return found

    def all(self) -> list[Experiment]:
        """Every experiment, by name."""
        found = self._experiments.find().sort("_id", ASCENDING).limit(EXPERIMENTS_MAX)
        return [_experiment(each) for each in found]

    def running(self) -> Experiment | None:
        """The one that runs: one key."""
        found = self._experiments.find_one({"status": "running"})
        return _experiment(found) if found else None

    def put(self, experiment: Experiment, before: Experiment | None) -> None:
        """Keep a new experiment, or one in the place of what was read.

        Raises:
            ExperimentsOverlapError: another one is running.
            ExperimentBusyError: somebody else changed it since it was read.
            TooManyExperimentsError: there is no room for a new one.
        """
        document = _document(experiment)
        try:
            if before is None:
                if self._experiments.estimated_document_count() >= EXPERIMENTS_MAX:
                    raise TooManyExperimentsError
                self._experiments.insert_one(document)
                return
            query = {"_id": before.name, "revision": before.revision}
            done = self._experiments.replace_one(query, document)
        except DuplicateKeyError as error:
            if duplicate_index(error) == "running":
                raise ExperimentsOverlapError from error
            raise ExperimentBusyError from error
        if not done.matched_count:
            raise ExperimentBusyError


def _document(experiment: Experiment) -> Document:
    document = asdict(experiment)
    document["_id"] = document.pop("name")
    for each in document["variants"]:
        del each["experiment"]
    return document


def _experiment(document: Document) -> Experiment:
    fields = dict(document)
    name = fields.pop("_id")
    variants = tuple(Variant(**each, experiment=name) for each in fields.pop("variants"))
    slots = tuple(fields.pop("slots"))
    return Experiment(name=name, variants=variants, slots=slots, **fields)
