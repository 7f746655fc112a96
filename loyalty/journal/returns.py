"""Returns: find the purchase, and take back what of its points falls on what comes back.

What is left of the purchase, and what stood on it, is worked out when the entry is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty.access.model import speak_for
from loyalty.journal.appending import append
from loyalty.journal.codec import activity_to_document
from loyalty.journal.drafts import Draft, Recorded, Stores, replay
from loyalty.journal.model import PurchaseNotFoundError, key_of
from loyalty.journal.service import occurred, ruling
from loyalty.kit.errors import ConflictError, NotFoundError
from loyalty.members.service import fingerprint
from loyalty.program.model import Activity, Back

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.access.model import Caller
    from loyalty.journal.model import Entry


def record_return(
    body: Mapping[str, Any], *, caller: Caller, at: datetime, stores: Stores
) -> Recorded:
    """Take back the points of returned goods, at the rules of the purchase itself.

    Raises:
        PurchaseNotFoundError: the journal has no such purchase.
        ReturnExceedsPurchaseError: more comes back than is left of it.
        UnknownChannelError, InFutureError, BoundKeyError, KeyReusedError,
        MemberBusyError: as they say.
    """
    store = speak_for(caller, body["channel"], body.get("store"))
    key = key_of("return", body["channel"], store, body["external_id"])
    mark = fingerprint({**body, "store": store})
    try:
        draft = draw_return(body, key=key, mark=mark, caller=caller, at=at, stores=stores)
    except (ConflictError, NotFoundError):
        if seen := stores.journal.by_key(key):
            return replay(seen, mark)
        raise
    return append(draft, stores)


def draw_return(
    body: Mapping[str, Any],
    *,
    key: str,
    mark: str,
    caller: Caller,
    at: datetime,
    stores: Stores,
) -> Draft:
    """The draft of a return.

    Raises:
        PurchaseNotFoundError, UnknownChannelError, InFutureError: as they say.
    """
    occurred_at = occurred(body, at)
    ruling(body["channel"], occurred_at, stores)
    store = speak_for(caller, body["channel"], body.get("store"))
    purchase = _purchase(body, store, stores)
    lines = body.get("lines")
    back = Back(
        purchase.key,
        None if lines is None else tuple((each["sku"], each["quantity"]) for each in lines),
        body.get("amount"),
    )
    activity = Activity(
        "return",
        # A till whose clock is behind cannot take goods back before they were sold.
        max(occurred_at, purchase.occurred_at),
        body["channel"],
        store,
        key=key,
        back=back,
    )
    return Draft(
        member_id=purchase.member_id,
        key=key,
        fingerprint=mark,
        source=caller.id,
        received_at=at,
        activity=activity,
        document={**activity_to_document(activity), "external_id": body["external_id"]},
        program=stores.programs.version(purchase.program_version),
    )


def _purchase(body: Mapping[str, Any], store: str | None, stores: Stores) -> Entry:
    """The purchase that is named; without a channel it was made where the return is."""
    named = body["purchase"]
    channel = named.get("channel", body["channel"])
    bought_at = named.get("store", store if "channel" not in named else None)
    key = key_of("purchase", channel, bought_at, named["external_id"])
    purchase = stores.journal.by_key(key)
    if purchase is None:
        raise PurchaseNotFoundError
    return purchase
