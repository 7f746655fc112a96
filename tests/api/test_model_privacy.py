"""A shop trains under differential privacy, audits its model, and forgets whoever withdraws."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from app import _budget, main, model_privacy
from loyalty.kit.clock import now
from recommend import artefact, packing
from recommend.dataset import Basket
from recommend.model import Model, popular
from recommend.privacy.inspection import inspect
from recommend.privacy.model import BudgetSpentError
from recommend.privacy.noise import Noise
from recommend.service import Popularity
from recommend.training import depot as depots
from recommend.training.model import NoModelError, UnfitModelError
from recommend.training.service import Privacy, Trained, Trainer, train_and_promote
from tests.api.test_recommending import CATALOGUE, lines_of, put_products

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app import Parts
    from loyalty.kit.settings import Settings
    from tests.builders import Api

BUYERS = 10


@pytest.fixture
def buyers(shop: Api) -> list[str]:
    """Ten members who agree, and buy twice."""
    put_products(shop, *CATALOGUE)
    found = [shop.enrol(("card", f"b{number}")) for number in range(BUYERS)]
    for member in found:
        shop.consent(member, "personalisation")
        for day in range(2):
            some = ["milk", "bread", *(["rare"] if day else ["sofa"])]
            shop.buy(member, lines=lines_of(*some))
    return found


def guarded(settings: Settings) -> Settings:
    return replace(settings, model_privacy="dp", model_epsilon=1.0, model_epsilon_total=1.2)


def trainer(parts: Parts, settings: Settings) -> Trainer:
    privacy = model_privacy(settings, parts.privacy_ledger)
    return parts.trainer._replace(factors=4, privacy=privacy)


def train(parts: Parts, settings: Settings) -> Trained:
    return train_and_promote(trainer(parts, settings), at=now(), progress=lambda *_: None)


def as_bytes(model: Model) -> dict[str, Any]:
    arrays = packing.pack(model)
    return {
        "values": json.dumps(packing.values_of(model), sort_keys=True),
        **{name: (values.dtype.str, values.tobytes()) for name, values in arrays.items()},
    }


@pytest.mark.usefixtures("buyers")
def test_the_card_says_plain_where_nothing_else_is_set(parts: Parts, settings: Settings) -> None:
    trained = train(parts, settings)
    facts = artefact.describe(settings.model_dir, trained.version)["facts"]
    assert facts["privacy"] == {"mode": "plain"}
    assert parts.privacy_ledger.entries() == []


@pytest.mark.usefixtures("buyers")
def test_under_differential_privacy_the_card_and_the_ledger_tell_what_it_cost(
    parts: Parts, settings: Settings
) -> None:
    trained = train(parts, guarded(settings))
    facts = artefact.describe(settings.model_dir, trained.version)["facts"]
    assert (facts["privacy"]["mode"], facts["privacy"]["epsilon"]) == ("dp", 1.0)
    (entry,) = parts.privacy_ledger.entries()
    assert entry.version == trained.version
    # Ten people are no crowd to hide one in: nothing of them is shared.
    assert trained.model.items.tolist() == []
    assert not {"baskets", "members", "readings", "withdrawn_meanwhile", "seconds"} & set(facts)


def test_what_is_ones_own_is_recommended_all_the_same(
    shop: Api, buyers: list[str], parts: Parts, settings: Settings
) -> None:
    train(parts, guarded(settings))
    answer = shop.get(f"/v1/members/{buyers[0]}/recommendations", expect=200).get_json()
    assert answer["personalised"]
    assert {each["sku"] for each in answer["items"]} >= {"milk", "bread"}


@pytest.mark.usefixtures("buyers")
def test_a_spent_budget_stops_before_anything_is_read(
    parts: Parts, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(parts, guarded(settings))
    monkeypatch.setattr(
        "recommend.training.service.agreed_baskets",
        lambda *_, **__: pytest.fail("members were read"),
    )
    with pytest.raises(BudgetSpentError):
        train(parts, guarded(settings))
    assert artefact.current(settings.model_dir) == first.version


@pytest.mark.usefixtures("buyers")
def test_a_training_that_fails_has_cost_its_part(
    parts: Parts, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Iterator[Basket]:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr("recommend.training.service.agreed_baskets", fail)
        with pytest.raises(OSError, match="disk"):
            train(parts, guarded(settings))
    assert len(parts.privacy_ledger.entries()) == 1
    with pytest.raises(BudgetSpentError):
        train(parts, guarded(settings))


@pytest.mark.usefixtures("buyers")
def test_no_popular_lists_outside_the_budget_before_the_first_training(parts: Parts) -> None:
    assert popular(Popularity(parts.sources).model(), (), 5)
    assert popular(Popularity(parts.sources, is_plain=False).model(), (), 5) == []


def test_who_withdrew_is_gone_as_if_never_there(
    shop: Api, buyers: list[str], parts: Parts, settings: Settings
) -> None:
    before = as_bytes(train(parts, settings).model)
    late = shop.enrol(("card", "late"))
    shop.consent(late, "personalisation")
    shop.buy(late, lines=lines_of("milk", "rare"))
    shop.buy(late, lines=lines_of("sofa", "only-hers"))
    assert as_bytes(train(parts, settings).model) != before
    shop.consent(late, "personalisation", granted=False)
    assert as_bytes(train(parts, settings).model) == before
    assert len(buyers) == BUYERS


def test_an_audit_goes_into_the_card_and_leaves_the_model_as_it_is(
    parts: Parts, settings: Settings, buyers: list[str]
) -> None:
    assert buyers
    depot = parts.trainer.depot
    stream = [
        Basket(f"m{number}", float(day), (), ("milk", f"p{(number * 7 + day) % 9}"))
        for number in range(80)
        for day in range(3)
    ]
    for mode in (settings, guarded(settings)):
        trained = train(parts, mode)
        found = inspect(stream, depot=depot, version=None, at=now().timestamp(), shadows=1)
        assert found.version == trained.version
        kept = depot.store.get(trained.version)
        assert kept.facts["privacy"]["mode"] == found.mode
        assert kept.notes["audit"]["auc"] == round(found.finding.auc, 3)
        assert as_bytes(trained.model) == as_bytes(artefact.load(depot.root, trained.version))
    # What was trained for the audit is not served, and so costs nothing.
    assert len(parts.privacy_ledger.entries()) == 1


def test_there_is_nothing_to_audit_before_a_training(parts: Parts) -> None:
    for version in (None, "20260101T000000000Z"):
        with pytest.raises(NoModelError):
            inspect([], depot=parts.trainer.depot, version=version, at=0.0)


def run(settings: Settings, *words: str) -> tuple[int, str]:
    environment = {
        "CARNET_MONGODB_URI": settings.mongodb_uri,
        "CARNET_DATABASE": settings.database,
        "CARNET_DATA_DIR": str(settings.data_dir),
        "CARNET_SECRET": settings.secret,
        "CARNET_MODEL_PRIVACY": "dp",
        "CARNET_MODEL_EPSILON_TOTAL": "1.2",
        "COLUMNS": "200",
    }
    done = CliRunner().invoke(main, words, env=environment)
    return done.exit_code, done.output


@pytest.mark.usefixtures("buyers")
def test_the_commands_train_refuse_and_tell(settings: Settings) -> None:
    assert "Room for 1 more trainings" in run(settings, "model", "privacy")[1]
    code, said = run(settings, "train")
    assert (code, "served now" in said) == (0, True)
    code, said = run(settings, "model", "privacy")
    assert (code, "Mode: dp." in said, "epsilon 0.99" in said or "epsilon 1.00" in said) == (
        0,
        True,
        True,
    )
    code, said = run(settings, "train")
    assert (code, "another of 1 would be more" in said) == (1, True)
    code, said = run(settings, "model", "audit", "--shadows", "0")
    assert (code, "60 are needed" in said) == (1, True)
    code, said = run(settings, "model", "audit", "nothing")
    assert (code, "nothing" in said) == (1, True)


def test_the_budget_is_what_the_settings_say(settings: Settings, parts: Parts) -> None:
    mine = replace(guarded(settings), model_epsilon_days=90, model_delta=1e-7)
    found = model_privacy(mine, parts.privacy_ledger)
    assert isinstance(found, Privacy)
    assert found.budget == _budget(mine)
    assert (found.budget.days, found.budget.delta) == (90, 1e-7)
    assert isinstance(found.noise, Noise)
    assert model_privacy(settings, parts.privacy_ledger) is None


@pytest.mark.usefixtures("buyers")
def test_a_plain_model_does_not_come_back_where_the_shop_wants_private_ones(
    parts: Parts, settings: Settings
) -> None:
    plain = train(parts, settings).version
    private = train(parts, guarded(settings)).version
    depot = parts.trainer.depot._replace(is_private=True)
    with pytest.raises(UnfitModelError, match="plain"):
        depots.rollback(depot, None, at=now(), by="test")
    with pytest.raises(UnfitModelError, match="plain"):
        depots.promote(depot, plain, at=now(), by="test")
    assert depots.serving(depot) == private
    depots.promote(depot, plain, at=now(), by="test", force=True)
    assert depots.serving(depot) == plain
