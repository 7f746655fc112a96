"""Whether a new model may take the old one's place. Pure.

The new way of training is compared, member by member on held-out baskets, with the plain baselines,
with the settings that are served now, and with the served model itself where it cannot have seen
the answer. It is refused only when it is *clearly* worse: by more than `TOLERANCE` and with the
whole interval of a paired bootstrap below nought. So noise alone refuses one in forty at the most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recommend.choose import MEMBERS_MIN
from recommend.dataset import hold_out
from recommend.evaluate import baselines, recall_at, served
from recommend.model import train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from recommend.dataset import Dataset, Truth
    from recommend.evaluate import Ranker
    from recommend.model import Model, Settings, Weights

    Floats = npt.NDArray[np.float64]

TOLERANCE = 0.02
"""Share of the rival's recall that a new model may lose."""
SHRINK_MAX = 0.5
"""Share of the products that may go from one model to the next."""
MEMBERS_MAX = 1_000
"""Held-out members that are compared on, at the most."""
DRAWS = 1_000
"""Of the bootstrap."""
_INTERVAL = (2.5, 97.5)


class Comparison(NamedTuple):
    """The new model beside one rival on the same members.

    Attributes:
        rival: its name.
        ours, theirs: recall of each.
        relative: (ours - theirs) / theirs.
        low, high: 95% interval of ours - theirs, over members.
        members: compared on.
    """

    rival: str
    ours: float
    theirs: float
    relative: float
    low: float
    high: float
    members: int

    @property
    def is_clearly_worse(self) -> bool:
        """Whether this refuses the new model."""
        return self.relative < -TOLERANCE and self.high < 0


