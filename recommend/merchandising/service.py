"""Put the next version of a set of rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty.kit.errors import FieldError
from recommend.merchandising.model import (
    SETS_MAX,
    InvalidRulesError,
    RuleSet,
    RulesNotFoundError,
    StaleRulesError,
    TooManyRuleSetsError,
    nothing,
)
from recommend.merchandising.schemas import read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from recommend.merchandising.store import RuleStore

ATTEMPTS_MAX = 10


def put(
    name: str,
    document: Mapping[str, Any],
    *,
    replaces: int | None,
    at: datetime,
    by: str,
    store: RuleStore,
) -> RuleSet:
    """Keep a document as the next version of a set; the same once more changes nothing.

    Args:
        name: of the set.
        document: checked, `{"rules": [...]}`.
        replaces: the version that the caller read, 0 for none; None for whichever stands.
        at: now.
        by: the id of the key.
        store: where sets are kept.

    Raises:
        InvalidRulesError: two of the rules have one id, or one ends before it starts.
        StaleRulesError: another version stands than the one to be replaced.
        TooManyRuleSetsError: it would be one set too many.
    """
    _require_sense(document["rules"])
    for _ in range(ATTEMPTS_MAX):
        standing = _standing(name, store)
        if standing.version and standing.document == document:
            return standing
        if replaces is not None and replaces != standing.version:
            mistake = FieldError("replaces", f"Version {standing.version} stands.")
            raise StaleRulesError(mistake.message, errors=(mistake,))
        following = read(name, standing.version + 1, document, put_at=at, put_by=by)
        try:
            store.add(following)
        except StaleRulesError:
            continue
        return following
    raise StaleRulesError


def _require_sense(rules: Sequence[Mapping[str, Any]]) -> None:
    """No two of one id, for an item says by it what touched it; and each holds at some time."""
    ids = [each["id"] for each in rules]
    for number, each in enumerate(rules):
        if each["id"] in ids[:number]:
            raise _invalid(FieldError(f"rules.{number}.id", "Is another rule's id."))
        starts_at, ends_at = each.get("starts_at"), each.get("ends_at")
        if starts_at and ends_at and ends_at <= starts_at:
            raise _invalid(FieldError(f"rules.{number}.ends_at", "Must be after starts_at."))


def _invalid(mistake: FieldError) -> InvalidRulesError:
    return InvalidRulesError(mistake.message, errors=(mistake,))


def _standing(name: str, store: RuleStore) -> RuleSet:
    """The newest version of a set; the empty one where there is room for another set.

    Raises:
        TooManyRuleSetsError: there is not.
    """
    try:
        return store.get(name)
    except RulesNotFoundError:
        if len(store.names()) >= SETS_MAX:
            raise TooManyRuleSetsError from None
        return nothing(name)
