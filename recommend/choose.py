"""Chooses settings and weights on a shop's own held-out purchases, so that nobody has to.

Pure: no file, no database, no randomness but that of the seed. One model is trained on what is left
after holding out; the parts are then scored once for a bounded sample of members, on the few
candidates of each that could be shown at all, and blended in many ways. The search goes one setting
at a time from two beginnings, that of shops where people buy again and that of shops where they
explore. It leaves to others: learning and ranking (`recommend.model`) and what the figures mean
(`recommend.evaluate`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from recommend import personal, shared
from recommend.dataset import Dataset, Truth, hold_out, hold_out_random
from recommend.evaluate import K_DEFAULT, Metrics, Ranker, baselines, measure
from recommend.model import (
    Model,
    Settings,
    Weights,
    best_first,
    collaborative_for,
    positions,
    rank,
    train,
)
from recommend.taste import Context

if TYPE_CHECKING:
    from recommend.dataset import Floats, Ints, Offsets
    from recommend.shared import Floats32, Popular

Grid: TypeAlias = Mapping[tuple[str, ...], Sequence[tuple[float, ...]]]
Progress: TypeAlias = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

CHOOSE_MAX = 1_500
"""Most members that settings are chosen on."""
CONFIRM_MAX = 500
"""Most members that the choice is confirmed on."""
MEMBERS_MIN = 50
"""Fewer held-out members than this choose noise."""
RANDOM_SHARE = 0.2
"""Share of a member's items that is held out where there is no last basket."""
CANDIDATES = 100
"""Items of each part beside a member's own that are looked at; what is behind them in every part is
shown to nobody."""
ROUNDS_MAX = 3
HIT_SHARE = 0.25
"""How much a hit at all counts beside recall: a list with nothing for somebody is a list wasted."""
GAIN_ERRORS = 0.6
"""A gain of fewer standard errors than this is chance: the setting that was there before stays."""
DEFAULT_WEIGHTS = Weights()
NEVER_DAYS = 3_650.0
"""Half-life of a purchase that never ages, as far as any shop can tell."""
GRID: Grid = {
    ("exponent",): [(0.2,), (0.33,), (0.5,), (1.0,)],
    ("decay_per_basket", "personal_half_life_days"): list(
        product((1.0, 0.97, 0.93, 0.85), (60.0, 180.0, NEVER_DAYS))
    ),
    ("shared",): [(0.0,), (0.1,), (0.2,), (0.4,), (0.6,), (0.8,), (1.1,), (1.6,), (2.5,)],
    ("collaborative",): [(0.0,), (0.05,), (0.1,), (0.2,), (0.4,), (0.8,), (1.6,), (3.2,)],
    ("half_life_days",): [(3.0,), (7.0,), (14.0,), (30.0,), (90.0,), (365.0,)],
    ("personal",): [(0.0,), (1.0,)],
    ("repeats",): [(False,), (True,)],
}
"""What is tried, in this order, one after the other: the fields of `Point` and their values. Those
of the collaborative part are in units of the sample's typical best score."""


