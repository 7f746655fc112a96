"""The service's own secret, and the keys that are derived from it, one for each use."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from pathlib import Path

    from loyalty.kit.settings import Settings

SECRET_BYTES_MIN = 32


class SecretError(Exception):
    """The secret is missing, too short, or not the one the data was written under."""


def root_secret(settings: Settings) -> bytes:
    """`CARNET_SECRET`, or the secret file of the data directory, made on first use.

    Raises:
        SecretError: the setting has less than 32 bytes.
    """
    if settings.secret:
        given = settings.secret.encode()
        if len(given) < SECRET_BYTES_MIN:
            raise SecretError(f"CARNET_SECRET must have at least {SECRET_BYTES_MIN} bytes.")
        return given
    return _secret_file(settings.data_dir / "secret")


def _secret_file(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        draft = path.with_name(f"secret.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48))
        # A link appears whole or not at all, and never replaces a secret that is there.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_bytes()


def derive(root: bytes, use: str) -> bytes:
    """The 32-byte key for one use (HKDF-SHA256, RFC 5869). Uses do not reveal each other."""
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"carnet:{use}".encode())
    return kdf.derive(root)
