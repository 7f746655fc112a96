"""The shapes of products and stores on the wire."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import available_timezones

from marshmallow import ValidationError as Mistake
from marshmallow import fields, validate

from loyalty.kit.fields import Amount, Flag, Instant, Items, Moment, Text, Whole
from loyalty.kit.schemas import Input, Output

if TYPE_CHECKING:
    from collections.abc import Mapping

# Part of the key under which a receipt exists once, so without the separator of such keys.
# As the programme names channels; it stands above the catalogue.
CHANNEL_PATTERN = "^[a-z][a-z0-9_-]*$"
TAGS_MAX = 20
QUANTITY_MAX = 10**9
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
    tags = Items(Text(40), TAGS_MAX, load_default=(), metadata={"examples": [["own-brand"]]})


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


class StockSchema(Input):
    """Stock of a product at a place: one line of the NDJSON body."""

    sku = Text(64, required=True)
    store = Text(64, pattern=STORE_PATTERN, metadata={"description": "At which store."})
    channel = Text(
        32,
        pattern=CHANNEL_PATTERN,
        metadata={"description": "On which channel. Without store and channel: everywhere."},
    )
    available = Flag()
    quantity = Whole(0, QUANTITY_MAX, metadata={"description": "0 says that it is sold out."})
    counted_at = Moment(
        metadata={"description": "Now if absent. An older count never undoes a newer one."}
    )

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "not": {"required": ["store", "channel"]},
        "oneOf": [{"required": ["available"]}, {"required": ["quantity"]}],
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """One place, and one way to say whether it is there."""
        if "store" in data and "channel" in data:
            raise Mistake("Give either store or channel.", "channel")
        if ("available" in data) == ("quantity" in data):
            raise Mistake("Give either available or quantity.", "available")


class StockQuerySchema(Input):
    """Of which product, where."""

    sku = Text(64, required=True)
    store = Text(64, pattern=STORE_PATTERN)
    channel = Text(32, pattern=CHANNEL_PATTERN)


class CountedSchema(Output):
    """What is known of a product at one place."""

    place = fields.String(required=True, metadata={"examples": ["store:S1"]})
    available = fields.Boolean(required=True)
    quantity = fields.Integer(required=True, allow_none=True)
    counted_at = Instant(required=True)


class ShownStockSchema(Output):
    """Whether a product can be had, and the counts that say so."""

    sku = fields.String(required=True)
    available = fields.Boolean(
        required=True, metadata={"description": "False if any of the counts says so."}
    )
    counts = fields.List(fields.Nested(CountedSchema), required=True)


class UpsertedSchema(Output):
    """How many lines were written."""

    written = fields.Integer(required=True)


def zone_exists(name: str) -> bool:
    """Whether the name is one of the IANA time zones."""
    return name in available_timezones()
