"""The master keys that wrap the keys of owners: a file of this service's own, or a KMS."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
    return read_file(settings.data_dir / "master-key")


def read_file(path: Path) -> Masters:
    """The local masters in a file, which is made if it is not there.

    Raises:
        MasterKeyError: it does not read as one.
    """
    if not path.exists():
        write_file(path, {FIRST: secrets.token_bytes(MASTER_KEY_BYTES)}, FIRST, replace=False)
    try:
        kept = json.loads(path.read_text())
        found = {name: base64.b64decode(text) for name, text in kept["keys"].items()}
        current = kept["current"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MasterKeyError(f"{path.name} is not a file of master keys.") from error
    if current not in found or {len(key) for key in found.values()} != {MASTER_KEY_BYTES}:
        raise MasterKeyError(f"{path.name} lacks its current key, or a key has not 96 bytes.")
    providers = {f"local:{name}": {"key": key} for name, key in found.items()}
    return Masters(providers, f"local:{current}")


def write_file(path: Path, keys: Mapping[str, bytes], current: str, *, replace: bool) -> None:
    """Write local masters so that the file is whole or not there, and nobody else can read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    encoded = {name: base64.b64encode(key).decode() for name, key in keys.items()}
    draft.write_text(json.dumps({"current": current, "keys": encoded}))
    if replace:
        draft.replace(path)
        return
    # A link appears whole or not at all, and never replaces keys that are there.
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _of_kms(path: Path) -> Masters:
    """`{"providers": {...}, "current": "aws", "master_key": {...}}`, as the driver takes them."""
    try:
        kept = json.loads(path.read_text())
        masters = Masters(kept["providers"], kept["current"], kept.get("master_key"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MasterKeyError(f"{path.name} does not name a KMS as docs/privacy.md says.") from error
    if masters.current not in masters.providers:
        raise MasterKeyError(f"{path.name} names no provider {masters.current}.")
    return masters
