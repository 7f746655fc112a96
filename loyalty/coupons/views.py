"""Coupons over HTTP. A code is a bearer secret: it comes in bodies only and is never sent back."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import orjson
from flask import Response, g, request

from loyalty.access.model import BoundKeyError
from loyalty.consent.schemas import PageSchema
from loyalty.coupons import service
from loyalty.coupons.model import (
    CampaignEndedError,
    CampaignFullError,
    CampaignNotFoundError,
    CampaignPeriodError,
    CouponBasketError,
    CouponChannelError,
    CouponExpiredError,
    CouponForgedError,
    CouponMistypedError,
    CouponNeedsMemberError,
    CouponNotStartedError,
    CouponStoreError,
    CouponUsedError,
    CouponWornError,
    RedemptionNotFoundError,
)
from loyalty.coupons.schemas import (
    CountedCouponCampaignSchema,
    CouponCampaignSchema,
    CouponCampaignsSchema,
    CouponCampaignWriteSchema,
    CouponCheckSchema,
    CouponCodesWriteSchema,
    CouponConflictsSchema,
    CouponKeySchema,
    CouponRedeemSchema,
    CouponRedemptionSchema,
    CouponVoidSchema,
    LookedSchema,
)
from loyalty.coupons.service import Coupons
from loyalty.journal.model import (
    InFutureError,
    InsufficientPointsError,
    MemberBusyError,
    PointsOutOfRangeError,
    UnknownUnitError,
)
from loyalty.kit import cursor
from loyalty.kit.clock import now
from loyalty.kit.cursor import UnknownCursorError
from loyalty.kit.http import (
    NDJSON_TYPE,
    ORJSON_OPTIONS,
    Answer,
    Blueprint,
    answer,
    idempotency_key,
    provided,
    replayed,
)
from loyalty.kit.idempotency import KeyReusedError
from loyalty.members.model import MemberNotFoundError
from loyalty.versions.model import NoProgramError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loyalty.coupons.model import Campaign
    from loyalty.coupons.service import Looked, SignedCode

blp = Blueprint("coupons", __name__, description="Coupons whose codes are used once, anywhere.")

CSV_TYPE = "text/csv"
# What a till holds has a bound; a coupon of a campaign beyond it is checked with the network.
RUNNING_MAX = 1000
_CHUNK = 256

_WRITE = {
    "id": "spring-2026",
    "name": "Five euros in spring",
    "benefit": {"type": "amount_off", "amount": 500, "currency": "EUR"},
    "starts_at": "2026-03-01T00:00:00+01:00",
    "ends_at": "2026-04-01T00:00:00+02:00",
    "channels": ["store", "web"],
    "stores": [],
    "basket_min_amount": 2500,
}
_CAMPAIGN = {
    **_WRITE,
    "number": 1,
    "starts_at": "2026-02-28T23:00:00Z",
    "ends_at": "2026-03-31T22:00:00Z",
    "created_at": "2026-02-20T08:00:00Z",
}
# A real one, under the key of the examples.
_CODE = (
    "42G000100000AJG7ZDT1YB6XW76XV300EJGQKF04AMX22TTYKMDBQG9VTN8T"
    "XHJQXPQNPGSQ3SJXJP7VA23B2C425JYKF38HYPR14FVV67EQQR29PQGF207W"
)
_SHORT_CODE = "00010-0001A-V6H0T-EA3B0"
_PUBLIC_KEY = "XK/n4k16zKzuAn0dhWg4pmW1rcRI6rUhAx5uj+sMhuE="
_PUBLIC_KEY_PEM = (
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEAXK/n4k16zKzuAn0dhWg4pmW1rcRI6rUhAx5uj+sMhuE=\n"
    "-----END PUBLIC KEY-----\n"
)
_USED = {"channel": "store", "store": "S1", "occurred_at": "2026-03-02T09:30:00Z"}
_REDEMPTION = {
    **_USED,
    "id": "1-42-00",
    "campaign": "spring-2026",
    "serial": 42,
    "benefit": _WRITE["benefit"],
}
_SHOWN = {"code": _SHORT_CODE, "channel": "store", "store": "S1", "basket_amount": 3190}
_CODES = f'{{"serial":42,"code":"{_CODE}","short_code":"{_SHORT_CODE}"}}\n'
_CODES_CSV = f"serial,code,short_code\r\n42,{_CODE},{_SHORT_CODE}\r\n"
_REFUSALS = (
    CouponMistypedError,
    CouponForgedError,
    CouponNotStartedError,
    CouponExpiredError,
    CouponChannelError,
    CouponStoreError,
    CouponBasketError,
    CouponUsedError,
    CouponWornError,
    CouponNeedsMemberError,
)


def _campaign(campaign: Campaign) -> dict[str, Any]:
    return {
        "id": campaign.id,
        "number": campaign.number,
        "name": campaign.name,
        "benefit": campaign.benefit,
        "starts_at": campaign.starts_at,
        "ends_at": campaign.ends_at,
        "channels": campaign.channels,
        "stores": campaign.stores,
        "basket_min_amount": campaign.basket_min_amount,
        "created_at": campaign.created_at,
    }


@blp.route("/coupons/campaigns", methods=["POST"])
@blp.requires("coupons:write")
@blp.idempotent()
@blp.arguments(CouponCampaignWriteSchema, example=_WRITE)
@blp.response(201, CouponCampaignSchema, example=_CAMPAIGN)
@blp.raises(CampaignPeriodError, CampaignFullError, KeyReusedError)
def post_campaign(body: dict[str, Any]) -> Answer:
    """Make a campaign of coupons.

    It never changes: tills without a network hold it as it is. The same `id` with the same body
    again gets the same answer; with another body it is refused.
    """
    made = service.make_campaign(
        body, at=now(), request_key=idempotency_key(), coupons=provided(Coupons)
    )
    return replayed(_campaign(made.campaign), 201, is_replay=made.is_replay)


@blp.route("/coupons/campaigns", methods=["GET"])
@blp.requires("coupons:read")
@blp.arguments(PageSchema, location="query")
@blp.response(200, CouponCampaignsSchema, example={"campaigns": [_CAMPAIGN], "next_cursor": None})
@blp.raises(UnknownCursorError)
def list_campaigns(query: dict[str, Any]) -> Answer:
    """List campaigns, newest first."""
    limit = query["limit"]
    store = provided(Coupons).store
    found = store.campaigns(before=cursor.read(query.get("cursor")), limit=limit)
    more = len(found) == limit and found[-1].number > 1
    return answer(
        {
            "campaigns": [_campaign(each) for each in found],
            "next_cursor": cursor.write(found[-1].number) if more else None,
        }
    )


@blp.route("/coupons/campaigns/<campaign_id>")
@blp.requires("coupons:read")
@blp.response(
    200, CountedCouponCampaignSchema, example={**_CAMPAIGN, "codes_made": 5000, "codes_used": 311}
)
@blp.raises(CampaignNotFoundError)
def show_campaign(campaign_id: str) -> Answer:
    """Read a campaign, with how many codes were made and how many are used."""
    coupons = provided(Coupons)
    campaign = service.campaign_of(campaign_id, coupons)
    counts = {
        "codes_made": coupons.store.made(campaign.number),
        "codes_used": coupons.store.used(campaign.number),
    }
    return answer({**_campaign(campaign), **counts})


@blp.route("/coupons/campaigns/<campaign_id>/codes", methods=["POST"])
@blp.requires("coupons:write")
@blp.arguments(CouponCodesWriteSchema, example={"batch": "mailing-7", "count": 5000})
@blp.response(201, {"type": "string"}, content_type=NDJSON_TYPE, example=_CODES)
@blp.doc(
    responses={
        201: {"content": {CSV_TYPE: {"schema": {"type": "string"}, "example": _CODES_CSV}}},
    }
)
@blp.raises(CampaignNotFoundError, CampaignEndedError, CampaignFullError, KeyReusedError)
def post_codes(body: dict[str, Any], campaign_id: str) -> Answer:
    """Make codes in bulk.

    A stream of NDJSON, or of CSV if `Accept` asks for `text/csv`, a coupon a line in two spellings:
    `code` goes into a QR code and can be checked without a network, `short_code` is for people. The
    codes are kept nowhere: if the stream breaks, send the same `batch` again and get the same ones.
    """
    coupons = provided(Coupons)
    made = service.make_batch(campaign_id, body, at=now(), coupons=coupons)
    kinds = [NDJSON_TYPE, CSV_TYPE]
    kind = request.accept_mimetypes.best_match(kinds, default=NDJSON_TYPE)
    codes = service.codes_of(made, coupons.mint)
    lines = _csv_lines(codes) if kind == CSV_TYPE else _ndjson_lines(codes)
    response = Response(_chunks(lines), 201, content_type=kind)
    if made.is_replay:
        response.headers.add("Idempotent-Replay", "true")
    return response


def _ndjson_lines(codes: Iterable[SignedCode]) -> Iterator[bytes]:
    for each in codes:
        yield orjson.dumps(each._asdict()) + b"\n"


def _csv_lines(codes: Iterable[SignedCode]) -> Iterator[bytes]:
    yield b"serial,code,short_code\r\n"
    for each in codes:
        yield f"{each.serial},{each.code},{each.short_code}\r\n".encode()


def _chunks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces: each piece is a write to the socket."""
    chunk: list[bytes] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == _CHUNK:
            yield b"".join(chunk)
            chunk.clear()
    yield b"".join(chunk)


