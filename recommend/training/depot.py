"""The models of one node and of all: publish, fetch, put into service, take back, clear away.

What is to be served is decided in MongoDB; the file `CURRENT` of each node follows, so a worker
serves on without the database. Of many workers of a node one fetches a version, under a lock, and
looks again at what is to be served before it is: the last decision wins, in whatever order they
come to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from recommend import artefact
from recommend.artefact import ArtefactError
from recommend.training.model import (
    NoModelError,
    UnfitModelError,
    Version,
    back_from,
    to_keep,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from recommend.training.model import Current
    from recommend.training.store import ModelStore

KEEP = 3
"""Versions that were served and can be gone back to, beside the newest that never was."""


class Depot(NamedTuple):
    """The models of one node, and those of all.

    Attributes:
        root: the node's directory of versions.
        store: what all nodes share.
        is_private: whether the shop has models under differential privacy alone.
    """

    root: Path
    store: ModelStore
    is_private: bool = False


def publish(depot: Depot, version: str, *, created_at: datetime, refused: bool) -> Version:
    """Bring a version of this node's disk to all nodes; none serves it by that.

    Raises:
        ArtefactError: it is not there.
        ModelChangedError: there is one of that name.
    """
    paths = artefact.files(depot.root, version)
    found = tuple(depot.store.upload(version, each) for each in paths)
    card = artefact.describe(depot.root, version)
    card.pop("files")
    made = Version(version, created_at, card, found, refused=refused)
    depot.store.add(made)
    return made


def deliver(depot: Depot, *, verify: bool = False) -> bool:
    """Serve on this node what is to be served; False while another process is at it.

    With `verify` every file of what is served is read again, and replaced where it is broken.

    Raises:
        ArtefactError: it could not be fetched whole, or written; what was served goes on.
        NoModelError: a file of it is not there.
        PyMongoError: the database is away; the same.
    """
    with artefact.alone(depot.root) as is_alone:
        if not is_alone:
            return False
        current = depot.store.current()
        if current is None or (not verify and _is_served(depot.root, current.version)):
            return True
        if not artefact.is_whole(depot.root, current.version):
            _fetch(depot, depot.store.get(current.version))
        artefact.promote(depot.root, current.version)
        artefact.keep_only(depot.root, {each.version for each in depot.store.all()})
        return True


def fetch(depot: Depot, version: str) -> None:
    """Have a version on this node's disk, whole, whether or not it is served.

    Raises:
        ArtefactError: it cannot be written, or is not what was saved.
        NoModelError: there is none of that name.
    """
    if not artefact.is_whole(depot.root, version):
        _fetch(depot, depot.store.get(version))


def _is_served(root: Path, version: str) -> bool:
    try:
        return artefact.current(root) == version and bool(artefact.describe(root, version))
    except ArtefactError:
        return False


def _fetch(depot: Depot, version: Version) -> None:
    name = version.version
    files = (
        (each.name, each.sha256, depot.store.pieces(name, each.name)) for each in version.files
    )
    artefact.receive(depot.root, name, files)


def promote(
    depot: Depot,
    version: str,
    *,
    at: datetime,
    by: str,
    force: bool = False,
    generation: int | None = None,
) -> Current:
    """Serve a version on every node, within a second or two; on this one at once.

    Args:
        depot: where the models are.
        version: one that is there.
        at: now.
        by: who wants it.
        force: also one that was refused or rolled back.
        generation: the one that the decision stands on; None to decide anyway.

    Raises:
        NoModelError: there is no such version.
        UnfitModelError: it was refused or rolled back, or is not private where the shop wants that,
            and `force` is not given.
        ModelChangedError: somebody else changed it in between.
    """
    found = depot.store.get(version)
    if not force and (found.refused or found.rolled_back_at):
        raise UnfitModelError(f"Model {version} was refused or rolled back: --force serves it.")
    if not force:
        _require_private(depot, found)
    current = depot.store.set_current(version, at=at, by=by, generation=generation)
    deliver(depot)
    return current


def _require_private(depot: Depot, version: Version) -> None:
    if depot.is_private and version.facts.get("privacy", {}).get("mode", "plain") == "plain":
        raise UnfitModelError(
            f"Model {version.version} is plain, and the shop has its models private "
            "(CARNET_MODEL_PRIVACY=dp): `carnet model promote --force` serves it all the same."
        )


def rollback(depot: Depot, to: str | None, *, at: datetime, by: str) -> Current:
    """Go back to an earlier version: the one that served before, or the one named.

    The version that is left is marked, so that nothing but force serves it again.

    Raises:
        NoModelError: nothing is served, or there is no such version.
        NothingToRollBackToError: no version that was served before is left.
        UnfitModelError: it is the one that is served, or not private where the shop wants that.
        ModelChangedError: somebody else changed it in between.
    """
    current = depot.store.current()
    if current is None:
        raise NoModelError("No model is served.")
    target = depot.store.get(to) if to else back_from(depot.store.all(), current)
    if target.version == current.version:
        raise UnfitModelError(f"Model {current.version} is the one that is served.")
    _require_private(depot, target)
    depot.store.mark_rolled_back(current.version, at=at)
    done = depot.store.set_current(target.version, at=at, by=by, generation=current.generation)
    deliver(depot)
    return done


def prune(depot: Depot, keep: int = KEEP) -> list[str]:
    """Delete old versions everywhere; the names of those that are gone from MongoDB.

    What a cut-off upload left goes too, if it is older than what is served: no training that is
    under way began before that.

    Raises:
        ArtefactError: the node's `CURRENT` cannot be read.
    """
    versions, current = depot.store.all(), depot.store.current()
    kept = to_keep(versions, current, keep)
    gone = sorted(each.version for each in versions if each.version not in kept)
    for each in gone:
        depot.store.remove(each)
    if current is not None:
        depot.store.sweep({each for each in depot.store.strays() if each < current.version})
    artefact.keep_only(depot.root, kept)
    return gone


def serving(depot: Depot) -> str | None:
    """The version to be served: what MongoDB says, else this node's disk."""
    current = depot.store.current()
    return current.version if current else artefact.current(depot.root)
