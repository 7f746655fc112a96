"""The collaborative part: what people with such purchases buy, worked out for one person at a time.

Pure, and holds items only. Three views of the same purchases are added up, in a mixture chosen on
the shop's own data (`recommend.learning`):

- taste: item vectors by ALS (Hu, Koren, Volinsky 2008, doi:10.1109/ICDM.2008.22), a person folded
  in by the closed user step. Kept "whitened", so that the step is one small system of equations.
- smooth: the low-pass graph filter of Shen et al. 2021 (doi:10.1145/3459637.3482264).
- near: the linear graph filter, as short lists of neighbours (`recommend.neighbours`).

All three are sums over the person's own items: `score[t] = sum over b of k(t, b) * a[b]`. So a
score can be split by what was bought, exactly, for "because you bought".

The unit: 1.0 is what a person's best item gets on average, own ones included.

People behind what is shared: an item has vectors only if enough people bought it, a pair is listed
as neighbours only if enough people bought both, and `nearest` and `because` name such pairs alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recommend import latent
from recommend.neighbours import Neighbours, nobody

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats32 = npt.NDArray[np.float32]
    Floats64 = npt.NDArray[np.float64]
    Offsets = npt.NDArray[np.int64]

CANDIDATES = 2048
"""Items that ALS is asked about, the best by the graph; of 41,000 places as good as all."""
BROAD = 128
"""Columns of the low-pass vectors, the smoothest, by which all items of a large shop are seen;"""
SHORTLISTED = 4_096
"""the best so many by those and by neighbours are looked at by all columns. Of 41,000 places that
changed no list, with 64 columns neither."""
BOUGHT_MAX = 1_000
"""Most items of a person looked at, the strongest first."""


@dataclass(frozen=True, slots=True)
class Form:
    """What was chosen, on which the serving depends. All zero means that nothing was learned.

    Attributes:
        taste, smooth, near: what the three views are multiplied by before they are added.
        scale: confidence of a strength of 1 by a person of strength 1 in an item of one buyer.
        alpha, regularization, iterations: ALS was run with; for the model card.
        recall: of the mixture on items hidden from it, at 10, 20 and 50 on average; 0 unknown.
        any_pair: whether any pair may be named, the vectors being private in themselves.
    """

    taste: float = 0.0
    smooth: float = 0.0
    near: float = 0.0
    scale: float = 0.0
    alpha: float = 0.0
    regularization: float = 0.0
    iterations: int = 0
    recall: float = 0.0
    any_pair: bool = False


@dataclass(frozen=True, slots=True)
class Collaborative:
    """What n items have to do with each other. Arrays may be read-only.

    Attributes:
        taste: (n, f) whitened ALS vectors; f is 0 where they are not used.
        smooth: (n, g) low-pass vectors times the root of the item's people; g may be 0.
        people: (n,) float32 number of people of each item, at least 1.
        neighbours: of each item.
        form: the mixture.
    """

    taste: Floats32
    smooth: Floats32
    people: Floats32
    neighbours: Neighbours
    form: Form = field(default_factory=Form)


class Folded(NamedTuple):
    """A person's items and how much each counts in the three sums. Never stored.

    Attributes:
        items: (m,) positions, each once.
        taste, smooth, near: (m,) weights `a` of the three sums, the mixture included.
    """

    items: Offsets
    taste: Floats32
    smooth: Floats32
    near: Floats32


def nothing(size: int) -> Collaborative:
    """A part of so many items that says nothing."""
    empty = np.zeros((size, 0), dtype=np.float32)
    return Collaborative(empty, empty, np.ones(size, dtype=np.float32), nobody(size))


def of_vectors(vectors: Floats32, *, alpha: float, regularization: float) -> Collaborative:
    """A part of (n, f) item vectors that are private in themselves, made by differential privacy.

    People are folded in as in ALS; any two items may be named together.
    """
    if not vectors.any():
        return nothing(len(vectors))
    form = Form(taste=1.0, scale=alpha, alpha=alpha, regularization=regularization, any_pair=True)
    return replace(nothing(len(vectors)), taste=latent.whitened(vectors, regularization), form=form)


def rearranged(part: Collaborative, at: Offsets) -> Collaborative:
    """The part for other items, each at the position it had, -1 for new ones; without neighbours.

    It is for going on from in training, not for serving.
    """
    known = np.flatnonzero(at >= 0)
    rows = nothing(len(at))
    taste = np.zeros((len(at), part.taste.shape[1]), dtype=np.float32)
    smooth = np.zeros((len(at), part.smooth.shape[1]), dtype=np.float32)
    taste[known], smooth[known] = part.taste[at[known]], part.smooth[at[known]]
    people = rows.people.copy()
    people[known] = part.people[at[known]]
    return replace(rows, taste=taste, smooth=smooth, people=people, form=part.form)


def strength(weights: Floats64) -> Floats64:
    """What a number of purchases says: one 1, three 2, seven 3; a negative number speaks against.

    Bought again and again says more, but not in proportion.
    """
    return np.asarray(np.sign(weights) * np.log2(1 + np.abs(weights)))


def fold_in(part: Collaborative, positions: Offsets, weights: Floats64) -> Folded:
    """Work out what a person's items count for; items not held and weights of 0 are left out.

    Args:
        part: what was learned.
        positions: (m,) distinct positions of items, -1 for those not held.
        weights: (m,) numbers of purchases, recency and kind counted in; negative speaks against.
    """
    strengths = strength(np.asarray(weights, dtype=np.float64))
    kept = np.flatnonzero((positions >= 0) & (strengths != 0))
    if len(kept) > BOUGHT_MAX:
        kept = kept[np.argsort(-np.abs(strengths[kept]), kind="stable")[:BOUGHT_MAX]]
    items, strengths = positions[kept], strengths[kept]
    form = part.form
    person = np.sqrt(max(float(np.abs(strengths).sum()), 1e-9))
    people = part.people[items].astype(np.float64)
    taste = np.zeros(len(items))
    if form.taste and part.taste.shape[1]:
        trust = np.maximum(form.scale * np.abs(strengths) / (person * np.sqrt(people)), 1.0)
        taste = form.taste * _user_step(part.taste[items].astype(np.float64), trust, strengths > 0)
    shares = strengths / person
    return Folded(
        items,
        taste.astype(np.float32),
        (form.smooth * shares / people).astype(np.float32),
        (form.near * shares).astype(np.float32),
    )


def _user_step(bought: Floats64, trust: Floats64, liked: npt.NDArray[np.bool_]) -> Floats64:
    """(m,) weights of the items bought in a person's estimate: the closed user step of ALS.

    ALS minimises the sum of trust * (preference - estimate)^2, preference being 1 for what was
    liked and 0 for the rest, with trust 1 where nothing is known. In whitened vectors Z that is
    a = (I + (C - I) Z Zt)^-1 C p over the m items, or a system of f by f if that is smaller.
    """
    right, extra = trust * liked, trust - 1
    if len(bought) <= bought.shape[1]:
        left = extra[:, None] * (bought @ bought.T)
        left[np.diag_indices_from(left)] += 1
        return np.asarray(np.linalg.solve(left, right))
    square = bought.T @ (extra[:, None] * bought)
    square[np.diag_indices_from(square)] += 1
    return np.asarray(right - extra * (bought @ np.linalg.solve(square, right @ bought)))


def scores(part: Collaborative, positions: Offsets, weights: Floats64) -> Floats32:
    """(n,) how much speaks for each item, for a person with these; arguments as `fold_in`.

    ALS is asked about the `CANDIDATES` items that the graph puts first, all of them where there is
    no graph; for the rest it adds nothing.
    """
    return scores_of(part, fold_in(part, positions, weights))


def scores_of(part: Collaborative, folded: Folded) -> Floats32:
    """(n,) the scores of somebody folded in."""
    return _with_taste(part, folded, _graph(part, folded))


def scores_of_many(part: Collaborative, many: Sequence[Folded]) -> Floats32:
    """(people, n) the scores of several people, by one product of matrices; as `scores_of` each."""
    inward = np.zeros((len(many), part.smooth.shape[1]), dtype=np.float32)
    for row, folded in zip(inward, many, strict=True):
        row[:] = folded.smooth @ part.smooth[folded.items]
    broad = _broad(part)
    total: Floats32 = inward[:, :broad] @ part.smooth[:, :broad].T
    for row, own, folded in zip(total, inward, many, strict=True):
        row[:] = _with_taste(part, folded, _refined(part, own, _with_near(part, folded, row)))
    return total


def _broad(part: Collaborative) -> int:
    """How many columns of the low-pass vectors all items are looked at by."""
    size, width = part.smooth.shape
    return int(width if size <= 2 * SHORTLISTED else min(width, BROAD))


def _refined(part: Collaborative, inward: Floats32, total: Floats32) -> Floats32:
    """(n,) the rest of the low-pass vectors added for the items that are best without it."""
    broad = _broad(part)
    if broad < len(inward):
        best = np.argpartition(total, len(total) - SHORTLISTED)[len(total) - SHORTLISTED :]
        total[best] += part.smooth[best, broad:] @ inward[broad:]
    return total


def _with_taste(part: Collaborative, folded: Folded, total: Floats32) -> Floats32:
    """(n,) what ALS says added to what the graph says."""
    if not folded.taste.any():
        return total
    vector = folded.taste @ part.taste[folded.items]
    if len(total) <= 2 * CANDIDATES or not folded.smooth.any():
        return total + part.taste @ vector
    best = _best(total, CANDIDATES)
    # `take` copies rows a fifth faster than an index does.
    total[best] += part.taste.take(best, axis=0) @ vector
    return total


def _best(values: Floats32, count: int) -> Offsets:
    """Positions of the largest values, equals by position; half the time of `argpartition`."""
    edge = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > edge)
    return np.concatenate([above, np.flatnonzero(values == edge)[: count - len(above)]])


def _graph(part: Collaborative, folded: Folded) -> Floats32:
    """(n,) smooth and near together."""
    inward = folded.smooth @ part.smooth[folded.items]
    broad = _broad(part)
    total: Floats32 = part.smooth[:, :broad] @ inward[:broad]
    return _refined(part, inward, _with_near(part, folded, total))


def _with_near(part: Collaborative, folded: Folded, total: Floats32) -> Floats32:
    """(n,) what the neighbours say added to what the low-pass filter says."""
    if not folded.near.any():
        return total
    lines, shares = _lines(part.neighbours, folded)
    if len(lines):
        near = part.neighbours
        total += np.bincount(
            near.items[lines], weights=near.values[lines] * shares, minlength=len(total)
        ).astype(np.float32)
    return total


def _lines(near: Neighbours, folded: Folded) -> tuple[Offsets, Floats32]:
    """Entries of all the neighbours of a person's items, and what each item counts there."""
    first = near.ptr[folded.items]
    lengths = near.ptr[folded.items + 1] - first
    ends = np.cumsum(lengths)
    lines = np.repeat(first - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)
    return lines, np.repeat(folded.near, lengths)