@blp.route("/coupons/campaigns/<campaign_id>/conflicts")
@blp.requires("coupons:read", purpose="loyalty_programme")
@blp.arguments(PageSchema, location="query")
@blp.response(
    200,
    CouponConflictsSchema,
    example={
        "conflicts": [
            {
                "serial": 42,
                "first": {**_USED, "redemption_id": "1-42-00"},
                "second": {**_USED, "store": "S2", "external_id": "R-77-1"},
                "recorded_at": "2026-03-02T18:00:00Z",
            }
        ],
        "next_cursor": None,
    },
)
@blp.raises(CampaignNotFoundError, UnknownCursorError)
def list_conflicts(query: dict[str, Any], campaign_id: str) -> Answer:
    """List coupons that two tills took while they had no network, newest first.

    The use that reached the service first counts. The campaign's first ten thousand conflicts are
    kept.
    """
    store, limit = provided(Coupons).store, query["limit"]
    number = service.campaign_of(campaign_id, provided(Coupons)).number
    before = cursor.read(query.get("cursor"))
    found = store.conflicts(number, before=before, limit=limit)
    last = [each.pop("seq") for each in found][-1:]
    more = len(found) == limit and last[0] > 1
    return answer({"conflicts": found, "next_cursor": cursor.write(last[0]) if more else None})


