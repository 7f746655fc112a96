"""Keeps models as versioned directories, and serves the current one from a memory map.

A version is a directory of `.npy` files and `meta.json`; it appears whole or not at all and never
changes. The file `CURRENT` names the version to serve. Nothing is pickled, so a file can hold data
only, never code. It leaves to others: learning and ranking (`recommend.model`), when to train and
promote, and what the facts of a model card are. The checksums find damage; they do not stop someone
who may write to the directory.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from recommend.model import Model
from recommend.packing import ARRAYS, check_sizes, check_values, pack, unpack, values_of

FORMAT = 2
"""Number of the layout of a version; another number is refused."""
META = "meta.json"
META_BYTES_MAX = 1_000_000
CURRENT = "CURRENT"
KEEP_DEFAULT = 3
CHECK_SECONDS = 1.0
"""Least time between two looks at `CURRENT`."""
RETRY_SECONDS = 60.0
"""Least time between two tries to load a version that was broken."""
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z", re.ASCII)
"""No dot: so no path, no `.tmp-`, nothing hidden."""
TEMPORARY = ".tmp-"
LOCK = ".lock"
FILE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\.(npy|json)\Z", re.ASCII)
"""What a file of a version may be called: so no path, nothing hidden."""

Fact: TypeAlias = str | int | float | bool | Mapping[str, "Fact"] | Sequence["Fact"] | None
Meta: TypeAlias = dict[str, Any]


class ArtefactError(Exception):
    """A model on disk is missing, broken, or of a form that this program does not know."""


@dataclass(frozen=True, slots=True)
class Served:
    """A loaded model and the version it came from."""

    version: str
    model: Model


def save(
    model: Model,
    root: Path,
    version: str,
    *,
    created_at: float,
    facts: Mapping[str, Fact] | None = None,
) -> Path:
    """Write a version, whole or not at all; it is not served until `promote`.

    Args:
        model: what to write.
        root: directory of all versions; made if missing.
        version: 1 to 64 ASCII letters, digits, `_` or `-`, beginning with a letter or digit.
        created_at: POSIX seconds.
        facts: for the model card, such as metrics; kept as JSON, naming nobody.

    Returns:
        The version's directory.

    Raises:
        ArtefactError: the version exists, has no valid name, or could not be written.
    """
    target = _path(root, version)
    if target.exists():
        raise ArtefactError(f"model version {version} exists already")
    with _temporary(target) as directory:
        sums = {f"{name}.npy": _write_array(directory, name, a) for name, a in pack(model).items()}
        meta = {
            "format": FORMAT,
            "created_at": created_at,
            **values_of(model),
            "files": sums,
            "facts": dict(facts or {}),
        }
        _write(directory / META, json.dumps(meta, indent=2, allow_nan=False).encode())
        _sync_directory(directory)
        # Fails on a directory that was filled meanwhile, and so never overwrites a version.
        directory.replace(target)
        _sync_directory(root)
    return target


def promote(root: Path, version: str) -> None:
    """Serve this version from now on: one atomic replacement of the file `CURRENT`.

    Raises:
        ArtefactError: there is no such version, its description cannot be read, or `CURRENT`
            cannot be written.
    """
    describe(root, version)
    temporary = _beside(root / CURRENT)
    try:
        _write(temporary, f"{version}\n".encode())
        temporary.replace(root / CURRENT)
        _sync_directory(root)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ArtefactError(f"cannot make model {version} current: {error}") from error


def current(root: Path) -> str | None:
    """Name of the version to serve; None where nothing has been promoted.

    Raises:
        ArtefactError: the file `CURRENT` cannot be read or holds no version's name.
    """
    try:
        with (root / CURRENT).open("rb") as file:
            text = file.read(128).decode()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ArtefactError(f"cannot read which model is current: {error}") from error
    return _path(root, text.strip()).name


def describe(root: Path, version: str) -> Meta:
    """The model card: format, created_at, settings, weights, counts, files, places and facts.

    Raises:
        ArtefactError: missing, not JSON, too large, or of another format.
    """
    path = _path(root, version) / META
    try:
        with path.open("rb") as file:
            meta = json.loads(file.read(META_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"cannot read the description of model {version}: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ArtefactError(f"model {version} is not of format {FORMAT}")
    return meta


def load(root: Path, version: str, *, verify: bool = True) -> Model:
    """Map a version into memory, read-only; many processes share its pages.

    `verify` also reads every file to compare its SHA-256 and to check each number in it.

    Raises:
        ArtefactError: anything is missing, broken, or does not fit together.
    """
    meta = describe(root, version)
    directory = _path(root, version)
    try:
        if verify:
            _check_sums(directory, meta["files"])
        arrays = {name: _map(directory / f"{name}.npy", *ARRAYS[name]) for name in ARRAYS}
        check_sizes(arrays, meta)
        if verify:
            check_values(arrays)
        return unpack(arrays, meta)
    except (OSError, ValueError, TypeError, LookupError, EOFError) as error:
        raise ArtefactError(f"model {version} is broken: {error}") from error


def prune(root: Path, keep: int = KEEP_DEFAULT) -> list[str]:
    """Delete all but the newest `keep` versions and the current one; give the names deleted.

    What an interrupted `save` left behind goes too, once it is older than all that is kept.

    Raises:
        ArtefactError: `CURRENT` cannot be read; then nothing is deleted.
        ValueError: keep is less than 1.
    """
    if keep < 1:
        raise ValueError("keep must be at least 1")
    serving = current(root)
    versions = sorted(_directories(root, temporary=False), key=_age_key, reverse=True)
    kept = versions[:keep]
    old = [path for path in versions[keep:] if path.name != serving]
    for path in old:
        # Renamed first, so that no reader sees half a version.
        _remove(path.rename(_beside(path)))
    for path in _directories(root, temporary=True):
        if kept and _age_key(path) < _age_key(kept[-1]):
            _remove(path)
    return [path.name for path in old]


def files(root: Path, version: str) -> list[Path]:
    """The files of a version, its description last.

    Raises:
        ArtefactError: the description cannot be read.
    """
    directory = _path(root, version)
    names = sorted(describe(root, version)["files"])
    return [directory / name for name in (*names, META)]


def receive(root: Path, version: str, files: Iterable[tuple[str, str, Iterable[bytes]]]) -> None:
    """Write a version that comes from elsewhere, whole or not at all; it is not served by that.

    Args:
        root: directory of all versions; made if missing.
        version: its name. One of that name that is there already stays if it is whole, and is
            replaced if it is broken.
        files: (name, SHA-256, contents in pieces) of each.

    Raises:
        ArtefactError: a name is not one of a file, a file is not what it was, or cannot be written.
    """
    target = _path(root, version)
    with _temporary(target) as directory:
        for name, sha256, pieces in files:
            if not FILE_NAME.match(name):
                raise ArtefactError(f"not a file of a model: {name[:80]!r}")
            if _write_pieces(directory / name, pieces) != sha256:
                raise ArtefactError(f"{name} of model {version} is not what was saved (SHA-256)")
        _sync_directory(directory)
        if target.exists():
            # Renamed first: no reader sees half a version, and who has it mapped keeps it.
            _remove(target.rename(_beside(target)))
        directory.replace(target)
        _sync_directory(root)


def is_whole(root: Path, version: str) -> bool:
    """Whether a version is there and each file is what was saved; reads all of them."""
    try:
        _check_sums(_path(root, version), describe(root, version)["files"])
    except (ArtefactError, OSError, ValueError, LookupError):
        return False
    return True


@contextmanager
def alone(root: Path) -> Iterator[bool]:
    """Whether this is the only process of the machine at work on the directory; never waits."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def keep_only(root: Path, versions: Collection[str]) -> list[str]:
    """Delete all versions but these, the current one and what is newer; the names deleted.

    Raises:
        ArtefactError: `CURRENT` cannot be read; then nothing is deleted.
    """
    kept = {*versions, current(root)}
    newest = max((each for each in kept if each), default=CURRENT)
    old = [
        path
        for path in _directories(root, temporary=False)
        # A version that is newer may be on its way to the other nodes.
        if path.name not in kept and path.name < newest
    ]
    for path in old:
        _remove(path.rename(_beside(path)))
    if (root / newest / META).exists():
        # What was cut off before the newest one was written.
        for path in _directories(root, temporary=True):
            if _age_key(path) < _age_key(root / newest):
                _remove(path)
    return sorted(path.name for path in old)


