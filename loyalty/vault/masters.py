"""The master keys that wrap the keys of owners: a file of this service's own, or a KMS."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty.kit.settings import Settings

# What libmongocrypt asks of a local master key.
MASTER_KEY_BYTES = 96
FIRST = "1"


class MasterKeyError(Exception):
    """The master key is missing or not what it should be; the message says what to do."""


class Masters(NamedTuple):
    """What wraps and unwraps.

    `providers` are the driver's `kms_providers`; `current` wraps new keys, the others only unwrap;
    `master_key` names the key inside a KMS, and is None for a local one.
    """

    providers: Mapping[str, Any]
    current: str
    master_key: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Masters({self.current})"

    @property
    def are_local(self) -> bool:
        """Whether all of them unwrap within this process."""
        return all(each.partition(":")[0] == "local" for each in self.providers)


def masters_of(settings: Settings) -> Masters:
    """The masters of `CARNET_KMS_FILE`, or those of the data directory's file, made on first use.

    Raises:
        MasterKeyError: a file cannot be read as what it should be.
    """
    if settings.kms_file:
        return _of_kms(settings.kms_file)
    return read_file(settings.master_key_file)


def read_file(path: Path) -> Masters:
    """The local masters in a file, which is made if it is not there.

    Raises:
        MasterKeyError: it does not read as one.
    """
    if not path.exists():
        write_file(path, {FIRST: secrets.token_bytes(MASTER_KEY_BYTES)}, FIRST, replace=False)
    found, current = _kept(path)
    providers = {f"local:{name}": {"key": key} for name, key in found.items()}
    return Masters(providers, f"local:{current}")


def add_key(path: Path) -> None:
    """Add a new local key to a file that has one; what is current stays so.

    A file with several is in the middle of a rotation, and stays as it is.

    Raises:
        MasterKeyError: it does not read as a file of master keys.
    """
    keys, current = _kept(path)
    if len(keys) == 1:
        fresh = {str(_newest(keys) + 1): secrets.token_bytes(MASTER_KEY_BYTES)}
        write_file(path, {**keys, **fresh}, current, replace=True)


def turn_to_newest(path: Path) -> None:
    """Make the newest key of a file the current one; the others still unwrap.

    Raises:
        MasterKeyError: it does not read as a file of master keys.
    """
    keys, _ = _kept(path)
    write_file(path, keys, str(_newest(keys)), replace=True)


def drop_others(path: Path) -> None:
    """Remove all keys of a file but the current one.

    Raises:
        MasterKeyError: it does not read as a file of master keys.
    """
    keys, current = _kept(path)
    write_file(path, {current: keys[current]}, current, replace=True)


def write_file(path: Path, keys: Mapping[str, bytes], current: str, *, replace: bool) -> None:
    """Write local masters so that the file is whole or not there, and nobody else can read it.

    It is on the disk when this returns: what is wrapped next could not be opened without it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    encoded = {name: base64.b64encode(key).decode() for name, key in keys.items()}
    # A name of its own, made for its owner alone.
    fd, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    draft = Path(name)
    with os.fdopen(fd, "w") as file:
        json.dump({"current": current, "keys": encoded}, file)
        file.flush()
        os.fsync(file.fileno())
    if replace:
        draft.replace(path)
    else:
        # A link appears whole or not at all, and never replaces keys that are there.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    _sync(path.parent)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _kept(path: Path) -> tuple[dict[str, bytes], str]:
    """The keys of a file by name, and the name of the current one."""
    try:
        kept = json.loads(path.read_text())
        found = {name: base64.b64decode(text) for name, text in kept["keys"].items()}
        current = kept["current"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MasterKeyError(f"{path.name} is not a file of master keys.") from error
    is_sound = all(name.isdecimal() and len(key) == MASTER_KEY_BYTES for name, key in found.items())
    if current not in found or not is_sound:
        raise MasterKeyError(f"{path.name} lacks its current key, or a key has not 96 bytes.")
    return found, current


def _newest(keys: Mapping[str, bytes]) -> int:
    return max(int(name) for name in keys)


def _of_kms(path: Path) -> Masters:
    """`{"providers": {...}, "current": "aws", "master_key": {...}}`, as the driver takes them."""
    try:
        kept = json.loads(path.read_text())
        masters = Masters(kept["providers"], kept["current"], kept.get("master_key"))
        is_named = masters.current in masters.providers
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MasterKeyError(f"{path.name} does not name a KMS as docs/privacy.md says.") from error
    if not is_named:
        raise MasterKeyError(f"{path.name} names no provider {masters.current}.")
    return masters
