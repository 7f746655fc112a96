"""Training: what it says, what it refuses, how it is asked for, and when it happens by itself."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

import recommend.training.service as training
from app import job_kinds, main
from loyalty.access import model as keys
from loyalty.jobs.model import JobCancelledError
from loyalty.jobs.runner import Runner
from loyalty.kit.clock import now
from recommend import artefact
from recommend.artefact import Shelf
from recommend.choose import Choice
from recommend.model import Weights
from recommend.model import train as learn
from recommend.packing import Arrays, pack
from recommend.privacy.model import Budget
from recommend.training import depot as depots
from recommend.training.jobs import Heartbeat
from recommend.training.service import Trained, train_and_promote
from recommend.training.watch import REST_MIN, Rules, Tender
from tests.api.test_recommending import lines_of
from tests.api.test_simulating import finished
from tests.races.process import until
from tests.races.test_races import race

if TYPE_CHECKING:
    from collections.abc import Callable

    from app import Parts
    from loyalty.kit.settings import Settings
    from tests.builders import Api

TRAININGS = "/v1/model/trainings"
REPORT = "/v1/model/report"
BUYERS = 12


def silent(_stage: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def train(parts: Parts, **options: Any) -> Trained:
    small = parts.trainer._replace(factors=4, threads=1)
    return train_and_promote(small, at=now(), progress=silent, **options)


def differing(one: Arrays, other: Arrays) -> list[str]:
    """Names of the arrays that are not the same to the bit."""
    return [name for name in one if one[name].tobytes() != other[name].tobytes()]


@pytest.fixture
def buyers(shop: Api) -> list[str]:
    """Twelve members who agree and bought the same, and one who refuses."""
    members = [shop.enrol() for _ in range(BUYERS)]
    for member in members:
        shop.consent(member, "personalisation")
        shop.buy(member, lines=lines_of("milk", "bread"))
    shop.buy(shop.enrol(), lines=lines_of("milk", "tea"))
    return members


def carnet(settings: Settings, *arguments: str) -> Result:
    """A command on the shop's database."""
    environment = {
        "CARNET_MONGODB_URI": settings.mongodb_uri,
        "CARNET_DATABASE": settings.database,
        "CARNET_DATA_DIR": str(settings.data_dir),
        "CARNET_SECRET": settings.secret,
        "CARNET_MODEL_FACTORS": "4",
        "COLUMNS": "200",
    }
    return CliRunner().invoke(main, list(arguments), env=environment)


def served(parts: Parts) -> str | None:
    found = Shelf(parts.model_dir).served()
    return found.version if found else None


def test_two_trainings_of_the_same_data_are_the_same_to_the_bit(
    buyers: list[str], parts: Parts
) -> None:
    assert buyers
    one, other = (pack(train(parts).model) for _ in range(2))
    assert differing(one, other) == []


def test_after_a_withdrawal_the_next_model_is_as_if_the_member_had_never_been(
    shop: Api, buyers: list[str], parts: Parts
) -> None:
    without = pack(train(parts).model)
    late = shop.enrol()
    shop.consent(late, "personalisation")
    shop.buy(late, lines=lines_of("milk", "bread"))
    with_ = train(parts)
    assert with_.members == BUYERS + 1
    assert with_.model.item_people.max() == BUYERS + 1
    shop.consent(late, "personalisation", granted=False)
    again = pack(train(parts).model)
    assert differing(without, again) == []
    assert buyers


