"""Holds a model against plain methods on right answers that nobody has looked at.

Pure: no clock, no file, no database; the same seed gives the same figures. The protocol:

- The whole catalogue is ranked, never a sample of it (Krichene and Rendle 2020,
  doi:10.1145/3394486.3403226).
- Last basket: that of every member with at least three is held out. Weights and settings are chosen
  on a random fifth of these members; what is reported is of the other four fifths, whose last
  baskets neither the choice nor the training sees.
- A test file: the choice sees the training file alone, and all members of the test file count.
- Rivals may list what one person alone bought, and so may the model, like with like. With a floor
  of people (`Settings.people_min`) the model is shown as served, too, in a row of its own.
- A rival is shown at its best: with or without what a member has already, and ALS with the best of
  several strengths, whichever serves *it* better on the very members it is measured on. The model
  gets no such second look.

It leaves to others: learning (`recommend.model`), the rivals (`recommend.rivals`), the arithmetic
(`recommend.measures`) and how it is told (`recommend.report`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from recommend.batch import rank_many
from recommend.choose import Choice, choose
from recommend.dataset import HOLD_OUT_BASKETS_MIN, matrix, subset
from recommend.measures import (
    METRICS,
    NOWHERE,
    Bools,
    Ragged,
    coverage,
    intervals,
    new_share,
    novelty,
    per_member,
    ragged,
    recall_by_length,
)
from recommend.model import LIMIT_MAX, Model, Pick, Settings, train
from recommend.rivals import Asked, Rival, asked, rivals
from recommend.rivals import rank as rank_rival
from recommend.taste import Context

if TYPE_CHECKING:
    from recommend.dataset import Dataset, Floats, Ints, Offsets

CHOOSING_SHARE = 5
"""One in so many held-out members is chosen on."""
HEAD_SHARE = 0.5
"""Best sellers are the fewest items that make up this share of all purchases."""
MODEL = "carnet"
MODEL_LABEL = "Carnet"
SERVED = "carnet_served"
SERVED_LABEL = "Carnet as served"
RANKED_AT_ONCE = 256
"""Members whose picks are worked out together."""
REPORT_EVERY = 50

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a stage, what is done and the total of it."""


class NothingToEvaluateError(Exception):
    """There is no right answer to compare with; the message says what is needed."""


class Task(NamedTuple):
    """Who is asked about, from what, and what the right answers are.

    With m members asked about and n items in the history's catalogue:

    Attributes:
        history: all that may be learned from.
        choosing: all that weights and settings may be chosen on.
        rows: (m,) rows in the history; -1 for somebody it does not know.
        at: (m,) POSIX seconds of the right answer; NaN where nobody knows.
        truths: the right answers; an item that the history does not know has a code of n or more.
        chosen_on: (m,) True where the choice may have seen the right answer.
        split: "last-basket" or "file".
    """

    history: Dataset
    choosing: Dataset
    rows: Offsets
    at: Floats
    truths: Ragged
    chosen_on: Bools
    split: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Averages of one method over some members. All but novelty (bits) are 0 to 1."""

    members: int
    recall: float
    ndcg: float
    hit_rate: float
    precision: float
    mrr: float
    coverage: float
    novelty: float
    new_share: float


@dataclass(frozen=True, slots=True)
class Result:
    """One method.

    Attributes:
        name: for machines.
        label: for people.
        form: "old and new", "only new", or empty for the model, which chose itself.
        reported: on the members whose answers the choice did not see.
        everyone: on all members asked about.
    """

    name: str
    label: str
    form: str
    reported: Figures
    everyone: Figures


@dataclass(frozen=True, slots=True)
class Gain:
    """The model beside the best rival in one metric, on the reported members.

    `low` and `high` bound the difference's 95% interval; `model_low` and `model_high` the model's.
    `relative` is the difference over the rival's value, 0 where that is 0.
    """

    metric: str
    model: float
    model_low: float
    model_high: float
    rival: float
    difference: float
    low: float
    high: float
    relative: float


@dataclass(frozen=True, slots=True)
class Group:
    """A part of the reported members, or of what they went for.

    Attributes:
        kind: what is told apart.
        label: which part it is.
        members: with at least one right answer in it.
        recall: of the model; `rival_recall` of the best rival.
        low: bound of the difference's 95% interval; `high` the other one.
    """

    kind: str
    label: str
    members: int
    recall: float
    ndcg: float
    rival_recall: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Appraisal:
    """All that was found out.

    Attributes:
        k: length of the lists.
        seed: of everything random.
        split: "last-basket" or "file".
        data: counts of what was there.
        chosen: weights, settings and the sentence on how they were chosen.
        results: the model first, as served if there is a floor of people, then the rivals.
        best: name of the rival with the highest recall on the reported members.
        gains: by metric, over that rival.
        groups: parts of the members and of what they went for.
        curve: name -> mean recall of the first 1, 2, ... k places.
    """

    k: int
    seed: int
    split: str
    data: Mapping[str, float | int | str | None]
    chosen: Mapping[str, Any]
    results: tuple[Result, ...]
    best: str
    gains: tuple[Gain, ...]
    groups: tuple[Group, ...]
    curve: Mapping[str, tuple[float, ...]]

    @property
    def model(self) -> Result:
        """The model's own result."""
        return self.results[0]

    @property
    def served(self) -> Result | None:
        """The model's as it would be served; None if that is the same."""
        return next((each for each in self.results if each.name == SERVED), None)

    @property
    def rivals(self) -> tuple[Result, ...]:
        """The results of the others."""
        return tuple(each for each in self.results if each.name not in (MODEL, SERVED))

    @property
    def rival(self) -> Result:
        """The best rival's."""
        return next(each for each in self.results if each.name == self.best)


