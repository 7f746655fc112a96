"""A model reaches every node whole or not at all, and the last decision on what to serve holds."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pymongo
import pytest
from gridfs.errors import CorruptGridFile

from app import assemble
from loyalty.kit.mongo import connect, open_database
from recommend import artefact
from recommend.artefact import ArtefactError, Shelf
from recommend.training import depot as depots
from recommend.training.depot import Depot
from recommend.training.model import (
    ModelChangedError,
    NoModelError,
    NothingToRollBackToError,
    UnfitModelError,
    version_name,
)
from recommend.training.store import CHUNK_BYTES, ModelStore
from recommend.training.watch import Courier
from tests.api.test_authentication import Clock
from tests.builders import NOON
from tests.races.model_node import model_of
from tests.races.test_races import race

if TYPE_CHECKING:
    from pathlib import Path

    from app import Parts
    from loyalty.kit.settings import Settings


class Nodes(NamedTuple):
    """Two nodes over one database."""

    one: Depot
    two: Depot

    def trained(self, number: int, *, refused: bool = False) -> str:
        """Save and publish a version on the first node, without serving it."""
        at = NOON + timedelta(hours=number)
        version = version_name(at)
        artefact.save(model_of(number), self.one.root, version, created_at=at.timestamp())
        depots.publish(self.one, version, created_at=at, refused=refused)
        return version

    def served(self, number: int) -> str:
        """The same, put into service."""
        version = self.trained(number)
        depots.promote(self.one, version, at=NOON + timedelta(hours=number), by="tests")
        return version


@pytest.fixture
def nodes(parts: Parts, tmp_path: Path) -> Nodes:
    other = ModelStore(parts.database)
    return Nodes(Depot(tmp_path / "one", parts.models), Depot(tmp_path / "two", other))


def seen(depot: Depot) -> str | None:
    """What a fresh worker of a node would serve."""
    served = Shelf(depot.root).served()
    return served.version if served else None


def test_a_node_with_an_empty_disk_serves_what_the_others_do(nodes: Nodes) -> None:
    version = nodes.served(1)
    assert seen(nodes.one) == version
    assert seen(nodes.two) is None
    assert Courier(nodes.two).look()
    assert seen(nodes.two) == version
    mine, its = (artefact.load(each.root, version) for each in nodes)
    assert np.array_equal(mine.items, its.items)
    assert np.array_equal(mine.collaborative.smooth, its.collaborative.smooth)


def test_before_anything_is_trained_a_node_serves_nothing_and_is_well(nodes: Nodes) -> None:
    assert Courier(nodes.two).look()
    assert seen(nodes.two) is None


def test_every_change_reaches_a_running_worker(nodes: Nodes) -> None:
    courier, clock = Courier(nodes.two), Clock()
    shelf = Shelf(nodes.two.root, clock)
    first, second = nodes.served(1), nodes.served(2)
    for wanted in (second, first, second):
        if wanted == first:
            depots.rollback(nodes.one, None, at=NOON, by="tests")
        else:
            depots.promote(nodes.one, wanted, at=NOON, by="tests", force=True)
        assert courier.look()
        clock.seconds += 2
        served = shelf.served()
        assert served
        assert served.version == wanted
        assert served.model.items[0].decode().startswith("sku-2" if wanted == second else "sku-1")


def test_a_look_that_finds_nothing_new_touches_no_file(nodes: Nodes) -> None:
    nodes.served(1)
    courier = Courier(nodes.two)
    assert courier.look()
    shutil.rmtree(nodes.two.root)
    assert courier.look()
    assert not nodes.two.root.exists()


def test_a_large_file_travels_in_pieces(nodes: Nodes, tmp_path: Path) -> None:
    path = tmp_path / "large.npy"
    content = np.random.default_rng(1).bytes(2 * CHUNK_BYTES + 17)
    path.write_bytes(content)
    told = nodes.one.store.upload("v1", path)
    pieces = list(nodes.two.store.pieces("v1", "large.npy"))
    assert [len(each) for each in pieces] == [CHUNK_BYTES, CHUNK_BYTES, 17]
    assert b"".join(pieces) == content
    assert told.length == len(content)
    # Written again after a kill: the same, not twice.
    assert nodes.one.store.upload("v1", path) == told
    assert b"".join(nodes.two.store.pieces("v1", "large.npy")) == content


def test_an_upload_that_was_cut_off_is_nobodys_version(
    nodes: Nodes, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = nodes.served(1)
    version = version_name(NOON - timedelta(hours=1))
    artefact.save(model_of(9), nodes.one.root, version, created_at=0)
    whole = ModelStore.upload

    def dies(self: ModelStore, name: str, path: Path) -> object:
        if path.name == artefact.META:
            raise KeyboardInterrupt
        return whole(self, name, path)

    monkeypatch.setattr(ModelStore, "upload", dies)
    with pytest.raises(KeyboardInterrupt):
        depots.publish(nodes.one, version, created_at=NOON, refused=False)
    with pytest.raises(NoModelError):
        depots.promote(nodes.one, version, at=NOON, by="tests")
    assert Courier(nodes.two).look()
    assert seen(nodes.two) == before
    assert parts.models.strays() == {version}
    # Pieces whose file was never closed go as well.
    parts.database["models.chunks"].insert_one({"files_id": "0-cut-off/a.npy", "n": 0})
    depots.prune(nodes.one)
    assert parts.models.strays() == set()
    assert {each["filename"].split("/")[0] for each in parts.database["models.files"].find()} == {
        before
    }


def test_a_fetch_that_is_cut_off_leaves_the_old_one_serving(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = Courier(nodes.two, monotonic=Clock())
    old = nodes.served(1)
    assert courier.look()
    new = nodes.served(2)
    whole = ModelStore.pieces

    def dies(self: ModelStore, version: str, name: str) -> object:
        if name == "popular_ptr.npy":
            raise pymongo.errors.AutoReconnect
        return whole(self, version, name)

    with monkeypatch.context() as patched:
        patched.setattr(ModelStore, "pieces", dies)
        with pytest.raises(pymongo.errors.AutoReconnect):
            depots.deliver(nodes.two)
    assert seen(nodes.two) == old
    assert {each.name for each in nodes.two.root.iterdir() if each.is_dir()} == {old}
    assert courier.look()
    assert seen(nodes.two) == new


@pytest.mark.parametrize("harm", ["changed", "missing_piece", "missing_file", "other_name"])
def test_what_was_harmed_on_the_way_never_serves(nodes: Nodes, parts: Parts, harm: str) -> None:
    old = nodes.served(1)
    assert depots.deliver(nodes.two)
    new = nodes.served(2)
    chunks, files = parts.database["models.chunks"], parts.database["models.files"]
    target = f"{new}/people.npy"
    if harm == "changed":
        data = chunks.find_one({"files_id": target})["data"]  # type: ignore[index]
        chunks.update_one({"files_id": target}, {"$set": {"data": data[:-1] + b"\0"}})
    elif harm == "missing_piece":
        chunks.delete_many({"files_id": target})
    elif harm == "missing_file":
        files.delete_one({"_id": target})
    else:
        parts.database["model_versions"].update_one(
            {"_id": new}, {"$set": {"files.0.name": "../../evil.npy"}}
        )
    with pytest.raises((ArtefactError, NoModelError, CorruptGridFile)):
        depots.deliver(nodes.two)
    assert seen(nodes.two) == old
    assert not list(nodes.two.root.parent.rglob("evil*"))


def test_a_broken_version_on_the_disk_is_fetched_anew(nodes: Nodes) -> None:
    version = nodes.served(1)
    clock = Clock()
    shelf = Shelf(nodes.two.root, clock)
    courier = Courier(nodes.two, is_broken=lambda: shelf.problem is not None, monotonic=clock)
    assert courier.look()
    (nodes.two.root / version / "people.npy").write_bytes(b"nonsense")
    assert shelf.served() is None
    assert shelf.problem
    assert courier.look()
    clock.seconds += 100
    served = shelf.served()
    assert served
    assert served.version == version
    assert shelf.problem is None


def test_what_another_program_wrote_is_fetched_once_and_not_all_the_time(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.served(1)
    clock = Clock()
    courier = Courier(nodes.two, is_broken=lambda: True, monotonic=clock)
    tries: list[bool] = []

    def counted(_depot: Depot, *, verify: bool) -> bool:
        tries.append(verify)
        return True

    monkeypatch.setattr(depots, "deliver", counted)
    for _ in range(100):
        clock.seconds += 30
        assert courier.look()
    assert tries == [True]


def test_while_the_database_is_away_the_old_one_serves(
    nodes: Nodes, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommend.training.watch.LOOK_SECONDS_MAX", 0.2)
    version = nodes.served(1)
    assert depots.deliver(nodes.two)
    away = replace(settings, mongodb_uri="mongodb://127.0.0.1:1/", database_timeout_seconds=0.1)
    with connect(away.mongodb_uri, timeout_seconds=0.1) as client:
        store = ModelStore(open_database(client, away.database))
        with pytest.raises(pymongo.errors.ServerSelectionTimeoutError):
            Courier(Depot(nodes.two.root, store)).look()
    assert seen(nodes.two) == version


def test_of_many_workers_of_a_node_one_fetches(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = nodes.served(1)
    fetched: list[str] = []
    whole = ModelStore.pieces

    def counted(self: ModelStore, of: str, name: str) -> object:
        fetched.append(name)
        return whole(self, of, name)

    monkeypatch.setattr(ModelStore, "pieces", counted)
    couriers = [Courier(nodes.two) for _ in range(8)]
    barrier = threading.Barrier(8)

    def work() -> None:
        courier = couriers.pop()
        barrier.wait()
        while not courier.look():
            pass

    race([work] * 8)
    assert seen(nodes.two) == version
    assert len(fetched) == len(set(fetched)) == len(artefact.files(nodes.one.root, version))


def test_of_many_decisions_at_once_each_holds_for_a_generation(nodes: Nodes) -> None:
    versions = [nodes.trained(number) for number in range(6)]

    def decide() -> int:
        return depots.promote(nodes.one, versions.pop(), at=NOON, by="tests").generation

    made = race([decide] * 6)
    assert sorted(made) == [1, 2, 3, 4, 5, 6]
    current = nodes.one.store.current()
    assert current
    for node in nodes:
        while not depots.deliver(node):
            pass
        assert seen(node) == current.version


def test_a_decision_on_what_was_changed_meanwhile_does_not_hold(nodes: Nodes) -> None:
    first = nodes.served(1)
    before = nodes.one.store.current()
    assert before
    second, third = nodes.served(2), nodes.trained(3)
    for generation in (before.generation, 0):
        with pytest.raises(ModelChangedError):
            depots.promote(nodes.one, third, at=NOON, by="tests", generation=generation)
    assert seen(nodes.one) == second != first


def test_what_was_refused_or_rolled_back_is_served_by_force_alone(nodes: Nodes) -> None:
    first, second = nodes.served(1), nodes.served(2)
    assert depots.rollback(nodes.one, None, at=NOON, by="tests").version == first
    refused = nodes.trained(3, refused=True)
    for version in (second, refused):
        with pytest.raises(UnfitModelError):
            depots.promote(nodes.one, version, at=NOON, by="tests")
        assert seen(nodes.one) == first
    with pytest.raises(NothingToRollBackToError):
        depots.rollback(nodes.one, None, at=NOON, by="tests")
    depots.promote(nodes.one, second, at=NOON, by="tests", force=True)
    assert seen(nodes.one) == second
    # Whoever forces it means it: it counts as any other from now on.
    assert nodes.one.store.get(second).rolled_back_at is None


def test_one_can_go_back_to_a_version_by_name_even_without_its_files_here(nodes: Nodes) -> None:
    first = nodes.served(1)
    nodes.served(2)
    depots.rollback(nodes.two, first, at=NOON, by="tests")
    assert seen(nodes.two) == first
    with pytest.raises(UnfitModelError):
        depots.rollback(nodes.two, first, at=NOON, by="tests")
    with pytest.raises(NoModelError):
        depots.rollback(nodes.two, "no-such", at=NOON, by="tests")


def test_without_a_model_there_is_nothing_to_go_back_from(nodes: Nodes) -> None:
    with pytest.raises(NoModelError):
        depots.rollback(nodes.one, None, at=NOON, by="tests")
    with pytest.raises(NoModelError):
        depots.promote(nodes.one, "v1", at=NOON, by="tests")


def test_old_versions_go_everywhere_and_what_serves_stays(nodes: Nodes) -> None:
    versions = [nodes.served(number) for number in range(1, 6)]
    assert depots.deliver(nodes.two)
    gone = depots.prune(nodes.one, 2)
    assert gone == versions[:3]
    assert [each.version for each in nodes.one.store.all()] == versions[:2:-1]
    on_disk = {each.name for each in nodes.one.root.iterdir() if each.is_dir()}
    assert on_disk == set(versions[3:])
    assert nodes.one.store.strays() == set()
    assert depots.deliver(nodes.two)
    assert seen(nodes.two) == versions[-1]


def test_a_version_is_there_once(nodes: Nodes) -> None:
    version = nodes.trained(1)
    with pytest.raises(ModelChangedError):
        depots.publish(nodes.one, version, created_at=NOON, refused=False)


def test_a_finding_stands_beside_the_version(nodes: Nodes) -> None:
    version = nodes.trained(1)
    nodes.one.store.note(version, "audit", {"auc": 0.52})
    assert nodes.two.store.get(version).notes == {"audit": {"auc": 0.52}}
    with pytest.raises(NoModelError):
        nodes.one.store.note("no-such", "audit", {})


def test_one_worker_of_all_looks_after_the_model_each_time(nodes: Nodes) -> None:
    nodes.served(1)
    later = NOON + timedelta(seconds=60)

    def claimed(at: datetime) -> int:
        since = at - timedelta(seconds=30)
        return sum(race([lambda: nodes.one.store.claim_check(at=at, since=since)] * 8))

    assert [claimed(at) for at in (NOON, NOON, later)] == [1, 0, 1]


def test_an_instance_knows_its_own_directory(settings: Settings, tmp_path: Path) -> None:
    other = assemble(replace(settings, data_dir=tmp_path), settings.mongodb_uri)
    assert other.trainer.depot.root == tmp_path / "models"
    other.close()
