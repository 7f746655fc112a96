"""What is shown: personal with consent, popular and k-anonymous without, never what must not be."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest

from loyalty.kit.clock import now
from recommend import artefact
from recommend.artefact import Shelf
from recommend.service import Popularity, Sources
from recommend.training.service import Trained, train_and_promote
from tests.api.test_authentication import Clock
from tests.builders import dump

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings
    from tests.builders import Api

CATALOGUE: tuple[dict[str, Any], ...] = (
    {"sku": "milk", "name": "Milk"},
    {"sku": "bread", "name": "Bread"},
    {"sku": "rare", "name": "Truffle"},
    {"sku": "pills", "name": "Pills", "sensitive": True},
    {"sku": "gone", "name": "Gone", "available": False},
    {"sku": "sofa", "name": "Sofa", "rebuyable": False},
)
BUYERS = 12


class Shop(NamedTuple):
    """A shop with a past: who bought what, and the clock by which models are looked for."""

    api: Api
    clock: Clock
    buyers: list[str]
    refuser: str
    newcomer: str


def lines_of(*skus: str) -> list[dict[str, Any]]:
    return [{"sku": sku, "quantity": 1, "amount": 100} for sku in skus]


def put_products(api: Api, *products: dict[str, Any]) -> None:
    body = b"\n".join(orjson.dumps(each) for each in products)
    headers = {"Content-Type": "application/x-ndjson"}
    api.call("PUT", "/v1/products", data=body, headers=headers, expect=200)


def wound(api: Api, settings: Settings) -> Clock:
    """Give the application's caches of models a clock that the test winds."""
    clock = Clock()
    provided = api.client.application.extensions["carnet"]
    provided[Shelf] = Shelf(settings.model_dir, clock)
    provided[Popularity] = Popularity(provided[Sources], monotonic=clock)
    return clock


@pytest.fixture
def busy(shop: Api, settings: Settings) -> Shop:
    """Twelve members who agree and buy twice; nine of them something rare; one refuses."""
    clock = wound(shop, settings)
    put_products(shop, *CATALOGUE)
    buyers = [shop.enrol(("card", f"b{number}")) for number in range(BUYERS)]
    for number, member in enumerate(buyers):
        shop.consent(member, "personalisation")
        first = ["milk", "bread", "pills", "gone", "sofa"]
        shop.buy(member, lines=lines_of(*first, *(["rare"] if number < 9 else [])))
        shop.buy(member, lines=lines_of("milk", "bread"))
    refuser, newcomer = shop.enrol(("card", "r")), shop.enrol(("card", "n"))
    shop.buy(refuser, lines=lines_of("milk", "bread", "rare"))
    shop.consent(newcomer, "personalisation")
    return Shop(shop, clock, buyers, refuser, newcomer)


def train(parts: Parts, settings: Settings) -> Trained:
    assert parts.model_dir == settings.model_dir
    small = parts.trainer._replace(factors=4)
    return train_and_promote(small, at=now(), progress=lambda *_: None)


@pytest.fixture
def trained(busy: Shop, parts: Parts, settings: Settings) -> Trained:
    assert busy.buyers
    return train(parts, settings)


def shown(shop: Shop, member: str, query: str = "") -> tuple[dict[str, Any], list[str]]:
    path = f"/v1/members/{member}/recommendations?limit=100{query}"
    answer = shop.api.get(path, expect=200).get_json()
    return answer, [each["sku"] for each in answer["items"]]


def timeless(found: tuple[dict[str, Any], list[str]]) -> dict[str, Any]:
    """An answer without the id that no other has."""
    return {**found[0], "recommendation_id": ""}


def test_without_a_model_it_is_popular_and_no_error(busy: Shop) -> None:
    for member, reason in ((busy.buyers[0], "no_model"), (busy.refuser, "no_consent")):
        answer, skus = shown(busy, member, "&channel=store&store=S1")
        assert (answer["personalised"], answer["reason"]) == (False, reason)
        assert answer["model_version"] is None
        assert set(skus) == {"milk", "bread", "sofa"}


def test_an_empty_shop_shows_nothing_and_is_no_error(api: Api) -> None:
    member = api.enrol()
    answer = api.get(f"/v1/members/{member}/recommendations", expect=200).get_json()
    assert answer["items"] == []


