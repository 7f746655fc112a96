"""Master keys: a file that is whole or refused, for one user's eyes only."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.kit.settings import Settings
from loyalty.vault.masters import (
    MASTER_KEY_BYTES,
    MasterKeyError,
    Masters,
    add_key,
    drop_others,
    masters_of,
    read_file,
    turn_to_newest,
    write_file,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "master-key"


def only_key(masters: Masters) -> bytes:
    (provider,) = masters.providers.values()
    key: bytes = provider["key"]
    return key


def test_a_key_is_made_once_and_read_again(path: Path) -> None:
    first = read_file(path)
    assert first.current == "local:1"
    assert len(only_key(first)) == MASTER_KEY_BYTES
    assert read_file(path) == first
    assert [each.name for each in path.parent.iterdir()] == ["master-key"]


def test_two_installations_have_two_keys(tmp_path: Path) -> None:
    assert only_key(read_file(tmp_path / "a")) != only_key(read_file(tmp_path / "b"))


def test_many_that_start_at_once_agree_on_one_key(path: Path) -> None:
    with ThreadPoolExecutor(8) as workers:
        found = list(workers.map(lambda _: read_file(path), range(32)))
    assert {only_key(each) for each in found} == {only_key(read_file(path))}
    assert [each.name for each in path.parent.iterdir()] == ["master-key"]


def test_nobody_else_can_read_it(path: Path) -> None:
    for change in (read_file, add_key, turn_to_newest, drop_others):
        change(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_key_is_never_printed(path: Path) -> None:
    masters = read_file(path)
    assert repr(masters) == "Masters(local:1)"
    assert str(only_key(masters)) not in f"{masters}"


def test_a_new_key_takes_the_place_of_the_old_in_three_steps(path: Path) -> None:
    old = only_key(read_file(path))
    add_key(path)
    added = read_file(path)
    assert (set(added.providers), added.current) == ({"local:1", "local:2"}, "local:1")
    add_key(path)
    assert read_file(path) == added, "a rotation that was begun is carried on"
    turn_to_newest(path)
    turned = read_file(path)
    assert (turned.providers, turned.current) == (added.providers, "local:2")
    drop_others(path)
    assert only_key(read_file(path)) == only_key(Masters({"": turned.providers["local:2"]}, ""))
    assert only_key(read_file(path)) != old


def test_a_key_that_is_there_is_never_replaced_by_a_new_first_one(path: Path) -> None:
    kept = read_file(path)
    write_file(path, {"1": b"x" * MASTER_KEY_BYTES}, "1", replace=False)
    assert read_file(path) == kept


GOOD = {"1": "A" * 128}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        "[]",
        "7",
        "null",
        '"text"',
        "{}",
        {"keys": GOOD},
        {"current": "1"},
        {"current": "1", "keys": []},
        {"current": "1", "keys": {}},
        {"current": "2", "keys": GOOD},
        {"current": "1", "keys": {"1": "A" * 127}},
        {"current": "1", "keys": {"1": "A" * 124}},
        {"current": "1", "keys": {"1": 7}},
        {"current": "1", "keys": {"1": None}},
        {"current": "1", "keys": {**GOOD, "2": "QQ=="}},
        {"current": "x", "keys": {"x": "A" * 128}},
    ],
)
def test_a_broken_file_is_refused_and_left_as_it_is(path: Path, content: Any) -> None:
    path.parent.mkdir()
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    before = path.read_bytes()
    for act in (read_file, add_key, turn_to_newest, drop_others):
        with pytest.raises(MasterKeyError, match="master-key"):
            act(path)
    assert path.read_bytes() == before


def test_a_directory_in_its_place_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(MasterKeyError):
        read_file(path)


def kms(tmp_path: Path, content: Any) -> Settings:
    file = tmp_path / "kms.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return Settings(data_dir=tmp_path, kms_file=file)


def test_a_kms_is_named_by_a_file(tmp_path: Path) -> None:
    key = {"region": "eu-central-1", "key": "arn:aws:kms:example"}
    content = {"providers": {"aws": {"accessKeyId": "a"}}, "current": "aws", "master_key": key}
    masters = masters_of(kms(tmp_path, content))
    assert (masters.current, masters.master_key) == ("aws", key)
    assert not masters.are_local
    assert not (tmp_path / "master-key").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        {},
        {"providers": {}},
        {"providers": {}, "current": "aws"},
        {"providers": None, "current": "aws"},
        {"providers": {"aws": {}}, "current": "gcp"},
    ],
)
def test_a_file_that_names_no_kms_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(MasterKeyError, match=r"kms\.json"):
        masters_of(kms(tmp_path, content))


def test_without_a_kms_the_key_lies_in_the_data_directory(tmp_path: Path) -> None:
    masters = masters_of(Settings(data_dir=tmp_path))
    assert masters == read_file(tmp_path / "master-key")
    assert masters.are_local
