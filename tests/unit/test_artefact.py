"""Rules of keeping models on disk and of serving the current one."""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommend import artefact, packing
from recommend.artefact import (
    FORMAT,
    ArtefactError,
    Shelf,
    current,
    describe,
    load,
    promote,
    prune,
    save,
)
from recommend.dataset import Basket, build
from recommend.model import Model, Settings, Weights, popular, rank, train

SMALL = Settings(factors=4, people_min=2, iterations=2)


def trained(*items: str, members: tuple[str, ...] = ("m1", "m2", "m3")) -> Model:
    stream = [Basket(member, 0.0, ("store:S1",), items) for member in members]
    return train(build(stream), SMALL, Weights(1.0, 0.5, 0.25))


@pytest.fixture(scope="module")
def model() -> Model:
    return trained("tea", "milk", "salt")


@pytest.fixture
def root(tmp_path: Path, model: Model) -> Path:
    """A shelf with version v1, promoted."""
    put(tmp_path, model, "v1")
    return tmp_path


def put(root: Path, model: Model, version: str) -> None:
    save(model, root, version, created_at=1.0)
    promote(root, version)


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def served(shelf: Shelf) -> str | None:
    held = shelf.served()
    return held.version if held else None


def same(one: Model, two: Model) -> bool:
    ours, theirs = packing.pack(one), packing.pack(two)
    lists = [
        [(n, p.items.tolist(), p.scores.tolist()) for n, p in m.popular.items()] for m in (one, two)
    ]
    return (
        all(ours[name].tobytes() == theirs[name].tobytes() for name in packing.ARRAYS)
        and lists[0] == lists[1]
        and (one.settings, one.weights) == (two.settings, two.weights)
    )


def test_what_is_loaded_is_what_was_saved(root: Path, model: Model) -> None:
    for verify in (True, False):
        loaded = load(root, "v1", verify=verify)
        assert same(loaded, model)
        history = [(0.0, ("tea", "own"))]
        assert rank(loaded, history, ("store:S1",), 5) == rank(model, history, ("store:S1",), 5)
        assert popular(loaded, (), 5) == popular(model, (), 5)


