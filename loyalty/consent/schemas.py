"""The shapes of consents, purposes and notices on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from marshmallow import ValidationError as Mistake
from marshmallow import fields, validate

from loyalty.access.links import LINK_CHARS_MAX, LINK_PATTERN
from loyalty.consent.model import (
    LANGUAGE_PATTERN,
    MARKETING_CHANNELS,
    METHODS,
    PURPOSES,
    PURPOSES_BY_CHANNEL,
    STATUSES,
    UNSTATED,
)
from loyalty.consent.notices import LANGUAGES_MAX, NOTICE_CHARS_MAX
from loyalty.consent.purposes import BASES, MINORS, MONTHS_MAX, PURPOSE_PATTERN, PURPOSES_MAX
from loyalty.kit.fields import Choice, Flag, Instant, Items, Moment, QueryWhole, Strict, Text, Whole
from loyalty.kit.http import FieldErrorSchema
from loyalty.kit.schemas import Input, Output
from loyalty.members.model import MEMBER_ID_PATTERN
from loyalty.members.schemas import PartySchema

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
EVIDENCE_NAMES_MAX = 20
EVIDENCE_CHARS_MAX = 2000
DAY_PATTERN = "^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
DURATION_PATTERN = "^P[0-9]{1,4}[DMY]$"
# What can be stored and shown: no NUL.
_TEXT_PATTERN = "^[^\\u0000]*$"
_BY_CHANNEL = sorted(PURPOSES_BY_CHANNEL)
_EVERYWHERE = sorted(set(PURPOSES) - PURPOSES_BY_CHANNEL)


class Evidence(Strict, fields.Dict):
    """Whatever shows that a decision was given: a few named texts. Kept sealed."""

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "maxProperties": EVIDENCE_NAMES_MAX,
        "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,39}$"},
        "additionalProperties": {
            "type": "string",
            "maxLength": EVIDENCE_CHARS_MAX,
            "pattern": _TEXT_PATTERN,
        },
    }
    _name = Text(40, pattern="^[a-z][a-z0-9_]{0,39}$")

    def read(self, value: Any) -> dict[str, str]:
        """The evidence as it is."""
        if type(value) is not dict or len(value) > EVIDENCE_NAMES_MAX:
            raise Mistake(f"Must be an object with at most {EVIDENCE_NAMES_MAX} names.")
        for name, each in value.items():
            self._name.read(name)
            if type(each) is not str or len(each) > EVIDENCE_CHARS_MAX or not _is_text(each):
                raise Mistake({name: [f"Must be text of at most {EVIDENCE_CHARS_MAX} characters."]})
        return value


class Texts(Strict, fields.Dict):
    """Texts by language; each of a shape of its own."""

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "minProperties": 1,
        "maxProperties": LANGUAGES_MAX,
        "propertyNames": {"pattern": LANGUAGE_PATTERN},
    }

    def __init__(self, inner: Strict, **kwargs: Any) -> None:
        super().__init__(keys=fields.String(), values=inner, **kwargs)
        self.inner = inner
        self._language = Text(5, pattern=LANGUAGE_PATTERN, form="a language: en, fr, pt-BR")

    def read(self, value: Any) -> dict[str, Any]:
        """The texts as they are."""
        if type(value) is not dict or not 1 <= len(value) <= LANGUAGES_MAX:
            raise Mistake(f"Must be an object with 1 to {LANGUAGES_MAX} languages.")
        return {
            self._language.read(name): self.inner.deserialize(each) for name, each in value.items()
        }


def _is_text(value: str) -> bool:
    """Whether it can be stored and shown: no NUL, no lone surrogate."""
    return "\0" not in value and not any("\ud800" <= each <= "\udfff" for each in value)


class Words(Strict, fields.String):
    """A long text with lines."""

    def __init__(self) -> None:
        super().__init__(
            validate=validate.Length(1, NOTICE_CHARS_MAX), metadata={"pattern": _TEXT_PATTERN}
        )

    def read(self, value: Any) -> str:
        """The words, exactly."""
        if type(value) is not str or not 1 <= len(value) <= NOTICE_CHARS_MAX or not _is_text(value):
            raise Mistake(f"Must be a text of 1 to {NOTICE_CHARS_MAX} characters.")
        return value


class DecisionSchema(Input):
    """What a member says to a purpose; what has channels is agreed to channel by channel."""

    purpose = Text(
        40, pattern=PURPOSE_PATTERN, required=True, metadata={"examples": list(PURPOSES)}
    )
    channel = Choice(
        MARKETING_CHANNELS,
        metadata={"description": "A no that names no channel means all of them."},
    )
    granted = Flag(required=True)
    objection = Flag(
        load_default=False,
        metadata={
            "description": "An objection (Art. 21 GDPR): to all channels at once, and only the "
            "member's own later yes lifts it."
        },
    )
    expires_at = Moment(metadata={"description": "When a yes ends, if before the purpose says."})

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "allOf": [
            {
                "anyOf": [
                    {"properties": {"purpose": {"enum": _BY_CHANNEL}}, "required": ["channel"]},
                    {
                        "properties": {
                            "purpose": {"enum": _BY_CHANNEL},
                            "granted": {"const": False},
                        }
                    },
                    {
                        "properties": {"purpose": {"enum": _EVERYWHERE}},
                        "not": {"required": ["channel"]},
                    },
                    {"properties": {"purpose": {"not": {"enum": list(PURPOSES)}}}},
                ]
            },
            {
                "anyOf": [
                    {"properties": {"granted": {"const": False}}},
                    {"properties": {"objection": {"const": False}}},
                ]
            },
        ]
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """A channel where the purpose has channels, and only there; no yes that objects."""
        by_channel = data["purpose"] in PURPOSES_BY_CHANNEL
        if by_channel and data["granted"] and "channel" not in data:
            raise Mistake("Name the channel: marketing is agreed to channel by channel.", "channel")
        if data["purpose"] in _EVERYWHERE and "channel" in data:
            raise Mistake(f"{data['purpose']} has no channels.", "channel")
        if data["granted"] and data.get("objection"):
            raise Mistake("A yes is no objection.", "objection")


class GuardianSchema(Input):
    """Who agreed for a minor, and what shows it."""

    name = Text(120)
    relation = Text(60, metadata={"examples": ["parent"]})
    evidence = Evidence(required=True)


class ConsentsWriteSchema(Input):
    """What a member decided, and how."""

    decisions = Items(fields.Nested(DecisionSchema), 50, length_min=1, required=True)
    method = Choice(METHODS, load_default=UNSTATED)
    notice_version = Text(
        64, pattern=VERSION_PATTERN, metadata={"description": "The notice that the person saw."}
    )
    language = Text(5, pattern=LANGUAGE_PATTERN, metadata={"description": "In which language."})
    evidence = Evidence(metadata={"description": "What shows that it was given; kept sealed."})
    guardian = fields.Nested(
        GuardianSchema, metadata={"description": "Who agreed for a minor: with method guardian."}
    )
    decided_at = Moment(
        metadata={
            "description": "When it was decided, if not just now: a till that was offline. It "
            "never overrides what was decided later."
        }
    )

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "if": {"properties": {"method": {"const": "guardian"}}, "required": ["method"]},
        "then": {"required": ["guardian"]},
        "else": {"not": {"required": ["guardian"]}},
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """A guardian where one decided, and only there."""
        if (data.get("method") == "guardian") != ("guardian" in data):
            raise Mistake("Is needed with the method guardian, and only there.", "guardian")


class FlagSchema(Output):
    """What holds now for a purpose, and channel where it has channels."""

    purpose = fields.String(required=True)
    channel = fields.String(allow_none=True, required=True)
    granted = fields.Boolean(
        required=True, metadata={"description": "Whether the use is allowed at this moment."}
    )
    status = fields.String(
        allow_none=True,
        required=True,
        metadata={"enum": [*STATUSES, None], "description": "Null: never asked."},
    )
    decided_at = Instant(allow_none=True, required=True)
    expires_at = Instant(allow_none=True, required=True)


class DecidedSchema(Output):
    """One decision of a record. `status` is where it left the purpose at that time."""

    purpose = fields.String(required=True)
    channel = fields.String(allow_none=True, required=True)
    granted = fields.Boolean(required=True, metadata={"description": "What the member said."})
    status = fields.String(required=True, metadata={"enum": list(STATUSES)})
    expires_at = Instant(allow_none=True, required=True)


class ConsentsSchema(Output):
    """What a member agrees to now. What was never asked stands as not granted."""

    member_id = fields.String(required=True)
    restricted = fields.Boolean(
        required=True, metadata={"description": "Art. 18 GDPR: then nothing is granted."}
    )
    consents = fields.List(fields.Nested(FlagSchema), required=True)


class RecordSchema(Output):
    """One record: who decided what, when, how, on which notice, and its place in the chain."""

    id = fields.String(required=True)
    member_id = fields.String(required=True)
    seq = fields.Integer(required=True)
    kind = fields.String(required=True)
    decisions = fields.List(fields.Nested(DecidedSchema), required=True)
    consents = fields.List(fields.Nested(FlagSchema), required=True)
    restricted = fields.Boolean(required=True)
    method = fields.String(required=True, metadata={"enum": list(METHODS)})
    notice_version = fields.String(allow_none=True, required=True)
    language = fields.String(allow_none=True, required=True)
    evidence = fields.Dict(allow_none=True, required=True)
    decided_at = Instant(required=True)
    recorded_at = Instant(required=True)
    recorded_by = fields.String(required=True)
    hash = fields.String(required=True, metadata={"description": "SHA-256 of the record."})
    previous = fields.String(
        required=True, metadata={"description": "That of the one before; empty in the first."}
    )


class RecordsSchema(Output):
    """A page of records, newest first."""

    records = fields.List(fields.Nested(RecordSchema), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class PageSchema(Input):
    """Which page of a list."""

    limit = QueryWhole(1, 200, load_default=50)
    cursor = Text(64, pattern="^[A-Za-z0-9_-]+$")


class AgeSchema(Input):
    """When and where a member was born."""

    country = Text(
        2, length_min=2, pattern="^[A-Z]{2}$", form="a country, such as FR", required=True
    )
    born_on = Text(
        10, length_min=10, pattern=DAY_PATTERN, form="a day, such as 2010-05-31", required=True
    )
    method = Choice(METHODS, load_default=UNSTATED)


class ShownAgeSchema(Output):
    """What follows from an age; the day of birth is not shown."""

    member_id = fields.String(required=True)
    is_minor = fields.Boolean(required=True)
    adult_from = Instant(allow_none=True, required=True)


class ConfirmSchema(Input):
    """The token of a confirmation's link."""

    token = Text(LINK_CHARS_MAX, pattern=LINK_PATTERN, required=True)


