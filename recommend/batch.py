"""Ranks for many members at once: what `model.rank` gives each, in a fraction of the time. Pure.

The heavy part of a ranking reads all item vectors; for a block of people that is one product of
matrices instead of one pass over memory for each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recommend import collaborative
from recommend.model import Pick, asked_of, rank
from recommend.taste import NOTHING_ELSE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from recommend.model import Asked, Exclude, Floats32, History, Model
    from recommend.taste import Context

    Person = tuple[History, Context]

BLOCK_CELLS = 4_000_000
"""Most scores held at once: 16 MB."""
BLOCK_MAX = 256
"""Most people in a block."""


def rank_many(
    model: Model,
    histories: Sequence[History],
    places: Sequence[str],
    limit: int,
    exclude: Exclude = (),
    *,
    contexts: Sequence[Context] | None = None,
) -> list[list[Pick]]:
    """The picks of each of the histories, in order; arguments and errors are those of `rank`.

    Scores may differ from those of `rank` in the last digits of float32. Memory beyond the answer
    is bounded by `BLOCK_CELLS`.

    Args:
        model: trained, or loaded read-only.
        histories: of the members, newest last.
        places: of all of them, most specific first.
        limit: most picks for each.
        exclude: SKUs never to give.
        contexts: what else is known of each; nothing if left out.
    """
    people = list(zip(histories, contexts or [NOTHING_ELSE] * len(histories), strict=True))
    answer = []
    for block in _blocks(model, people):
        known = [asked_of(model, *person) for person in block]
        for (history, context), asked, row in zip(
            block, known, _preferences(model, known), strict=True
        ):
            picks = rank(
                model,
                history,
                places,
                limit,
                exclude=exclude,
                context=context,
                preferences=row,
                asked=asked,
            )
            answer.append(picks)
    return answer


def _blocks(model: Model, asked: Sequence[Person]) -> Iterator[Sequence[Person]]:
    size = max(1, min(BLOCK_MAX, BLOCK_CELLS // max(len(model.items), 1)))
    for first in range(0, len(asked), size):
        yield asked[first : first + size]


def preferences(model: Model, asked: Sequence[Person]) -> Sequence[Floats32 | None]:
    """What the collaborative part says to each, for `rank`; None where it has no weight.

    Args:
        model: that is served.
        asked: history and context of each; few at once, for each gets a row of all items.
    """
    return _preferences(model, [asked_of(model, *person) for person in asked])


def _preferences(model: Model, asked: Sequence[Asked]) -> Sequence[Floats32 | None]:
    if not model.weights.collaborative:
        return [None] * len(asked)
    part = model.collaborative
    folded = [collaborative.fold_in(part, one.at, one.taste.evidence) for one in asked]
    return list(collaborative.scores_of_many(part, folded))