def contributions(
    part: Collaborative, positions: Offsets, weights: Floats64, targets: Offsets
) -> Floats32:
    """(targets, m) what each item of the person's adds to the score of each target.

    A column is 0 for what is not held. Rows sum to the scores of `scores` (of candidates). Which of
    them may be named to the person is for `because` to say.
    """
    folded = fold_in(part, positions, weights)
    column = {int(item): n for n, item in enumerate(positions.tolist()) if item >= 0}
    places = [column[item] for item in folded.items.tolist()]
    found = np.zeros((len(targets), len(positions)), dtype=np.float32)
    bought = folded.items
    taste = (part.taste[targets] @ part.taste[bought].T) * folded.taste
    smooth = (part.smooth[targets] @ part.smooth[bought].T) * folded.smooth
    near = _pair_values(part.neighbours, bought, targets) * folded.near
    found[:, places] = taste + smooth + near
    return found


def _pair_values(near: Neighbours, bought: Offsets, targets: Offsets) -> Floats32:
    """(targets, bought) values of the pairs listed under the items bought; 0 for the others."""
    found = np.zeros((len(targets), len(bought)), dtype=np.float32)
    first = near.ptr[bought]
    lengths = near.ptr[bought + 1] - first
    ends = np.cumsum(lengths)
    if not len(targets) or not len(ends) or not ends[-1]:
        return found
    lines = np.repeat(first - ends + lengths, lengths) + np.arange(ends[-1])
    order = np.argsort(targets, kind="stable")
    listed = near.items[lines]
    at = order[np.minimum(np.searchsorted(targets[order], listed), len(targets) - 1)]
    hits = np.flatnonzero(targets[at] == listed)
    columns = np.repeat(np.arange(len(bought)), lengths)[hits]
    found[at[hits], columns] = near.values[lines[hits]]
    return found


