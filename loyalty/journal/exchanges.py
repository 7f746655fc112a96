"""Exchanges: goods come back and others go out, in one act at the till."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.access.model import speak_for
from loyalty.journal.appending import append_together
from loyalty.journal.drafts import replay
from loyalty.journal.model import key_of
from loyalty.journal.returns import draw_return
from loyalty.journal.service import Report, draw_purchase
from loyalty.kit.errors import ConflictError, NotFoundError
from loyalty.kit.idempotency import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.access.model import Caller
    from loyalty.journal.drafts import Draft, Recorded, Stores

_OF_THE_RETURN = frozenset({"external_id", "channel", "store", "occurred_at", "purchase"})


class Exchanged(NamedTuple):
    """Both entries: what came back, and what went out."""

    returned: Recorded
    bought: Recorded


def record_exchange(
    body: Mapping[str, Any], *, caller: Caller, at: datetime, stores: Stores
) -> Exchanged:
    """Take goods back and award those that go out instead, both or neither.

    Raises:
        PurchaseNotFoundError, ReturnExceedsPurchaseError, UnknownChannelError, WrongCurrencyError,
        InFutureError, PaymentExceedsTotalError, BoundKeyError, KeyReusedError,
        MemberBusyError: as they say.
    """
    store = speak_for(caller, body["channel"], body.get("store"))
    mark = fingerprint({**body, "store": store})
    keys = [
        key_of("return", body["channel"], store, body["external_id"]),
        key_of("purchase", body["channel"], store, body["external_id"]),
    ]
    try:
        drafts = _drafts(body, keys, mark, Report(body, store, keys[1], caller, at), stores)
    except (ConflictError, NotFoundError):
        seen = [stores.journal.by_key(key) for key in keys]
        if seen[0] and seen[1]:
            return Exchanged(replay(seen[0], mark), replay(seen[1], mark))
        raise
    return Exchanged(*append_together(drafts, stores))


def _drafts(
    body: Mapping[str, Any], keys: list[str], mark: str, report: Report, stores: Stores
) -> list[Draft]:
    back = {name: value for name, value in body.items() if name in _OF_THE_RETURN}
    if "returned" in body:
        back["lines"] = body["returned"]
    returned = draw_return(
        back, key=keys[0], mark=mark, caller=report.caller, at=report.at, stores=stores
    )
    out = {name: value for name, value in body.items() if name not in ("purchase", "returned")}
    # What goes out is for whoever bought what comes back, and not earlier than that comes back.
    out["member"] = returned.member_id
    out["occurred_at"] = returned.activity.occurred_at
    bought = draw_purchase(report._replace(body=out), stores)
    return [returned, replace(bought, fingerprint=mark)]
