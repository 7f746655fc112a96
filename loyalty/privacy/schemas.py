"""Rights on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.consent.model import MARKETING, MARKETING_CHANNELS
from loyalty.consent.purposes import PURPOSE_PATTERN
from loyalty.kit.fields import Choice, Flag, Instant, Moment, QueryWhole, Text
from loyalty.kit.schemas import Input, Output
from loyalty.members.model import MEMBER_ID_PATTERN
from loyalty.privacy.export import FORMS
from loyalty.privacy.model import (
    ERASURE_ID_PATTERN,
    KINDS,
    LANGUAGES,
    REQUEST_ID_PATTERN,
    STATUSES,
    TEXT_MAX,
)

_LANGUAGE = "Of the messages about it, and of an export."


class MessageLanguageSchema(Input):
    """A request that needs no more words."""

    language = Choice(LANGUAGES, load_default="en", metadata={"description": _LANGUAGE})


class MemberExportRequestSchema(MessageLanguageSchema):
    """How all that is held shall be given out."""

    form = Choice(
        FORMS,
        load_default="json",
        metadata={"description": "A file for computers, or a page to read."},
    )
    right = Choice(
        ("access", "portability"),
        load_default="access",
        metadata={"description": "Which right is exercised: Art. 15 or Art. 20."},
    )


class MemberRestrictionSchema(Input):
    """Whether the data shall be put aside."""

    restricted = Flag(required=True)


class MemberObjectionSchema(Input):
    """What the member objects to; marketing on all channels if nothing is said."""

    purpose = Text(
        40,
        pattern=PURPOSE_PATTERN,
        load_default=MARKETING,
        metadata={
            "description": "One that members decide on: on consent, or on a legitimate interest; "
            "the shop's own, too."
        },
    )
    channel = Choice(
        MARKETING_CHANNELS,
        metadata={"description": "One of the purpose's; an objection is to all of them at once."},
    )


class MemberRectificationSchema(MessageLanguageSchema):
    """What is wrong, in the member's words."""

    text = Text(TEXT_MAX, required=True)


class ReceivedRequestSchema(MessageLanguageSchema):
    """A request that reached the shop by letter, by telephone or in a store."""

    kind = Choice(KINDS, required=True)
    received_at = Moment(metadata={"description": "When it came in; now if absent."})
    identity_proven = Flag(
        required=True,
        metadata={"description": "If not, it waits until somebody vouches for the member."},
    )
    text = Text(TEXT_MAX)


class AnswerReasonSchema(Input):
    """Why."""

    reason = Text(TEXT_MAX, required=True, metadata={"description": "The member is told."})


class RequestsQuerySchema(Input):
    """Which page of which requests."""

    status = Choice(STATUSES)
    overdue = Choice(("true", "false"), load_default="false")
    limit = QueryWhole(1, 200, load_default=50)
    cursor = Text(64, pattern="^[A-Za-z0-9_-]+$")


class RequestStepSchema(Output):
    """What happened to a request."""

    what = fields.String(required=True)
    at = Instant(required=True)
    by = fields.String(required=True)


class PrivacyRequestSchema(Output):
    """A request of a member."""

    id = fields.String(required=True, metadata={"pattern": REQUEST_ID_PATTERN})
    member_id = fields.String(
        required=True,
        allow_none=True,
        metadata={"pattern": MEMBER_ID_PATTERN, "description": "Null once the member was erased."},
    )
    kind = fields.String(required=True, metadata={"enum": list(KINDS)})
    article = fields.String(required=True, metadata={"description": "Of the GDPR."})
    status = fields.String(required=True, metadata={"enum": list(STATUSES)})
    proof = fields.String(required=True)
    received_at = Instant(required=True)
    due_at = Instant(required=True)
    is_extended = fields.Boolean(required=True)
    is_overdue = fields.Boolean(required=True)
    closed_at = Instant(required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)
    details = fields.Dict(required=True, allow_none=True)
    erasure_id = fields.String(
        required=True, allow_none=True, metadata={"pattern": ERASURE_ID_PATTERN}
    )
    steps = fields.List(fields.Nested(RequestStepSchema), required=True)


class PrivacyRequestsSchema(Output):
    """A page of requests, newest first."""

    requests = fields.List(fields.Nested(PrivacyRequestSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class MemberRequestsSchema(Output):
    """A member's requests, newest first."""

    requests = fields.List(fields.Nested(PrivacyRequestSchema), required=True)


class ExportedDocumentSchema(Output):
    """One document about a member."""

    category = fields.String(required=True)
    collection = fields.String(required=True)
    id = fields.String(required=True)
    data = fields.Dict(required=True)


class MemberExportSchema(Output):
    """All that is held about a member. The count at the end says that it is whole."""

    schema = fields.String(required=True)
    member_id = fields.String(required=True)
    made_at = Instant(required=True)
    language = fields.String(required=True)
    categories = fields.Dict(required=True)
    data = fields.List(fields.Nested(ExportedDocumentSchema), required=True)
    count = fields.Integer(required=True)


class CodeSentSchema(Output):
    """By which channel a code goes out."""

    channel = fields.String(required=True)
    expires_at = Instant(required=True)


class IdentityCodeSchema(Input):
    """The code that the member received."""

    code = Text(6, length_min=6, pattern="^[0-9]{6}$", form="six digits", required=True)


class ProvenTokenSchema(Output):
    """A token with which rights can be exercised."""

    token = fields.String(required=True)
    expires_at = Instant(required=True)
    proof = fields.String(required=True)


class MemberErasureSchema(Output):
    """How far an erasure is, and its certificate once it is done."""

    id = fields.String(required=True, metadata={"pattern": ERASURE_ID_PATTERN})
    status = fields.String(required=True, metadata={"enum": ["running", "done"]})
    passes = fields.Integer(required=True)
    begun_at = Instant(required=True)
    done_at = Instant(required=True, allow_none=True)
    certificate = fields.Dict(required=True, allow_none=True)