def test_who_withdraws_while_it_trains_is_in_no_model_that_serves(
    shop: Api, buyers: list[str], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving = list(buyers[:1])
    whole = learn

    def slow(*args: Any, **more: Any) -> Any:
        while leaving:
            shop.consent(leaving.pop(), "personalisation", granted=False)
        return whole(*args, **more)

    monkeypatch.setattr(training, "train", slow)
    done = train(parts)
    assert done.promoted
    assert (done.learnt.readings, done.learnt.withdrawn) == (2, 0)
    assert done.members == BUYERS - 1
    assert done.model.item_people.max() == BUYERS - 1


def test_if_members_withdraw_all_the_time_it_ends_and_says_how_many_are_left_in(
    shop: Api, buyers: list[str], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving = list(buyers[:3])
    whole = learn

    def slow(*args: Any, **more: Any) -> Any:
        shop.consent(leaving.pop(), "personalisation", granted=False)
        return whole(*args, **more)

    monkeypatch.setattr(training, "train", slow)
    done = train(parts)
    assert (done.learnt.readings, done.learnt.withdrawn, len(leaving)) == (2, 1, 1)
    told = shop.get(REPORT, expect=200).get_json()
    assert (told["withdrawn_meanwhile"], told["withdrawn_since"]) == (1, 1)


def test_a_shop_without_purchases_gets_no_empty_model(
    api: Api, parts: Parts, settings: Settings
) -> None:
    api.get(REPORT, expect=404)
    done = carnet(settings, "train")
    assert done.exit_code == 1
    assert "Refused. Nothing to learn" in done.output
    assert served(parts) is None
    (kept,) = api.get("/v1/model/versions", expect=200).get_json()["models"]
    assert kept["status"] == "refused"
    assert f"carnet model promote {kept['version']} --force" in done.output


def test_a_worse_model_is_kept_and_not_served_unless_forced(
    shop: Api, buyers: list[str], parts: Parts, settings: Settings
) -> None:
    good = train(parts).version
    for member in buyers[:5]:
        for sku in ("a", "b", "c"):
            shop.buy(member, lines=lines_of(sku))
    # The served model claims to hold much: most of it would be gone.
    parts.database["model_versions"].update_one({"_id": good}, {"$set": {"card.n_items": 100}})
    done = carnet(settings, "model", "train")
    assert done.exit_code == 1
    assert "Is the data whole?" in done.output
    assert served(parts) == good
    told = shop.get("/v1/model/versions").get_json()["models"]
    assert [each["status"] for each in told] == ["refused", "served"]
    refused = told[0]["version"]
    report = shop.get(f"{REPORT}?version={refused}", expect=200).get_json()
    assert "more than 50% are gone" in report["reasons"][0]
    assert carnet(settings, "model", "promote", refused).exit_code == 1
    assert served(parts) == good
    assert carnet(settings, "model", "promote", refused, "--force").exit_code == 0
    assert served(parts) == refused
    assert carnet(settings, "model", "train", "--force").exit_code == 0
    assert served(parts) not in (refused, good)


def test_a_refused_choice_does_not_keep_those_who_withdrew_in_service(
    shop: Api, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [shop.enrol() for _ in range(56)]
    for number, member in enumerate(members):
        shop.consent(member, "personalisation")
        for _ in range(3):
            shop.buy(member, lines=lines_of("bread", f"own-{number % 4}"))

    def choosing(weights: Weights) -> Callable[..., Choice]:
        return lambda *_args, **_more: Choice(weights, (), {}, 2, "As the test says.")

    monkeypatch.setattr(training, "choose", choosing(Weights(1.0, 0.1, 0.0)))
    good = train(parts)
    assert good.promoted
    monkeypatch.setattr(training, "choose", choosing(Weights(0.0, 1.0, 0.0)))
    worse = train(parts)
    assert not worse.promoted
    assert served(parts) == good.version
    shop.consent(members[0], "personalisation", granted=False)
    without = train(parts)
    assert without.promoted
    assert without.model.weights == good.model.weights
    assert without.members == 55
    assert "learnt anew without them" in without.verdict.notes[-1]
    assert served(parts) == without.version


def test_a_model_that_was_changed_meanwhile_is_not_undone(
    buyers: list[str], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert buyers
    first, second = train(parts), train(parts)
    whole = learn

    def meanwhile(*args: Any, **more: Any) -> Any:
        if served(parts) == second.version:
            depots.rollback(parts.trainer.depot, None, at=now(), by="tests")
        return whole(*args, **more)

    monkeypatch.setattr(training, "train", meanwhile)
    third = train(parts)
    assert not third.promoted
    assert "while this one was trained" in third.verdict.reasons[0]
    assert served(parts) == first.version


def test_the_report_tells_all_as_json_and_as_a_page(
    shop: Api, buyers: list[str], parts: Parts
) -> None:
    done = train(parts)
    shop.consent(buyers[0], "personalisation", granted=False)
    told = shop.get(REPORT, expect=200).get_json()
    assert told["version"] == done.version
    assert (told["members"], told["baskets"], told["items"]) == (BUYERS, BUYERS, 2)
    assert (told["withdrawn_since"], told["privacy"], told["readings"]) == (1, "plain", 1)
    assert "Not compared" in told["notes"][0]
    page = shop.get(REPORT, headers={"Accept": "text/html"}, expect=200)
    text = page.get_data(as_text=True)
    assert f"Model {done.version}" in text
    assert "what is bought with what was bought last" in text
    assert "by the data" in text
    assert not re.search(r"\b(None|True|False)\b", text)
    assert "script" not in re.sub(r"<style>.*</style>", "", text, flags=re.DOTALL)
    assert not re.search(r"(src|href)=", text)
    assert not any(member in text for member in buyers)
    shop.get(f"{REPORT}?version=none", expect=404)
    shop.get(f"{REPORT}?version=..", expect=422)


def test_only_a_key_with_the_scope_may_look_or_train(shop: Api, parts: Parts) -> None:
    key, text = keys.mint("x", frozenset({"model:read"}), at=now(), channel=None, store=None)
    parts.keys.add(key)
    reader = shop.speaking_with(text)
    reader.get("/v1/model/versions", expect=200)
    reader.call("POST", TRAININGS, expect=403)
    key, text = keys.mint("y", frozenset({"model:write"}), at=now(), channel=None, store=None)
    parts.keys.add(key)
    shop.speaking_with(text).get(REPORT, expect=403)


def test_a_training_is_a_job_and_one_at_a_time(shop: Api, buyers: list[str], parts: Parts) -> None:
    assert buyers

    def ask() -> str:
        client = shop.speaking_with(shop.key)
        job: str = client.call("POST", TRAININGS, expect=202).get_json()["id"]
        return job

    (job,) = set(race([ask] * 6))
    ended = finished(shop, parts, {"id": job})
    assert ended["status"] == "done", ended["error"]
    assert ended["result"]["promoted"]
    assert ended["result"]["version"] == served(parts)
    assert ask() != job
    assert len(parts.jobs.page("model_training", before_id=None, limit=10)) == 2


def test_a_retried_request_leads_to_the_training_that_it_asked_for(
    shop: Api, buyers: list[str], parts: Parts
) -> None:
    assert buyers
    headers = {"Idempotency-Key": "nightly-1"}
    first = shop.call("POST", TRAININGS, headers=headers, expect=202).get_json()
    finished(shop, parts, first)
    again = shop.call("POST", TRAININGS, headers=headers, expect=202)
    assert again.get_json()["id"] == first["id"]
    assert again.headers["Idempotent-Replay"] == "true"


def test_a_long_silence_is_filled_and_a_cancellation_gets_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recommend.training.jobs.BEAT_SECONDS", 0.001)
    told: list[str] = []

    class Cancelled:
        def progress(self, done: int, total: int, stage: str) -> None:
            told.append(f"{stage} {done}/{total}")
            if len(told) == 5:
                raise JobCancelledError

    def work() -> None:
        with Heartbeat(Cancelled()) as heartbeat:
            heartbeat.progress("learn", 1, 2)
            until(lambda: not heartbeat._thread.is_alive(), "it is cancelled")
            heartbeat.progress("learn", 2, 2)

    with pytest.raises(JobCancelledError):
        work()
    assert told[0] == "begin 0/1"
    assert told[-1] == "learn 1/2"
    assert len(told) == 5


def test_commands_list_roll_back_report_and_prune(
    buyers: list[str], parts: Parts, settings: Settings, shop: Api
) -> None:
    assert "No model" in carnet(settings, "model", "list").output
    assert carnet(settings, "model", "rollback").exit_code == 1
    first = train(parts).version
    shop.consent(buyers[0], "personalisation", granted=False)
    second = train(parts).version
    listed = carnet(settings, "model", "list").output
    assert first in listed
    assert second in listed
    back = carnet(settings, "model", "rollback")
    assert back.exit_code == 0
    assert "1 members behind it withdrew since" in back.output
    assert served(parts) == first
    again = carnet(settings, "model", "promote", second)
    assert again.exit_code == 1
    assert "--force" in again.output
    file = settings.data_dir / "report.html"
    assert carnet(settings, "model", "report", second, "--html", str(file)).exit_code == 0
    assert "rolled back" in file.read_text()
    assert "12 members" in carnet(settings, "model", "report").output
    for _ in range(3):
        train(parts)
    pruned = carnet(settings, "model", "prune", "--keep", "1")
    assert pruned.exit_code == 0
    assert len(shop.get("/v1/model/versions").get_json()["models"]) < 4
    assert carnet(settings, "train", "--if-missing").output == "A model is there already.\n"


def test_a_node_without_models_gets_them_rather_than_train_anew(
    buyers: list[str], parts: Parts, settings: Settings
) -> None:
    assert buyers
    version = train(parts).version
    fresh = replace(settings, data_dir=settings.data_dir / "second-node")
    fresh.data_dir.mkdir()
    shutil.copy(settings.master_key_file, fresh.master_key_file)
    assert carnet(fresh, "train", "--if-missing").output == "A model is there already.\n"
    assert artefact.current(fresh.model_dir) == version


def tender(parts: Parts, rules: Rules, at: Callable[[], datetime]) -> Tender:
    runner = Runner(parts.jobs, job_kinds(parts))
    return Tender(parts.trainer, parts.jobs, runner, rules, clock=at, monotonic=lambda: 1e9)


def test_it_is_trained_anew_when_members_withdrew_or_it_is_old(
    shop: Api, buyers: list[str], parts: Parts
) -> None:
    rules = Rules(withdrawals=2, hours=24)
    tending = tender(parts, rules, now)
    assert tending.due(now()) == ""
    train(parts)
    soon, later = now() + REST_MIN + timedelta(minutes=1), now() + timedelta(hours=25)
    assert (tending.due(now()), tending.due(soon), tending.due(later)) == ("", "", "age")
    for member, expected in zip(buyers[:2], ("", "withdrawals"), strict=True):
        shop.consent(member, "personalisation", granted=False)
        assert tending.due(soon) == expected
    # Not at once, whatever happened: training must not take all the time.
    assert tending.due(now()) == ""
    assert tender(parts, Rules(0, 0), now).due(later) == ""
    asked = race([lambda: tender(parts, rules, lambda: soon).check(soon)] * 4)
    assert sum(asked) == 1
    (job,) = parts.jobs.page("model_training", before_id=None, limit=10)
    assert (job.asked_by, job.status) == ("withdrawals", "queued")
    assert Runner(parts.jobs, job_kinds(parts), clock=lambda: soon).run_one()
    assert tending.due(now() + REST_MIN + timedelta(minutes=2)) == ""


def test_one_worker_of_all_looks_and_only_once_a_minute(
    shop: Api, buyers: list[str], parts: Parts
) -> None:
    train(parts)
    shop.consent(buyers[0], "personalisation", granted=False)
    later = now() + timedelta(hours=2)
    seconds = [0.0]
    runner = Runner(parts.jobs, job_kinds(parts))

    def made() -> Tender:
        return Tender(
            parts.trainer,
            parts.jobs,
            runner,
            Rules(),
            clock=lambda: later,
            monotonic=lambda: seconds[0],
        )

    one, other = made(), made()
    assert not one.tend()
    seconds[0] = 61.0
    assert (one.tend(), other.tend(), one.tend()) == (True, False, False)


def test_a_private_shop_spreads_its_trainings_over_its_budget() -> None:
    rules = Rules(withdrawals=1, hours=24)
    assert rules.within(None) == rules
    assert rules.within(Budget(epsilon=1, total=8, days=0)).are_off
    assert rules.within(Budget(epsilon=1, total=8, days=32)) == Rules(0, 96.0)
    assert rules.within(Budget(epsilon=1, total=8, days=4)) == Rules(0, 24.0)