class Shelf:
    """The model to serve, swapped when another version is promoted; safe between threads.

    A look at `CURRENT` costs one `stat`, at most every `CHECK_SECONDS`. A version that turns out
    broken leaves the one before it serving and is tried again after `RETRY_SECONDS`; removing
    `CURRENT` takes the model out of service.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._lock = threading.Lock()
        self._served: Served | None = None
        self._stamp: tuple[int, ...] | None = None
        self._check_at = -float("inf")
        self._retry_at = float("inf")
        self._problem: str | None = None

    def model(self) -> Model | None:
        """The model to serve now; None where there is none. Never raises `ArtefactError`."""
        served = self.served()
        return served.model if served else None

    def served(self) -> Served | None:
        """The model to serve now with its version."""
        # While one thread loads, the others serve the old model; without one they wait.
        if self._clock() >= self._check_at and self._lock.acquire(blocking=self._served is None):
            try:
                self._check(self._clock())
            finally:
                self._lock.release()
        return self._served

    @property
    def problem(self) -> str | None:
        """Why the current version is not the one served; None while all is well."""
        return self._problem

    def _check(self, at: float) -> None:
        if at < self._check_at:
            return
        stamp = self._look()
        if stamp != self._stamp or at >= self._retry_at:
            self._stamp = stamp
            self._swap(at)
        self._check_at = at + CHECK_SECONDS

    def _look(self) -> tuple[int, ...] | None:
        try:
            seen = (self._root / CURRENT).stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_ino, seen.st_size

    def _swap(self, at: float) -> None:
        self._problem, self._retry_at = None, float("inf")
        try:
            version = current(self._root)
            if version is None or self._served is None or version != self._served.version:
                self._served = Served(version, load(self._root, version)) if version else None
        except ArtefactError as error:
            self._problem, self._retry_at = str(error), at + RETRY_SECONDS


def _path(root: Path, version: str) -> Path:
    if not VERSION.match(version) or version == CURRENT:
        raise ArtefactError(f"not a model version's name: {version[:80]!r}")
    return root / version


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}{TEMPORARY}{secrets.token_hex(4)}")


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A directory beside the target, gone afterwards unless it was moved away."""
    directory = _beside(target)
    try:
        directory.mkdir(parents=True)
        yield directory
    except (OSError, ValueError) as error:
        raise ArtefactError(f"cannot write model {target.name}: {error}") from error
    finally:
        _remove(directory)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def _directories(root: Path, *, temporary: bool) -> list[Path]:
    with suppress(FileNotFoundError):
        return [
            path
            for path in root.iterdir()
            if path.is_dir() and VERSION.match(path.name.partition(TEMPORARY)[0])
            if (TEMPORARY in path.name) is temporary
        ]
    return []


def _age_key(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write_pieces(path: Path, pieces: Iterable[bytes]) -> str:
    """Write a file as it comes and give its SHA-256."""
    sha256 = hashlib.sha256()
    with path.open("xb") as file:
        for piece in pieces:
            sha256.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return sha256.hexdigest()


def _write_array(directory: Path, name: str, values: npt.NDArray[Any]) -> str:
    """Write one array and give the SHA-256 of its file."""
    path = directory / f"{name}.npy"
    with path.open("xb") as file:
        np.save(file, values, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return _sha256(path)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _map(path: Path, kind: str, dimensions: int) -> npt.NDArray[Any]:
    # A plain view of the map: `np.memmap` itself slows down every slice taken of it.
    values = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    if values.ndim != dimensions or not values.dtype.str[1:].startswith(kind):
        raise ValueError(f"{path.name} holds {values.dtype} of {values.ndim} dimensions")
    return values


def _check_sums(directory: Path, sums: Mapping[str, str]) -> None:
    for name in ARRAYS:
        if _sha256(directory / f"{name}.npy") != sums[f"{name}.npy"]:
            raise ValueError(f"{name}.npy is not what was saved (SHA-256)")
