"""Authenticate: a key or a member's token becomes a `Caller`, and a view's scopes are checked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from loyalty.access.model import (
    Caller,
    InvalidKeyError,
    Key,
    MissingScopeError,
    NotYourMemberError,
    opens,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from loyalty.access.store import KeyStore
    from loyalty.access.tokens import TokenMint
    from loyalty.kit.http import Access

# A revocation holds within a second on every worker, so no worker trusts a key for longer.
KEY_SECONDS_MAX = 0.9
KEYS_MAX = 4096


class Gatekeeper:
    """Knows the keys for less than a second each, so that a request costs no read of them."""

    def __init__(
        self,
        keys: KeyStore,
        tokens: TokenMint,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, Key]] = {}

    def admit(self, authorization: str, access: Access, member_id: str | None) -> Caller:
        """The caller, if it may do this.

        Args:
            authorization: the request's header, `Bearer <key or token>`.
            access: what the view declares.
            member_id: the member in the path, if there is one.

        Raises:
            InvalidKeyError: no valid key or token.
            MissingScopeError: a key without any of the scopes.
            NotYourMemberError: a token of another member, or for what no token opens.
        """
        scheme, _, credential = authorization.partition(" ")
        if scheme.lower() != "bearer" or not credential:
            raise InvalidKeyError
        if credential.count(".") == 2:  # noqa: PLR2004  # a JWT has three parts
            return self._admit_member(credential, access, member_id)
        caller = self._by_key(credential)
        if not caller.scopes.intersection(access.scopes):
            raise MissingScopeError(f"The key needs {' or '.join(access.scopes)}.")
        return caller

    def _admit_member(self, token: str, access: Access, member_id: str | None) -> Caller:
        caller = self._tokens.read(token)
        is_own = member_id is None or member_id == caller.member_id
        if not access.member_token or not is_own:
            raise NotYourMemberError
        return caller

    def _by_key(self, credential: str) -> Caller:
        key_id, secret = split(credential)
        key = self._find(key_id)
        if key is None or not opens(key, secret):
            raise InvalidKeyError
        return Caller(key.id, key.scopes, key.channel, key.store)

    def _find(self, key_id: str) -> Key | None:
        at = self._monotonic()
        read_at, known = self._known.get(key_id, (float("-inf"), None))
        if at - read_at < KEY_SECONDS_MAX:
            return known
        key = self._keys.find(key_id)
        if key is not None:
            if len(self._known) >= KEYS_MAX:
                self._known.clear()
            self._known[key_id] = (at, key)
        return key
