"""The programme over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import g
from marshmallow import fields

from loyalty.kit.clock import now
from loyalty.kit.fields import Instant, Moment
from loyalty.kit.http import Answer, Blueprint, idempotency_key, provided, replayed
from loyalty.kit.schemas import Input, Output
from loyalty.members.model import KeyReusedError
from loyalty.program.document import ProgramSchema
from loyalty.versions import service
from loyalty.versions.model import InvalidProgramError, NoProgramError, PastStartError
from loyalty.versions.service import ProgramShelf

if TYPE_CHECKING:
    from loyalty.versions.model import Version

blp = Blueprint("programme", __name__, description="The rules, in versions that never change.")

PROGRAM_EXAMPLE = {
    "name": "Corner shop",
    "currency": "EUR",
    "time_zone": "Europe/Berlin",
    "channels": ["store", "web", "app", "social"],
    "rules": [
        {"id": "base", "type": "spend", "points": 1, "per_amount": 100},
        {
            "id": "app-week",
            "type": "multiplier",
            "factor": "1.5",
            "only": {"channels": ["app"]},
        },
        {
            "id": "three-channels",
            "type": "nth_channel",
            "n": 3,
            "window_days": 30,
            "points": 200,
            "times_max": {"month": 1},
        },
    ],
}


class PublishSchema(Input):
    """A document to publish as the next version."""

    program = fields.Nested(ProgramSchema, required=True)
    starts_at = Moment(metadata={"description": "Now if absent; the first version rules all past."})


class VersionSchema(Output):
    """A published version."""

    version = fields.Integer(required=True)
    starts_at = Instant(required=True)
    published_at = Instant(required=True)
    published_by = fields.String(required=True)
    program = fields.Nested(ProgramSchema, required=True)


class VersionsSchema(Output):
    """All versions, newest first."""

    versions = fields.List(fields.Nested(VersionSchema), required=True)


_VERSION_EXAMPLE = {
    "version": 2,
    "starts_at": "2026-03-01T09:30:00Z",
    "published_at": "2026-03-01T09:30:00Z",
    "published_by": "k3y1d0000000",
    "program": PROGRAM_EXAMPLE,
}


def _body(version: Version) -> dict[str, Any]:
    return {
        "version": version.number,
        "starts_at": version.starts_at,
        "published_at": version.published_at,
        "published_by": version.published_by,
        "program": version.document,
    }


@blp.route("/program")
@blp.requires("program:read")
@blp.response(200, VersionSchema, example=_VERSION_EXAMPLE)
@blp.raises(NoProgramError)
def show() -> Answer:
    """Read the programme that rules now."""
    shelf, moment = provided(ProgramShelf), now()
    number = shelf.at(moment).version
    return next(_body(version) for version in shelf.all() if version.number == number)


@blp.route("/program/versions", methods=["GET"])
@blp.requires("program:read")
@blp.response(200, VersionsSchema, example={"versions": [_VERSION_EXAMPLE]})
@blp.raises()
def list_versions() -> Answer:
    """List all versions, newest first."""
    return {"versions": [_body(each) for each in reversed(provided(ProgramShelf).all())][:200]}


@blp.route("/program/versions", methods=["POST"])
@blp.requires("program:write")
@blp.idempotent()
@blp.arguments(PublishSchema, example={"program": PROGRAM_EXAMPLE})
@blp.response(201, VersionSchema, example=_VERSION_EXAMPLE)
@blp.raises(InvalidProgramError, PastStartError, KeyReusedError)
def publish(body: dict[str, Any]) -> Answer:
    """Publish the next version of the programme.

    A version never changes and never reaches into the past; each award names the version that
    ruled it. Every worker knows a new version within half a second. A mistake is answered with its
    exact place, such as `program.rules.2.factor`.
    """
    published = service.publish(
        body["program"],
        starts_at=body.get("starts_at"),
        at=now(),
        by=g.caller.id,
        request_key=idempotency_key(),
        shelf=provided(ProgramShelf),
    )
    return replayed(_body(published.version), 201, is_replay=published.is_replay)
