"""API keys: kept hashed, known for less than a second, gone when revoked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import bson
import pytest

from loyalty.access.model import (
    InvalidKeyError,
    Key,
    MissingScopeError,
    NotYourMemberError,
    mint,
    split,
)
from loyalty.access.service import KEY_SECONDS_MAX, Gatekeeper
from loyalty.kit.clock import now
from loyalty.kit.http import Access
from loyalty.members.service import new_member_id
from tests.builders import NOON, dump

if TYPE_CHECKING:
    from app import Parts

READ = Access(("points:read",))
READ_OWN = Access(("points:read",), member_token=True)


def minted(parts: Parts, *scopes: str, store: str | None = None) -> tuple[Key, str]:
    """A key that is kept, and the header to show."""
    key, text = mint("till", frozenset(scopes), at=NOON, channel="store", store=store)
    parts.keys.add(key)
    return key, f"Bearer {text}"


class Gate:
    """A gatekeeper with a clock of its own."""

    def __init__(self, parts: Parts) -> None:
        self.clock = 0.0
        self._keeper = Gatekeeper(parts.keys, parts.tokens, monotonic=lambda: self.clock)
        self.admit = self._keeper.admit


def test_a_key_reads_back_as_it_was_kept(parts: Parts) -> None:
    key, _ = minted(parts, "points:read", store="S1")
    assert parts.keys.find(key.id) == key
    assert parts.keys.find("nosuchkey000") is None
    later, _ = mint("web", frozenset(), at=NOON + timedelta(days=1), channel=None, store=None)
    parts.keys.add(later)
    assert parts.keys.all() == [key, later]


def test_the_secret_of_a_key_is_not_kept(parts: Parts) -> None:
    _, header = minted(parts, "points:read")
    _, secret = split(header.removeprefix("Bearer "))
    kept = b"".join(bson.encode(each) for each in dump(parts.database)["keys"])
    assert secret.encode() not in kept


def test_a_key_is_revoked_once(parts: Parts) -> None:
    key, _ = minted(parts, "points:read")
    assert parts.keys.revoke(key.id, at=NOON)
    assert parts.keys.find(key.id) == replace(key, revoked_at=NOON)
    assert not parts.keys.revoke(key.id, at=NOON + timedelta(days=1))
    assert not parts.keys.revoke("nosuchkey000", at=NOON)
    assert parts.keys.find(key.id) == replace(key, revoked_at=NOON)


def test_who_shows_a_key_with_the_scope_is_let_in(parts: Parts) -> None:
    key, header = minted(parts, "points:read", "journal:read", store="S1")
    caller = Gate(parts).admit(header, READ, None)
    assert (caller.id, caller.scopes, caller.channel, caller.store) == (
        key.id,
        key.scopes,
        "store",
        "S1",
    )
    assert caller.member_id is None


def test_who_lacks_the_scope_is_told_which_one(parts: Parts) -> None:
    _, header = minted(parts, "journal:read")
    with pytest.raises(MissingScopeError, match="points:read"):
        Gate(parts).admit(header, READ, None)


@pytest.mark.parametrize("scheme", ["", "Basic ", "Bearer", "bearer  "])
def test_another_scheme_does_not_let_in(parts: Parts, scheme: str) -> None:
    _, header = minted(parts, "points:read")
    with pytest.raises(InvalidKeyError):
        Gate(parts).admit(scheme + header.removeprefix("Bearer "), READ, None)


def test_a_wrong_secret_and_an_unknown_key_get_one_answer(parts: Parts) -> None:
    key, header = minted(parts, "points:read")
    stranger = mint("x", frozenset(), at=NOON, channel=None, store=None)[1]
    for text in (f"Bearer carnet_{key.id}_{'x' * 43}", f"Bearer {stranger}", "Bearer x"):
        with pytest.raises(InvalidKeyError) as refusal:
            Gate(parts).admit(text, READ, None)
        assert refusal.value.detail == InvalidKeyError.title
    assert Gate(parts).admit(header, READ, None)


def test_a_revocation_holds_within_a_second_on_every_worker(parts: Parts) -> None:
    key, header = minted(parts, "points:read")
    gate = Gate(parts)
    gate.admit(header, READ, None)
    parts.keys.revoke(key.id, at=NOON)
    assert gate.admit(header, READ, None)
    gate.clock += KEY_SECONDS_MAX
    with pytest.raises(InvalidKeyError):
        gate.admit(header, READ, None)
    assert KEY_SECONDS_MAX < 1


def test_a_members_token_opens_that_members_own_things(parts: Parts) -> None:
    member = new_member_id()
    token = parts.tokens.mint(member, at=now(), seconds=60)
    gate = Gate(parts)
    caller = gate.admit(f"Bearer {token}", READ_OWN, member)
    assert (caller.member_id, caller.scopes) == (member, frozenset())
    assert gate.admit(f"Bearer {token}", READ_OWN, None).member_id == member
    for access, whose in ((READ_OWN, new_member_id()), (READ, member), (READ, None)):
        with pytest.raises(NotYourMemberError):
            gate.admit(f"Bearer {token}", access, whose)