def because(
    part: Collaborative, positions: Offsets, weights: Floats64, targets: Offsets, limit: int
) -> list[list[int]]:
    """For each target, columns of `positions` that speak most for it, best first, at most `limit`.

    Only items that enough people bought together with the target are named.
    """
    answer = []
    for row in named(part, positions, weights, targets):
        best = np.argsort(-row, kind="stable")[:limit].tolist()
        answer.append([n for n in best if row[n] > 0])
    return answer


def named(part: Collaborative, positions: Offsets, weights: Floats64, targets: Offsets) -> Floats32:
    """(targets, m) the contributions that may be named to the person; 0 for the others.

    Only items that enough people bought together with the target are named.
    """
    found = contributions(part, positions, weights, targets)
    found[~_linked(part, positions, targets)] = 0
    return found


def _linked(part: Collaborative, positions: Offsets, targets: Offsets) -> npt.NDArray[np.bool_]:
    """(targets, m) whether the pair is listed, under either of the two."""
    linked = np.zeros((len(targets), len(positions)), dtype=np.bool_)
    held = np.flatnonzero(positions >= 0)
    if part.form.any_pair:
        linked[:, held] = True
        return linked
    near = part.neighbours
    own = positions[held]
    linked[:, held] = (_pair_values(near, own, targets) > 0) | (
        _pair_values(near, targets, own).T > 0
    )
    return linked


def nearest(part: Collaborative, position: int, limit: int) -> list[tuple[int, float]]:
    """(position, likeness 0 to 1) of the items most like one, best first.

    They are its neighbours, the nearest having 1.0, so there are as many as enough people bought
    with it, perhaps none. Of vectors that are private in themselves it is the cosine, of any items.
    """
    if part.form.any_pair:
        others = np.delete(np.arange(len(part.people), dtype=np.int32), position)
        likeness = _cosine(part.taste, position, others)
    else:
        here = part.neighbours.of(position)
        others, likeness = part.neighbours.items[here], part.neighbours.values[here]
        likeness = likeness / max(float(likeness.max(initial=0.0)), 1e-12)
    order = np.lexsort((others, -likeness))[:limit]
    return [(int(others[n]), float(likeness[n])) for n in order if likeness[n] > 0]


def _cosine(vectors: Floats32, position: int, others: npt.NDArray[np.int32]) -> Floats32:
    mine, theirs = vectors[position], vectors[others]
    lengths = np.linalg.norm(theirs, axis=1) * np.linalg.norm(mine)
    return np.asarray(theirs @ mine / np.maximum(lengths, 1e-12), dtype=np.float32)
