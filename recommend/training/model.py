"""Versions of the model, what decides whether one is served, and the refusals. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from loyalty.kit.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

KIND = "model_training"
"""The kind of job."""
Status: TypeAlias = Literal["served", "kept", "refused", "rolled_back"]


class NoModelError(NotFoundError):
    """Nothing was trained and promoted yet, or there is no such version."""

    code = "no_model"
    title = "There is no such model"


class NothingToRollBackToError(ConflictError):
    """No earlier version that was served is left."""

    code = "nothing_to_roll_back_to"
    title = "There is no earlier model to go back to"


class UnfitModelError(ConflictError):
    """The version was refused, rolled back, or is not private: serving it takes force."""

    code = "unfit_model"
    title = "This model was refused, rolled back, or is not private"


class ModelChangedError(ConflictError):
    """Somebody changed which model is served in between."""

    code = "model_changed"
    title = "Another model was put into service meanwhile"


class FileOfModel(NamedTuple):
    """One file of a version: its name, length in bytes and SHA-256."""

    name: str
    length: int
    sha256: str


class Current(NamedTuple):
    """Which version every node is to serve. `generation` grows with each change."""

    version: str
    generation: int
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Version:
    """A version as it is kept for all nodes.

    Attributes:
        version: its name.
        created_at: when its training began: who withdrew later may still stand behind it.
        card: what `recommend.artefact.describe` gives, without the list of files.
        files: all of it.
        refused: whether the comparison kept it from being served.
        promoted_at: when it was last put into service; None if never.
        rolled_back_at: when it was taken out of service for good; None if it was not.
        notes: what was found out about it later, such as by an audit.
    """

    version: str
    created_at: datetime
    card: Mapping[str, Any]
    files: tuple[FileOfModel, ...]
    refused: bool = False
    promoted_at: datetime | None = None
    rolled_back_at: datetime | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What training wrote into the card."""
        facts: Mapping[str, Any] = self.card.get("facts", {})
        return facts

    def status(self, current: Current | None) -> Status:
        """In one word."""
        if current is not None and current.version == self.version:
            return "served"
        if self.rolled_back_at is not None:
            return "rolled_back"
        return "refused" if self.refused else "kept"


def mode_of(facts: Mapping[str, Any]) -> str:
    """The privacy mode that a card's facts tell of: "plain" or "dp"."""
    return str(facts.get("privacy", {}).get("mode", "plain"))


def version_name(at: datetime) -> str:
    """A version's name: names in order are trainings in the order of their beginnings."""
    return at.strftime("%Y%m%dT%H%M%S") + f"{at.microsecond // 1000:03}Z"


def back_from(versions: list[Version], current: Current) -> Version:
    """The version to go back to: of those that were served before, the one served last.

    Raises:
        NothingToRollBackToError: there is none.
    """
    before = [
        each
        for each in versions
        if each.promoted_at is not None
        and each.rolled_back_at is None
        and each.version != current.version
    ]
    if not before:
        raise NothingToRollBackToError
    return max(before, key=lambda each: (each.promoted_at, each.version))


def to_keep(versions: list[Version], current: Current | None, keep: int) -> set[str]:
    """Names of the versions that stay: what is served, the last ones that were, and the newest.

    What never served, or was rolled back, does not push out what can be gone back to.
    """
    is_target = {each.version: each.promoted_at and not each.rolled_back_at for each in versions}
    served = [each for each in versions if is_target[each.version]]
    served.sort(key=lambda each: (each.promoted_at, each.version), reverse=True)
    others = [each for each in versions if not is_target[each.version]]
    others.sort(key=lambda each: each.version, reverse=True)
    kept = {each.version for each in (*served[:keep], *others[:1])}
    return kept | ({current.version} if current else set())
