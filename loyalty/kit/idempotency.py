"""What makes a retry harmless: a digest of the body, and the refusal of a key that lies."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from loyalty.kit.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping


class KeyReusedError(InvalidError):
    """An idempotency key or external id came again with another body."""

    code = "key_reused"
    title = "The key was used before with another body"


def fingerprint(body: Mapping[str, Any]) -> str:
    """A digest of a request's body, equal for equal bodies whatever the order of their fields."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
