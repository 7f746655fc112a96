"""The register of processing over HTTP: as JSON, as a page, and for a spreadsheet."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from flask import current_app

from loyalty.access.store import KeyStore
from loyalty.consent.store import ConsentStore
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, access_of, provided
from loyalty.kit.pages import HTML_TYPE, documented, page, sheet, wanted
from loyalty.kit.sheets import CSV_TYPE
from loyalty.register import service
from loyalty.register.model import purposes
from loyalty.register.schemas import ControllerSchema, ControllerWriteSchema, RegisterSchema
from loyalty.register.store import RegisterStore
from loyalty.register.tables import HEADER, rows_of
from loyalty.retention.store import RetentionStore

if TYPE_CHECKING:
    from flask import Flask

blp = Blueprint("register", __name__, description="The register of processing (Art. 30 GDPR).")

_CONTROLLER = {
    "name": "Meadow Grocers SARL",
    "contact": "1 Main Street, 75001 Paris, privacy@meadow.example",
}
_EXAMPLE = {
    "at": "2026-03-01T09:30:00Z",
    "controller": _CONTROLLER,
    "purposes": [
        {
            "name": "personalisation",
            "text": "choose what to show from what the member did",
            "basis": "consent",
            "article": "6(1)(a)",
            "channels": [],
            "subjects": "members of the loyalty programme",
            "categories": ["purchases"],
            "scopes": ["recommendations:read"],
            "recipients": [
                {"key_id": "k3y1d0000000", "name": "Web shop", "scopes": ["recommendations:read"]}
            ],
            "kept": {"purchases": "36 months without any activity"},
        }
    ],
    "categories": [
        {
            "name": "purchases",
            "text": "what was bought when, where and on which channel",
            "is_personal": True,
            "kept": "36 months without any activity",
            "protection": "readable only by keys with the scope for it",
            "collections": ["journal"],
        }
    ],
    "transfers": service.TRANSFERS,
    "measures": ["Consent is read live in every request; unknown means no."],
}


def scopes_by_purpose(app: Flask) -> dict[str, frozenset[str]]:
    """Which scopes open views that use data for each purpose, as the views themselves declare."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for view in app.view_functions.values():
        access = access_of(view)
        if access and access.purpose:
            own = dict(access.purpose_by_scope)
            found[access.purpose] |= set(access.scopes) - own.keys()
            for scope, purpose in own.items():
                found[purpose].add(scope)
    return {purpose: frozenset(scopes) for purpose, scopes in found.items()}


def body() -> dict[str, Any]:
    """The register of this application, now."""
    return service.register(
        at=now(),
        controller=provided(RegisterStore).controller(),
        purposes=purposes(provided(ConsentStore).purposes.all()),
        scopes_by_purpose=scopes_by_purpose(current_app),
        keys=provided(KeyStore).all(),
        rules=provided(RetentionStore).rules().rules,
    )


@blp.route("/privacy/register", methods=["GET"])
@blp.requires("privacy:read")
@blp.response(200, RegisterSchema, example=_EXAMPLE)
@blp.doc(responses={200: {"content": documented(HTML_TYPE, CSV_TYPE)}})
def show() -> Answer:
    """Read the register of processing activities.

    It is worked out from what is configured: the purposes, the categories of data by collection,
    the API keys that can be shown them, the rules of retention and the measures of security. With
    `Accept: text/html` as a page to print, with `Accept: text/csv` for a spreadsheet.
    """
    found, kind = body(), wanted(HTML_TYPE, CSV_TYPE)
    if kind == HTML_TYPE:
        return page("register/page.html", **found)
    if kind == CSV_TYPE:
        return sheet("register", HEADER, rows_of(found))
    return found


@blp.route("/privacy/register/controller", methods=["PUT"])
@blp.requires("privacy:write")
@blp.arguments(ControllerWriteSchema, example=_CONTROLLER)
@blp.response(200, ControllerSchema, example=_CONTROLLER)
def name_controller(body: dict[str, Any]) -> Answer:
    """Say whose register it is: name and contact of the controller, and who speaks for it."""
    provided(RegisterStore).set_controller(body)
    return body