def last_basket_task(dataset: Dataset, *, seed: int) -> Task:
    """Hold out the last basket of every member with at least three.

    Raises:
        NothingToEvaluateError: nobody has three.
    """
    counts = np.bincount(dataset.basket_member, minlength=dataset.n_members)
    rows = np.flatnonzero(counts >= HOLD_OUT_BASKETS_MIN)
    if not len(rows):
        raise NothingToEvaluateError(
            f"nobody has {HOLD_OUT_BASKETS_MIN} baskets or more, so there is no last one to hold "
            "out; give the right answers as a second file (--test)."
        )
    last = np.cumsum(counts)[rows] - 1
    drawn = np.random.default_rng(seed).permutation(len(rows))[: len(rows) // CHOOSING_SHARE]
    chosen_on = np.zeros(len(rows), dtype=np.bool_)
    chosen_on[drawn] = True
    everything = np.arange(dataset.n_baskets)
    sizes = np.diff(dataset.basket_ptr)[last]
    lines = np.isin(dataset.line_basket(), last)
    return Task(
        history=subset(dataset, np.delete(everything, last)),
        choosing=subset(dataset, np.delete(everything, last[~chosen_on])),
        rows=rows,
        at=dataset.basket_at[last],
        truths=ragged(
            np.repeat(np.arange(len(rows)), sizes), dataset.basket_items[lines], len(rows)
        ),
        chosen_on=chosen_on,
        split="last-basket",
    )


def file_task(dataset: Dataset, rows: Offsets, answers: Sequence[tuple[int, str, float]]) -> Task:
    """Right answers that somebody else held out.

    Args:
        dataset: all of the training file.
        rows: (m,) row of each member of the test file, -1 for one that the dataset does not know.
        answers: (member of the test file, SKU, POSIX seconds or NaN) of each line.

    Raises:
        NothingToEvaluateError: there are no answers.
    """
    if not answers:
        raise NothingToEvaluateError("the test file holds no right answers.")
    members, skus, at = zip(*answers, strict=True)
    codes = _codes(dataset)
    numbered = [codes.setdefault(sku, len(codes)) for sku in skus]
    first = np.full(len(rows), np.inf)
    np.fmin.at(first, np.array(members), np.array(at, dtype=np.float64))
    return Task(
        history=dataset,
        choosing=dataset,
        rows=rows,
        at=np.where(np.isfinite(first), first, np.nan),
        truths=ragged(np.array(members), np.array(numbered, dtype=np.int32), len(rows)),
        chosen_on=np.zeros(len(rows), dtype=np.bool_),
        split="file",
    )


def appraise(
    task: Task,
    settings: Settings,
    *,
    k: int,
    seed: int,
    progress: Progress,
    threads: int = 0,
) -> Appraisal:
    """Choose, learn, rank everybody, and do the same with every rival.

    Args:
        task: who is asked about, and what is right.
        settings: to start from; `people_min` is that of serving.
        k: length of the lists, 1 to `LIMIT_MAX`.
        seed: of all that is random.
        progress: called with what is chosen, learned and ranked.
        threads: of learning, 0 for all cores; the figures are the same whatever their number.

    Raises:
        ValueError: k is out of range.
    """
    if not 1 <= k <= LIMIT_MAX:
        raise ValueError(f"k must be 1 to {LIMIT_MAX}")
    bare = replace(settings, people_min=1)
    bare, choice = _chosen(task, bare, k=k, seed=seed, threads=threads, progress=progress)
    floored = replace(bare, people_min=settings.people_min)
    learn = partial(_ranked, task, choice, k=k, threads=threads, progress=progress)
    ours = [_Method(MODEL, MODEL_LABEL, "", learn(bare, MODEL_LABEL))]
    if settings.people_min > 1:
        ours.append(_Method(SERVED, SERVED_LABEL, "", learn(floored, SERVED_LABEL)))
    who = asked(task.history, task.rows)
    others = _rivals(task, who, k=k, seed=seed, threads=threads, progress=progress)
    comparison = _Comparison(task, Ragged(who.had.indptr.astype(np.int64), who.had.indices))
    best = max(others, key=lambda each: comparison.recall(each.lists))
    return Appraisal(
        k=k,
        seed=seed,
        split=task.split,
        data=comparison.counts(),
        chosen=_told(choice, floored),
        results=tuple(comparison.result(each) for each in (*ours, *others)),
        best=best.name,
        gains=comparison.gains(ours[0].lists, best.lists, seed),
        groups=comparison.groups(ours[0].lists, best.lists, seed),
        curve={each.name: comparison.curve(each.lists) for each in (ours[0], best)},
    )


class _Method(NamedTuple):
    name: str
    label: str
    form: str
    lists: Ints


def _chosen(
    task: Task, settings: Settings, *, k: int, seed: int, threads: int, progress: Progress
) -> tuple[Settings, Choice]:
    """The one place that knows how settings and weights are chosen."""
    progress("Choose", 0, 1)
    choice = choose(
        task.choosing,
        settings,
        seed,
        k=k,
        threads=threads,
        progress=lambda done, total: progress("Choose", done, total),
    )
    progress("Choose", 1, 1)
    return choice.settings or settings, choice


def _ranked(
    task: Task,
    choice: Choice,
    settings: Settings,
    label: str,
    *,
    k: int,
    threads: int,
    progress: Progress,
) -> Ints:
    """(m, k) codes of what a model with this choice would show each member."""
    model = train(
        task.history,
        settings,
        choice.weights,
        start=choice.model,
        threads=threads,
        progress=lambda done, total: progress(f"{label}: learn", done, total),
    )
    codes = _codes(task.history)
    lists = np.full((len(task.rows), k), NOWHERE, dtype=np.int32)
    for n, picks in enumerate(_picks(model, task, k)):
        lists[n, : len(picks)] = [codes[pick.sku] for pick in picks]
        if n % REPORT_EVERY == 0 or n + 1 == len(task.rows):
            progress(f"{label}: rank", n + 1, len(task.rows))
    return lists


def _picks(model: Model, task: Task, k: int) -> Iterator[list[Pick]]:
    """What the model shows each member: the one place that ranks with it."""
    for first in range(0, len(task.rows), RANKED_AT_ONCE):
        rows = task.rows[first : first + RANKED_AT_ONCE].tolist()
        times = task.at[first : first + RANKED_AT_ONCE].tolist()
        histories = [task.history.baskets_of(row) if row >= 0 else [] for row in rows]
        # Without a time of asking, the model takes that of the newest basket.
        contexts = [Context(at=None if np.isnan(at) else at) for at in times]
        yield from rank_many(model, histories, (), k, contexts=contexts)


def _codes(dataset: Dataset) -> dict[str, int]:
    return {name.decode(): n for n, name in enumerate(dataset.items.tolist())}


def _rivals(
    task: Task, who: Asked, *, k: int, seed: int, threads: int, progress: Progress
) -> list[_Method]:
    """Each in its better form; of several of one name the best."""
    reported = _reported(task)
    truths = task.truths.of(reported)

    def recall(lists: Ints) -> float:
        return float(per_member(lists[reported], truths)[:, 0].mean())

    best: dict[str, _Method] = {}
    for rival in rivals(task.history, who, seed=seed, threads=threads):
        for method in _forms(rival, who, k, progress):
            known = best.get(method.name)
            if known is None or recall(method.lists) > recall(known.lists):
                best[method.name] = method
    return list(best.values())


def _forms(rival: Rival, who: Asked, k: int, progress: Progress) -> Iterable[_Method]:
    lists = rank_rival(
        rival.scorer, who, k, progress=lambda done, total: progress(rival.label, done, total)
    )
    yield _Method(rival.name, rival.label, "old and new", lists.everything)
    yield _Method(rival.name, rival.label, "only new", lists.only_new)


def _reported(task: Task) -> Bools:
    return ~task.chosen_on if not task.chosen_on.all() else np.ones(len(task.rows), dtype=np.bool_)


def _told(choice: Choice, settings: Settings) -> dict[str, Any]:
    return {
        "weights": asdict(choice.weights),
        "settings": asdict(settings),
        "note": choice.note,
    }


class _Comparison:
    """The figures of any lists against one task."""

    def __init__(self, task: Task, histories: Ragged) -> None:
        self._task = task
        self._histories = histories
        self._reported = _reported(task)
        self._truths = task.truths.of(self._reported)
        counts = matrix(task.history)
        self._people = np.asarray(counts.getnnz(axis=0), dtype=np.int32)
        self._bought = np.asarray(counts.sum(axis=0)).ravel()

    def counts(self) -> dict[str, float | int | str | None]:
        history, rows = self._task.history, self._task.rows
        timed = len(np.unique(history.basket_at)) > 1
        return {
            "members": history.n_members,
            "items": int((self._people > 0).sum()),
            "baskets": history.n_baskets,
            "lines": len(history.basket_items),
            "first_at": float(history.basket_at.min()) if timed else None,
            "last_at": float(history.basket_at.max()) if timed else None,
            "asked": len(rows),
            "reported": int(self._reported.sum()),
            "answers": len(self._task.truths.values),
            "unknown_members": int((rows < 0).sum()),
            "unknown_answers": int((self._task.truths.values >= len(history.items)).sum()),
            "repeated_share": self._repeated_share(),
        }

    def _repeated_share(self) -> float:
        known = self._task.truths.where(self._histories, inside=True)
        return len(known.values) / max(len(self._task.truths.values), 1)

    def recall(self, lists: Ints) -> float:
        return float(per_member(lists[self._reported], self._truths)[:, 0].mean())

    def curve(self, lists: Ints) -> tuple[float, ...]:
        return tuple(recall_by_length(lists[self._reported], self._truths).tolist())

    def result(self, method: _Method) -> Result:
        everyone = np.ones(len(self._task.rows), dtype=np.bool_)
        return Result(
            method.name,
            method.label,
            method.form,
            self._figures(method.lists, self._reported),
            self._figures(method.lists, everyone),
        )

    def _figures(self, lists: Ints, members: Bools) -> Figures:
        shown, truths = lists[members], self._task.truths.of(members)
        means = dict(zip(METRICS, per_member(shown, truths).mean(axis=0).tolist(), strict=True))
        return Figures(
            members=len(shown),
            coverage=coverage(shown, int((self._people > 0).sum())),
            novelty=novelty(shown, self._people, self._task.history.n_members),
            new_share=new_share(shown, self._histories.of(members)),
            **means,
        )

    def gains(self, ours: Ints, theirs: Ints, seed: int) -> tuple[Gain, ...]:
        model = per_member(ours[self._reported], self._truths)
        rival = per_member(theirs[self._reported], self._truths)
        bounds = intervals(np.concatenate([model, model - rival], axis=1), seed)
        size = len(METRICS)
        return tuple(
            _gain(metric, model[:, n], rival[:, n], bounds[n], bounds[size + n])
            for n, metric in enumerate(METRICS)
        )

    def groups(self, ours: Ints, theirs: Ints, seed: int) -> tuple[Group, ...]:
        pair = ours[self._reported], theirs[self._reported]
        found = [_group(kind, label, pair, truths, seed) for kind, label, truths in self._parts()]
        return tuple(group for group in found if group.members)

    def _parts(self) -> Iterable[tuple[str, str, Ragged]]:
        """What the reported members went for, cut in several ways."""
        yield from self._by_history()
        histories = self._histories.of(self._reported)
        kind = "What they went for"
        yield kind, "had before", self._truths.where(histories, inside=True)
        yield kind, "new to them", self._truths.where(histories, inside=False)
        head = self._head()
        heads = np.zeros(max(len(head), int(self._truths.values.max(initial=-1)) + 1), dtype=bool)
        heads[: len(head)] = head
        yield kind, "best sellers", self._truths.only(heads)
        yield kind, "the long tail", self._truths.only(~heads)

    def _by_history(self) -> Iterable[tuple[str, str, Ragged]]:
        history, rows = self._task.history, self._task.rows[self._reported]
        sizes, unit = self._histories.of(self._reported).sizes, "items"
        if history.n_baskets > history.n_members:
            baskets = np.bincount(history.basket_member, minlength=history.n_members + 1)
            sizes, unit = baskets[rows] * (rows >= 0), "baskets"
        kind = "Length of their history"
        yield kind, "nothing known", _masked(self._truths, sizes == 0)
        for low, high in _thirds(sizes[sizes > 0]):
            label = f"{low:,} to {high:,} {unit}" if low < high else f"{low:,} {unit}"
            yield kind, label, _masked(self._truths, (sizes >= low) & (sizes <= high))

    def _head(self) -> Bools:
        """(n,) True for the fewest items that make up `HEAD_SHARE` of all purchases."""
        order = np.argsort(-self._bought, kind="stable")
        before = np.cumsum(self._bought[order]) - self._bought[order]
        head = np.zeros(len(order), dtype=np.bool_)
        head[order] = before < HEAD_SHARE * self._bought.sum()
        return head


def _masked(truths: Ragged, members: Bools) -> Ragged:
    """The same members, of whom the others went for nothing."""
    sizes = np.where(members, truths.sizes, 0)
    ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Ragged(ptr, truths.values[np.repeat(members, truths.sizes)])


def _thirds(sizes: Offsets) -> list[tuple[int, int]]:
    """Bounds of few, middling and many, each included; fewer parts where sizes are alike."""
    if not len(sizes):
        return []
    edges = np.quantile(sizes, (1 / 3, 2 / 3), method="inverted_cdf")
    tops = sorted({int(edge) for edge in (*edges, sizes.max())})
    lows = [int(sizes.min()), *(top + 1 for top in tops[:-1])]
    return list(zip(lows, tops, strict=True))


def _gain(metric: str, model: Floats, rival: Floats, own: Floats, apart: Floats) -> Gain:
    ours, theirs = float(model.mean()), float(rival.mean())
    return Gain(
        metric=metric,
        model=ours,
        model_low=float(own[0]),
        model_high=float(own[1]),
        rival=theirs,
        difference=ours - theirs,
        low=float(apart[0]),
        high=float(apart[1]),
        relative=(ours - theirs) / theirs if theirs else 0.0,
    )


def _group(kind: str, label: str, pair: tuple[Ints, Ints], truths: Ragged, seed: int) -> Group:
    asked_about = truths.sizes > 0
    kept = truths.of(asked_about)
    ours, theirs = (per_member(lists[asked_about], kept) for lists in pair)
    if not len(ours):
        return Group(kind, label, 0, 0.0, 0.0, 0.0, 0.0, 0.0)
    ((low, high),) = intervals(ours[:, :1] - theirs[:, :1], seed).tolist()
    recall, ndcg = ours[:, :2].mean(axis=0).tolist()
    return Group(kind, label, len(ours), recall, ndcg, float(theirs[:, 0].mean()), low, high)