@blp.route("/coupons/key")
@blp.requires("coupons:read", "coupons:redeem")
@blp.response(
    200,
    CouponKeySchema,
    example={
        "algorithm": "Ed25519",
        "key_id": 5,
        "public_key": _PUBLIC_KEY,
        "public_key_pem": _PUBLIC_KEY_PEM,
        "campaigns": [_CAMPAIGN],
    },
)
@blp.alt_response(304, description="Nothing has changed since the `ETag` of `If-None-Match`.")
@blp.raises()
def show_key() -> Answer:
    """Read what a till needs to check codes without a network.

    The public key and the limits of the campaigns that are not over, at most the thousand that end
    first. Keep the answer and send its `ETag` as `If-None-Match`: as long as nothing changes the
    answer is an empty 304.
    """
    coupons = provided(Coupons)
    running = coupons.store.running(at=now(), limit=RUNNING_MAX)
    body = {
        "algorithm": "Ed25519",
        "key_id": coupons.mint.key_id,
        "public_key": base64.b64encode(coupons.mint.public_key).decode(),
        "public_key_pem": coupons.mint.public_key_pem,
        "campaigns": [_campaign(each) for each in running],
    }
    response = answer(body)
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(hashlib.sha256(orjson.dumps(body, option=ORJSON_OPTIONS)).hexdigest())
    response.make_conditional(request)
    return response


