"""What the register cannot work out by itself: whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo.database import Database

    from loyalty.kit.mongo import Document

_CONTROLLER = "controller"


class RegisterStore:
    """The collection `register`."""

    def __init__(self, database: Database[Document]) -> None:
        self._register = database["register"]

    def controller(self) -> Mapping[str, Any]:
        """Name and contact of the controller and of those who speak for it; empty if unknown."""
        found = self._register.find_one({"_id": _CONTROLLER}, {"_id": 0}) or {}
        return dict(found)

    def set_controller(self, controller: Mapping[str, Any]) -> None:
        """Put them in the place of those that were there."""
        self._register.replace_one({"_id": _CONTROLLER}, dict(controller), upsert=True)
