"""The shapes of the register on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.kit.fields import Moment, Text
from loyalty.kit.schemas import Input, Output


class ControllerWriteSchema(Input):
    """Whose register it is (Art. 30(1)(a))."""

    name = Text(200, required=True)
    contact = Text(500, required=True)
    country = Text(
        2,
        length_min=2,
        pattern="^[A-Z]{2}$",
        form="a country of ISO 3166-1, such as FR",
        metadata={"description": "Where the controller is: receipts name it as jurisdiction."},
    )
    representative = Text(500, metadata={"description": "In the Union (Art. 27), if needed."})
    data_protection_officer = Text(500)


class ControllerSchema(Output):
    """Whose register it is; empty until it is set."""

    name = fields.String()
    contact = fields.String()
    country = fields.String()
    representative = fields.String()
    data_protection_officer = fields.String()


class RecipientSchema(Output):
    """An API key that can be shown data for a purpose."""

    key_id = fields.String(required=True)
    name = fields.String(required=True)
    scopes = fields.List(fields.String(), required=True)


class RegisterPurposeSchema(Output):
    """A processing activity: one purpose."""

    name = fields.String(required=True)
    text = fields.String(required=True)
    basis = fields.String(required=True)
    article = fields.String(required=True)
    channels = fields.List(fields.String(), required=True)
    subjects = fields.String(required=True)
    categories = fields.List(fields.String(), required=True)
    scopes = fields.List(fields.String(), required=True)
    recipients = fields.List(fields.Nested(RecipientSchema), required=True)
    kept = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


class CategorySchema(Output):
    """A category of data."""

    name = fields.String(required=True)
    text = fields.String(required=True)
    is_personal = fields.Boolean(required=True)
    kept = fields.String(required=True)
    protection = fields.String(required=True)
    collections = fields.List(fields.String(), required=True)


class RegisterSchema(Output):
    """The register of processing activities."""

    at = Moment(required=True)
    controller = fields.Nested(ControllerSchema, required=True)
    purposes = fields.List(fields.Nested(RegisterPurposeSchema), required=True)
    categories = fields.List(fields.Nested(CategorySchema), required=True)
    transfers = fields.String(required=True)
    measures = fields.List(fields.String(), required=True)
