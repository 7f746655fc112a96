"""Health and metrics over HTTP."""

from __future__ import annotations

from flask import Response
from marshmallow import fields

from loyalty.kit.errors import UnavailableError
from loyalty.kit.http import Answer, Blueprint, provided
from loyalty.kit.mongo import Database, is_ready
from loyalty.kit.observe import exposition
from loyalty.kit.schemas import Output

blp = Blueprint("operation", __name__, description="Health and metrics.", url_prefix="")

READY_SECONDS_MAX = 1.0


class HealthSchema(Output):
    """Whether it is well."""

    status = fields.String(required=True, metadata={"enum": ["ok"]})


class NotReadyError(UnavailableError):
    """The process runs and the database does not answer."""

    code = "not_ready"
    title = "The database does not answer"


@blp.route("/health/live")
@blp.public()
@blp.response(200, HealthSchema, example={"status": "ok"})
@blp.raises()
def live() -> Answer:
    """Tell whether the process answers at all."""
    return {"status": "ok"}


@blp.route("/health/ready")
@blp.public()
@blp.response(200, HealthSchema, example={"status": "ok"})
@blp.raises(NotReadyError)
def ready() -> Answer:
    """Tell whether the service can do its work: the database answers and takes writes."""
    if not is_ready(provided(Database), timeout_seconds=READY_SECONDS_MAX):
        raise NotReadyError
    return {"status": "ok"}


@blp.route("/metrics")
@blp.requires("metrics:read")
@blp.response(200, {"type": "string"}, content_type="text/plain")
@blp.raises()
def metrics() -> Answer:
    """Read the metrics of all workers, in Prometheus' text form.

    Labels are routes and statuses; nothing about a member.
    """
    text, content_type = exposition()
    return Response(text, content_type=content_type)
