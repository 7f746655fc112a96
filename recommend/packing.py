"""A model as named arrays and a few plain values, and back. Pure; files: `recommend.artefact`.

Whoever adds an array to the model adds it here: to `ARRAYS`, `pack`, `unpack` and the checks.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from recommend.model import Model, Popular, Settings, Weights
from recommend.together import Together

if TYPE_CHECKING:
    from collections.abc import Mapping

# Kind and item size of each array's dtype; the kind "S" has any size.
ARRAYS = {
    "items": ("S", 1),
    "factors": ("f4", 2),
    "gram": ("f8", 2),
    "item_people": ("i4", 1),
    "popular_ptr": ("i8", 1),
    "popular_items": ("i4", 1),
    "popular_scores": ("f4", 1),
    "together_ptr": ("i8", 1),
    "together_items": ("i4", 1),
    "together_scores": ("f4", 1),
}

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
Values: TypeAlias = "Mapping[str, Any]"


def pack(model: Model) -> Arrays:
    """The arrays of a model by the names of `ARRAYS`."""
    lists = list(model.popular.values())
    return {
        "items": model.items,
        "factors": model.factors,
        "gram": model.gram,
        "item_people": model.item_people,
        "popular_ptr": np.cumsum([0, *(len(one.items) for one in lists)], dtype=np.int64),
        "popular_items": np.concatenate([one.items for one in lists]),
        "popular_scores": np.concatenate([one.scores for one in lists]),
        "together_ptr": model.together.ptr,
        "together_items": model.together.items,
        "together_scores": model.together.scores,
    }


def values_of(model: Model) -> dict[str, Any]:
    """What is no array, as JSON takes it."""
    return {
        "settings": asdict(model.settings),
        "weights": asdict(model.weights),
        "n_items": len(model.items),
        "n_factors": model.factors.shape[1],
        "places": list(model.popular),
    }


def unpack(arrays: Arrays, values: Values) -> Model:
    """The model of these arrays and values.

    Raises:
        LookupError, TypeError, ValueError: something is missing or of another kind.
    """
    bounds = list(pairwise(arrays["popular_ptr"].tolist()))
    items, scores = arrays["popular_items"], arrays["popular_scores"]
    lists = [Popular(items[first:last], scores[first:last]) for first, last in bounds]
    return Model(
        items=arrays["items"],
        factors=arrays["factors"],
        gram=arrays["gram"],
        item_people=arrays["item_people"],
        popular=dict(zip(values["places"], lists, strict=True)),
        together=Together(*(arrays[f"together_{name}"] for name in Together._fields)),
        weights=Weights(**values["weights"]),
        settings=Settings(**values["settings"]),
    )


def check_sizes(arrays: Arrays, values: Values) -> None:
    """Whether the arrays fit together.

    Raises:
        ValueError: they do not.
    """
    n_items, n_factors = values["n_items"], values["n_factors"]
    listed, pairs = int(arrays["popular_ptr"][-1]), int(arrays["together_ptr"][-1])
    wanted = {
        "items": (n_items,),
        "factors": (n_items, n_factors),
        "gram": (n_factors, n_factors),
        "item_people": (n_items,),
        "popular_ptr": (len(values["places"]) + 1,),
        "popular_items": (listed,),
        "popular_scores": (listed,),
        "together_ptr": (n_items + 1,),
        "together_items": (pairs,),
        "together_scores": (pairs,),
    }
    if wrong := [name for name, shape in wanted.items() if arrays[name].shape != shape]:
        raise ValueError(f"sizes do not fit together: {', '.join(wrong)}")


def check_values(arrays: Arrays) -> None:
    """Whether every number in them can be used; reads all of them.

    Raises:
        ValueError: one cannot.
    """
    items = arrays["items"]
    checks = {
        "items are sorted": bool((items[:-1] < items[1:]).all()),
        "factors are numbers": bool(np.isfinite(arrays["factors"]).all()),
        "gram is of numbers": bool(np.isfinite(arrays["gram"]).all()),
        "neighbours have bounds": _are_bounds(arrays["together_ptr"]),
        "neighbours are items": _are_positions(arrays["together_items"], len(items)),
        "lists have bounds": _are_bounds(arrays["popular_ptr"]),
        "lists name items": _are_positions(arrays["popular_items"], len(items)),
    }
    if wrong := [what for what, fine in checks.items() if not fine]:
        raise ValueError(f"not so: {', '.join(wrong)}")


def _are_bounds(ptr: npt.NDArray[Any]) -> bool:
    return int(ptr[0]) == 0 and bool((np.diff(ptr) >= 0).all())


def _are_positions(values: npt.NDArray[Any], size: int) -> bool:
    return bool(((values >= 0) & (values < size)).all())