class Point(NamedTuple):
    """One way to blend: some of the settings, and the weights."""

    decay_per_basket: float
    personal_half_life_days: float
    exponent: float
    half_life_days: float
    repeats: bool
    personal: float
    shared: float
    collaborative: float

    def settings(self, others: Settings) -> Settings:
        """These settings among the others."""
        return replace(
            others,
            decay_per_basket=self.decay_per_basket,
            personal_half_life_days=self.personal_half_life_days,
            exponent=self.exponent,
            half_life_days=self.half_life_days,
            repeats=self.repeats,
        )

    @property
    def weights(self) -> Weights:
        """These weights."""
        return Weights(self.personal, self.shared, self.collaborative)


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings and weights, and what they were chosen by.

    Attributes:
        weights: of the model's parts.
        tried: each way of blending with its worth: recall averaged over lists of k/2, k and 2k,
            and `HIT_SHARE` times the hit rate; empty where there were too few members.
        confirmed: "chosen", "default" and the baselines -> metrics on members not chosen on.
        k: length of the lists.
        note: one sentence on how they were chosen, for the model card.
        settings: to train the final model with; None where nothing was chosen.
        model: what was trained for choosing, to begin the final training from.
    """

    weights: Weights
    tried: tuple[tuple[Point, float], ...]
    confirmed: Mapping[str, Metrics]
    k: int
    note: str
    settings: Settings | None = None
    model: Model | None = field(default=None, repr=False, compare=False)


def choose(
    dataset: Dataset,
    settings: Settings,
    seed: int,
    *,
    k: int = K_DEFAULT,
    progress: Progress | None = None,
    budget_seconds: float | None = None,
    threads: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Choice:
    """Choose how to blend the parts.

    The last basket of each member with three is held out; where fewer than `MEMBERS_MIN` have
    three, a random share of each member's items is. Two thirds of the sample choose, the others
    confirm, so that the figures reported are not those chosen by. With too few members the
    settings stay as they are, and the note says so.

    The same seed gives the same choice. Only a budget that runs out may change that, and the note
    says when it did.
    """
    history, truths, how = _held_out(dataset, seed)
    if len(truths) < MEMBERS_MIN:
        few = f"{len(truths)} members with purchases to hold out; {MEMBERS_MIN} are needed"
        return Choice(DEFAULT_WEIGHTS, (), {}, k, f"Default weights: only {few}.")
    deadline = clock() + budget_seconds if budget_seconds is not None else np.inf
    model = train(history, settings, threads=threads, draft=True)
    choosing, confirming = _samples(truths, seed)
    table = _Table(model, history, choosing, k)
    search = _Search(table, settings, lambda: clock() > deadline, progress)
    best = search.run()
    chosen = best.settings(settings)
    tuned = replace(
        model, settings=chosen, weights=best.weights, popular=table.lists(chosen.half_life_days)
    )
    note = (
        f"Best recall and hit rate around {k} of {len(search.tried)} blends for {how} of "
        f"{len(choosing)} members, confirmed on {len(confirming)} others"
    )
    note += "; the time ran out before all were tried." if search.stopped else "."
    confirmed = _confirm(tuned, model, history, confirming, k)
    return Choice(best.weights, tuple(search.tried.items()), confirmed, k, note, chosen, model)


def _held_out(
    dataset: Dataset, seed: int
) -> tuple[Dataset, list[Truth], Literal["the last baskets", "a random fifth of the items"]]:
    history, truths = hold_out(dataset)
    if len(truths) >= MEMBERS_MIN:
        return history, truths, "the last baskets"
    history, truths = hold_out_random(dataset, RANDOM_SHARE, seed)
    return history, truths, "a random fifth of the items"


def _samples(truths: Sequence[Truth], seed: int) -> tuple[list[Truth], list[Truth]]:
    drawn = np.random.default_rng(seed).permutation(len(truths)).tolist()
    choosing = min(len(drawn) * 2 // 3, CHOOSE_MAX)
    confirming = drawn[choosing : choosing + CONFIRM_MAX]
    return [truths[n] for n in drawn[:choosing]], [truths[n] for n in confirming]


class _Search:
    """One setting after the other, each time from the best point so far."""

    def __init__(
        self,
        table: _Table,
        settings: Settings,
        is_over: Callable[[], bool],
        progress: Progress | None,
    ) -> None:
        self._table = table
        self._settings = settings
        self._is_over = is_over
        self._progress = progress or (lambda _done, _total: None)
        self._rows: dict[Point, Floats] = {}
        self.stopped = False

    def run(self) -> Point:
        """The best point."""
        unit = self._table.unit
        again = _point(self._settings, DEFAULT_WEIGHTS)
        again = again._replace(collaborative=again.collaborative * unit)
        explore = again._replace(repeats=False, personal=0.0, shared=0.1, collaborative=unit)
        best = max((again, explore), key=lambda point: self._worth(point).mean())
        for turn in range(ROUNDS_MAX):
            before = best
            for step, (names, steps) in enumerate(GRID.items()):
                best = self._along(best, names, steps)
                self._progress(turn * len(GRID) + step + 1, ROUNDS_MAX * len(GRID))
            if best == before:
                break
        self._progress(ROUNDS_MAX * len(GRID), ROUNDS_MAX * len(GRID))
        return best

    def _along(self, best: Point, names: Sequence[str], steps: Sequence[Sequence[float]]) -> Point:
        unit = self._table.unit if "collaborative" in names else 1.0
        found = best
        for step in steps:
            self.stopped = self.stopped or self._is_over()
            change = {name: value * unit for name, value in zip(names, step, strict=True)}
            other = best._replace(**change)  # type: ignore[arg-type]
            if self.stopped or not (other.personal or other.shared or other.collaborative):
                continue
            if self._worth(other).mean() > self._worth(found).mean():
                found = other
        return found if _is_better(self._worth(found), self._worth(best)) else best

    def _worth(self, point: Point) -> Floats:
        if point not in self._rows:
            self._rows[point] = self._table.worth(point)
        return self._rows[point]

    @property
    def tried(self) -> dict[Point, float]:
        """All that was tried, with its average."""
        return {point: float(row.mean()) for point, row in self._rows.items()}


def _is_better(one: Floats, other: Floats) -> bool:
    """Whether the first gains enough over the second, member by member, not to be chance."""
    gain = one - other
    return bool(gain.mean() > GAIN_ERRORS * gain.std() / np.sqrt(len(gain)))


def _point(settings: Settings, weights: Weights) -> Point:
    return Point(
        settings.decay_per_basket,
        settings.personal_half_life_days,
        settings.exponent,
        settings.half_life_days,
        settings.repeats,
        weights.personal,
        weights.shared,
        weights.collaborative,
    )


class _Line(NamedTuple):
    """Purchases of the sample's members: row, column in the table, and how long ago."""

    row: Ints
    column: Ints
    baskets_ago: Ints
    days_ago: Floats


