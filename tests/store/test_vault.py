"""The vault: what is sealed opens with its owner's key alone, and never again once it is gone."""

from __future__ import annotations

import json
import multiprocessing
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import bson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.kit.mongo import connect, is_away, open_database
from loyalty.vault.masters import MASTER_KEY_BYTES, Masters, masters_of, read_file
from loyalty.vault.model import ShreddedError, VaultClosedError
from loyalty.vault.rotation import RotationError, rotate_master
from loyalty.vault.store import Vault
from tests.builders import unique
from tests.store.watching import watching

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.errors import PyMongoError

    from app import Parts
    from loyalty.kit.settings import Settings

ELSEWHERE = Masters({"local:1": {"key": b"e" * MASTER_KEY_BYTES}}, "local:1")
VALUES = [
    "text",
    "",
    7,
    {"birthday": "--02-29", "segments": ["vip"], "at": datetime(2026, 3, 1, tzinfo=UTC)},
    ["a", {"b": None}],
    b"bytes",
]


def again(vault: Vault, masters: Masters | None = None) -> Vault:
    """The same vault as another worker has it."""
    return Vault(vault.database, masters or vault.masters)


@pytest.mark.parametrize("value", VALUES)
def test_what_was_sealed_is_what_opens_in_every_worker(parts: Parts, value: Any) -> None:
    owner = unique("m")
    sealed = parts.vault.seal(owner, value)
    assert parts.vault.open(sealed) == value
    assert again(parts.vault).open(sealed) == value
    assert parts.vault.open_all([sealed, sealed]) == [value, value]
    (bulk,) = parts.vault.seal_all([(owner, value)])
    assert parts.vault.open(bulk) == value


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5), st.text(max_size=40)), max_size=20))
def test_many_together_are_the_same_as_one_by_one(
    parts: Parts, values: list[tuple[int, str]]
) -> None:
    owned = [(f"owner-{number}", text) for number, text in values]
    sealed = parts.vault.seal_all(owned)
    texts = [text for _, text in owned]
    assert parts.vault.open_all(sealed) == texts
    assert [parts.vault.open(each) for each in sealed] == texts
    one_by_one = [parts.vault.seal(*each) for each in owned]
    assert parts.vault.open_all(one_by_one) == texts


def test_equal_values_do_not_look_alike_and_stand_nowhere(parts: Parts) -> None:
    sealed = parts.vault.seal_all([("a", "canary"), ("a", "canary"), ("b", "canary")])
    assert len(set(sealed)) == 3
    assert not any(b"canary" in bytes(each) for each in sealed)
    kept = b"".join(map(bson.encode, parts.vault.database["keys"].find()))
    assert b"canary" not in kept


def test_many_that_seal_first_at_once_make_one_key_an_owner(parts: Parts) -> None:
    owners = [unique("m") for _ in range(6)]
    vaults = [again(parts.vault) for _ in range(4)]
    work = [(vault, owner) for owner in owners for vault in vaults] * 3
    with ThreadPoolExecutor(12) as workers:
        single = list(workers.map(lambda each: each[0].seal(each[1], each[1]), work))
        bulk = list(workers.map(lambda vault: vault.seal_all([(e, e) for e in owners]), vaults * 3))
    for owner in owners:
        assert parts.vault.database["keys"].count_documents({"keyAltNames": owner}) == 1
    assert [parts.vault.open(each) for each in single] == [owner for _, owner in work]
    assert {tuple(parts.vault.open_all(each)) for each in bulk} == {tuple(owners)}


def test_many_that_seal_first_in_bulk_at_once_make_one_key_an_owner(parts: Parts) -> None:
    owners = [unique("m") for _ in range(40)]
    vaults = [again(parts.vault) for _ in range(8)]
    with ThreadPoolExecutor(8) as workers:
        sealed = list(workers.map(lambda each: each.seal_all([(o, o) for o in owners]), vaults))
    assert {tuple(parts.vault.open_all(each)) for each in sealed} == {tuple(owners)}
    assert parts.vault.database["keys"].count_documents({"keyAltNames": {"$in": owners}}) == 40


def test_a_shredded_key_opens_nothing_in_another_store_at_once(parts: Parts) -> None:
    others = [again(parts.vault) for _ in range(3)]
    for _ in range(20):
        owner = unique("m")
        sealed = parts.vault.seal(owner, "mine")
        assert [each.open(sealed) for each in others] == ["mine"] * 3
        assert parts.vault.shred(owner)
        for each in (*others, parts.vault):
            with pytest.raises(ShreddedError):
                each.open(sealed)
            assert each.open_all([sealed]) == [None]
    assert not parts.vault.shred(owner)
    assert not parts.vault.has_key(owner)


