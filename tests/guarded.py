"""A real mongod with users and roles: the embedded one, started again with a key file."""

from __future__ import annotations

import base64
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loyalty.kit.embedded import EmbeddedMongo
from loyalty.kit.mongo import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADMIN = "admin"


def as_user(uri: str, name: str, password: str) -> str:
    """A connection string with a user."""
    return f"{uri.replace('://', f'://{name}:{password}@')}&authSource=admin"


@contextmanager
def guarded(directory: Path) -> Iterator[tuple[str, str]]:
    """A server that asks everybody who they are: its address, and that of its administrator."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    key_file = directory / "set-key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(base64.b64encode(secrets.token_bytes(48)))
    mongod = EmbeddedMongo(directory, cache_gb=0.25)
    try:
        mongod.start()
        with connect(mongod.uri, timeout_seconds=5) as client:
            client.admin.command("createUser", ADMIN, pwd=ADMIN, roles=["root"])
        mongod.stop()
        mongod.more_flags = ("--keyFile", str(key_file))
        mongod.start()
        yield mongod.uri, as_user(mongod.uri, ADMIN, ADMIN)
    finally:
        mongod.stop()