@dataclass(frozen=True, slots=True)
class Served:
    """What is served now, as far as a comparison needs it.

    Attributes:
        version: its name.
        model: itself; None if it cannot be read.
        created_at: POSIX seconds; what was bought later it cannot have seen.
        n_items: products it holds.
        n_members: members it was trained on; 0 if that is not known.
        withdrawn: members among them who withdrew or were erased since.
        mode: of its privacy, `plain` or `dp`.
    """

    version: str
    model: Model | None
    created_at: float
    n_items: int
    n_members: int
    withdrawn: int
    mode: str = "plain"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the model is promoted, and why not."""

    reasons: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_fit(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons

    def as_fact(self) -> dict[str, Any]:
        """For the model card."""
        return {
            "fit": self.is_fit,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "comparisons": [each._asdict() for each in self.comparisons],
        }


def compare(rival: str, ours: Sequence[float], theirs: Sequence[float], *, seed: int) -> Comparison:
    """Two rankers by the recall of each on the same members, in the same order.

    Paired bootstrap over members (Efron 1979; Sakai 2006, doi:10.1145/1148170.1148261).

    Raises:
        ValueError: the two differ in length.
    """
    mine, other = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if mine.shape != other.shape:
        raise ValueError("both must be of the same members")
    if not len(mine):
        return Comparison(rival, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    gaps = mine - other
    low, high = np.percentile(_resampled(gaps, seed), _INTERVAL).tolist()
    base = float(other.mean())
    relative = float(gaps.mean()) / base if base else 0.0
    return Comparison(rival, float(mine.mean()), base, relative, low, high, len(gaps))


def _resampled(gaps: Floats, seed: int) -> Floats:
    """(DRAWS,) mean gap of members drawn anew, with replacement."""
    rng = np.random.default_rng(seed)
    return np.array([gaps[rng.integers(0, len(gaps), len(gaps))].mean() for _ in range(DRAWS)])


def sanity(model: Model, n_members: int, old: Served | None) -> list[str]:
    """What speaks against a model before any figure: it is empty, or most of it is gone.

    That so many members withdrew is a reason to serve the new model, never one against it.
    """
    n_items = len(model.items)
    if old is not None and old.withdrawn and old.n_members - n_members <= old.withdrawn:
        return []
    if not n_items:
        people = model.settings.people_min
        return [f"Nothing to learn from: no product has {people} different people behind it."]
    if old is not None and n_items < old.n_items * (1 - SHRINK_MAX):
        return [
            f"It holds {n_items} products and the served one {old.n_items}: more than "
            f"{SHRINK_MAX:.0%} are gone. Is the data whole? {_still_behind(old.withdrawn)}".strip()
        ]
    return []


def sanity_of_private(model: Model, old: Served | None) -> list[str]:
    """The same for a model under differential privacy, by what was released alone.

    It may well be empty: in a small shop nothing can be shared, and each member's own history is
    all there is to go by.
    """
    if old is None or old.mode == "plain" or not len(model.items):
        return []
    return sanity(model, 0, replace(old, withdrawn=0, n_members=0))


def _still_behind(withdrawn: int) -> str:
    if not withdrawn:
        return ""
    return f"Behind the served model still stand {withdrawn} members who withdrew since."


def judge(
    model: Model, dataset: Dataset, old: Served | None, *, k: int, seed: int, threads: int = 0
) -> Verdict:
    """Decide whether a model trained on all of the dataset may be served.

    Args:
        model: the new one; its settings and weights are trained anew on what is left without each
            member's last basket, and asked for that basket.
        dataset: all of it.
        old: what is served now.
        k: length of the lists.
        seed: of the draw of members and of the bootstrap.
        threads: of training.
    """
    if reasons := sanity(model, dataset.n_members, old):
        return Verdict(tuple(reasons), ())
    history, truths = hold_out(dataset)
    if len(truths) < MEMBERS_MIN:
        note = f"Not compared: {len(truths)} members have a basket to hold out, not {MEMBERS_MIN}."
        return Verdict((), (), (note,))
    drawn = np.random.default_rng(seed + 1).permutation(len(truths))[:MEMBERS_MAX]
    field = _Field(history, [truths[n] for n in drawn.tolist()], k, seed)

    def trained(settings: Settings, weights: Weights) -> Model:
        return train(history, settings, weights, threads=threads)

    beside = _against_all(trained(model.settings, model.weights), old, field, trained)
    worse = [each for each in beside.comparisons if each.is_clearly_worse]
    reasons = [_in_words(each, k) for each in worse if each.rival not in beside.excused]
    excuses = [
        f"{_in_words(each, k)} So it is with what is served, which therefore is no better choice."
        for each in worse
        if each.rival in beside.excused
    ]
    return Verdict(tuple(reasons), tuple(beside.comparisons), (*beside.notes, *excuses))


class _Field(NamedTuple):
    """Where models meet: histories without the last basket, and the last baskets."""

    history: Dataset
    truths: Sequence[Truth]
    k: int
    seed: int

    def recalls(self, ranker: Ranker, truths: Sequence[Truth]) -> list[float]:
        """Recall of each member."""
        return [
            recall_at(
                ranker(self.history.baskets_of(each.member), each.place, self.k), each.items, self.k
            )
            for each in truths
        ]


class _Beside(NamedTuple):
    """The new model beside its rivals; `excused` are those that beat what is served as well."""

    comparisons: list[Comparison]
    notes: list[str]
    excused: frozenset[str] = frozenset()


def _against_all(
    ours: Model,
    old: Served | None,
    field: _Field,
    trained: Callable[[Settings, Weights], Model],
) -> _Beside:
    mine = field.recalls(served(ours), field.truths)
    rivals: Mapping[str, Ranker] = baselines(ours)
    if old is None or old.model is None:
        # Without a model everybody gets the best sellers: that is all a first one has to beat.
        rivals = {"global_top": rivals["global_top"]}
    plain = {name: field.recalls(each, field.truths) for name, each in rivals.items()}
    found = [compare(name, mine, each, seed=field.seed) for name, each in plain.items()]
    if old is None:
        return _Beside(found, [])
    if old.model is None:
        return _Beside(found, [f"Not compared with {old.version}: it cannot be read any more."])
    if old.mode != "plain":
        # Privacy costs some recall: that must not keep the less private model in service.
        note = f"Not compared with {old.version}: the privacy mode was changed."
        return _Beside(found, [note], frozenset(plain))
    settings, weights = old.model.settings, old.model.weights
    notes: list[str] = []
    more: list[Comparison] = []
    theirs = mine
    if (settings, weights) == (ours.settings, ours.weights):
        notes.append(f"Settings and weights are those of {old.version}.")
    else:
        theirs = field.recalls(served(trained(settings, weights)), field.truths)
        more.append(compare("previous_settings", mine, theirs, seed=field.seed))
    itself, more_notes = _against_itself(old, old.model, field, mine)
    lost = [n for n, each in plain.items() if _loses(theirs, each, field.seed)]
    return _Beside([*found, *more, *itself], [*notes, *more_notes], frozenset(lost))


def _loses(ours: Sequence[float], theirs: Sequence[float], seed: int) -> bool:
    return compare("", ours, theirs, seed=seed).is_clearly_worse


def _against_itself(
    old: Served, model: Model, field: _Field, mine: Sequence[float]
) -> tuple[list[Comparison], list[str]]:
    """The served model as it is, on baskets younger than it; it was trained on the others."""
    unseen = [n for n, each in enumerate(field.truths) if each.at > old.created_at]
    if len(unseen) < MEMBERS_MIN:
        return [], [f"{old.version} itself was not asked: it has seen most of the answers."]
    theirs = field.recalls(served(model), [field.truths[n] for n in unseen])
    asked = [mine[n] for n in unseen]
    return [compare("previous_model", asked, theirs, seed=field.seed)], []


def _in_words(found: Comparison, k: int) -> str:
    name = found.rival.replace("_", " ")
    return (
        f"Recall@{k} is {found.ours:.4f} and that of the {name} {found.theirs:.4f} "
        f"({found.relative:+.1%}; 95% interval of the difference {found.low:+.4f} to "
        f"{found.high:+.4f}, {found.members} members)."
    )
