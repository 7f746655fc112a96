"""Item vectors, two ways: a low-pass filter in closed form, and ALS. Pure; both forget the people.

Both take strengths, a csr matrix (members, n items) of float32 above 0, and give one row an item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats32 = npt.NDArray[np.float32]
    Floats64 = npt.NDArray[np.float64]

POWER_STEPS = 3
"""Rounds of the subspace iteration from a random start; one is enough from a good one."""
SPARE_VECTORS = 16
"""Vectors carried along beside those wanted, for exactness (Halko et al. 2011)."""


class Als(NamedTuple):
    """How ALS is run.

    Attributes:
        factors: length of a vector.
        alpha: mean confidence in a purchase, no purchase having 1.
        regularization: of both sides.
        iterations: number of rounds.
        seed: of the start.
    """

    factors: int
    alpha: float
    regularization: float
    iterations: int
    seed: int


class Learned(NamedTuple):
    """What ALS found; `people` is for choosing by, and must not outlive the training.

    Attributes:
        items: (n, f) vectors of the items.
        scale: confidence of a strength of 1 by a person of strength 1 in an item of one buyer.
        people: (members, f) vectors of the people; empty where another part is the start.
    """

    items: Floats32
    scale: float
    people: Floats32 = np.zeros((0, 0), dtype=np.float32)


def people_of(strengths: sparse.csr_matrix) -> Floats64:
    """(n,) number of different people of each item, at least 1."""
    return np.maximum(np.asarray(strengths.getnnz(axis=0), dtype=np.float64), 1)


def normalised(strengths: sparse.csr_matrix) -> sparse.csr_matrix:
    """Each strength over the root of the person's sum and the root of the item's people."""
    sums = np.maximum(np.asarray(strengths.sum(axis=1)).ravel(), 1e-9)
    left, right = sparse.diags(sums**-0.5), sparse.diags(people_of(strengths) ** -0.5)
    return (left @ strengths @ right).tocsr().astype(np.float32)


def low_pass(
    strengths: sparse.csr_matrix,
    width: int,
    *,
    seed: int,
    start: Floats32 | None = None,
    threads: int = 0,
) -> Floats32:
    """(n, width) leading right singular vectors of the normalised matrix, orthonormal, best first.

    Randomised subspace iteration (Halko, Martinsson, Tropp 2011, doi:10.1137/090771806). With
    `start`, vectors of nearly the same matrix, one round does.
    """
    matrix = normalised(strengths)
    wide = min(width + SPARE_VECTORS, *matrix.shape)
    across = matrix.T.tocsr()
    basis, rounds = start, 1
    if basis is None:
        random = np.random.default_rng(seed)
        basis = random.standard_normal((matrix.shape[1], wide)).astype(np.float32)
        rounds = POWER_STEPS
    with threadpool_limits(threads or None, "blas"):
        for _ in range(rounds):
            basis = orthonormal(across @ (matrix @ basis))
        seen = matrix @ basis
        turn = _axes(seen)[1][:, ::-1][:, :width]
        return np.ascontiguousarray(basis @ turn.astype(np.float32))


def orthonormal(columns: Floats32) -> Floats32:
    """Orthonormal columns of the same span, by their Gram matrix: three times as fast as QR.

    Directions below the noise of float32 are left out.
    """
    values, turn = _axes(columns)
    kept = values > values[-1] * 1e-10
    return np.asarray(columns @ (turn[:, kept] / np.sqrt(values[kept])).astype(np.float32))


def _axes(columns: Floats32) -> tuple[Floats64, Floats64]:
    """Eigenvalues, rising, and eigenvectors of the Gram matrix of some columns.

    By one thread: it is small, and where other work runs beside it several threads of BLAS wait
    for each other, five times as long.
    """
    gram = (columns.T @ columns).astype(np.float64)
    with threadpool_limits(1, "blas"):
        values, vectors = np.linalg.eigh(gram)
    return values, vectors


def confidences(strengths: sparse.csr_matrix, alpha: float) -> tuple[sparse.csr_matrix, float]:
    """How much ALS is to trust each purchase, `alpha` on average and never less than no purchase.

    A purchase by someone who buys all, or of what all buy, says less; without this the heaviest
    buyers and the best sellers bend the vectors to themselves.

    Returns:
        The confidences, and the scale of `Learned`.
    """
    weighed = normalised(strengths)
    scale = alpha / float(weighed.data.mean()) if weighed.nnz else alpha
    weighed.data = np.maximum(weighed.data * np.float32(scale), np.float32(1.0))
    return weighed, scale


def als(
    strengths: sparse.csr_matrix,
    how: Als,
    *,
    threads: int,
    start: Learned | None = None,
    progress: Callable[[], None] | None = None,
) -> Learned:
    """Run ALS, from the start given or a random one; the same seed gives the same vectors."""
    weighed, scale = confidences(strengths, how.alpha)
    # BLAS threads under those of implicit make it ten times slower; it warns about them.
    with threadpool_limits(1, "blas"):
        learner = AlternatingLeastSquares(
            factors=how.factors,
            regularization=how.regularization,
            alpha=1.0,
            iterations=how.iterations,
            num_threads=threads,
            random_state=how.seed,
        )
        if start is not None:
            # A round begins with the people, so what they are at the start does not matter.
            learner.item_factors = start.items.copy()
        learner.fit(weighed, show_progress=False, callback=_reporter(progress))
    return Learned(np.asarray(learner.item_factors), scale, np.asarray(learner.user_factors))


def _reporter(progress: Callable[[], None] | None) -> Callable[..., None] | None:
    return None if progress is None else lambda *_: progress()


def whitened(items: Floats32, regularization: float) -> Floats32:
    """(n, f) vectors Z = Y A^-1/2 with A = YtY + reg I, so that folding in needs no A.

    With K = Z Zt over the items bought, a person's estimate for item t is `Zt . Z_bought . a`: the
    kernel form of the closed user step of ALS.
    """
    wide = items.astype(np.float64)
    left = wide.T @ wide
    left[np.diag_indices_from(left)] += regularization
    values, vectors = np.linalg.eigh(left)
    return np.ascontiguousarray(items @ (vectors * values**-0.5), dtype=np.float32)


def coloured(whitened_items: Floats32, regularization: float) -> Floats32:
    """(n, f) the vectors that `whitened` came from, turned; a turn changes nothing for ALS."""
    lengths = np.einsum("nf,nf->f", whitened_items, whitened_items, dtype=np.float64)
    left = regularization / np.maximum(1 - lengths, 1e-9)
    return np.asarray(whitened_items * np.sqrt(left), dtype=np.float32)
