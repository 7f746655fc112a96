"""A model as named arrays and a few plain values, and back. Pure; files: `recommend.artefact`.

Whoever adds an array to the model adds it here: to `ARRAYS`, `pack`, `unpack` and the checks.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from recommend.collaborative import Collaborative, Form
from recommend.model import Model, Popular, Settings, Weights
from recommend.neighbours import Neighbours
from recommend.together import Together

if TYPE_CHECKING:
    from collections.abc import Mapping

# Kind and item size of each array's dtype; the kind "S" has any size.
ARRAYS = {
    "items": ("S", 1),
    "taste": ("f4", 2),
    "smooth": ("f4", 2),
    "people": ("f4", 1),
    "near_ptr": ("i8", 1),
    "near_items": ("i4", 1),
    "near_values": ("f4", 1),
    "item_people": ("i4", 1),
    "rebuy_days": ("f4", 1),
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
        "taste": model.collaborative.taste,
        "smooth": model.collaborative.smooth,
        "people": model.collaborative.people,
        "near_ptr": model.collaborative.neighbours.ptr,
        "near_items": model.collaborative.neighbours.items,
        "near_values": model.collaborative.neighbours.values,
        "item_people": model.item_people,
        "rebuy_days": model.rebuy_days,
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
        "collaborative": asdict(model.collaborative.form),
        "n_taste": model.collaborative.taste.shape[1],
        "n_smooth": model.collaborative.smooth.shape[1],
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
        collaborative=Collaborative(
            taste=arrays["taste"],
            smooth=arrays["smooth"],
            people=arrays["people"],
            neighbours=Neighbours(*(arrays[f"near_{name}"] for name in ("ptr", "items", "values"))),
            form=Form(**values["collaborative"]),
        ),
        item_people=arrays["item_people"],
        rebuy_days=arrays["rebuy_days"],
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
    n_items = values["n_items"]
    listed, paired = int(arrays["popular_ptr"][-1]), int(arrays["near_ptr"][-1])
    beside = int(arrays["together_ptr"][-1])
    wanted = {
        "items": (n_items,),
        "taste": (n_items, values["n_taste"]),
        "smooth": (n_items, values["n_smooth"]),
        "people": (n_items,),
        "near_ptr": (n_items + 1,),
        "near_items": (paired,),
        "near_values": (paired,),
        "item_people": (n_items,),
        "rebuy_days": (n_items,),
        "popular_ptr": (len(values["places"]) + 1,),
        "popular_items": (listed,),
        "popular_scores": (listed,),
        "together_ptr": (n_items + 1,),
        "together_items": (beside,),
        "together_scores": (beside,),
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
        "vectors are numbers": all(np.isfinite(arrays[name]).all() for name in ("taste", "smooth")),
        "items have people": bool((arrays["people"] >= 1).all()),
        "neighbours have bounds": _are_bounds(arrays["near_ptr"]),
        "neighbours are items": _are_positions(arrays["near_items"], len(items)),
        "neighbours are numbers": bool(np.isfinite(arrays["near_values"]).all()),
        "what lies together has bounds": _are_bounds(arrays["together_ptr"]),
        "what lies together is items": _are_positions(arrays["together_items"], len(items)),
        "lists have bounds": _are_bounds(arrays["popular_ptr"]),
        "lists name items": _are_positions(arrays["popular_items"], len(items)),
        "intervals are not negative": not bool((arrays["rebuy_days"] < 0).any()),
    }
    if wrong := [what for what, fine in checks.items() if not fine]:
        raise ValueError(f"not so: {', '.join(wrong)}")


def _are_bounds(ptr: npt.NDArray[Any]) -> bool:
    return int(ptr[0]) == 0 and bool((np.diff(ptr) >= 0).all())


def _are_positions(values: npt.NDArray[Any], size: int) -> bool:
    return bool(((values >= 0) & (values < size)).all())
