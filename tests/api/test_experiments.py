"""Experiments over HTTP: who takes part, what is answered, what is counted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from app import main
from loyalty.kit.clock import now
from recommend import artefact
from recommend.experiments.results import PEOPLE_MIN, Tally, judged
from recommend.experiments.service import Experiments, Shelves, put
from recommend.experiments.store import ExperimentStore
from recommend.feedback.model import Event, key_of
from tests.api.test_feedback import event, listed, post, said
from tests.api.test_recommending import busy as busy  # noqa: PLC0414  # a fixture
from tests.api.test_recommending import shown
from tests.api.test_recommending import trained as trained  # noqa: PLC0414  # a fixture
from tests.builders import NOON, mint_key, unique
from tests.unit.test_experiment_model import running, wish

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings
    from recommend.training.service import Trained
    from tests.api.test_recommending import Shop
    from tests.builders import Api

PATH = "/v1/experiments/test"
DAY = timedelta(days=1)


def body(*shares: int, **overrides: Any) -> dict[str, Any]:
    variants = [{"name": n, "share": s} for n, s in zip("abcdef", shares, strict=False)]
    return {"variants": variants, "status": "running", **overrides}


def started(api: Api, *shares: int, **variant: Any) -> dict[str, Any]:
    """A running experiment whose last variant is special."""
    wanted = body(*shares)
    wanted["variants"][-1] |= variant
    found: dict[str, Any] = api.put(PATH, wanted, expect=200).get_json()
    return found


def test_it_is_made_started_resized_and_stopped(api: Api) -> None:
    api.get(PATH, expect=404)
    draft = api.put(PATH, body(50, 50, status="draft"), expect=200).get_json()
    assert (draft["started_at"], draft["variants"][0]["serve"]) == (None, "model")
    assert api.put(PATH, body(50, 50, status="draft"), expect=200).get_json() == draft
    begun = api.put(PATH, body(40, 50), expect=200).get_json()
    assert (begun["salt"], begun["status"]) == (draft["salt"], "running")
    refused = api.put(PATH, body(40, 50, metric="revenue"), expect=409).get_json()
    assert (refused["code"], refused["errors"][0]["field"]) == ("experiment_fixed", "metric")
    stopped = api.put(PATH, body(40, 50, status="stopped"), expect=200).get_json()
    assert stopped["stopped_at"]
    assert api.get(PATH, expect=200).get_json() == stopped
    assert api.get("/v1/experiments", expect=200).get_json() == {"experiments": [stopped]}


def test_it_does_not_begin_after_its_end_nor_with_rules_that_nobody_put(api: Api) -> None:
    past = (now() - DAY).isoformat()
    refused = api.put(PATH, body(50, 50, ends_at=past), expect=409).get_json()
    assert (refused["code"], refused["errors"][0]["field"]) == (
        "experiment_inconsistent",
        "ends_at",
    )
    wanted = body(50, 50)
    wanted["variants"][1]["rules_set"] = "sumer"
    api.put(PATH, {**wanted, "status": "draft"}, expect=200)
    refused = api.put(PATH, wanted, expect=409).get_json()
    assert refused["errors"][0]["field"] == "variants.1.rules_set"
    api.put("/v1/merchandising/sumer", {"rules": []}, expect=200)
    api.put(PATH, wanted, expect=200)


def test_one_runs_at_a_time(api: Api) -> None:
    started(api, 50, 50)
    other = "/v1/experiments/other"
    api.put(other, body(50, 50, status="draft"), expect=200)
    assert api.put(other, body(50, 50), expect=409).get_json()["code"] == "experiments_overlap"
    api.put(PATH, body(50, 50, status="stopped"), expect=200)
    api.put(other, body(50, 50), expect=200)


def test_of_racing_starts_one_wins(parts: Parts) -> None:
    def start(number: int) -> bool:
        try:
            put(f"race-{number}", wish(50, 50), at=now(), store=parts.experiments)
        except Exception as error:  # noqa: BLE001  # whichever: it is looked at
            assert type(error).__name__ == "ExperimentsOverlapError"  # noqa: PT017
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(start, range(8))) == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"variants": [{"name": "a", "share": 50}]}, "variants"),
        (body(50, 50, window_days=0), "window_days"),
        (body(50, 50, salt="short"), "salt"),
        ({"variants": [{"name": "a b", "share": 1}, {"name": "b", "share": 1}]}, "variants.0.name"),
        (
            {
                "variants": [
                    {"name": "a", "share": 1, "weights": {"luck": 1}},
                    {"name": "b", "share": 1},
                ]
            },
            "variants.0.weights.luck",
        ),
    ],
)
def test_a_mistake_is_named(api: Api, wrong: dict[str, Any], field: str) -> None:
    assert api.put(PATH, wrong, expect=422).get_json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"variants": [{"name": "a", "share": 50}] * 2}, "variants"),
        (body(60, 50), "variants"),
        (body(50, 50, ends_at="2026-03-01T00:00:00Z", starts_at="2026-03-02T00:00:00Z"), "ends_at"),
    ],
)
def test_what_does_not_fit_together_is_named(api: Api, wrong: dict[str, Any], field: str) -> None:
    refused = api.put(PATH, wrong, expect=409).get_json()
    assert (refused["code"], refused["errors"][0]["field"]) == ("experiment_inconsistent", field)


def test_reading_and_changing_have_scopes_of_their_own(api: Api, parts: Parts) -> None:
    reader = api.speaking_with(mint_key(parts, "experiments:read"))
    reader.put(PATH, body(50, 50), expect=403)
    started(api, 50, 50)
    reader.get(f"{PATH}/results", expect=200)
    api.speaking_with(mint_key(parts, "recommendations:read")).get(PATH, expect=403)


@pytest.mark.usefixtures("trained")
def test_only_who_agrees_takes_part_and_the_answer_says_in_what(busy: Shop) -> None:
    before, _ = shown(busy, busy.buyers[0])
    assert (before["experiment"], before["variant"]) == (None, None)
    started(busy.api, 0, 100)
    found = [shown(busy, each)[0] for each in (*busy.buyers, busy.newcomer)]
    assert {(each["experiment"], each["variant"]) for each in found} == {("test", "b")}
    assert len({each["recommendation_id"] for each in found}) == len(found)
    refused, _ = shown(busy, busy.refuser)
    assert (refused["experiment"], refused["variant"]) == (None, None)
    api, member = busy.api, busy.buyers[0]
    path = f"/v1/members/{member}/recommendations"
    assert api.get(path, headers={"Sec-GPC": "1"}).get_json()["variant"] is None


@pytest.mark.usefixtures("trained")
def test_a_group_can_be_held_out(busy: Shop) -> None:
    member = busy.buyers[0]
    started(busy.api, 0, 100, serve="nothing")
    answer, skus = shown(busy, member)
    assert (answer["personalised"], answer["reason"], skus) == (False, "held_out", [])
    report = event(member, kind="impression", recommendation_id=answer["recommendation_id"])
    del report["sku"]
    assert said(post(busy.api, report)) == ["recorded"]
    busy.api.put(
        PATH,
        {
            **body(0, 100, status="stopped"),
            "variants": [
                {"name": "a", "share": 0},
                {"name": "b", "share": 100, "serve": "nothing"},
            ],
        },
        expect=200,
    )
    popular = body(0, 100)
    popular["variants"][1]["serve"] = "popular"
    busy.api.put("/v1/experiments/next", popular, expect=200)
    answer, skus = shown(busy, member)
    assert (answer["reason"], answer["variant"]) == ("held_out", "b")
    assert skus == shown(busy, busy.refuser)[1]


def test_a_variant_has_its_own_version_and_weights(
    busy: Shop, trained: Trained, settings: Settings
) -> None:
    root, member = settings.model_dir, busy.buyers[0]
    artefact.save(trained.model, root, "candidate", created_at=0)
    started(busy.api, 0, 100, model_version="candidate", weights={"personal": 0})
    assert shown(busy, member)[0]["model_version"] == "candidate"
    served = Shelves(root).served("candidate")
    assert served
    assert served.model.weights == trained.model.weights
    # It is plain: a shop that has private models alone does not rank with it.
    assert Shelves(root, is_private=True).served("candidate") is None
    again = Shelves(root)
    heavier = [again.reweighted(served, {"personal": 3}) for _ in range(2)]
    assert heavier[0] is heavier[1]
    assert heavier[0].model.weights == replace(trained.model.weights, personal=3)
    assert again.reweighted(served, {"personal": 4}) is not heavier[0]
    # One that is gone is no reason to show nothing.
    busy.api.put(
        PATH,
        {
            **body(0, 100, status="stopped"),
            "variants": [
                {"name": "a", "share": 0},
                {
                    "name": "b",
                    "share": 100,
                    "model_version": "candidate",
                    "weights": {"personal": 0},
                },
            ],
        },
        expect=200,
    )
    gone = body(0, 100)
    gone["variants"][1]["model_version"] = "gone"
    busy.api.put("/v1/experiments/next", gone, expect=200)
    assert shown(busy, member)[0]["model_version"] == trained.version


def test_at_most_three_versions_are_in_memory(trained: Trained, settings: Settings) -> None:
    root = settings.model_dir
    for number in range(5):
        artefact.save(trained.model, root, f"v{number}", created_at=0)
    shelves = Shelves(root)
    assert all(shelves.served(f"v{number}") for number in range(5))
    assert list(shelves._loaded) == ["v2", "v3", "v4"]
    clock = [0.0]
    late = Shelves(root, monotonic=lambda: clock[0])
    assert late.served("later") is None
    artefact.save(trained.model, root, "later", created_at=0)
    assert late.served("later") is None
    clock[0] += 61
    assert late.served("later")


def test_every_worker_knows_within_five_seconds(api: Api, parts: Parts) -> None:
    clock = [0.0]
    elsewhere = Experiments(parts.experiments, monotonic=lambda: clock[0])
    assert elsewhere.variant_for("m_1", now()) is None
    started(api, 0, 100)
    assert elsewhere.variant_for("m_1", now()) is None
    clock[0] += 5
    found = elsewhere.variant_for("m_1", now())
    assert found
    assert found.origin == ("test", "b")


class Lived:
    """A shop whose members were shown variants, and bought."""

    def __init__(self, shop: Api, parts: Parts, members: int) -> None:
        self.api, self.parts = shop, parts
        self.members = [shop.enrol() for _ in range(members)]
        for member in self.members:
            shop.consent(member, "personalisation")
        started(shop, 50, 50)

    def report(self, member: str, variant: str, kind: Any, *skus: str, at: Any = None) -> None:
        happened = Event(
            unique("event"),
            member,
            kind,
            skus,
            at or now() - DAY,
            "web",
            experiment="test",
            variant=variant,
        )
        self.parts.feedback.add({key_of("web", happened.external_id): happened}, at=now())

    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"{PATH}/results", expect=200).get_json()
        return found


@pytest.fixture
def lived(shop: Api, parts: Parts) -> Lived:
    return Lived(shop, parts, 2 * PEOPLE_MIN + 2)


def test_what_was_shown_and_bought_is_added_up_by_member(lived: Lived) -> None:
    half = PEOPLE_MIN + 1
    for position, member in enumerate(lived.members):
        variant = "b" if position < half else "a"
        for _ in range(3):
            lived.report(member, variant, "impression", "milk", "tea")
        lived.report(member, variant, "click", "milk")
    lived.report(lived.members[0], "b", "click", "milk")
    for member in lived.members[:half]:
        lived.api.buy(member, 500, lines=[{"sku": "milk", "quantity": 1, "amount": 500}])
    for member in lived.members[half:]:
        # Not what was shown: no conversion, but revenue.
        lived.api.buy(member, 300, lines=[{"sku": "sofa", "quantity": 1, "amount": 300}])
    found = lived.results()
    control, variant = found["variants"]
    assert (control["members"], control["impressions"], control["clicks"]) == (half, 33, 11)
    assert (control["converted"], control["buyers"], control["revenue"]) == (None, half, 300)
    assert (variant["converted"], variant["conversion"]) == (half, 1.0)
    assert (variant["clicks"], variant["revenue"]) == (12, 500)
    assert variant["compared"]["conversion"] is None, "too few converted in the control"
    assert variant["compared"]["revenue"]["difference"] == 200
    assert variant["compared"]["click_through"]["difference"] == pytest.approx(1 / 33)
    assert found["mismatch_p"] == 1
    assert "Not enough yet" in found["verdict"]


def test_a_purchase_before_or_after_the_window_does_not_count(lived: Lived) -> None:
    for member in lived.members:
        lived.report(member, "b", "impression", "milk", at=now() - 20 * DAY)
        for days in (21, 2):
            at = (now() - days * DAY).isoformat()
            lived.api.buy(member, occurred_at=at)
    (_, variant) = lived.results()["variants"]
    assert (variant["members"], variant["converted"], variant["buyers"]) == (22, None, None)
    at = (now() - 10 * DAY).isoformat()
    for member in lived.members:
        lived.api.buy(member, 700, external_id=f"in-{member}", occurred_at=at)
        back = {"external_id": f"b-{member}", "channel": "store", "store": "S1"}
        named = {"purchase": {"external_id": f"in-{member}"}, "amount": 200, "occurred_at": at}
        lived.api.post("/v1/returns", {**back, **named}, expect=201)
    (_, variant) = lived.results()["variants"]
    assert (variant["converted"], variant["revenue"]) == (22, 500)


def test_who_withdrew_is_in_no_number(lived: Lived) -> None:
    for member in lived.members:
        lived.report(member, "b", "impression", "milk")
    lived.api.consent(lived.members[0], "personalisation", granted=False)
    assert lived.results()["variants"][1]["members"] == 21
    for member in lived.members[1:13]:
        lived.api.consent(member, "personalisation", granted=False)
    shown_now = lived.results()["variants"][1]
    assert shown_now["members"] is None
    assert shown_now["impressions"] is None


def test_a_member_counts_for_what_it_was_shown_first(lived: Lived) -> None:
    for member in lived.members:
        lived.report(member, "a", "impression", "milk", at=now() - 2 * DAY)
        lived.report(member, "b", "impression", "milk", at=now() - DAY)
        lived.report(member, "unknown", "impression", "milk", at=now() - 3 * DAY)
    found = lived.results()
    assert found["crossed"] == 22
    assert [each["members"] for each in found["variants"]] == [22, None]
    assert found["is_mismatched"]
    assert found["verdict"].startswith("Do not decide on this")


def test_an_impression_that_names_an_answer_is_an_exposure(lived: Lived) -> None:
    answer_id = "test.b.0123456789abcdef"
    for member in lived.members:
        report = listed(member, "milk", recommendation_id=answer_id)
        assert said(post(lived.api, report, report)) == ["recorded", "replayed"]
    assert lived.results()["variants"][1]["impressions"] == 22


def test_the_command_lists_and_compares(lived: Lived, settings: Settings) -> None:
    for member in lived.members:
        lived.report(member, "b", "impression", "milk")
    environment = {
        "CARNET_MONGODB_URI": settings.mongodb_uri,
        "CARNET_DATABASE": settings.database,
        "CARNET_DATA_DIR": str(settings.data_dir),
        "CARNET_SECRET": settings.secret or "",
        "COLUMNS": "200",
    }
    listed_ = CliRunner().invoke(main, ["experiments"], env=environment)
    assert "a 50%, b 50%" in listed_.output, listed_.output
    compared = CliRunner().invoke(main, ["experiments", "test"], env=environment)
    assert "under 10" in compared.output
    assert "Do not decide" in compared.output
    missing = CliRunner().invoke(main, ["experiments", "nothing"], env=environment)
    assert missing.exit_code == 1
    assert "There is no such experiment" in missing.output


def tally(members: int, converted: int) -> Tally:
    return Tally(members=members, impressions=members, converted=converted)


def test_the_verdict_is_in_plain_words() -> None:
    def verdict(control: Tally, variant: Tally, **changes: Any) -> str:
        experiment = replace(running(50, 50), **changes)
        return judged(experiment, {"a": control, "b": variant}, at=now()).verdict

    same, more = tally(5000, 500), tally(5000, 580)
    assert "No difference shown" in verdict(same, tally(5000, 510))
    assert "more members would show it" in verdict(same, tally(5000, 510))
    assert "right for one look at the end" in verdict(same, more)
    assert "'b' is better in conversion" in verdict(same, more, status="stopped")
    assert "'b' is worse" in verdict(more, same, status="stopped")
    assert "'b' is better" in verdict(same, tally(5000, 900)), "sure, however often one looks"
    assert "Not enough yet" in verdict(tally(50, 9), tally(50, 20))
    assert "Do not decide" in verdict(same, tally(4000, 400))
    assert "Do not decide" not in verdict(same, tally(4000, 400), is_resized=True)


def test_what_is_kept_is_what_was_put(parts: Parts) -> None:
    made = put(
        "test", wish(50, 50, ends_at=NOON + DAY), at=NOON, store=parts.experiments
    ).experiment
    store = ExperimentStore(parts.database)
    assert store.get("test") == store.running() == made
    assert [each.origin for each in made.variants] == [("test", "a"), ("test", "b")]
