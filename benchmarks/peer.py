"""The peer: a bare Flask over the same database calls, under the same gunicorn settings.

No validation, no rules, no authentication, no metrics, no log: what is left is what any Flask
service of this kind has to pay. Its paths are Carnet's, so that one plan of load serves both.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from flask import Flask, request

from benchmarks.bare import Bare
from loyalty.catalogue.store import CatalogueStore
from loyalty.kit.mongo import connect, open_database
from loyalty.kit.settings import Settings
from recommend.artefact import Shelf
from recommend.due import DAY_SECONDS, WAITING_DAYS_MAX, bought_since
from recommend.model import positions, rank
from recommend.taste import Context, Signal

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from recommend.model import History, Model


def create_app() -> Flask:
    """The peer, over the database that the settings name."""
    app = Flask("peer", static_folder=None)
    settings = Settings.from_environment()
    timeout_seconds = settings.database_timeout_seconds
    client = connect(settings.mongodb_uri, timeout_seconds=timeout_seconds)
    database = open_database(client, settings.database)
    bare = Bare(database)
    _write(app, bare)
    _read(app, bare)
    catalogue = CatalogueStore(database, timeout_seconds=timeout_seconds)
    _recommend(app, bare, Shelf(settings.model_dir), catalogue)
    return app


def _write(app: Flask, bare: Bare) -> None:
    @app.post("/v1/purchases")
    def award() -> ResponseReturnValue:
        body = request.get_json()
        entry = bare.award(body["member"], f"{body['channel']}/{body['external_id']}")
        points = [{"rule": each["rule"], "points": each["points"]} for each in entry["postings"]]
        answer = {"entry_id": str(entry["_id"]), "seq": entry["seq"], "postings": points}
        return answer, 201


def _read(app: Flask, bare: Bare) -> None:
    @app.get("/v1/members/<member>/points")
    def points(member: str) -> ResponseReturnValue:
        head = bare.head(member)
        if head is None:
            return {"error": "not found"}, 404
        lots = head["state"]["lots"]
        return {
            "member_id": member,
            "balance": sum(points for _, points in lots),
            "lots": [
                {"points": points, "expires_at": expires_at.isoformat()}
                for expires_at, points in lots
            ],
        }


def _agrees(flags: dict[str, Any]) -> bool:
    return bool(flags.get("personalisation", {}).get("s") == "granted")


def _resting(model: Model, taste: History) -> frozenset[str]:
    """What was bought too short a time ago, by the item's interval: one look-up in the model."""
    at = time.time()
    last = bought_since(taste, at - WAITING_DAYS_MAX * DAY_SECONDS)
    skus = list(last) if len(model.items) else []
    days = model.rebuy_days[positions(model, skus)]
    return frozenset(
        sku for sku, each in zip(skus, days, strict=True) if at - last[sku] < each * DAY_SECONDS
    )


def _recommend(app: Flask, bare: Bare, shelf: Shelf, catalogue: CatalogueStore) -> None:
    @app.get("/v1/members/<member>/recommendations")
    def recommendations(member: str) -> ResponseReturnValue:
        flags = bare.flags(member)
        model = shelf.model()
        if model is None or flags is None or not _agrees(flags["flags"]):
            return {"error": "not found"}, 404
        taste = [
            (each["occurred_at"].timestamp(), tuple(x["sku"] for x in each["activity"]["lines"]))
            for each in reversed(bare.history(member))
        ]
        signals = tuple(
            Signal(each["at"].timestamp(), each["kind"], sku)
            for each in reversed(bare.feedback(member))
            for sku in each["skus"]
        )
        places = (f"channel:{request.args['channel']}",)
        hidden = catalogue.restrictions().hidden | _resting(model, taste)
        context = Context(time.time(), signals=signals)
        limit = int(request.args["limit"])
        picks = rank(model, taste, places, limit, exclude=hidden, context=context)
        products = catalogue.products([each.sku for each in picks])
        return {
            "items": [
                {
                    "sku": each.sku,
                    "name": getattr(products.get(each.sku), "name", None),
                    "score": each.score,
                }
                for each in picks
            ]
        }