@blp.route("/coupons/check", methods=["POST"])
@blp.requires("coupons:redeem", purpose="loyalty_programme")
@blp.arguments(CouponCheckSchema, example=_SHOWN)
@blp.response(
    200,
    LookedSchema,
    example={
        "valid": True,
        "reason": None,
        "detail": None,
        "coupon": {
            "campaign": "spring-2026",
            "serial": 42,
            "benefit": _WRITE["benefit"],
            "ends_at": "2026-03-31T22:00:00Z",
        },
    },
)
@blp.raises(BoundKeyError)
def check(body: dict[str, Any]) -> Answer:
    """Ask whether a code counts here and now, and if not, why.

    Writes nothing and promises nothing: only a redemption takes the coupon.
    """
    looked = service.look(body, caller=g.caller, at=now(), coupons=provided(Coupons))
    refusal = looked.refusal
    return answer(
        {
            "valid": refusal is None,
            "reason": refusal.code if refusal else None,
            "detail": refusal.detail if refusal else None,
            "coupon": _coupon(looked),
        }
    )


def _coupon(looked: Looked) -> dict[str, Any] | None:
    if looked.coupon is None or looked.campaign is None:
        return None
    return {
        "campaign": looked.campaign.id,
        "serial": looked.coupon.serial,
        "benefit": looked.campaign.benefit,
        "ends_at": looked.campaign.ends_at,
    }


@blp.route("/coupons/redemptions", methods=["POST"])
@blp.requires("coupons:redeem", purpose="loyalty_programme")
@blp.arguments(CouponRedeemSchema, example={**_SHOWN, "external_id": "R-20260302-0042-1"})
@blp.response(201, CouponRedemptionSchema, example=_REDEMPTION)
@blp.raises(
    *_REFUSALS,
    CampaignNotFoundError,
    MemberNotFoundError,
    InFutureError,
    BoundKeyError,
    KeyReusedError,
    UnknownUnitError,
    NoProgramError,
    MemberBusyError,
    PointsOutOfRangeError,
)
def post_redemption(body: dict[str, Any]) -> Answer:
    """Use a coupon, once across all channels.

    A retry with the same `external_id` gets the same answer with `Idempotent-Replay: true`. A till
    that took the coupon without a network says when in `occurred_at`; if another was faster, the
    answer is `coupon_used` and the campaign's conflicts show both.
    """
    done = service.redeem(body, caller=g.caller, at=now(), coupons=provided(Coupons))
    move = done.move
    redemption = {
        "id": move.id,
        "campaign": done.campaign.id,
        "serial": move.coupon.serial,
        "benefit": done.campaign.benefit,
        "channel": move.channel,
        "store": move.store,
        "occurred_at": move.occurred_at,
    }
    return replayed(redemption, 201, is_replay=done.is_replay)


@blp.route("/coupons/redemptions/<redemption_id>/void", methods=["POST"])
@blp.requires("coupons:redeem", purpose="loyalty_programme")
@blp.response(
    201,
    CouponVoidSchema,
    example={
        "redemption_id": "1-42-00",
        "campaign": "spring-2026",
        "serial": 42,
        "voided_at": "2026-03-02T10:00:00Z",
    },
)
@blp.raises(
    RedemptionNotFoundError,
    CampaignNotFoundError,
    BoundKeyError,
    InsufficientPointsError,
    MemberBusyError,
    NoProgramError,
)
def void(redemption_id: str) -> Answer:
    """Give a coupon back, as after a cancelled purchase; it can be used again.

    Has no body. Sent again, it has no second effect, even if the coupon has been used since.
    """
    done = service.void(redemption_id, caller=g.caller, at=now(), coupons=provided(Coupons))
    body = {
        "redemption_id": redemption_id,
        "campaign": done.campaign.id,
        "serial": done.move.coupon.serial,
        "voided_at": done.move.occurred_at,
    }
    return replayed(body, 201, is_replay=done.is_replay)
