"""Enrol, find and link members."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from loyalty.kit import idempotency
from loyalty.members.model import (
    Identifier,
    IdentifierTakenError,
    KeyReusedError,
    Member,
    MemberNotFoundError,
    Profile,
    normal,
    read_birthday,
)
from loyalty.members.store import EnrolmentExistsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from loyalty.members.store import MemberStore

ENROL_ATTEMPTS_MAX = 5
fingerprint = idempotency.fingerprint


class Enrolled(NamedTuple):
    """An enrolled member, and whether the request had been carried out before."""

    member: Member
    is_replay: bool


def new_member_id() -> str:
    """A random id: it says nothing about the person and cannot be guessed."""
    return f"m_{secrets.token_hex(16)}"


def enrol(
    identifiers: Sequence[Mapping[str, str]],
    *,
    at: datetime,
    request_key: str | None,
    members: MemberStore,
) -> Enrolled:
    """Enrol a member with any number of identifiers.

    A provisional member that holds some of them becomes this member and keeps its points.

    Raises:
        InvalidIdentifierError: a value is not of its type.
        IdentifierTakenError: one belongs to an active member, or they belong to several.
        TooManyIdentifiersError: the provisional member would have more than fifty.
        KeyReusedError: the idempotency key came with other identifiers before.
    """
    mark = fingerprint({"identifiers": identifiers})
    wanted = _normal_all(identifiers)
    if request_key and (seen := members.request(request_key)):
        return _replay(seen, mark, members)
    request = (request_key, mark) if request_key else None
    try:
        member_id = _enrol(wanted, at, request, members)
    except (EnrolmentExistsError, IdentifierTakenError):
        # The same request may have come through in between, on another worker.
        seen = members.request(request_key) if request_key else None
        if seen is None:
            raise
        return _replay(seen, mark, members)
    return Enrolled(members.get(member_id), is_replay=False)


def _normal_all(identifiers: Sequence[Mapping[str, str]]) -> list[Identifier]:
    wanted = {
        normal(each["type"], each["value"], place=f"identifiers.{position}.value"): None
        for position, each in enumerate(identifiers)
    }
    return list(wanted)


def _replay(seen: tuple[str, str], mark: str, members: MemberStore) -> Enrolled:
    member_id, seen_mark = seen
    if seen_mark != mark:
        raise KeyReusedError
    return Enrolled(members.get(member_id), is_replay=True)


def _enrol(
    wanted: list[Identifier], at: datetime, request: tuple[str, str] | None, members: MemberStore
) -> str:
    """The id of a new member, or of the provisional one that has some of the identifiers."""
    owners = {owner for each in wanted if (owner := members.resolve(each))}
    if not owners:
        member = Member(new_member_id(), "active", at)
        members.add(member, wanted, request=request)
        return member.id
    if len(owners) > 1:
        raise IdentifierTakenError("The identifiers belong to several members.")
    owner = owners.pop()
    members.promote(owner, wanted, at=at, request=request)
    return owner


def find(identifier: Mapping[str, str], *, members: MemberStore) -> Member:
    """The member with an identifier.

    Raises:
        MemberNotFoundError: nobody has it.
        InvalidIdentifierError: the value is not of its type.
    """
    member_id = members.resolve(normal(identifier["type"], identifier["value"]))
    if member_id is None:
        raise MemberNotFoundError
    return members.get(member_id)


def link(
    member_id: str, identifier: Mapping[str, str], *, at: datetime, members: MemberStore
) -> Member:
    """Give a member one more identifier; giving it again changes nothing.

    Raises:
        MemberNotFoundError, IdentifierTakenError, TooManyIdentifiersError,
        InvalidIdentifierError: as they say.
    """
    wanted = normal(identifier["type"], identifier["value"], place="value")
    members.link(member_id, [wanted], at=at)
    return members.get(member_id)


def set_profile(member_id: str, body: Mapping[str, Any], *, members: MemberStore) -> Member:
    """Replace a member's profile as a whole: what the body does not name is gone.

    Args:
        member_id: whose.
        body: `birthday` as `--MM-DD` or None, and `segments`.
        members: where it is kept.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    birthday = body.get("birthday")
    fresh = Profile(read_birthday(birthday) if birthday else None, frozenset(body["segments"]))
    members.set_profile(member_id, fresh)
    return members.get(member_id)


def enrol_provisional(identifier: Identifier, *, at: datetime, members: MemberStore) -> str:
    """The id of the member with the identifier, made now if there is none, under races too."""
    for _ in range(ENROL_ATTEMPTS_MAX):
        if member_id := members.resolve(identifier):
            return member_id
        member = Member(new_member_id(), "provisional", at)
        try:
            members.add(member, [identifier])
        except IdentifierTakenError:
            continue
        return member.id
    raise IdentifierTakenError
