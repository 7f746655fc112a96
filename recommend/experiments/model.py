"""Experiments as values: variants, who gets which, and what may change when. Pure.

A member's place is a keyed hash of the experiment's salt and the member's id, one of a hundred
slots; the experiment says which variant each slot belongs to. So every worker gives the same
answer without asking anybody, and a variant that grows takes slots that were free, or that others
gave up, and no others: nobody else is moved.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

from loyalty.kit.errors import ConflictError, FieldError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

SLOTS = 100
VARIANTS_MAX = 10
EXPERIMENTS_MAX = 1000
FREE = -1
Status: TypeAlias = Literal["draft", "running", "stopped"]
STATUSES: tuple[Status, ...] = get_args(Status)
Metric: TypeAlias = Literal["click_through", "conversion", "revenue"]
METRICS: tuple[Metric, ...] = get_args(Metric)
Serve: TypeAlias = Literal["model", "popular", "nothing"]
SERVES: tuple[Serve, ...] = get_args(Serve)


class ExperimentNotFoundError(NotFoundError):
    """There is none of that name."""

    code = "experiment_not_found"
    title = "There is no such experiment"


class ExperimentsOverlapError(ConflictError):
    """Another one is running: of two at once nobody could say which made the difference."""

    code = "experiments_overlap"
    title = "Another experiment is running"


class ExperimentFixedError(ConflictError):
    """What would be changed decides who is in it or how it is judged, and it has begun."""

    code = "experiment_fixed"
    title = "This is fixed once the experiment has begun"


class ExperimentInconsistentError(ConflictError):
    """Its parts do not fit together: names, shares or times."""

    code = "experiment_inconsistent"
    title = "The parts of the experiment do not fit together"


class TooManyExperimentsError(ConflictError):
    """There are as many as can be listed."""

    code = "too_many_experiments"
    title = f"There are at most {EXPERIMENTS_MAX} experiments"


class ExperimentBusyError(UnavailableError):
    """Somebody else changes it at this moment; nothing was written."""

    code = "experiment_busy"
    title = "The experiment is being changed by somebody else"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to answer.

    Attributes:
        name: what reports and answers call it.
        share: of the members who take part, in per cent.
        model_version: the version to rank with; None for the one that is served to all.
        weights: of the model's parts by their names; None for the model's own.
        rules_set: the set of merchandising rules; None for the one that holds for all.
        serve: `model`; `popular` for the same for everybody; `nothing`: for a group that is held
            out.
        experiment: whose variant it is.
    """

    name: str
    share: int
    model_version: str | None = None
    weights: Mapping[str, float] | None = None
    rules_set: str | None = None
    serve: Serve = "model"
    experiment: str = ""

    @property
    def origin(self) -> tuple[str, str]:
        """The experiment and the variant by their names."""
        return self.experiment, self.name


@dataclass(frozen=True, slots=True)
class Experiment:
    """Variants, for how long, and by what they are judged. The first variant is the control.

    Attributes:
        name: unique.
        variants: at least two.
        salt: what the places of members hang on.
        slots: for each slot the position of its variant, or `FREE`.
        metric: what decides.
        window_days: how long after its first exposure what a member does counts.
        status: only one of all is running.
        starts_at: not before; None for at once.
        ends_at: no longer; None for until it is stopped.
        is_resized: whether shares changed while it ran: then nobody can say how many members each
            variant should have by now.
        revision: counts the changes.
    """

    name: str
    variants: tuple[Variant, ...]
    salt: str
    slots: tuple[int, ...] = (FREE,) * SLOTS
    metric: Metric = "conversion"
    window_days: int = 14
    status: Status = "draft"
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    is_resized: bool = False
    revision: int = 0

    def is_live(self, at: datetime) -> bool:
        """Whether members are assigned at a moment."""
        has_begun = self.starts_at is None or at >= self.starts_at
        return self.status == "running" and has_begun and not self.is_over(at)

    def is_over(self, at: datetime) -> bool:
        """Whether nobody is assigned any more."""
        return self.status == "stopped" or (self.ends_at is not None and at >= self.ends_at)


class Wish(NamedTuple):
    """What a caller wants an experiment to be."""

    variants: tuple[Variant, ...]
    metric: Metric
    window_days: int
    status: Status
    starts_at: datetime | None
    ends_at: datetime | None
    salt: str | None = None


def slot_of(salt: str, member_id: str) -> int:
    """A member's slot, from 0: the same on every worker, and all slots are equally likely."""
    digest = hmac.digest(salt.encode(), member_id.encode(), hashlib.sha256)
    # 64 bits over a hundred slots: no slot is likelier than another by more than 1e-17.
    return int.from_bytes(digest[:8], "big") * SLOTS >> 64


def assigned(experiment: Experiment, member_id: str) -> Variant | None:
    """The variant of a member; None for one who is in no variant's share."""
    position = experiment.slots[slot_of(experiment.salt, member_id)]
    return None if position == FREE else experiment.variants[position]