class _Table:
    """The candidates of each sampled member with their parts, ready to be blended in any way."""

    def __init__(self, model: Model, history: Dataset, truths: Sequence[Truth], k: int) -> None:
        self._model = model
        self._seen = shared.seen_at(history, _position(model, history), model.settings.people_min)
        self._truths = truths
        self._ks = (max(k // 2, 1), k, 2 * k)
        rows = [_candidates(model, history, truth, self._leaders(truth)) for truth in truths]
        width = max(*(len(row.items) for row in rows), self._ks[-1])
        shape = (len(rows), width)
        self._items = np.full(shape, -1, dtype=np.int64)
        self._own = np.zeros(shape, dtype=np.bool_)
        self._true = np.zeros(shape, dtype=np.bool_)
        self._collaborative = np.zeros(shape, dtype=np.float32)
        for n, row in enumerate(rows):
            self._items[n, : len(row.items)] = row.items
            self._own[n, : row.own] = True
            self._true[n, : len(row.items)] = row.true
            self._collaborative[n, : len(row.items)] = row.collaborative
        highest = self._collaborative.max(axis=1)
        self.unit = 1 / float(np.median(highest)) if np.median(highest) > 0 else 1.0
        self._lines = _joined([row.lines for row in rows])
        self._sizes = np.array([len(truth.items) for truth in truths])
        self._shared: dict[float, Floats32] = {}
        self._likings: dict[tuple[float, float, float], Floats32] = {}

    def lists(self, half_life_days: float) -> dict[str, Popular]:
        """The model's lists at another half-life; those of seasons are left out."""
        counting = self._model.settings.counting._replace(half_life_days=half_life_days)
        lists = {name: shared.best(seen, counting) for name, seen in self._seen.items()}
        return {name: one for name, one in lists.items() if len(one.items) or name == "everywhere"}

    def worth(self, point: Point) -> Floats:
        """(members,) recall averaged over lists of three lengths, and `HIT_SHARE` for any hit."""
        total = np.float32(point.collaborative) * self._collaborative
        total += np.float32(point.shared) * self._popularity(point.half_life_days)
        total += np.float32(point.personal) * self._liking(point)
        total[(self._items < 0) | (total <= 0)] = -np.inf
        if not point.repeats:
            total[self._own] = -np.inf
        longest = self._ks[-1]
        best = np.argpartition(-total, longest - 1, axis=1)[:, :longest]
        values = np.take_along_axis(total, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        hits = np.take_along_axis(self._true & np.isfinite(total), best, axis=1)
        hits = np.take_along_axis(hits, order, axis=1)
        counts = sum(hits[:, :k].sum(axis=1, dtype=np.float64) for k in self._ks)
        any_hit = hits[:, : self._ks[1]].any(axis=1)
        return np.asarray(counts / self._sizes / len(self._ks) + HIT_SHARE * any_hit)

    def _leaders(self, truth: Truth) -> Offsets:
        found = shared.scores(self._model.popular, len(self._model.items), truth.place)
        return best_first(found, CANDIDATES)

    def _popularity(self, half_life_days: float) -> Floats32:
        if half_life_days not in self._shared:
            lists, size = self.lists(half_life_days), len(self._model.items)
            found = np.zeros(self._items.shape, dtype=np.float32)
            scores: dict[tuple[str, ...], Floats32] = {}
            for n, truth in enumerate(self._truths):
                if truth.place not in scores:
                    # One more at the end: 0 for what is none of the model's items.
                    scores[truth.place] = shared.scores(lists, size + 1, truth.place)
                items = self._items[n]
                found[n] = scores[truth.place][np.where((items < 0) | (items > size), size, items)]
            self._shared[half_life_days] = found
        return self._shared[half_life_days]

    def _liking(self, point: Point) -> Floats32:
        key = (point.decay_per_basket, point.personal_half_life_days, point.exponent)
        if key not in self._likings:
            lines = self._lines
            weights = point.decay_per_basket ** lines.baskets_ago.astype(np.float64)
            weights *= 0.5 ** (lines.days_ago / point.personal_half_life_days)
            cells = lines.row.astype(np.int64) * self._items.shape[1] + lines.column
            evidence = np.bincount(cells, weights=weights, minlength=self._items.size)
            found = np.zeros(self._items.size, dtype=np.float32)
            known = np.flatnonzero(evidence)
            found[known] = personal.liking(evidence[known].astype(np.float64), point.exponent)
            self._likings = {key: found.reshape(self._items.shape)}
        return self._likings[key]


class _Row(NamedTuple):
    """One member's candidates, the own ones first."""

    items: Offsets
    own: int
    true: npt.NDArray[np.bool_]
    collaborative: Floats32
    lines: _Line


def _candidates(model: Model, history: Dataset, truth: Truth, leaders: Offsets) -> _Row:
    baskets = history.baskets_of(truth.member)[-personal.BASKETS_MAX :]
    taste = personal.taste(baskets, Context(at=truth.at), model.settings.ageing)
    at = positions(model, taste.skus)
    preferences = collaborative_for(model, at, taste.evidence, len(model.items))
    known = at[at >= 0]
    preferences_of_others = preferences.copy()
    preferences_of_others[known] = -np.inf
    near = best_first(preferences_of_others, min(CANDIDATES, len(preferences)))
    others = np.setdiff1d(np.concatenate([leaders, near]), known)
    # An item of the member's own that the model does not hold gets a number behind all its items.
    outside = np.arange(len(at)) + len(model.items) + 1
    items = np.concatenate([np.where(at >= 0, at, outside), others])
    turn_of = {sku: turn for turn, sku in enumerate(taste.skus)}
    wanted = positions(model, truth.items)
    true = np.isin(items, wanted[wanted >= 0])
    true[[turn_of[sku] for sku in truth.items if sku in turn_of]] = True
    scored = np.zeros(len(items), dtype=np.float32)
    inside = items < len(model.items)
    scored[inside] = preferences[items[inside]]
    return _Row(items, len(at), true, scored, _lines(baskets, truth.at, turn_of))


def _lines(
    baskets: Sequence[tuple[float, tuple[str, ...]]], at: float, turn_of: Mapping[str, int]
) -> _Line:
    columns = [turn_of[sku] for _, skus in baskets for sku in skus]
    sizes = [len(skus) for _, skus in baskets]
    ago = np.repeat(np.arange(len(baskets))[::-1], sizes)
    days = np.repeat([max(at - then, 0.0) / personal.DAY_SECONDS for then, _ in baskets], sizes)
    none = np.zeros(len(columns), dtype=np.int32)
    return _Line(none, np.array(columns, dtype=np.int32), ago.astype(np.int32), days)


def _joined(lines: Sequence[_Line]) -> _Line:
    rows = np.repeat(np.arange(len(lines)), [len(one.column) for one in lines])
    _, columns, baskets_ago, days_ago = (np.concatenate(part) for part in zip(*lines, strict=True))
    return _Line(rows.astype(np.int32), columns, baskets_ago, days_ago)


def _position(model: Model, dataset: Dataset) -> Ints:
    """(items of the dataset,) positions in the model's items, -1 for what is not there."""
    found = np.full(len(dataset.items), -1, dtype=np.int32)
    at = np.searchsorted(dataset.items, model.items)
    found[at] = np.arange(len(model.items), dtype=np.int32)
    return found


def _confirm(
    tuned: Model, default: Model, history: Dataset, sample: Sequence[Truth], k: int
) -> dict[str, Metrics]:
    histories = [history.baskets_of(truth.member) for truth in sample]
    items = [truth.items for truth in sample]
    places = [truth.place for truth in sample]

    def served(model: Model) -> Ranker:
        times = iter([truth.at for truth in sample])
        return lambda seen, where, size: [
            pick.sku for pick in rank(model, seen, where, size, context=Context(at=next(times)))
        ]

    rankers = {"chosen": served(tuned), "default": served(default), **baselines(default)}
    return {name: measure(ranker, histories, items, places, k) for name, ranker in rankers.items()}