def _open_elsewhere(uri: str, database: str, masters: Masters, pipe: Any) -> None:
    client = connect(uri, timeout_seconds=5)
    vault = Vault(open_database(client, database), masters)
    while (sealed := pipe.recv()) is not None:
        try:
            pipe.send(vault.open(sealed))
        except ShreddedError:
            pipe.send(ShreddedError)
    client.close()


def test_a_shredded_key_opens_nothing_in_another_process_at_once(
    parts: Parts, settings: Settings
) -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    where = (settings.mongodb_uri, settings.vault_database, parts.vault.masters)
    worker = spawn.Process(target=_open_elsewhere, args=(*where, theirs))
    worker.start()
    sealed = [parts.vault.seal(f"member-{number}", number) for number in range(20)]
    for number, each in enumerate(sealed):
        ours.send(each)
        assert ours.recv() == number
        parts.vault.shred(f"member-{number}")
        ours.send(each)
        assert ours.recv() is ShreddedError
    ours.send(None)
    worker.join()
    assert worker.exitcode == 0


def test_what_is_sealed_after_a_shredding_opens_and_what_was_before_does_not(parts: Parts) -> None:
    before = parts.vault.seal("a", "old")
    other = parts.vault.seal("b", "other")
    parts.vault.shred("a")
    after = parts.vault.seal("a", "new")
    assert parts.vault.open_all([before, after, other]) == [None, "new", "other"]


def test_a_database_that_is_away_is_not_a_key_that_is_gone(parts: Parts, tmp_path: Path) -> None:
    sealed = parts.vault.seal("a", "mine")
    nowhere = f"mongodb://{str(tmp_path / 'none.sock').replace('/', '%2F')}"
    client = connect(nowhere, timeout_seconds=0.2)
    away = Vault(open_database(client, "away_vault"), parts.vault.masters)
    for act in (
        lambda: away.open(sealed),
        lambda: away.open_all([sealed]),
        lambda: away.seal("a", 1),
        lambda: away.seal_all([("a", 1)]),
    ):
        with pytest.raises(Exception, match=r".") as met:
            act()
        assert not isinstance(met.value, ShreddedError)
        error: PyMongoError = met.value  # type: ignore[assignment]
        assert is_away(error)
    client.close()


def test_another_master_key_is_not_a_key_that_is_gone(parts: Parts) -> None:
    sealed = parts.vault.seal("a", "mine")
    thief = again(parts.vault, ELSEWHERE)
    for act in (
        lambda: thief.open(sealed),
        lambda: thief.open_all([sealed]),
        lambda: thief.seal("a", 1),
        lambda: thief.seal_all([("a", 1)]),
    ):
        with pytest.raises(VaultClosedError):
            act()
    assert parts.vault.open(sealed) == "mine"


def test_a_kms_that_is_away_is_not_a_key_that_is_gone(parts: Parts) -> None:
    sealed = parts.vault.seal("a", "mine")
    place = {"region": "eu", "key": "arn:aws:kms:eu:1:key/1", "endpoint": "127.0.0.1:1"}
    account = {"accessKeyId": "a", "secretAccessKey": "b"}
    away = again(parts.vault, Masters({"aws": account}, "aws", place))
    keys = parts.vault.database["keys"]
    for act in (
        lambda: away.seal("b", 1),
        lambda: away.seal_all([("b", 1)]),
        lambda: away.rewrap(lambda *_: None),
    ):
        with pytest.raises(VaultClosedError):
            act()
    keys.update_one({"keyAltNames": "a"}, {"$set": {"masterKey": {"provider": "aws", **place}}})
    for act in (lambda: away.open(sealed), lambda: away.open_all([sealed])):
        with pytest.raises(VaultClosedError):
            act()
    assert not away.has_key("b")


def test_many_values_open_by_one_read_of_keys(parts: Parts, settings: Settings) -> None:
    sealed = parts.vault.seal_all([(f"m{number}", number) for number in range(64)])
    with watching(settings) as watch:
        database = watch.database.client.get_database(settings.vault_database)
        vault = Vault(database, parts.vault.masters)
        assert vault.open_all(sealed) == list(range(64))
        assert [each["find"] for each in watch.commands] == ["keys"]
        assert vault.open_all([]) == []
        assert len(watch.commands) == 1