def test_a_loaded_model_cannot_be_written_to(root: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        load(root, "v1").item_people[0] = 1


def test_a_model_of_no_items_can_be_kept(tmp_path: Path) -> None:
    empty = train(build([]), Settings())
    put(tmp_path, empty, "v1")
    assert same(load(tmp_path, "v1"), empty)


def test_the_model_card_is_kept(tmp_path: Path, model: Model) -> None:
    save(model, tmp_path, "v1", created_at=12.5, facts={"recall": 0.2, "note": {"by": "test"}})
    card = describe(tmp_path, "v1")
    assert card["facts"] == {"recall": 0.2, "note": {"by": "test"}}
    assert (card["created_at"], card["n_items"], card["format"]) == (12.5, 3, FORMAT)
    assert card["settings"] == asdict(SMALL)


def test_saving_does_not_serve(tmp_path: Path, model: Model) -> None:
    save(model, tmp_path, "v1", created_at=1.0)
    assert current(tmp_path) is None
    assert Shelf(tmp_path).model() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v1"]


def test_a_version_is_never_overwritten(root: Path, model: Model) -> None:
    with pytest.raises(ArtefactError, match="exists"):
        save(model, root, "v1", created_at=2.0)


@pytest.mark.parametrize(
    "name", ["", "..", "../v1", "a/b", "a.tmp-1", ".hidden", "CURRENT", "v1\n", "é", "x" * 65]
)
def test_a_name_that_could_be_a_path_is_refused(root: Path, model: Model, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: save(model, root, name, created_at=1.0),
        lambda: promote(root, name),
        lambda: load(root, name),
    ]
    for call in calls:
        with pytest.raises(ArtefactError, match="name"):
            call()


def test_a_failed_save_leaves_nothing(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artefact, "_sync_directory", full)
    with pytest.raises(ArtefactError, match="No space left"):
        save(model, tmp_path, "v1", created_at=1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_fact_that_is_no_json_leaves_nothing(tmp_path: Path, model: Model) -> None:
    with pytest.raises(ArtefactError, match="JSON"):
        save(model, tmp_path, "v1", created_at=1.0, facts={"recall": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_only_a_saved_version_is_promoted(root: Path) -> None:
    with pytest.raises(ArtefactError, match="v2"):
        promote(root, "v2")
    assert current(root) == "v1"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("name", sorted(packing.ARRAYS))
@pytest.mark.parametrize("damage", [flip, cut, empty, pickled, Path.unlink])
def test_a_damaged_array_is_refused(root: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(root / "v1" / f"{name}.npy")
    with pytest.raises(ArtefactError, match="v1 is broken"):
        load(root, "v1")


@pytest.mark.parametrize("name", sorted(packing.ARRAYS))
@pytest.mark.parametrize("damage", [cut, empty, pickled, Path.unlink])
def test_gross_damage_is_seen_without_checksums(
    root: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(root / "v1" / f"{name}.npy")
    with pytest.raises(ArtefactError, match="v1 is broken"):
        load(root, "v1", verify=False)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1}, {"n_items": 4}, {"n_taste": 5}, {"places": []}, {"files": {}},
        {"weights": {"personal": -1}}, {"weights": {"other": 1}}, {"weights": None},
        {"settings": {"factors": 0}}, {"settings": []}, {"files": None}, {"places": 3},
    ],
)  # fmt: skip
def test_a_description_that_does_not_fit_is_refused(root: Path, change: dict[str, object]) -> None:
    path = root / "v1" / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtefactError, match="v1"):
        load(root, "v1")


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\udcff"])
def test_a_description_that_is_no_json_is_refused(root: Path, text: str) -> None:
    (root / "v1" / "meta.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ArtefactError, match="v1"):
        load(root, "v1")


def test_a_current_that_names_no_version_is_refused(root: Path) -> None:
    (root / "CURRENT").write_text("../../etc\n")
    with pytest.raises(ArtefactError, match="name"):
        current(root)


def test_values_that_make_no_sense_are_refused(tmp_path: Path, model: Model) -> None:
    save(replace(model, items=model.items[::-1]), tmp_path, "v1", created_at=1.0)
    with pytest.raises(ArtefactError, match="items are sorted"):
        load(tmp_path, "v1")


def test_the_shelf_swaps_when_another_version_is_promoted(root: Path) -> None:
    shelf = Shelf(root, clock := Clock())
    assert served(shelf) == "v1"
    put(root, trained("gin"), "v2")
    assert served(shelf) == "v1"
    clock.at = 1.0
    assert served(shelf) == "v2"
    promote(root, "v1")
    clock.at = 2.0
    assert served(shelf) == "v1"


def test_the_shelf_looks_at_most_once_a_second(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(root, clock := Clock())
    first = shelf.model()
    looks: list[float] = []
    look = shelf._look

    def counted() -> tuple[int, ...] | None:
        looks.append(clock.at)
        return look()

    monkeypatch.setattr(shelf, "_look", counted)
    for tenth in range(31):
        clock.at = tenth / 10
        assert shelf.model() is first
    assert looks == [1.0, 2.0, 3.0]


def test_a_broken_new_version_keeps_the_old_one_serving(root: Path, model: Model) -> None:
    shelf = Shelf(root, clock := Clock())
    shelf.model()
    put(root, model, "v2")
    flip(root / "v2" / "people.npy")
    clock.at = 1.0
    assert served(shelf) == "v1"
    assert "v2 is broken" in str(shelf.problem)
    put(root, model, "v3")
    clock.at = 2.0
    assert (served(shelf), shelf.problem) == ("v3", None)


def test_a_broken_version_is_tried_again_once_a_minute(root: Path) -> None:
    path = root / "v1" / "people.npy"
    flip(path)
    shelf = Shelf(root, clock := Clock())
    assert shelf.model() is None
    flip(path)
    clock.at = 59.0
    assert shelf.model() is None
    clock.at = 60.0
    assert served(shelf) == "v1"


def test_without_any_model_there_is_none_until_the_first(tmp_path: Path, model: Model) -> None:
    shelf = Shelf(tmp_path / "absent", clock := Clock())
    assert (shelf.model(), shelf.problem) == (None, None)
    put(tmp_path / "absent", model, "v1")
    clock.at = 1.0
    assert served(shelf) == "v1"


def test_taking_current_away_takes_the_model_out_of_service(root: Path) -> None:
    shelf = Shelf(root, clock := Clock())
    assert served(shelf) == "v1"
    (root / "CURRENT").unlink()
    clock.at = 1.0
    assert shelf.model() is None


def test_many_threads_load_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    real = artefact.load

    def counted(root: Path, version: str) -> Model:
        loads.append(version)
        return real(root, version)

    monkeypatch.setattr(artefact, "load", counted)
    shelf, start, found = Shelf(root, Clock()), threading.Barrier(16), []

    def ask() -> None:
        start.wait()
        found.append(shelf.model())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["v1"]
    assert len({id(one) for one in found}) == 1
    assert found[0] is not None


def test_pruning_keeps_the_newest_and_the_current(root: Path, model: Model) -> None:
    for n in range(2, 7):
        path = save(model, root, f"v{n}", created_at=1.0)
        os.utime(path, (n, n))
    os.utime(root / "v1", (1, 1))
    stale, busy = root / "v0.tmp-dead", root / "v9.tmp-beef"
    stale.mkdir()
    busy.mkdir()
    os.utime(stale, (1, 1))
    assert sorted(prune(root, keep=2)) == ["v2", "v3", "v4"]
    left = sorted(path.name for path in root.iterdir())
    assert left == ["CURRENT", "v1", "v5", "v6", "v9.tmp-beef"]
    assert prune(root, keep=2) == []


def test_pruning_leaves_a_mapped_model_readable(root: Path, model: Model) -> None:
    held = load(root, "v1")
    put(root, model, "v2")
    os.utime(root / "v1", (1, 1))
    assert prune(root, keep=1) == ["v1"]
    assert same(held, model)


def test_pruning_nothing(tmp_path: Path) -> None:
    assert prune(tmp_path / "absent") == []
    with pytest.raises(ValueError, match="keep"):
        prune(tmp_path, keep=0)


members = st.lists(
    st.text("0123456789abcdef", min_size=8, max_size=8).map("member-{}".format),
    min_size=2, max_size=6, unique=True,
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(members)
def test_no_member_is_named_in_any_file(people: list[str]) -> None:
    with TemporaryDirectory() as directory:
        root = Path(directory)
        put(root, trained("tea", "milk", members=tuple(people)), "v1")
        content = b"".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())
    assert b"tea" in content
    for person in people:
        assert person.encode() not in content
        assert person.removeprefix("member-").encode() not in content


def test_the_files_do_not_grow_with_the_people(tmp_path: Path) -> None:
    few, many = (tuple(f"m{n}" for n in range(size)) for size in (3, 300))
    for version, people in (("few", few), ("many", many)):
        save(trained("tea", members=people), tmp_path, version, created_at=1.0)
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / version).glob("*.npy"))
        for version in ("few", "many")
    ]
    assert sizes[0] == sizes[1]
