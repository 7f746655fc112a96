"""The rules of what is shown, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import g
from werkzeug.routing import BaseConverter

from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, provided
from recommend.merchandising import service
from recommend.merchandising.model import (
    InvalidRulesError,
    RulesNotFoundError,
    StaleRulesError,
    TooManyRuleSetsError,
)
from recommend.merchandising.schemas import (
    PutRulesSchema,
    RuleSetSchema,
    RuleSetsSchema,
    VersionQuerySchema,
)
from recommend.merchandising.store import RuleStore

if TYPE_CHECKING:
    from recommend.merchandising.model import RuleSet

blp = Blueprint("merchandising", __name__, description="What the shop wants to be shown.")

_RULES = [
    {"id": "own-brand", "type": "boost", "match": {"brands": ["Meadow"]}, "factor": 1.5},
    {
        "id": "summer",
        "type": "pin",
        "match": {"tags": ["summer"]},
        "share": 0.2,
        "only": {"channels": ["web", "app"]},
        "starts_at": "2026-06-01T00:00:00Z",
        "ends_at": "2026-09-01T00:00:00Z",
    },
    {"id": "recalled", "type": "hide", "match": {"skus": ["cream-200"]}},
    {"id": "brands", "type": "at_most", "by": "brand", "n": 3},
    {"id": "mixed", "type": "diversity", "by": "category", "depth": 1, "strength": 0.3},
]
_EXAMPLE = {
    "name": "default",
    "version": 4,
    "put_at": "2026-03-01T09:30:00Z",
    "put_by": "k3y1d0000000",
    "rules": _RULES,
}


class RuleSetNameConverter(BaseConverter):
    """The name of a set of rules in a path."""

    regex = "[a-z][a-z0-9_-]{0,39}"


def _body(found: RuleSet) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": found.version,
        "put_at": found.put_at,
        "put_by": found.put_by,
        "rules": found.document["rules"],
    }


@blp.route("/merchandising")
@blp.requires("merchandising:read")
@blp.response(200, RuleSetsSchema, example={"sets": [{"name": "default", "version": 4}]})
@blp.raises()
def list_rule_sets() -> Answer:
    """List the sets of rules."""
    found = provided(RuleStore).names()
    return {"sets": [{"name": name, "version": version} for name, version in found.items()]}


@blp.route("/merchandising/<rule_set:name>", methods=["GET"])
@blp.requires("merchandising:read")
@blp.arguments(VersionQuerySchema, location="query")
@blp.response(200, RuleSetSchema, example=_EXAMPLE)
@blp.raises(RulesNotFoundError)
def show_rules(query: dict[str, Any], name: str) -> Answer:
    """Read a set of rules: the newest version, or any before it."""
    return _body(provided(RuleStore).get(name, query.get("version")))


@blp.route("/merchandising/<rule_set:name>", methods=["PUT"])
@blp.requires("merchandising:write")
@blp.arguments(PutRulesSchema, example={"rules": _RULES, "replaces": 3})
@blp.response(200, RuleSetSchema, example=_EXAMPLE)
# Not found: what cannot be the name of a set.
@blp.raises(InvalidRulesError, StaleRulesError, TooManyRuleSetsError, RulesNotFoundError)
def put_rules(body: dict[str, Any], name: str) -> Answer:
    """Put the next version of a set of rules.

    `default` is the set that recommendations go by. Every worker obeys within five seconds. Send
    `replaces` with the version that you read, and nobody else's change is lost; the same rules once
    more make no new version. Nothing pinned is shown that is hidden, out of stock or excluded.
    """
    found = service.put(
        name,
        {"rules": body["rules"]},
        replaces=body.get("replaces"),
        at=now(),
        by=g.caller.id,
        store=provided(RuleStore),
    )
    return _body(found)
