"""The shapes of products and stores on the wire."""

from __future__ import annotations

import math
from typing import Any
from zoneinfo import available_timezones

from marshmallow import ValidationError as Mistake
from marshmallow import fields, validate

from loyalty.kit.fields import Amount, Flag, Text
from loyalty.kit.schemas import Input, Output

# Part of the key under which a receipt exists once, so without the separator of such keys.
STORE_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._:-]*$"


class PriceSchema(Input):
    """What it costs."""

    amount = Amount(required=True, metadata={"description": "Minor units."})
    currency = Text(3, pattern="^[A-Z]{3}$", required=True)


class ProductSchema(Input):
    """A product: one line of the NDJSON body."""

    sku = Text(64, required=True)
    name = Text(200, required=True)
    category = Text(200, length_min=0, load_default="", metadata={"examples": ["Dairy/Milk"]})
    brand = Text(100, length_min=0, load_default="")
    price = fields.Nested(PriceSchema, load_default=None)
    image_url = Text(500, pattern=r"^https?://[!-~]+$", load_default=None)
    url = Text(
        500,
        pattern=r"^https?://[!-~]+$",
        load_default=None,
        metadata={"description": "Its page in the web shop, for links in e-mails."},
    )
    sensitive = Flag(load_default=False)
    rebuyable = Flag(load_default=True)
    available = Flag(load_default=True)


class _Degrees(fields.Float):
    def __init__(self, limit: int) -> None:
        super().__init__(validate=validate.Range(-limit, limit), load_default=None)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if type(value) not in (int, float) or math.isnan(value):
            raise Mistake("Must be a number.")
        return float(value)


class StoreSchema(Input):
    """A store: one line of the NDJSON body."""

    id = Text(64, pattern=STORE_PATTERN, required=True)
    name = Text(200, required=True)
    time_zone = Text(64, load_default="UTC")
    latitude = _Degrees(90)
    longitude = _Degrees(180)


class UpsertedSchema(Output):
    """How many lines were written."""

    written = fields.Integer(required=True)


def zone_exists(name: str) -> bool:
    """Whether the name is one of the IANA time zones."""
    return name in available_timezones()
