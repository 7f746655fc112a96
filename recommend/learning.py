"""Learns the collaborative part, its sizes and mixture chosen on the shop's own data. Pure.

A fifth of the items of some people, drawn at random, is hidden; what ranks the hidden items best is
chosen; then all is learned on everything, going on from what was learned already. Choosing costs
less than one plain run of ALS: the widths of the low-pass filter are nested, ALS is tried with few
rounds on short vectors, and mixtures are compared on the best few items of each view.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from recommend import latent, neighbours
from recommend.collaborative import Collaborative, Form, nothing, strength
from recommend.latent import Learned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from recommend.neighbours import Neighbours

    Floats32 = npt.NDArray[np.float32]
    Offsets = npt.NDArray[np.int64]

WIDTHS = (8, 16, 32, 64, 128, 256, 512)
"""Lengths of vectors that are tried, as far as the data and the limit allow."""
WIDTH_TOLERANCE = 0.01
"""A shorter vector this much worse at the most is taken: it is faster and tells less on people."""
TRIED_ALS = ((40.0, 100.0), (40.0, 30.0), (10.0, 30.0))
"""(alpha, regularization) tried; the first stands where there is too little to choose by."""
TRIAL_FACTORS, TRIAL_ROUNDS = 64, 3
ROUNDS_MORE = 2
"""Of ALS on everything, going on from what was learned while choosing."""
ROUNDS_RESUMED = 4
"""Of ALS going on from another part; of 41,000 places two ranked .0005 worse, after a draft."""
SAMPLE_MAX, SAMPLE_MIN = 1_000, 50
"""People whose items are hidden; fewer than the least choose noise."""
SAMPLE_CELLS = 60_000_000
"""Most scores worked out of one view while choosing."""
BLOCK_CELLS = 8_000_000
"""Scores held at once: 32 MB."""
ITEMS_MIN = 3
"""Fewer different items than this and nothing of a person is hidden."""
HIDDEN_SHARE = 0.2
SHORTLIST = 100
"""Best items of each view that a mixture chooses from."""
UNIT_LEAST = 0.02
"""Least unit of a view, as a share of what the best item of all gets."""
DEPTHS = (10, 20, 50)
"""Recall is averaged over these lengths of a list: less noise than any one of them."""
ALONE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
MIXTURES: tuple[tuple[float, float, float], ...] = (
    (1.0, 0.6, 0.3),
    *ALONE,
    *((1.0, smooth, near) for smooth in (0.0, 0.3, 0.6, 1.0, 2.0) for near in (0.0, 0.1, 0.3, 0.6)),
    *((0.0, 1.0, near) for near in (0.1, 0.3, 0.6, 1.0)),
    *((1.0, 0.0, near) for near in (1.0, 2.0)),
)
"""Weights of taste, smooth and near, each in its own unit; the first of equals is taken."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the learning.

    Attributes:
        factors: longest vector of an item, at least 1.
        people_min: fewest people behind a pair of items that is listed, at least 1.
        iterations: rounds of ALS in all, at least 1; more than 6 ranked no better.
        alpha, regularization: of ALS; None leaves the choice to the data.
        seed: the same seed and data give the same part.
    """

    factors: int = 256
    people_min: int = 10
    iterations: int = 6
    alpha: float | None = None
    regularization: float | None = None
    seed: int = 7

    @property
    def settings(self) -> tuple[tuple[float, float], ...]:
        """(alpha, regularization) to try."""
        found = dict.fromkeys(
            (self.alpha or alpha, self.regularization or other) for alpha, other in TRIED_ALS
        )
        return tuple(found)

    @property
    def rounds(self) -> int:
        """Of ALS while choosing."""
        return max(self.iterations - ROUNDS_MORE, 1)


class Split(NamedTuple):
    """Strengths without what is hidden, the people it is hidden from, and what is."""

    seen: sparse.csr_matrix
    people: Offsets
    hidden: sparse.csr_matrix


class Views(NamedTuple):
    """What was learned on the part that is seen."""

    strengths: sparse.csr_matrix
    smooth: Floats32
    taste: Learned
    near: Neighbours


def learn(
    counts: sparse.csr_matrix,
    limits: Limits,
    *,
    progress: Callable[[int, int], None] | None = None,
    threads: int = 0,
    start: Collaborative | None = None,
    draft: bool = False,
) -> Collaborative:
    """Learn what goes with what. Too little data gives a part that says nothing.

    The people's own vectors are dropped here and go nowhere.

    Args:
        counts: (members, n) csr, the number of baskets with each item; all n may be shared.
        limits: what bounds the learning.
        progress: gets (steps done, steps in all).
        threads: 0 for all cores; the part is the same whatever their number.
        start: a part of the same n items and nearly the same people: its choices are taken over and
            its vectors gone on from, which takes a fraction of the time.
        draft: leave it as it was chosen, without what was hidden for choosing: good enough to
            compare by, and to start from.
    """
    job = _Job(limits, threads, _Steps(progress), draft=draft)
    strengths = counts.tocsr().astype(np.float32)
    strengths.data = strength(strengths.data).astype(np.float32)
    part = _learned(strengths, start, job)
    job.tick.finish()
    return part


def _learned(strengths: sparse.csr_matrix, start: Collaborative | None, job: _Job) -> Collaborative:
    """What `learn` gives: gone on with, chosen, or as usual where there is too little to choose."""
    n_members, n_items = strengths.shape
    widths = candidates(n_members, n_items, strengths.nnz, job.limits.factors)
    if not widths:
        return nothing(n_items)
    if start is not None and start.form.scale:
        return _resumed(strengths, start, job)
    split = hide(strengths, job.limits.seed)
    if len(split.people) < SAMPLE_MIN:
        return _unchosen(strengths, widths, job)
    return _chosen(strengths, split, widths, job)


class _Steps:
    """Tells how far the learning is: one step each stage and each round of ALS."""

    total = 6 + TRIAL_ROUNDS * len(TRIED_ALS)

    def __init__(self, progress: Callable[[int, int], None] | None) -> None:
        self._progress, self._done = progress, 0

    def finish(self) -> None:
        self._done = self.total - 1
        self()

    def __call__(self) -> None:
        self._done = min(self._done + 1, self.total)
        if self._progress:
            self._progress(self._done, self.total)


class _Job(NamedTuple):
    """What all steps of one learning need."""

    limits: Limits
    threads: int
    tick: _Steps
    draft: bool = False


def candidates(n_members: int, n_items: int, n_lines: int, factors_max: int) -> tuple[int, ...]:
    """Lengths of vectors worth trying, rising: not beyond half of the smaller side of the data.

    Empty where there is nothing to learn.
    """
    most = min(factors_max, n_items // 2, n_members // 2, n_lines // 8)
    fitting = [width for width in WIDTHS if width <= most]
    if not fitting and min(n_members, n_items) > 1 and n_lines:
        return (max(1, min(factors_max, WIDTHS[0], n_items - 1, n_members - 1)),)
    # The limit itself is tried too, or a limit of 100 would waste a third of what it allows.
    return (*fitting, most) if fitting and most == factors_max > fitting[-1] else tuple(fitting)


def hide(strengths: sparse.csr_matrix, seed: int) -> Split:
    """Hide a fifth of the items, at least one, of a sample of the people with enough of them."""
    random = np.random.default_rng(seed)
    lengths = np.diff(strengths.indptr)
    fitting = np.flatnonzero(lengths >= ITEMS_MIN)
    most = min(SAMPLE_MAX, max(SAMPLE_CELLS // max(strengths.shape[1], 1), SAMPLE_MIN))
    people = np.sort(random.permutation(fitting)[:most])
    rank = np.ones(strengths.nnz)
    for person in people.tolist():
        first, last = strengths.indptr[person], strengths.indptr[person + 1]
        rank[first:last] = random.permutation(last - first) / (last - first)
    away = rank < HIDDEN_SHARE
    hidden, seen = strengths.copy(), strengths.copy()
    hidden.data = np.where(away, strengths.data, 0).astype(np.float32)
    seen.data = np.where(away, 0, strengths.data).astype(np.float32)
    hidden.eliminate_zeros()
    seen.eliminate_zeros()
    return Split(seen, people, hidden[people].tocsr())


def _unchosen(strengths: sparse.csr_matrix, widths: Sequence[int], job: _Job) -> Collaborative:
    """Too few people to choose by: the middle width, the first settings, the usual mixture."""
    width = widths[len(widths) // 2]
    how = _how(width, job.limits.settings[0], job.limits.iterations, job.limits)
    views = Views(
        strengths,
        latent.low_pass(strengths, width, seed=job.limits.seed, threads=job.threads),
        latent.als(strengths, how, threads=job.threads, progress=job.tick),
        neighbours.learn(strengths, people_min=job.limits.people_min, threads=job.threads),
    )
    everybody = np.arange(min(strengths.shape[0], SAMPLE_MIN))
    none = sparse.csr_matrix((len(everybody), strengths.shape[1]), dtype=np.float32)
    lists = shortlists(views, everybody, none)
    return _built(views, _form(lists, MIXTURES[0], how))


def _chosen(
    strengths: sparse.csr_matrix, split: Split, widths: Sequence[int], job: _Job
) -> Collaborative:
    """Choose on what is hidden, then go on from there on everything."""
    wide = latent.low_pass(split.seen, widths[-1], seed=job.limits.seed, threads=job.threads)
    job.tick()
    width = choose_width(split, wide, widths)
    job.tick()
    setting = _choose_als(split, min(width, TRIAL_FACTORS), job)
    how = _how(width, setting, job.limits.rounds, job.limits)
    views = Views(
        split.seen,
        np.ascontiguousarray(wide[:, :width]),
        latent.als(split.seen, how, threads=job.threads),
        neighbours.learn(split.seen, people_min=job.limits.people_min, threads=job.threads),
    )
    job.tick()
    lists = shortlists(views, split.people, split.hidden)
    mixture = choose_mixture(lists)
    job.tick()
    form = _form(lists, mixture, how)
    return _built(views if job.draft else _again(views, strengths, form, job), form)


def _again(
    views: Views,
    strengths: sparse.csr_matrix,
    form: Form,
    job: _Job,
    rounds: int = ROUNDS_MORE,
) -> Views:
    """The views of everything that the mixture has a use for, gone on with from those of a part.

    Neighbours are counted in any case: they say which pairs may be named.
    """
    smooth, taste = views.smooth, views.taste
    if form.smooth:
        width, seed = smooth.shape[1], job.limits.seed
        smooth = latent.low_pass(strengths, width, seed=seed, start=smooth, threads=job.threads)
    if form.taste:
        setting = (form.alpha, form.regularization)
        how = _how(taste.items.shape[1], setting, rounds, job.limits)
        taste = latent.als(strengths, how, threads=job.threads, start=taste)
    near = neighbours.learn(strengths, people_min=job.limits.people_min, threads=job.threads)
    return Views(strengths, smooth, taste, near)


def _resumed(strengths: sparse.csr_matrix, start: Collaborative, job: _Job) -> Collaborative:
    """The part again with the choices of another, from its vectors."""
    form = start.form
    smooth = start.smooth / np.sqrt(start.people)[:, None]
    before = Views(
        strengths,
        latent.orthonormal(smooth.astype(np.float32)) if form.smooth else start.smooth,
        Learned(latent.coloured(start.taste, form.regularization), form.scale),
        start.neighbours,
    )
    return _built(_again(before, strengths, form, job, ROUNDS_RESUMED), form)


def _how(width: int, setting: tuple[float, float], rounds: int, limits: Limits) -> latent.Als:
    return latent.Als(width, *setting, rounds, limits.seed)


def choose_width(split: Split, wide: Floats32, widths: Sequence[int]) -> int:
    """The shortest width of the low-pass filter whose recall is all but the best."""
    if len(widths) == 1:
        return widths[0]
    recall = {
        width: _recall_of(_smooth_scores(split.seen, wide[:, :width]), split) for width in widths
    }
    least = max(recall.values()) * (1 - WIDTH_TOLERANCE)
    return min(width for width, value in recall.items() if value >= least)


def _choose_als(split: Split, factors: int, job: _Job) -> tuple[float, float]:
    """The best of `TRIED_ALS` by a short run."""
    if len(job.limits.settings) == 1:
        return job.limits.settings[0]
    found = []
    for setting in job.limits.settings:
        how = _how(factors, setting, TRIAL_ROUNDS, job.limits)
        learned = latent.als(split.seen, how, threads=job.threads, progress=job.tick)
        found.append(_recall_of(_taste_scores(learned), split))
    return job.limits.settings[int(np.argmax(found))]


def _smooth_scores(
    strengths: sparse.csr_matrix, vectors: Floats32
) -> Callable[[Offsets], Floats32]:
    """Low-pass scores of some people."""
    people = latent.people_of(strengths)
    outward = (vectors * np.sqrt(people)[:, None]).astype(np.float32)
    inward = (vectors / np.sqrt(people)[:, None]).astype(np.float32)
    return lambda rows: (_shares(strengths, rows) @ inward) @ outward.T


def _taste_scores(learned: Learned) -> Callable[[Offsets], Floats32]:
    return lambda rows: learned.people[rows] @ learned.items.T


def _near_scores(strengths: sparse.csr_matrix, near: Neighbours) -> Callable[[Offsets], Floats32]:
    size = strengths.shape[1]
    table = sparse.csr_matrix((near.values, near.items, near.ptr), shape=(size, size))
    return lambda rows: np.asarray((_shares(strengths, rows) @ table).toarray())


def _shares(strengths: sparse.csr_matrix, rows: Offsets) -> sparse.csr_matrix:
    """Strengths of some people, each person's over the root of their sum, as in serving."""
    own = strengths[rows]
    sums = np.maximum(np.asarray(own.sum(axis=1)).ravel(), 1e-9)
    return (sparse.diags(sums**-0.5) @ own).tocsr().astype(np.float32)


