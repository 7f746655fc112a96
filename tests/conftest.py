"""One real MongoDB for the run, one database for each test worker, an empty one for each test."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from pymongo.database import Database

from app import Parts, assemble, create_app, initialise
from loyalty.access import model as keys
from loyalty.kit.clock import now
from loyalty.kit.embedded import EmbeddedMongo
from loyalty.kit.settings import Settings
from loyalty.vault.masters import MasterKeyError
from loyalty.vault.peppers import SETTLED, PepperLostError, Peppers, Stage
from tests.builders import Api, program_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

# A busy machine is not a failure; a failing example can be run again from what is printed.
hypothesis.settings.register_profile("carnet", deadline=None, print_blob=True)
hypothesis.settings.load_profile("carnet")

URI_VARIABLE = "CARNET_TEST_MONGODB_URI"
_STARTED: list[tuple[EmbeddedMongo, Path]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Start the server once, in the process that all test workers descend from."""
    if hasattr(config, "workerinput") or URI_VARIABLE in os.environ:
        return
    directory = Path(tempfile.mkdtemp(prefix="carnet-tests-"))
    mongod = EmbeddedMongo(directory)
    mongod.start()
    _STARTED.append((mongod, directory))
    os.environ[URI_VARIABLE] = mongod.uri


def pytest_unconfigure() -> None:
    """Stop the server and take its data away."""
    for mongod, directory in _STARTED:
        mongod.stop()
        shutil.rmtree(directory)
        del os.environ[URI_VARIABLE]
    _STARTED.clear()


@pytest.fixture(scope="session")
def worker_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a database of this test worker's own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return Settings(
        mongodb_uri=os.environ[URI_VARIABLE],
        database=f"test-{worker}-{os.getpid()}",
        data_dir=tmp_path_factory.mktemp("data"),
        secret="tests-only-secret-of-at-least-32-bytes",
        database_timeout_seconds=5.0,
    )


@pytest.fixture(scope="session")
def worker_parts(worker_settings: Settings) -> Iterator[Parts]:
    """The stores of the worker's database, with their indexes."""
    parts = assemble(worker_settings, worker_settings.mongodb_uri)
    initialise(worker_settings, parts)
    yield parts
    parts.database.client.drop_database(parts.database.name)
    parts.database.client.drop_database(parts.vault.database.name)
    parts.database.client.close()


@pytest.fixture
def settings(worker_settings: Settings) -> Settings:
    """The settings, with an empty model directory."""
    shutil.rmtree(worker_settings.model_dir, ignore_errors=True)
    return worker_settings


# Making one takes longer than all else that a test begins with.
_ALL_BUT_THE_PEPPERS = {"keyAltNames": {"$not": re.compile("^pepper:")}}


def _has_first_pepper(parts: Parts) -> bool:
    """Whether the pepper of the look-ups is as it was before any test."""
    peppers = Peppers(parts.database, parts.vault)
    try:
        peppers.check()
    except (PepperLostError, MasterKeyError):
        return False
    return peppers.stage() == Stage(SETTLED, 1)


@pytest.fixture
def parts(settings: Settings, worker_parts: Parts) -> Iterator[Parts]:
    """The stores over the emptied database, with caches of their own."""
    for database in (worker_parts.database, worker_parts.vault.database):
        for name in database.list_collection_names():
            if name not in ("meta", "peppers"):
                database[name].delete_many(_ALL_BUT_THE_PEPPERS if name == "keys" else {})
    fresh = assemble(settings, settings.mongodb_uri)
    if not _has_first_pepper(fresh):
        fresh.database["meta"].delete_one({"_id": "pepper"})
        fresh.vault.database["peppers"].delete_many({})
        fresh.vault.database["keys"].delete_many({})
        fresh.peppers.check()
    yield fresh
    fresh.database.client.close()


@pytest.fixture
def app(
    settings: Settings,
    parts: Parts,  # noqa: ARG001  # empties the database
) -> Iterator[Flask]:
    """The application over the empty database."""
    app = create_app(settings)
    app.testing = True
    yield app
    app.extensions["carnet"][Database].client.close()


@pytest.fixture
def api(app: Flask, parts: Parts) -> Api:
    """A client whose key has every scope."""
    key, text = keys.mint("tests", frozenset(keys.SCOPES), at=now(), channel=None, store=None)
    parts.keys.add(key)
    return Api(app.test_client(), text)


@pytest.fixture
def shop(api: Api) -> Api:
    """A client of a shop whose programme is published."""
    api.post("/v1/program/versions", {"program": program_document()}, expect=201)
    return api


@pytest.fixture
def elsewhere(shop: Api, settings: Settings) -> Iterator[Api]:
    """The same caller at another instance of the service over the same database."""
    app = create_app(settings)
    app.testing = True
    yield Api(app.test_client(), shop.key)
    app.extensions["carnet"][Database].client.close()