class TestRotatingTheMaster:
    """New keys for old ones, in the file and around the keys of the owners."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        read_file(tmp_path / "master-key")
        return tmp_path / "master-key"

    @pytest.fixture(autouse=True)
    def _only_our_keys(self, parts: Parts) -> None:
        """The key of the first pepper is wrapped by a master of the tests."""
        parts.vault.database["keys"].delete_many({})

    @pytest.fixture
    def vault(self, parts: Parts, file: Path) -> Vault:
        return Vault(parts.vault.database, read_file(file), reload=lambda: read_file(file))

    def rotate(self, vault: Vault, file: Path | None, **more: Any) -> int:
        given = {"wait": lambda _: None, "progress": lambda *_: None, **more}
        return rotate_master(vault, file, **given)

    def test_everything_opens_afterwards_and_the_old_master_opens_nothing(
        self, vault: Vault, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("loyalty.vault.store.REWRAP_PAGE", 4)
        old = read_file(file)
        sealed = vault.seal_all([(f"m{number}", number) for number in range(10)])
        seen: list[tuple[int, int]] = []
        assert self.rotate(vault, file, progress=lambda *counted: seen.append(counted)) == 10
        assert seen == [(4, 10), (8, 10), (10, 10)]
        assert vault.wrapped() == {"local:2": 10}
        assert set(read_file(file).providers) == {"local:2"}
        assert vault.open_all(sealed) == list(range(10))
        with pytest.raises(VaultClosedError):
            again(vault, old).open(sealed[0])

    def test_a_worker_that_runs_meanwhile_learns_of_the_new_master_by_itself(
        self, vault: Vault, file: Path
    ) -> None:
        workers = [
            Vault(vault.database, read_file(file), reload=lambda: read_file(file)) for _ in range(4)
        ]
        sealed = [worker.seal("a", number) for number, worker in enumerate(workers)]
        self.rotate(vault, file)
        one, other, third, fourth = workers
        assert one.open(sealed[0]) == 0
        assert other.open_all(sealed) == [0, 1, 2, 3]
        assert vault.open(third.seal("a", "again")) == "again"
        assert vault.open_all(fourth.seal_all([("a", 1), ("new", 2)])) == [1, 2]
        assert vault.wrapped() == {"local:2": 2}

    def test_a_key_made_while_it_runs_is_wrapped_by_the_new_master(
        self, vault: Vault, file: Path
    ) -> None:
        worker = Vault(vault.database, read_file(file), reload=lambda: read_file(file))
        vault.seal("a", 1)
        made = []
        self.rotate(vault, file, progress=lambda *_: made.append(worker.seal(unique("m"), 2)))
        assert vault.open_all(made) == [2] * len(made)
        assert set(vault.wrapped()) == {"local:2"}

    @pytest.mark.parametrize("place", ["wait", "progress"])
    def test_it_can_be_stopped_and_run_again(self, vault: Vault, file: Path, place: str) -> None:
        class StoppedError(Exception):
            pass

        def stop(*_: object) -> None:
            raise StoppedError

        sealed = vault.seal_all([(f"m{number}", number) for number in range(5)])
        with pytest.raises(StoppedError):
            self.rotate(vault, file, **{place: stop})
        assert vault.open_all(sealed) == list(range(5))
        assert len(read_file(file).providers) == 2
        self.rotate(vault, file)
        assert set(read_file(file).providers) == {"local:2"}
        assert set(vault.wrapped()) == {"local:2"}
        assert vault.open_all(sealed) == list(range(5))

    def test_nothing_is_removed_while_a_node_goes_on_under_the_old_master(
        self, vault: Vault, file: Path
    ) -> None:
        stale = again(vault)
        stale.seal("a", 1)
        with pytest.raises(RotationError):
            self.rotate(vault, file, progress=lambda *_: stale.seal(unique("m"), 1))
        assert len(read_file(file).providers) == 2

    def test_a_kms_is_rotated_by_its_file(
        self, parts: Parts, settings: Settings, tmp_path: Path
    ) -> None:
        file = tmp_path / "kms.json"
        keys = {name: {"key": b64encode(name.encode() * 96).decode()} for name in "ab"}
        providers = {f"local:{name}": key for name, key in keys.items()}
        shop = type(settings)(kms_file=file, data_dir=tmp_path)

        def turn(current: str) -> None:
            file.write_text(json.dumps({"providers": providers, "current": f"local:{current}"}))

        turn("a")
        vault = Vault(parts.vault.database, masters_of(shop), reload=lambda: masters_of(shop))
        sealed = vault.seal("m", "mine")
        turn("b")
        assert self.rotate(vault, None) == 1
        assert vault.wrapped() == {"local:b": 1}
        assert vault.open(sealed) == "mine"
