"""Experiments over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from werkzeug.routing import BaseConverter

from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, answer, provided
from loyalty.kit.settings import Settings
from recommend.experiments import service
from recommend.experiments.model import (
    METRICS,
    ExperimentBusyError,
    ExperimentFixedError,
    ExperimentInconsistentError,
    ExperimentNotFoundError,
    ExperimentsOverlapError,
    TooManyExperimentsError,
    Variant,
    Wish,
)
from recommend.experiments.results import PEOPLE_MIN, results
from recommend.experiments.schemas import (
    ExperimentSchema,
    ExperimentsSchema,
    ExperimentWriteSchema,
    ResultsSchema,
)
from recommend.experiments.service import Experiments
from recommend.feedback.model import NAME_PATTERN
from recommend.service import Sources

if TYPE_CHECKING:
    from recommend.experiments.model import Experiment, Metric
    from recommend.experiments.results import Outcome, Results

blp = Blueprint(
    "experiments", __name__, description="Variants of model and rules side by side, and what came."
)

_VARIANT = {"model_version": None, "weights": None, "rules_set": None, "serve": "model"}
_VARIANTS = [
    {**_VARIANT, "name": "control", "share": 50},
    {**_VARIANT, "name": "own-taste", "share": 50, "weights": {"personal": 2.0}},
]
_WISH = {
    "variants": [{"name": "control", "share": 50}, _VARIANTS[1]],
    "metric": "conversion",
    "window_days": 14,
    "status": "running",
    "ends_at": "2026-04-01T00:00:00Z",
}
_EXPERIMENT = {
    "name": "own-taste",
    "variants": _VARIANTS,
    "metric": "conversion",
    "window_days": 14,
    "status": "running",
    "salt": "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "starts_at": None,
    "ends_at": "2026-04-01T00:00:00Z",
    "created_at": "2026-03-01T09:00:00Z",
    "started_at": "2026-03-01T09:30:00Z",
    "stopped_at": None,
}
_COMPARISON = {
    "difference": 0.012,
    "low": 0.003,
    "high": 0.021,
    "always_low": -0.001,
    "always_high": 0.025,
    "p_value": 0.009,
    "more_members": 0,
}
_OUTCOME = {
    "name": "control",
    "share": 50,
    "members": 5012,
    "impressions": 20104,
    "clicks": 1203,
    "click_through": 0.0598,
    "converted": 401,
    "conversion": 0.08,
    "buyers": 911,
    "revenue": 1211.4,
    "compared": None,
    "verdict": "",
}


class NameConverter(BaseConverter):
    """The name of an experiment in a path."""

    regex = NAME_PATTERN.strip("^$")


@blp.route("/experiments")
@blp.requires("experiments:read")
@blp.response(200, ExperimentsSchema, example={"experiments": [_EXPERIMENT]})
@blp.raises()
def list_experiments() -> Answer:
    """List all experiments, by name."""
    return answer({"experiments": [_shown(each) for each in provided(Experiments).store.all()]})


@blp.route("/experiments/<experiment:name>")
@blp.requires("experiments:read")
@blp.response(200, ExperimentSchema, example=_EXPERIMENT)
@blp.raises(ExperimentNotFoundError)
def show_experiment(name: str) -> Answer:
    """Show an experiment."""
    return answer(_shown(provided(Experiments).store.get(name)))


@blp.route("/experiments/<experiment:name>", methods=["PUT"])
@blp.requires("experiments:write")
@blp.arguments(ExperimentWriteSchema, example=_WISH)
@blp.response(200, ExperimentSchema, example=_EXPERIMENT)
@blp.raises(
    ExperimentInconsistentError,
    ExperimentFixedError,
    ExperimentsOverlapError,
    ExperimentBusyError,
    TooManyExperimentsError,
    # For what cannot be a name at all.
    ExperimentNotFoundError,
)
def put_experiment(body: dict[str, Any], name: str) -> Answer:
    """Make an experiment, start it, give its variants other shares, or stop it.

    One runs at a time. Members who agree to personalisation are assigned by a keyed hash; nobody
    else takes part. Once it runs, only shares, `ends_at` and `status` can change. A variant that
    grows takes members who were in none, or whom others gave up; nobody else is moved. Every worker
    knows of a change within five seconds.
    """
    variants = tuple(Variant(**each) for each in body.pop("variants"))
    experiments = provided(Experiments)
    done = service.put(
        name,
        Wish(variants, **body),
        at=now(),
        store=experiments.store,
        rule_sets=provided(Sources).rules.names,
    )
    experiments.forget()
    return answer(_shown(done.experiment))


@blp.route("/experiments/<experiment:name>/results")
@blp.requires("experiments:read", bulk=True)
@blp.response(
    200,
    ResultsSchema,
    example={
        "experiment": "own-taste",
        "status": "running",
        "metric": "conversion",
        "as_of": "2026-03-20T09:30:00Z",
        "mismatch_p": 0.71,
        "is_mismatched": False,
        "crossed": 0,
        "variants": [
            _OUTCOME,
            {
                **_OUTCOME,
                "name": "own-taste",
                "compared": dict.fromkeys(METRICS, _COMPARISON),
                "verdict": "'own-taste' is better in conversion: +1.20 points "
                "(+0.30 points to +2.10 points, 95%).",
            },
        ],
        "verdict": "'own-taste' is better in conversion: +1.20 points "
        "(+0.30 points to +2.10 points, 95%).",
    },
)
@blp.raises(ExperimentNotFoundError)
def show_results(name: str) -> Answer:
    """Compare the variants with the control, so far, as far as consent allows now.

    A member counts once, for the variant that it was shown first. Counts of fewer than ten members
    are null, and so is what is made of them. `low` and `high` are right for one look at the end;
    `always_low` and `always_high` however often one looks.
    """
    experiment = provided(Experiments).store.get(name)
    seconds = provided(Settings).database_timeout_seconds * 5
    found = results(experiment, at=now(), sources=provided(Sources), batch_seconds=seconds)
    return answer(body_of(found))


def body_of(found: Results) -> dict[str, Any]:
    """Results as `ResultsSchema` shows them."""
    return {
        "experiment": found.experiment.name,
        "status": found.experiment.status,
        "metric": found.experiment.metric,
        "as_of": found.at,
        "mismatch_p": found.mismatch_p,
        "is_mismatched": found.is_mismatched,
        "crossed": _many(found.crossed),
        "variants": [_outcome(each) for each in found.outcomes],
        "verdict": found.verdict,
    }


def _many(members: int) -> int | None:
    """A count of members, unless it is of few."""
    return members if members == 0 or members >= PEOPLE_MIN else None


def _outcome(outcome: Outcome) -> dict[str, Any]:
    tally = outcome.tally

    def value(metric: Metric) -> float | None:
        return tally.value(metric) if tally and tally.people(metric) >= PEOPLE_MIN else None

    def count(metric: Metric) -> int | None:
        return tally.people(metric) if tally and tally.people(metric) >= PEOPLE_MIN else None

    compared = {
        name: each._asdict() if (each := outcome.compared.get(name)) else None for name in METRICS
    }
    click_through = value("click_through")
    return {
        "name": outcome.name,
        "share": outcome.share,
        "members": tally.members if tally else None,
        "impressions": tally.impressions if tally else None,
        "clicks": tally.clicks if tally and click_through is not None else None,
        "click_through": click_through,
        "converted": count("conversion"),
        "conversion": value("conversion"),
        "buyers": count("revenue"),
        "revenue": value("revenue"),
        "compared": compared if any(compared.values()) else None,
        "verdict": outcome.verdict,
    }


def _shown(experiment: Experiment) -> dict[str, Any]:
    times = ("starts_at", "ends_at", "created_at", "started_at", "stopped_at")
    names = ("name", "metric", "window_days", "status", "salt", *times)
    variant_names = ("name", "share", *_VARIANT)
    variants = [
        {name: getattr(each, name) for name in variant_names} for each in experiment.variants
    ]
    return {**{name: getattr(experiment, name) for name in names}, "variants": variants}