def _blocks(people: Offsets, n_items: int) -> Iterator[Offsets]:
    """Numbers of the sample's people, few enough at once."""
    size = max(BLOCK_CELLS // max(n_items, 1), 1)
    for first in range(0, len(people), size):
        yield np.arange(first, min(first + size, len(people)))


def _unseen(values: Floats32, own: sparse.csr_matrix) -> Floats32:
    """The scores with what a person has already put last."""
    rows = np.repeat(np.arange(own.shape[0]), np.diff(own.indptr))
    values[rows, own.indices] = -np.inf
    return values


def _recall_of(scorer: Callable[[Offsets], Floats32], split: Split) -> float:
    """Mean recall of the hidden items over `DEPTHS`."""
    found: list[Floats32] = []
    for numbers in _blocks(split.people, split.seen.shape[1]):
        rows = split.people[numbers]
        values = _unseen(scorer(rows), split.seen[rows])
        top = _top(values, DEPTHS[-1])
        order = np.argsort(-np.take_along_axis(values, top, axis=1), axis=1, kind="stable")
        hits = _hits(np.take_along_axis(top, order, axis=1), split.hidden[numbers])
        found.append(_recall(hits, split.hidden[numbers]))
    return float(np.concatenate(found).mean())


def _top(values: Floats32, count: int) -> Offsets:
    """(rows, count) columns of the largest values of each row, in no order."""
    width = values.shape[1]
    if count >= width:
        return np.broadcast_to(np.arange(width), values.shape)
    return np.argpartition(values, width - count, axis=1)[:, width - count :]


def _hits(columns: Offsets, hidden: sparse.csr_matrix) -> npt.NDArray[np.bool_]:
    """Which of the columns, row by row, are among the hidden items."""
    width = hidden.shape[1]
    numbers = np.arange(hidden.shape[0])
    wanted = np.repeat(numbers, np.diff(hidden.indptr)) * width + hidden.indices
    return np.isin(columns + numbers[:, None] * width, wanted)


def _recall(hits: npt.NDArray[np.bool_], hidden: sparse.csr_matrix) -> Floats32:
    """(rows,) recall of lists that are in order, averaged over `DEPTHS`."""
    sizes = np.maximum(np.diff(hidden.indptr), 1)
    found = np.cumsum(hits, axis=1)
    at = [found[:, min(depth, hits.shape[1]) - 1] / sizes for depth in DEPTHS]
    return np.asarray(np.mean(at, axis=0), dtype=np.float32)


class Shortlists(NamedTuple):
    """For each person of the sample, the best few items of each view.

    Attributes:
        values: (3, people, c) scores of the views, each divided by its unit.
        units: (3,) what the best new item of a person gets from a view, on average.
        highest: (3,) what the best item of all gets, own ones included, in those units.
        hits: (people, c) whether it is hidden.
        sizes: (people,) number of hidden items.
    """

    values: Floats32
    units: Floats32
    highest: Floats32
    hits: npt.NDArray[np.bool_]
    sizes: Offsets


def shortlists(views: Views, people: Offsets, hidden: sparse.csr_matrix) -> Shortlists:
    """The best of each view for each person, scored by all of them."""
    scorers = (
        _taste_scores(views.taste),
        _smooth_scores(views.strengths, views.smooth),
        _near_scores(views.strengths, views.near),
    )
    values, hits, most = [], [], []
    for numbers in _blocks(people, views.strengths.shape[1]):
        rows = people[numbers]
        own = views.strengths[rows]
        tables = [scorer(rows) for scorer in scorers]
        most.append([each.max(axis=1, initial=0.0) for each in tables])
        tables = [_unseen(each, own) for each in tables]
        columns = np.concatenate([_top(table, SHORTLIST) for table in tables], axis=1)
        columns = np.sort(columns, axis=1)
        picked = np.stack([np.take_along_axis(table, columns, axis=1) for table in tables])
        # An item that several views name is there several times; only the first counts.
        picked[:, :, 1:][:, columns[:, 1:] == columns[:, :-1]] = -np.inf
        values.append(picked)
        hits.append(_hits(columns, hidden[numbers]) & np.isfinite(picked[0]))
    table = np.concatenate(values, axis=1)
    tops = np.max(table, axis=2)
    highest = np.concatenate(most, axis=1).mean(axis=1)
    units = np.where(np.isfinite(tops), tops, 0).mean(axis=1)
    # A view that says nothing of new items must not be blown up until it does.
    units = np.maximum(np.maximum(units, UNIT_LEAST * highest), 1e-9)
    return Shortlists(
        (table / units[:, None, None]).astype(np.float32),
        units.astype(np.float32),
        (highest / units).astype(np.float32),
        np.concatenate(hits),
        np.maximum(np.diff(hidden.indptr), 1),
    )


def choose_mixture(lists: Shortlists) -> tuple[float, float, float]:
    """The mixture of the views with the best recall."""
    found = [mixed_recall(lists, mixture) for mixture in MIXTURES]
    return MIXTURES[int(np.argmax(found))]


def mixed_recall(lists: Shortlists, mixture: tuple[float, float, float]) -> float:
    """Mean recall over `DEPTHS` of one mixture."""
    mixed = _mixed(lists, mixture)
    depth = min(DEPTHS[-1], mixed.shape[1])
    top = _top(mixed, depth)
    order = np.argsort(-np.take_along_axis(mixed, top, axis=1), axis=1, kind="stable")
    hits = np.take_along_axis(lists.hits, np.take_along_axis(top, order, axis=1), axis=1)
    found = np.cumsum(hits, axis=1)
    at = [found[:, min(each, depth) - 1] / lists.sizes for each in DEPTHS]
    return float(np.mean(at))


def _mixed(lists: Shortlists, mixture: tuple[float, float, float]) -> Floats32:
    """(people, c) the mixture; what is no candidate stays at minus infinity."""
    finite = np.isfinite(lists.values[0])
    values = np.where(finite, lists.values, 0)
    mixed = np.tensordot(np.asarray(mixture, dtype=np.float32), values, axes=1)
    return np.where(finite, mixed, -np.inf)


def _form(lists: Shortlists, mixture: tuple[float, float, float], how: latent.Als) -> Form:
    """The mixture in the unit of the whole: 1.0 for the best item of a person, on average."""
    unit = max(float(np.dot(mixture, lists.highest)), 1e-9)
    taste, smooth, near = (np.asarray(mixture) / lists.units / unit).tolist()
    return Form(
        taste=taste,
        smooth=smooth,
        near=near,
        alpha=how.alpha,
        regularization=how.regularization,
        iterations=how.iterations + ROUNDS_MORE,
        recall=mixed_recall(lists, mixture),
    )


def _built(views: Views, form: Form) -> Collaborative:
    """The part as it is served; views that are not in the mixture leave no vectors."""
    people = latent.people_of(views.strengths)
    empty = np.zeros((len(people), 0), dtype=np.float32)
    taste = latent.whitened(views.taste.items, form.regularization) if form.taste else empty
    smooth = views.smooth * np.sqrt(people)[:, None].astype(np.float32) if form.smooth else empty
    return Collaborative(
        taste=taste,
        smooth=np.ascontiguousarray(smooth, dtype=np.float32),
        people=people.astype(np.float32),
        neighbours=views.near,
        form=replace(form, scale=views.taste.scale),
    )
