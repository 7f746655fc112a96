"""Members over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from werkzeug.routing import BaseConverter

from loyalty.access.tokens import TokenMint, is_fresh
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, idempotency_key, note_look, provided, replayed
from loyalty.members import service
from loyalty.members.model import (
    MEMBER_ID_PATTERN,
    IdentifierNotFoundError,
    IdentifierTakenError,
    InvalidIdentifierError,
    KeyReusedError,
    MemberNotFoundError,
    TooManyIdentifiersError,
    write_birthday,
)
from loyalty.members.schemas import (
    EnrolSchema,
    IdentifierSchema,
    LookupSchema,
    MemberSchema,
    ProfileSchema,
    TokenRequestSchema,
    TokenSchema,
)
from loyalty.members.store import MemberStore

if TYPE_CHECKING:
    from loyalty.members.model import Member

blp = Blueprint("members", __name__, description="Who a member is, on every channel.")

MEMBER_EXAMPLE = {
    "id": "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f",
    "status": "active",
    "enrolled_at": "2026-03-01T09:30:00Z",
    "identifiers": [
        {
            "id": "c0ffee1234567890",
            "type": "card",
            "value": "930012345678",
            "linked_at": "2026-03-01T09:30:00Z",
        }
    ],
    "profile": {"birthday": "--02-29", "segments": ["organic"]},
}


class MemberIdConverter(BaseConverter):
    """`<member:member_id>` in a path. Other words there, such as `lookup`, are no members."""

    regex = MEMBER_ID_PATTERN.strip("^$")


def _body(member: Member) -> dict[str, Any]:
    birthday, segments = member.profile
    return {
        "id": member.id,
        "status": member.status,
        "enrolled_at": member.enrolled_at,
        "identifiers": [
            {
                "id": each.id,
                "type": each.identifier.type,
                "value": each.identifier.value,
                "linked_at": each.linked_at,
            }
            for each in member.identifiers
        ],
        "profile": {
            "birthday": write_birthday(birthday) if birthday else None,
            "segments": sorted(segments),
        },
    }


@blp.route("/members", methods=["POST"])
@blp.requires("members:write", purpose="loyalty_programme")
@blp.idempotent()
@blp.arguments(EnrolSchema, example={"identifiers": [{"type": "card", "value": "9300 1234 5678"}]})
@blp.response(201, MemberSchema, example=MEMBER_EXAMPLE)
@blp.raises(IdentifierTakenError, InvalidIdentifierError, KeyReusedError, TooManyIdentifiersError)
def enrol(body: dict[str, Any]) -> Answer:
    """Enrol a member.

    With any number of identifiers, each of which then leads to this member on every channel. A
    provisional member that already holds one of them becomes this member and keeps its points.
    """
    enrolled = service.enrol(
        body["identifiers"],
        at=now(),
        request_key=idempotency_key(),
        members=provided(MemberStore),
    )
    return replayed(_body(enrolled.member), 201, is_replay=enrolled.is_replay)


@blp.route("/members/lookup", methods=["POST"])
@blp.requires("members:read", purpose="loyalty_programme")
@blp.arguments(LookupSchema, example={"identifier": {"type": "email", "value": "Ada@Example.com"}})
@blp.response(200, MemberSchema, example=MEMBER_EXAMPLE)
@blp.raises(MemberNotFoundError, InvalidIdentifierError)
def lookup(body: dict[str, Any]) -> Answer:
    """Look a member up by any identifier."""
    found = service.find(body["identifier"], members=provided(MemberStore))
    note_look(found.id)
    return _body(found)


@blp.route("/members/<member:member_id>")
@blp.requires("members:read", member_token=True, purpose="loyalty_programme")
@blp.response(200, MemberSchema, example=MEMBER_EXAMPLE)
@blp.raises(MemberNotFoundError)
def show(member_id: str) -> Answer:
    """Read a member."""
    return _body(provided(MemberStore).get(member_id))


@blp.route("/members/<member:member_id>/profile", methods=["PUT"])
@blp.requires("members:write", purpose="loyalty_programme")
@blp.arguments(ProfileSchema, example={"birthday": "--02-29", "segments": ["organic"]})
@blp.response(200, MemberSchema, example=MEMBER_EXAMPLE)
@blp.raises(MemberNotFoundError)
def put_profile(body: dict[str, Any], member_id: str) -> Answer:
    """Replace a member's profile.

    As a whole: what is left out is gone. The programme's rules may ask for the birthday and for
    segments; `GET /members/{member_id}` shows both.
    """
    return _body(service.set_profile(member_id, body, members=provided(MemberStore)))


@blp.route("/members/<member:member_id>/identifiers", methods=["POST"])
@blp.requires("members:write", purpose="loyalty_programme")
@blp.arguments(IdentifierSchema, example={"type": "email", "value": "ada@example.com"})
@blp.response(200, MemberSchema, example=MEMBER_EXAMPLE)
@blp.raises(
    MemberNotFoundError, IdentifierTakenError, InvalidIdentifierError, TooManyIdentifiersError
)
def link(body: dict[str, Any], member_id: str) -> Answer:
    """Link an identifier to a member.

    An identifier belongs to one member at most. Linking it again to the same member changes
    nothing.
    """
    return _body(service.link(member_id, body, at=now(), members=provided(MemberStore)))


@blp.route("/members/<member:member_id>/identifiers/<identifier_id>", methods=["DELETE"])
@blp.requires("members:write", purpose="loyalty_programme")
@blp.response(204)
@blp.raises(IdentifierNotFoundError)
def unlink(member_id: str, identifier_id: str) -> None:
    """Unlink an identifier from a member.

    It is named by its id, as `GET /members/{member_id}` shows it: a URL holds nothing personal.
    """
    provided(MemberStore).unlink(member_id, identifier_id)


@blp.route("/members/<member:member_id>/token", methods=["POST"])
@blp.requires("tokens:write", purpose="loyalty_programme")
@blp.arguments(
    TokenRequestSchema,
    example={"expires_in_seconds": 900, "authenticated_at": "2026-03-01T09:28:00Z"},
)
@blp.response(
    201,
    TokenSchema,
    example={"token": "eyJhbGciOi…", "expires_at": "2026-03-01T09:45:00Z", "proof": "login"},
)
@blp.raises(MemberNotFoundError)
def mint_token(body: dict[str, Any], member_id: str) -> Answer:
    """Mint a token for a member's browser.

    A shop's server calls this and hands the token to the browser, which can then read and write
    that member's own things, for fifteen minutes at most. A key never goes into a browser. With
    `authenticated_at` of the last fifteen minutes the browser can also export or erase what is held
    about the member; without it those answer 403 `identity_not_proven`.
    """
    if not provided(MemberStore).exists(member_id):
        raise MemberNotFoundError
    at, seconds = now(), body["expires_in_seconds"]
    proven_at = body.get("authenticated_at")
    proof = "login" if proven_at and is_fresh(proven_at, at) else ""
    if proof:
        provided(MemberStore).note_login(member_id, at=at)
    token = provided(TokenMint).mint(
        member_id, at=at, seconds=seconds, proof=proof, proven_at=proven_at
    )
    expires_at = at.replace(microsecond=0) + timedelta(seconds=seconds)
    return {"token": token, "expires_at": expires_at, "proof": proof}