class ConfirmedSchema(Output):
    """What was confirmed."""

    purpose = fields.String(required=True)
    channel = fields.String(allow_none=True, required=True)
    confirmed_at = Instant(required=True)


class DueQuerySchema(Input):
    """Of which purpose, and how soon."""

    purpose = Text(40, pattern=PURPOSE_PATTERN, required=True)
    channel = Choice(MARKETING_CHANNELS)
    within_days = QueryWhole(0, 365, load_default=30)
    limit = QueryWhole(1, 1000, load_default=200)
    cursor = Text(34, pattern=MEMBER_ID_PATTERN, load_default="")


class DueMemberSchema(Output):
    """A member to ask again, and why."""

    member_id = fields.String(required=True)
    reason = fields.String(
        required=True, metadata={"enum": ["expired", "expires", "new_notice", "refused_long_ago"]}
    )
    decided_at = Instant(required=True)
    expires_at = Instant(allow_none=True, required=True)


class DueSchema(Output):
    """A page of members to ask again."""

    members = fields.List(fields.Nested(DueMemberSchema), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class ImportLineSchema(PartySchema):
    """One member's decisions from before, with where they come from."""

    decisions = Items(fields.Nested(DecisionSchema), 50, length_min=1, required=True)
    decided_at = Moment(required=True)
    source = Text(200, required=True, metadata={"examples": ["old newsletter tool, export of May"]})
    notice_version = Text(64, pattern=VERSION_PATTERN)
    language = Text(5, pattern=LANGUAGE_PATTERN)
    notice_reference = Text(
        2000, metadata={"description": "Where the words are that the person saw, if not here."}
    )
    evidence = Evidence()


class ImportProblemSchema(Output):
    """Why a line was refused."""

    code = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    errors = fields.List(fields.Nested(FieldErrorSchema))


class ImportVerdictSchema(Output):
    """What became of one line. A decision that something later outweighs keeps that status."""

    line = fields.Integer(required=True)
    status = fields.String(required=True, metadata={"enum": ["recorded", "replayed", "refused"]})
    record_id = fields.String()
    decisions = fields.List(fields.Nested(DecidedSchema))
    problem = fields.Nested(ImportProblemSchema)


class PurposeTextSchema(Input):
    """What a person reads about a purpose."""

    title = Text(120, required=True)
    description = Text(2000, required=True)
    benefit = Text(2000, required=True, metadata={"description": "What it gives the member."})


class _PurposeText(Strict, fields.Nested):
    def __init__(self) -> None:
        super().__init__(PurposeTextSchema)

    def read(self, value: Any) -> Any:
        """The texts of one language."""
        return self.schema.load(value)


class PurposeSchema(Input):
    """A purpose: what data is used for, on what basis, and how it is asked for."""

    name = Text(40, pattern=PURPOSE_PATTERN, required=True)
    basis = Choice(BASES, required=True)
    article = Text(20, pattern=r"^[0-9]{1,2}(\([0-9a-z]{1,2}\)){0,3}$", required=True)
    channels = Items(Choice(MARKETING_CHANNELS), len(MARKETING_CHANNELS), load_default=list)
    texts = Texts(_PurposeText(), required=True)
    retention = Text(8, pattern=DURATION_PATTERN, form="a duration, such as P3Y", required=True)
    data = Items(Text(40, pattern="^[a-z][a-z0-9_]*$"), 30, load_default=list)
    dpv = Text(80, pattern="^[a-z-]+:[A-Za-z0-9-]+$", load_default="dpv:Purpose")
    minors = Choice(MINORS, load_default="guardian")
    unknown_age = Choice(("allowed", "refused"), load_default="allowed")
    expires_in_months = Whole(1, MONTHS_MAX, allow_none=True, load_default=None)
    ask_again_after_months = Whole(0, MONTHS_MAX, load_default=6)
    double_opt_in = Items(Choice(MARKETING_CHANNELS), len(MARKETING_CHANNELS), load_default=list)


class PurposesWriteSchema(Input):
    """Purposes to insert or replace, each as a whole."""

    purposes = Items(fields.Nested(PurposeSchema), PURPOSES_MAX, length_min=1, required=True)


class ShownPurposeTextSchema(Output):
    """What a person reads about a purpose."""

    title = fields.String(required=True)
    description = fields.String(required=True)
    benefit = fields.String(required=True)


class ShownPurposeSchema(Output):
    """A purpose."""

    name = fields.String(required=True)
    basis = fields.String(required=True, metadata={"enum": list(BASES)})
    article = fields.String(required=True)
    channels = fields.List(fields.String(), required=True)
    texts = fields.Dict(
        keys=fields.String(), values=fields.Nested(ShownPurposeTextSchema), required=True
    )
    retention = fields.String(required=True)
    data = fields.List(fields.String(), required=True)
    dpv = fields.String(required=True)
    minors = fields.String(required=True, metadata={"enum": list(MINORS)})
    unknown_age = fields.String(required=True)
    expires_in_months = fields.Integer(allow_none=True, required=True)
    ask_again_after_months = fields.Integer(required=True)
    double_opt_in = fields.List(fields.String(), required=True)


class PurposesSchema(Output):
    """Every purpose, the built-in ones first."""

    purposes = fields.List(fields.Nested(ShownPurposeSchema), required=True)


class NoticeWriteSchema(Input):
    """The exact words of the next notice, by language."""

    version = Text(
        64, pattern=VERSION_PATTERN, metadata={"description": "Its name; its number if absent."}
    )
    texts = Texts(Words(), required=True)
    purposes = Items(
        Text(40, pattern=PURPOSE_PATTERN),
        PURPOSES_MAX,
        load_default=list,
        metadata={"description": "What it changes the words of; empty: of all."},
    )


class NoticeSchema(Output):
    """One version of the notice."""

    version = fields.String(required=True)
    number = fields.Integer(required=True)
    texts = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    sha256 = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    purposes = fields.List(fields.String(), required=True)
    published_at = Instant(required=True)
    published_by = fields.String(required=True)


class NoticeHeadSchema(Output):
    """A version of the notice without its words."""

    version = fields.String(required=True)
    number = fields.Integer(required=True)
    sha256 = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    purposes = fields.List(fields.String(), required=True)
    published_at = Instant(required=True)
    published_by = fields.String(required=True)


class NoticesSchema(Output):
    """A page of versions, newest first."""

    notices = fields.List(fields.Nested(NoticeHeadSchema), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class GpcSchema(Output):
    """What the specification of Global Privacy Control asks a site to say of itself."""

    gpc = fields.Boolean(required=True)
    lastUpdate = fields.String(required=True)  # noqa: N815  # the specification's name
