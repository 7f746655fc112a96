"""A version of the model as it is told: as JSON, in words, as the numbers of a picture. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from recommend.training.model import mode_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recommend.training.model import Status, Version

STATUSES: tuple[Status, ...] = ("served", "kept", "refused", "rolled_back")
CHOSEN = "chosen"
WIDTH = 600.0
_NAMES = {
    "chosen": "this model",
    "default": "default weights",
    "global_top": "popular everywhere",
    "personal_top": "the member's own most frequent",
    "als_alone": "item factors (ALS) alone",
    "previous_settings": "settings served before, learnt anew",
    "previous_model": "the model served before, as it was",
}
_PARTS = {
    "personal": "what the member bought before",
    "shared": "what is popular",
    "collaborative": "what goes with it, learned from all",
    "together": "what is bought with what was bought last",
}


def name_of(rival: str) -> str:
    """A way to rank in words."""
    return _NAMES.get(rival, rival.replace("_", " "))


def short_of(version: Version, status: str) -> dict[str, Any]:
    """A version in short, as a list shows it."""
    facts = version.facts
    chosen = facts.get("metrics", {}).get(CHOSEN)
    return {
        "version": version.version,
        "status": status,
        "created_at": version.created_at,
        "promoted_at": version.promoted_at,
        "rolled_back_at": version.rolled_back_at,
        "items": version.card.get("n_items", 0),
        "members": facts.get("members", 0),
        "baskets": facts.get("baskets", 0),
        "recall": chosen["recall"] if chosen else None,
    }


def report_of(version: Version, status: str, *, withdrawn_since: int) -> dict[str, Any]:
    """All that is known of a version.

    Args:
        version: the version.
        status: in one word.
        withdrawn_since: members behind it who withdrew since it was trained.
    """
    facts, card = version.facts, version.card
    verdict = facts.get("verdict", {})
    settings = dict(card.get("settings", {}))
    metrics = facts.get("metrics", {})
    return {
        **short_of(version, status),
        "k": facts.get("k", 0),
        "seconds": facts.get("seconds", 0.0),
        "trained_by": facts.get("trained_by", ""),
        "previous": facts.get("previous"),
        "privacy": mode_of(facts),
        "chosen_by": facts.get("chosen_by", ""),
        "weights": dict(card.get("weights", {})),
        "settings": settings,
        "metrics": [{"name": name, **each} for name, each in metrics.items()],
        "comparisons": [dict(each) for each in verdict.get("comparisons", ())],
        "reasons": list(verdict.get("reasons", ())),
        "notes": list(verdict.get("notes", ())),
        "readings": facts.get("readings", 1),
        "withdrawn_meanwhile": facts.get("withdrawn_meanwhile", 0),
        "withdrawn_since": withdrawn_since,
        "findings": dict(version.notes),
    }


def weights_in_words(weights: Mapping[str, Any]) -> str:
    """What counts how much, as shares: only the ratios of weights matter."""
    numbers = {
        name: float(each) for name, each in weights.items() if isinstance(each, (int, float))
    }
    total = sum(numbers.values())
    if not total:
        return "Nothing counts."
    parts = [
        f"{_PARTS.get(name, name.replace('_', ' '))} {value / total:.0%}"
        for name, value in sorted(numbers.items(), key=lambda each: -each[1])
        if value
    ]
    return f"Of all that speaks for a product: {', '.join(parts)}."


class Bar(NamedTuple):
    """One way to rank: its length in the picture, and what it says."""

    name: str
    width: float
    value: str
    is_ours: bool


class Span(NamedTuple):
    """One comparison: where its interval and its middle stand in the picture."""

    name: str
    left: float
    width: float
    middle: float
    gain: str
    is_worse: bool


class Spans(NamedTuple):
    """All comparisons on one scale; `zero` is where neither is better."""

    zero: float
    spans: list[Span]


def bars_of(metrics: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Recall of each way to rank, the best filling the width."""
    most = max((each["recall"] for each in metrics), default=0.0) or 1.0
    return [
        Bar(
            name_of(each["name"]),
            round(each["recall"] / most * WIDTH, 1),
            f"{each['recall']:.4f}",
            each["name"] == CHOSEN,
        )
        for each in sorted(metrics, key=lambda each: -each["recall"])
    ]


def spans_of(comparisons: Sequence[Mapping[str, Any]]) -> Spans:
    """The intervals of the differences, right of `zero` where this model is better."""
    far = max((max(abs(each["low"]), abs(each["high"])) for each in comparisons), default=0.0)
    scale = WIDTH / 2 / (far * 1.05 or 1.0)
    middle = WIDTH / 2

    def span(each: Mapping[str, Any]) -> Span:
        left, right = (middle + each[name] * scale for name in ("low", "high"))
        at = middle + (each["ours"] - each["theirs"]) * scale
        numbers = (round(left, 1), round(right - left, 1), round(at, 1))
        gain = f"{each['relative']:+.1%}"
        return Span(name_of(each["rival"]), *numbers, gain, is_worse=each["high"] < 0)

    return Spans(middle, [span(each) for each in comparisons])
