"""Put a new master key in the place of the old one while the service runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty.vault import masters

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loyalty.vault.store import Vault

# A worker reads the masters before each key that it makes; the making takes no longer than this.
SETTLE_SECONDS = 61.0
# Keys that were made while the first round ran are few, and none are made under the old one later.
_ROUNDS_MAX = 10


class RotationError(Exception):
    """Keys under the old master keep appearing; the message says what to look for."""


def rotate_master(
    vault: Vault,
    path: Path | None,
    *,
    wait: Callable[[float], None],
    progress: Callable[[int, int], None],
    settle_seconds: float = SETTLE_SECONDS,
) -> int:
    """Wrap every key by a new master, or carry on with what was stopped.

    Args:
        vault: the keys, through a user who may change them.
        path: the file of local masters, which gets a new one and loses the old; None for a KMS,
            whose file names the new master already.
        wait: called with seconds, until every worker makes keys under the new master.
        progress: called with how many keys are done, and of how many.
        settle_seconds: how long that is; less than the default is for a service that stands still.

    Returns:
        How many keys were wrapped anew.

    Raises:
        RotationError: another node still makes keys under the old master; nothing was removed.
    """
    if path:
        masters.add_key(path)
        masters.turn_to_newest(path)
    wait(settle_seconds)
    done = 0
    for _ in range(_ROUNDS_MAX):
        wrapped = vault.rewrap(progress)
        if not wrapped:
            break
        done += wrapped
    else:
        raise RotationError(
            "Keys under the old master keep appearing: does every node have the file?"
        )
    if path:
        masters.drop_others(path)
    return done