@pytest.mark.usefixtures("trained")
def test_it_is_personal_only_with_consent_and_a_history(busy: Shop) -> None:
    for member, expected in (
        (busy.buyers[0], (True, "consent")),
        (busy.refuser, (False, "no_consent")),
        (busy.newcomer, (False, "no_history")),
    ):
        answer, skus = shown(busy, member)
        assert (answer["personalised"], answer["reason"]) == expected
        assert {"milk", "bread"} <= set(skus)
    assert answer["items"][0]["because"] == "Popular right now"


@pytest.mark.usefixtures("trained")
def test_a_withdrawal_makes_the_very_next_answer_popular(busy: Shop) -> None:
    member = busy.buyers[0]
    for granted in (False, True, False):
        busy.api.consent(member, "personalisation", granted=granted)
        assert shown(busy, member)[0]["personalised"] == granted


@pytest.mark.usefixtures("trained")
def test_what_nine_bought_is_shown_to_nobody_else(busy: Shop) -> None:
    for member in (*busy.buyers[9:], busy.refuser, busy.newcomer):
        for query in ("", "&channel=store", "&channel=store&store=S1"):
            assert "rare" not in shown(busy, member, query)[1]


def test_the_tenth_buyer_makes_it_popular(busy: Shop, parts: Parts, settings: Settings) -> None:
    busy.api.buy(busy.buyers[9], lines=lines_of("rare"))
    train(parts, settings)
    assert "rare" in shown(busy, busy.newcomer)[1]


def test_who_refuses_is_not_learned_from(busy: Shop, parts: Parts, settings: Settings) -> None:
    # The refuser bought the rare thing too: that makes ten buyers, nine of whom agreed.
    assert "rare" not in shown(busy, busy.newcomer)[1]
    busy.api.consent(busy.refuser, "personalisation")
    train(parts, settings)
    busy.clock.seconds += 2
    assert "rare" in shown(busy, busy.newcomer)[1]
    busy.api.consent(busy.buyers[0], "personalisation", granted=False)
    train(parts, settings)
    busy.clock.seconds += 2
    assert "rare" not in shown(busy, busy.newcomer)[1]


def test_sensitive_is_neither_shown_nor_used(busy: Shop, trained: Trained) -> None:
    for member in (busy.buyers[0], busy.refuser, busy.newcomer):
        assert "pills" not in shown(busy, member)[1]
    assert "pills" not in str(list(trained.model.items))
    busy.api.buy(busy.newcomer, lines=lines_of("pills"))
    assert shown(busy, busy.newcomer)[0]["reason"] == "no_history"


@pytest.mark.usefixtures("trained")
def test_what_is_not_available_is_hidden_until_it_is_back(busy: Shop) -> None:
    assert "gone" not in shown(busy, busy.buyers[0])[1]
    put_products(busy.api, {"sku": "gone", "name": "Back"}, {"sku": "milk", "name": "Milk"})
    assert "gone" in shown(busy, busy.buyers[0])[1]
    put_products(busy.api, {"sku": "milk", "name": "Milk", "available": False})
    assert "milk" not in shown(busy, busy.buyers[0])[1]


@pytest.mark.usefixtures("trained")
def test_what_nobody_buys_twice_is_not_shown_to_who_has_it(busy: Shop) -> None:
    assert "sofa" not in shown(busy, busy.buyers[0])[1]
    busy.api.buy(busy.newcomer, lines=lines_of("milk"))
    assert "sofa" in shown(busy, busy.newcomer)[1]


@pytest.mark.usefixtures("trained")
def test_what_went_back_does_not_count(busy: Shop) -> None:
    busy.api.buy(busy.newcomer, external_id="B1", lines=lines_of("milk"))
    assert shown(busy, busy.newcomer)[0]["reason"] == "consent"
    place = {"channel": "store", "store": "S1"}
    back = {"external_id": "1", "purchase": {"external_id": "B1"}, **place}
    busy.api.post("/v1/returns", back, expect=201)
    assert shown(busy, busy.newcomer)[0]["reason"] == "no_history"