def allot(slots: Sequence[int], shares: Sequence[int]) -> tuple[int, ...]:
    """The slots with which each variant has its share, with as few of them moved as can be.

    A variant that shrinks frees its last slots; one that grows takes the first that are free.

    Args:
        slots: as they were, by the positions that the variants have now.
        shares: of each variant by its position, in slots; together at most all.
    """
    fresh = [position if position < len(shares) else FREE for position in slots]
    for position, share in enumerate(shares):
        own = [slot for slot, owner in enumerate(fresh) if owner == position]
        for slot in own[share:]:
            fresh[slot] = FREE
    free = [slot for slot, owner in enumerate(fresh) if owner == FREE]
    for position, share in enumerate(shares):
        for _ in range(share - fresh.count(position)):
            fresh[free.pop(0)] = position
    return tuple(fresh)


def made(name: str, wish: Wish, salt: str, *, at: datetime) -> Experiment:
    """A new experiment.

    Args:
        name: its own.
        wish: what it is to be.
        salt: a fresh one, where the wish names none.
        at: now.

    Raises:
        ExperimentInconsistentError: its parts do not fit together.
    """
    blank = Experiment(name, (), wish.salt or salt, created_at=at)
    return _set(blank, wish, at)


def changed(before: Experiment, wish: Wish, *, at: datetime) -> Experiment:
    """The experiment with other values; the same again changes nothing.

    Once it runs, only shares, its end and its status may change, and what is stopped stays so:
    who changes the question when the answers come in can prove anything.

    Raises:
        ExperimentInconsistentError: its parts do not fit together.
        ExperimentFixedError: something else would be changed.
    """
    if before.status != "draft":
        _refuse(before, wish)
    return _set(before, wish, at)


def _refuse(before: Experiment, wish: Wish) -> None:
    def shape(variants: Sequence[Variant]) -> list[Variant]:
        return [replace(each, share=0, experiment="") for each in variants]

    differs = {
        "variants": shape(wish.variants) != shape(before.variants),
        "metric": wish.metric != before.metric,
        "window_days": wish.window_days != before.window_days,
        "salt": wish.salt not in (None, before.salt),
        "starts_at": wish.starts_at != before.starts_at,
        "status": wish.status == "draft" or (before.status, wish.status) == ("stopped", "running"),
    }
    if before.status == "stopped":
        differs["ends_at"] = wish.ends_at != before.ends_at
        differs["variants"] = differs["variants"] or _shares(wish.variants) != _shares(
            before.variants
        )
    for name, is_different in differs.items():
        if is_different:
            mistake = FieldError(name, "Cannot be changed any more.")
            raise ExperimentFixedError(f"{name}: {mistake.message}", errors=(mistake,))


def _shares(variants: Sequence[Variant]) -> list[int]:
    return [each.share for each in variants]


def _require_sound(wish: Wish) -> None:
    names = {each.name for each in wish.variants}
    if len(names) < len(wish.variants):
        raise _inconsistent("variants", "Each variant needs a name of its own.")
    if sum(_shares(wish.variants)) > SLOTS:
        raise _inconsistent("variants", f"All shares together are more than {SLOTS}.")
    if wish.starts_at and wish.ends_at and wish.ends_at <= wish.starts_at:
        raise _inconsistent("ends_at", "Must be after starts_at.")


def require_rules(wish: Wish, rule_sets: Collection[str]) -> None:
    """A set that nobody put would rank without any rule: what the shop hides would show.

    Raises:
        ExperimentInconsistentError: a variant names such a set.
    """
    for number, each in enumerate(wish.variants):
        if each.rules_set and each.rules_set not in rule_sets:
            raise _inconsistent(f"variants.{number}.rules_set", "Is no set of rules.")


def _inconsistent(field: str, message: str) -> ExperimentInconsistentError:
    mistake = FieldError(field, message)
    return ExperimentInconsistentError(f"{field}: {message}", errors=(mistake,))


def _set(before: Experiment, wish: Wish, at: datetime) -> Experiment:
    _require_sound(wish)
    begins = before.status == "draft" and wish.status == "running"
    if begins and wish.ends_at is not None and wish.ends_at <= at:
        raise _inconsistent("ends_at", "Must lie in the future when it begins.")
    variants = tuple(replace(each, experiment=before.name) for each in wish.variants)
    places = {each.name: position for position, each in enumerate(variants)}
    # By the variants' new places: a variant that is listed elsewhere keeps its members.
    moved = [
        FREE if slot == FREE else places.get(before.variants[slot].name, FREE)
        for slot in before.slots
    ]
    has_begun = wish.status != "draft"
    is_resized = before.status == "running" and _shares(before.variants) != _shares(variants)
    fresh = replace(
        before,
        variants=variants,
        slots=allot(moved, _shares(variants)),
        salt=wish.salt or before.salt,
        metric=wish.metric,
        window_days=wish.window_days,
        status=wish.status,
        starts_at=wish.starts_at,
        ends_at=wish.ends_at,
        started_at=before.started_at or (at if has_begun else None),
        stopped_at=before.stopped_at or (at if wish.status == "stopped" else None),
        is_resized=before.is_resized or is_resized,
    )
    return fresh if fresh == before else replace(fresh, revision=before.revision + 1)
