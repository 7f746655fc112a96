"""Picks for audiences on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.catalogue.schemas import STORE_PATTERN
from loyalty.consent.model import MARKETING_CHANNELS
from loyalty.jobs.model import JOB_ID_PATTERN, STATUSES
from loyalty.jobs.schemas import JobErrorSchema, ProgressSchema
from loyalty.kit.fields import Choice, Instant, QueryWhole, Text, Whole
from loyalty.kit.schemas import Input, Output
from recommend.bulk.cursors import CURSOR_PATTERN
from recommend.bulk.model import EXPORT_ID_PATTERN, FORMATS

LIMIT_MAX = 100
CAMPAIGN_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
_FORMAT = {"description": "Without it by `Accept`, and NDJSON if that names none."}
_STORE = {"description": "Whose popular products count, beside the whole shop's."}
_CAMPAIGN = {"description": "A label of yours: it stands in every row, and in links as utm_*."}
_AFTER = {"description": "The cursor of the last row that arrived whole: go on behind it."}


class AudienceSchema(Input):
    """Which audience, how many picks a member, in which form."""

    channel = Choice(MARKETING_CHANNELS, required=True)
    limit = QueryWhole(1, LIMIT_MAX, load_default=5)
    format = Choice(FORMATS, metadata=_FORMAT)
    store = Text(64, pattern=STORE_PATTERN, metadata=_STORE)
    campaign = Text(64, pattern=CAMPAIGN_PATTERN, metadata=_CAMPAIGN)
    after = Text(64, pattern=CURSOR_PATTERN, metadata=_AFTER)


class ExportRequestSchema(Input):
    """The same as a job."""

    channel = Choice(MARKETING_CHANNELS, required=True)
    limit = Whole(1, LIMIT_MAX, load_default=5)
    format = Choice(FORMATS, load_default="ndjson")
    store = Text(64, pattern=STORE_PATTERN, metadata=_STORE)
    campaign = Text(64, pattern=CAMPAIGN_PATTERN, metadata=_CAMPAIGN)


class DownloadSchema(Input):
    """In which form, and from where."""

    format = Choice(FORMATS, metadata={"description": "Without it as the export was asked for."})
    after = Text(64, pattern=CURSOR_PATTERN, metadata=_AFTER)


class ExportSchema(Output):
    """An export: how far it is, and until when it can be downloaded."""

    id = fields.String(required=True, metadata={"pattern": EXPORT_ID_PATTERN})
    job_id = fields.String(required=True, metadata={"pattern": JOB_ID_PATTERN})
    status = fields.String(required=True, metadata={"enum": list(STATUSES)})
    progress = fields.Nested(ProgressSchema, required=True, allow_none=True)
    error = fields.Nested(JobErrorSchema, required=True, allow_none=True)
    channel = fields.String(required=True)
    limit = fields.Integer(required=True)
    format = fields.String(required=True, metadata={"enum": list(FORMATS)})
    store = fields.String(required=True, allow_none=True)
    campaign = fields.String(required=True, allow_none=True)
    rows = fields.Integer(
        required=True,
        metadata={"description": "Members drawn. Who withdraws later is not in a download."},
    )
    created_at = Instant(required=True)
    finished_at = Instant(required=True, allow_none=True)
    expires_at = Instant(required=True)