def test_a_new_model_is_served_without_a_restart(
    busy: Shop, parts: Parts, settings: Settings
) -> None:
    member = busy.buyers[0]
    assert shown(busy, member)[0]["model_version"] is None
    for _ in range(2):
        version = train(parts, settings).version
        busy.clock.seconds += 1.1
        assert shown(busy, member)[0]["model_version"] == version


def test_a_broken_model_leaves_the_old_one_serving(
    busy: Shop, trained: Trained, settings: Settings
) -> None:
    member = busy.buyers[0]
    before = timeless(shown(busy, member))
    root = settings.model_dir
    shutil.copytree(root / trained.version, root / "broken")
    (root / "broken" / "people.npy").write_bytes(b"\x93NUMPY nonsense")
    artefact.promote(root, "broken")
    busy.clock.seconds += 2
    assert timeless(shown(busy, member)) == before
    (root / "CURRENT").write_text("../../etc/passwd\n")
    busy.clock.seconds += 2
    assert timeless(shown(busy, member)) == before


@pytest.mark.usefixtures("trained")
def test_reading_writes_nothing(busy: Shop, parts: Parts) -> None:
    for member in busy.buyers:
        busy.api.consent(member, "marketing", channel="email")
    before = dump(parts.database)
    shown(busy, busy.buyers[0], "&channel=web")
    shown(busy, busy.refuser)
    busy.api.get("/v1/picks?channel=email", expect=200)
    busy.api.get(f"/v1/members/{busy.buyers[0]}/points", expect=200)
    busy.api.get(f"/v1/members/{busy.buyers[0]}/journal", expect=200)
    assert dump(parts.database) == before


def test_the_limit_is_kept(busy: Shop) -> None:
    path = f"/v1/members/{busy.buyers[0]}/recommendations"
    assert len(busy.api.get(f"{path}?limit=1").get_json()["items"]) == 1
    busy.api.get(f"{path}?limit=101", expect=422)


def rows(api: Api, channel: str, limit: int = 5) -> dict[str, dict[str, Any]]:
    answer = api.get(f"/v1/picks?channel={channel}&limit={limit}", expect=200)
    lines = [orjson.loads(line) for line in answer.data.splitlines()]
    assert answer.mimetype == "application/x-ndjson"
    assert [each["member_id"] for each in lines] == sorted({each["member_id"] for each in lines})
    return {each["member_id"]: each for each in lines}


@pytest.mark.usefixtures("trained")
def test_picks_are_for_those_who_agreed_to_that_channel(busy: Shop) -> None:
    api, (ada, bob, eve) = busy.api, busy.buyers[:3]
    mail = {"type": "email", "value": "Ada@Example.com"}
    api.post(f"/v1/members/{ada}/identifiers", mail, expect=200)
    phone = {"type": "phone", "value": "+49 30 901820"}
    api.post(f"/v1/members/{bob}/identifiers", phone, expect=200)
    for member in (ada, bob, busy.refuser):
        api.consent(member, "marketing", channel="email")
    api.consent(bob, "marketing", channel="sms")
    api.consent(eve, "marketing", channel="email")
    api.consent(eve, "marketing", channel="email", granted=False)
    found = rows(api, "email", limit=1)
    assert found.keys() == {ada, bob, busy.refuser}
    assert found[ada]["address"] == "ada@example.com"
    assert found[bob]["address"] is None
    assert (found[ada]["personalised"], found[ada]["reason"]) == (True, "consent")
    refused = found[busy.refuser]
    assert (refused["personalised"], refused["reason"]) == (False, "no_consent")
    assert all(len(each["items"]) == 1 for each in found.values())
    assert rows(api, "sms")[bob]["address"] == "+4930901820"
    assert rows(api, "post") == {}


def test_who_withdraws_while_the_stream_runs_is_left_out(shop: Api, settings: Settings) -> None:
    wound(shop, settings)
    members = sorted(shop.enrol() for _ in range(150))
    for member in members:
        shop.consent(member, "marketing", channel="email")
    headers = {"Authorization": f"Bearer {shop.key}"}
    stream = shop.client.get("/v1/picks?channel=email", headers=headers, buffered=False)
    lines = stream.iter_encoded()
    first = orjson.loads(next(lines))
    shop.consent(members[-1], "marketing", channel="email", granted=False)
    rest = [orjson.loads(line)["member_id"] for line in lines]
    assert [first["member_id"], *rest] == members[:-1]
