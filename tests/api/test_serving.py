"""The page, the shop's rules, stock, reasons, sessions and similar products, through the API."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest

from loyalty.catalogue.model import Product
from loyalty.catalogue.stock import StockStore
from loyalty.kit.clock import now
from loyalty.kit.observe import configure_logs
from recommend.artefact import Shelf
from recommend.merchandising.store import RuleStore
from recommend.newcomers import NewProducts
from recommend.taste import Signal
from tests.api.test_recommending import Shop, lines_of, put_products, train, wound
from tests.builders import dump, mint_key

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings
    from tests.builders import Api

CATALOGUE: tuple[dict[str, Any], ...] = (
    {"sku": "milk", "name": "Milk", "category": "Dairy/Milk", "brand": "Meadow"},
    {"sku": "gouda", "name": "Gouda", "category": "Dairy/Cheese", "brand": "Hill"},
    {"sku": "bread", "name": "Bread", "category": "Bakery", "brand": "Meadow"},
    {"sku": "cake", "name": "Cake", "category": "Bakery", "tags": ["treat"]},
    {"sku": "pills", "name": "Pills", "category": "Care", "sensitive": True},
    {"sku": "soap", "name": "Soap", "category": "Care"},
    {"sku": "novel", "name": "Novel", "category": "Books"},
)
BUYERS = 12
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def busy(shop: Api, parts: Parts, settings: Settings) -> Shop:
    """Twelve members who agree: milk goes with gouda, bread with cake; one is new, one refuses."""
    clock = wound(shop, settings)
    put_products(shop, *CATALOGUE)
    buyers = [shop.enrol() for _ in range(BUYERS)]
    long_ago = now() - timedelta(days=40)
    for number, member in enumerate(buyers):
        shop.consent(member, "personalisation")
        both = ("milk", "gouda", "pills") if number % 2 else ("bread", "cake", "soap")
        every = ["milk", "bread", "gouda", "cake", "soap", "pills"]
        shop.buy(member, lines=lines_of(*every), occurred_at=long_ago.isoformat())
        shop.buy(
            member,
            lines=lines_of(*both),
            channel="web",
            occurred_at=(long_ago + timedelta(days=20)).isoformat(),
        )
    refuser, newcomer = shop.enrol(), shop.enrol()
    shop.consent(newcomer, "personalisation")
    train(parts, settings)
    clock.seconds += 2
    return Shop(shop, clock, buyers, refuser, newcomer)


def answer(shop: Shop, member: str, query: str = "", **more: Any) -> dict[str, Any]:
    path = f"/v1/members/{member}/recommendations?{query}"
    found: dict[str, Any] = shop.api.get(path, expect=200, **more).get_json()
    return found


def skus(found: dict[str, Any]) -> list[str]:
    return [each["sku"] for each in found["items"]]


def item(found: dict[str, Any], sku: str) -> dict[str, Any]:
    return next(each for each in found["items"] if each["sku"] == sku)


def put_stock(api: Api, *lines: dict[str, Any], expect: int = 200) -> dict[str, Any]:
    body = b"\n".join(orjson.dumps(each) for each in lines)
    found: dict[str, Any] = api.call(
        "PUT", "/v1/stock", data=body, headers=NDJSON, expect=expect
    ).get_json()
    return found


def put_rules(api: Api, *rules: dict[str, Any], expect: int = 200, **more: Any) -> dict[str, Any]:
    body = {"rules": list(rules), **more}
    found: dict[str, Any] = api.put("/v1/merchandising/default", body, expect=expect).get_json()
    return found


@pytest.mark.parametrize("query", ["cart=milk,bread", "cart=milk&cart=bread", "exclude=milk,bread"])
def test_what_is_in_the_cart_or_excluded_is_not_shown(busy: Shop, query: str) -> None:
    for member in (busy.buyers[0], busy.refuser, busy.newcomer):
        found = answer(busy, member, query)
        assert "gouda" in skus(found)
        assert {"milk", "bread"}.isdisjoint(skus(found))


def test_the_page_that_is_open_is_not_shown(busy: Shop) -> None:
    for member in (busy.buyers[0], busy.refuser):
        assert "milk" not in skus(answer(busy, member, "viewing=milk&cart="))


def test_only_the_categories_and_brands_that_were_asked_for(busy: Shop) -> None:
    for member in (busy.buyers[0], busy.refuser):
        assert set(skus(answer(busy, member, "category=Dairy"))) == {"milk", "gouda"}
        assert skus(answer(busy, member, "category=Dairy/Milk")) == ["milk"]
        assert set(skus(answer(busy, member, "category=Dairy,Bakery&brand=Meadow"))) == {
            "milk",
            "bread",
        }
        assert skus(answer(busy, member, "category=Dai")) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("channel=Web", "channel"),
        ("store=/", "store"),
        ("viewing=", "viewing"),
        ("viewing=a&viewing=b", "viewing"),
        ("cart=" + "x" * 65, "cart.0"),
        ("cart=" + ",".join(str(n) for n in range(51)), "cart"),
        ("exclude=" + ",".join(str(n) for n in range(201)), "exclude"),
        ("category=" + "x" * 201, "category.0"),
        ("card=milk", "card"),
    ],
)
def test_every_mistake_names_its_parameter(api: Api, query: str, field: str) -> None:
    member = api.enrol()
    found = api.get(f"/v1/members/{member}/recommendations?{query}", expect=422).get_json()
    assert [each["field"] for each in found["errors"]] == [field]


def test_what_a_page_was_about_is_in_no_log(capfd: pytest.CaptureFixture[str], busy: Shop) -> None:
    configure_logs()  # pytest gives this phase of the test a stream of its own
    answer(busy, busy.buyers[0], "cart=milk&viewing=novel&exclude=gouda")
    busy.api.post("/v1/recommendations/session", {"items": [{"sku": "novel"}]}, expect=200)
    written = "".join(capfd.readouterr())
    assert "/recommendations" in written
    assert "novel" not in written
    assert "gouda" not in written


def test_what_is_sold_out_in_a_store_is_not_shown_there(busy: Shop) -> None:
    put_stock(
        busy.api,
        {"sku": "milk", "store": "S1", "quantity": 0},
        {"sku": "bread", "channel": "web", "available": False},
        {"sku": "cake", "available": False},
    )
    for member in (busy.buyers[0], busy.refuser):
        assert {"milk", "cake"}.isdisjoint(skus(answer(busy, member, "store=S1&channel=store")))
        assert "milk" in skus(answer(busy, member, "store=S2"))
        assert "bread" not in skus(answer(busy, member, "channel=web"))
        assert "bread" in skus(answer(busy, member, "store=S1"))
        assert "cake" not in skus(answer(busy, member))
    put_stock(busy.api, {"sku": "milk", "store": "S1", "quantity": 3})
    assert "milk" in skus(answer(busy, busy.refuser, "store=S1"))


def test_a_late_upload_of_stock_changes_nothing(busy: Shop) -> None:
    early, late = ((now() - timedelta(hours=n)).isoformat() for n in (2, 1))
    put_stock(busy.api, {"sku": "milk", "quantity": 0, "counted_at": late})
    put_stock(busy.api, {"sku": "milk", "quantity": 9, "counted_at": early})
    found = busy.api.get("/v1/stock?sku=milk&store=S1", expect=200).get_json()
    assert (found["available"], found["counts"][0]["quantity"]) == (False, 0)
    assert "milk" not in skus(answer(busy, busy.refuser))


def test_stock_is_read_by_place(api: Api) -> None:
    nothing = api.get("/v1/stock?sku=milk", expect=200).get_json()
    assert nothing == {"sku": "milk", "available": True, "counts": []}
    put_stock(
        api, {"sku": "milk", "available": True}, {"sku": "milk", "store": "S1", "quantity": 0}
    )
    assert api.get("/v1/stock?sku=milk", expect=200).get_json()["available"]
    there = api.get("/v1/stock?sku=milk&store=S1&channel=web", expect=200).get_json()
    assert [each["place"] for each in there["counts"]] == ["everywhere", "store:S1"]
    assert not there["available"]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ({"sku": "milk"}, "1.available"),
        ({"sku": "milk", "available": True, "quantity": 1}, "1.available"),
        ({"sku": "milk", "store": "S1", "channel": "web", "available": True}, "1.channel"),
        ({"sku": "milk", "quantity": -1}, "1.quantity"),
        ({"sku": "milk", "quantity": 1, "counted_at": "yesterday"}, "1.counted_at"),
    ],
)
def test_a_line_of_stock_with_a_mistake_writes_nothing(
    api: Api, parts: Parts, line: dict[str, Any], field: str
) -> None:
    found = put_stock(api, line, {"sku": "fine", "available": False}, expect=422)
    assert [each["field"] for each in found["errors"]] == [field]
    assert parts.database["stock"].count_documents({}) == 0


def test_stock_that_was_counted_tomorrow_is_refused(api: Api, parts: Parts) -> None:
    tomorrow = (now() + timedelta(days=1)).isoformat()
    found = put_stock(api, {"sku": "milk", "quantity": 1, "counted_at": tomorrow}, expect=409)
    assert found["code"] == "counted_in_future"
    assert parts.database["stock"].count_documents({}) == 0


def test_the_shops_rules_have_the_last_word(busy: Shop) -> None:
    rules: tuple[dict[str, Any], ...] = (
        {"id": "top", "type": "pin", "match": {"skus": ["novel"]}, "positions": [1]},
        {"id": "treats", "type": "boost", "match": {"tags": ["treat"]}, "factor": 100},
        {"id": "away", "type": "hide", "match": {"categories": ["Dairy"]}},
    )
    put_rules(busy.api, *rules)
    for member in (busy.buyers[1], busy.refuser):
        found = answer(busy, member)
        assert skus(found)[:2] == ["novel", "cake"]
        assert {"milk", "gouda"}.isdisjoint(skus(found))
        first, second = found["items"][:2]
        assert (first["reason_code"], first["rules"]) == ("selected", ["pin: top"])
        assert first["because"] == "Selected by the shop"
        assert second["rules"] == ["boost: treats"]
    put_stock(busy.api, {"sku": "novel", "store": "S1", "available": False})
    assert "novel" not in skus(answer(busy, busy.refuser, "store=S1"))
    assert "novel" not in skus(answer(busy, busy.refuser, "exclude=novel"))
    assert "novel" not in skus(answer(busy, busy.refuser, "category=Bakery"))


def test_rules_are_read_as_they_were_put_and_versions_stay(api: Api) -> None:
    assert api.get("/v1/merchandising/default", expect=404).get_json()["code"] == "rules_not_found"
    rule = {
        "id": "summer",
        "type": "pin",
        "match": {"brands": ["Meadow"]},
        "share": 0.2,
        "only": {"channels": ["web"]},
        "starts_at": "2026-06-01T00:00:00Z",
    }
    first = put_rules(api, rule, replaces=0)
    assert (first["version"], first["rules"]) == (1, [rule])
    second = put_rules(api, replaces=1)
    assert (second["version"], second["rules"]) == (2, [])
    assert put_rules(api, rule, replaces=1, expect=409)["code"] == "stale_rules"
    path = "/v1/merchandising/default"
    assert api.get(path, expect=200).get_json() == second
    assert api.get(f"{path}?version=1", expect=200).get_json() == first
    listed = api.get("/v1/merchandising", expect=200).get_json()
    assert listed == {"sets": [{"name": "default", "version": 2}]}


HIDE: dict[str, Any] = {"id": "h", "type": "hide", "match": {"skus": ["a"]}}
NEVER = {"starts_at": "2026-02-01T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"id": "x", "type": "lift"}, "rules.0.type"),
        ({"id": "x", "type": "hide"}, "rules.0.match"),
        ({"id": "x", "type": "hide", "match": {}}, "rules.0.match"),
        ({**HIDE, "id": "Upper"}, "rules.0.id"),
        ({**HIDE, "type": "boost", "factor": 0.5}, "rules.0.factor"),
        ({**HIDE, "type": "bury", "factor": "0.5"}, "rules.0.factor"),
        ({**HIDE, "type": "pin"}, "rules.0.positions"),
        ({**HIDE, "type": "pin", "positions": [0]}, "rules.0.positions.0"),
        ({"id": "x", "type": "at_most", "n": 1}, "rules.0.by"),
        ({"id": "x", "type": "diversity", "strength": 2}, "rules.0.strength"),
    ],
)
def test_a_rule_with_a_mistake_is_named(api: Api, rule: dict[str, Any], field: str) -> None:
    found = put_rules(api, rule, expect=422)
    assert [each["field"] for each in found["errors"]] == [field]


@pytest.mark.parametrize(
    "rule",
    [
        {**HIDE, **NEVER},
        {**HIDE, **NEVER, "type": "pin", "share": 0.5},
        {**NEVER, "id": "x", "type": "at_most", "n": 1, "by": "brand"},
    ],
)
def test_a_rule_that_never_holds_is_refused(api: Api, rule: dict[str, Any]) -> None:
    found = put_rules(api, rule, expect=409)
    assert [each["field"] for each in found["errors"]] == ["rules.0.ends_at"]


def test_two_rules_of_one_name_are_refused(api: Api) -> None:
    found = put_rules(api, HIDE, HIDE, expect=409)
    assert found["code"] == "invalid_rules"
    assert [each["field"] for each in found["errors"]] == ["rules.1.id"]


def test_a_key_that_may_only_recommend_changes_no_rules(busy: Shop, parts: Parts) -> None:
    weak = busy.api.speaking_with(mint_key(parts, "recommendations:read"))
    weak.put("/v1/merchandising/default", {"rules": []}, expect=403)
    weak.get("/v1/merchandising/default", expect=403)
    weak.get("/v1/model", expect=200)


def test_what_was_just_bought_waits_until_it_is_due(busy: Shop) -> None:
    member = busy.newcomer
    for days in (64, 43, 22):
        at = (now() - timedelta(days=days)).isoformat()
        busy.api.buy(member, lines=lines_of("milk"), occurred_at=at)
    found = item(answer(busy, member), "milk")
    assert found["because"] == "You usually buy it every 3 weeks"
    assert (found["reason_code"], found["because_skus"]) == ("bought_often", ["milk"])
    at = (now() - timedelta(days=1)).isoformat()
    busy.api.buy(member, lines=lines_of("milk"), occurred_at=at)
    assert "milk" not in skus(answer(busy, member))
    assert "milk" in skus(answer(busy, busy.refuser))


def test_a_purchase_counts_at_the_very_next_request(busy: Shop) -> None:
    assert answer(busy, busy.newcomer)["reason"] == "no_history"
    busy.api.buy(busy.newcomer, lines=lines_of("novel"))
    found = answer(busy, busy.newcomer)
    assert found["reason"] == "consent"
    assert item(found, "novel")["because"] == "You bought it before"


def test_a_reason_speaks_the_language_of_the_request(busy: Shop) -> None:
    busy.api.buy(busy.newcomer, lines=lines_of("novel"))
    for accepted, text in (
        ("fr-CA,fr;q=0.9,en;q=0.8", "Vous l\u2019avez déjà acheté"),
        ("de, en;q=0.5", "You bought it before"),
        ("de", "You bought it before"),
    ):
        found = answer(busy, busy.newcomer, headers={"Accept-Language": accepted})
        assert item(found, "novel")["because"] == text


def test_without_consent_a_reason_tells_nothing_of_the_person(busy: Shop) -> None:
    busy.api.buy(busy.refuser, lines=lines_of("novel", "milk"))
    found = answer(busy, busy.refuser, "channel=store&store=S1")
    assert {each["reason_code"] for each in found["items"]} == {"popular_store"}
    assert all(each["because_skus"] == [] for each in found["items"])


class Reported(NamedTuple):
    """Feedback that somebody reported."""

    given: list[Signal]

    def signals(self, *_: Any, **__: Any) -> list[Signal]:
        return self.given


def test_what_was_shown_too_often_sinks_and_what_was_dismissed_is_gone(
    busy: Shop, settings: Settings
) -> None:
    member, refuser = busy.buyers[1], busy.refuser
    before, unmoved = skus(answer(busy, member)), answer(busy, refuser)["items"]
    at = now().timestamp()
    reported = Reported(
        [Signal(at, "impression", before[0])] * 50 + [Signal(at, "dismissal", before[1])]
    )
    provided = busy.api.client.application.extensions["carnet"]
    sources = next(kind for kind in provided if kind.__name__ == "Sources")
    provided[sources] = provided[sources]._replace(feedback=reported)
    after = skus(answer(busy, member))
    assert after[0] != before[0]
    assert before[1] not in after
    assert answer(busy, refuser)["items"] == unmoved
    assert settings.model_dir.exists()


def test_sensitive_products_change_nothing_unless_it_was_agreed_to(busy: Shop) -> None:
    one, two = busy.newcomer, busy.api.enrol()
    busy.api.consent(two, "personalisation")
    for member, bought in ((one, ("milk", "pills")), (two, ("milk",))):
        busy.api.buy(member, lines=lines_of(*bought))

    def same(query: str) -> bool:
        mine, others = (answer(busy, member, query)["items"] for member in (one, two))
        return bool(mine == others)

    assert same("")
    assert answer(busy, one, "cart=pills")["items"] == answer(busy, one)["items"]
    assert answer(busy, one, "viewing=pills")["items"] == answer(busy, one)["items"]
    busy.api.consent(one, "sensitive_personalisation")
    assert "pills" in skus(answer(busy, one))
    assert "pills" not in skus(answer(busy, two))
    busy.api.consent(one, "sensitive_personalisation", granted=False)
    assert same("")


def test_the_consent_to_sensitive_products_opens_nothing_alone(busy: Shop) -> None:
    busy.api.buy(busy.refuser, lines=lines_of("pills"))
    busy.api.consent(busy.refuser, "sensitive_personalisation")
    found = answer(busy, busy.refuser)
    assert (found["personalised"], found["reason"]) == (False, "no_consent")
    assert "pills" not in skus(found)


def test_picks_for_an_audience_keep_to_stock_and_rules_and_to_what_is_due(busy: Shop) -> None:
    ada, bob = busy.newcomer, busy.refuser
    for days in (64, 43, 22, 1):
        at = (now() - timedelta(days=days)).isoformat()
        busy.api.buy(ada, lines=lines_of("milk"), occurred_at=at)
    for member in (ada, bob):
        busy.api.consent(member, "marketing", channel="email")
    put_stock(busy.api, {"sku": "cake", "available": False})
    put_rules(busy.api, {"id": "h", "type": "hide", "match": {"skus": ["soap"]}})
    lines = busy.api.get("/v1/picks?channel=email&limit=50", expect=200).data.splitlines()
    found = {row["member_id"]: skus(row) for row in map(orjson.loads, lines)}
    assert "milk" not in found[ada]
    assert "milk" in found[bob]
    for each in found.values():
        assert {"cake", "soap", "pills"}.isdisjoint(each)


def session(shop: Shop, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = shop.api.post(
        "/v1/recommendations/session", body, expect=200
    ).get_json()
    return found


def test_a_session_needs_no_member_and_leaves_no_trace(busy: Shop, parts: Parts) -> None:
    before = dump(parts.database)
    found = session(busy, items=[{"sku": "milk"}, {"sku": "gouda", "kind": "cart"}], cart=["cake"])
    assert (found["personalised"], found["reason"]) == (True, "session")
    assert found["model_version"]
    assert {"milk", "gouda", "cake"}.isdisjoint(skus(found))
    assert {"bread", "soap"} <= set(skus(found))
    assert dump(parts.database) == before


def test_a_session_of_nothing_is_popular_and_sensitive_items_count_for_nothing(busy: Shop) -> None:
    empty = session(busy, channel="store", store="S1")
    assert (empty["personalised"], empty["reason"]) == (False, "no_history")
    assert empty["items"][0]["because"] == "Popular in this store"
    sensitive = session(busy, items=[{"sku": "pills"}], channel="store", store="S1")
    assert (sensitive["reason"], sensitive["items"]) == ("no_history", empty["items"])


def test_a_session_with_purchases_is_a_history(busy: Shop) -> None:
    at = (now() - timedelta(days=30)).isoformat()
    found = session(busy, items=[{"sku": "novel", "kind": "purchase", "at": at}])
    assert "novel" in skus(found)
    assert "pills" not in skus(found)


def test_what_a_session_says_was_bought_is_called_so(busy: Shop) -> None:
    at = (now() - timedelta(days=60)).isoformat()
    found = session(busy, items=[{"sku": "milk", "kind": "purchase", "at": at}])
    (own,) = (each for each in found["items"] if each["sku"] == "milk")
    assert (own["reason_code"], own["because_skus"]) == ("bought_before", ["milk"])


def test_a_session_keeps_to_stock_and_rules(busy: Shop) -> None:
    put_stock(busy.api, {"sku": "bread", "store": "S1", "available": False})
    put_rules(
        busy.api, {"id": "top", "type": "pin", "match": {"skus": ["novel"]}, "positions": [1]}
    )
    found = session(busy, items=[{"sku": "milk"}], store="S1", exclude=["soap"], limit=3)
    assert skus(found)[0] == "novel"
    assert {"bread", "soap", "milk"}.isdisjoint(skus(found))
    assert len(skus(found)) <= 3


def test_similar_products_and_then_those_of_the_category(busy: Shop) -> None:
    found = busy.api.get("/v1/products/cake/similar?limit=10", expect=200).get_json()
    assert not found["personalised"]
    assert "cake" not in skus(found)
    assert "pills" not in skus(found)
    assert all(each["reason_code"] in ("similar", "same_category") for each in found["items"])
    put_products(busy.api, {"sku": "new-cheese", "name": "New", "category": "Dairy/Cheese"})
    unknown = busy.api.get("/v1/products/new-cheese/similar", expect=200).get_json()
    assert skus(unknown) == ["gouda"]
    assert unknown["items"][0]["because"] == "Also in Cheese"
    put_stock(busy.api, {"sku": "gouda", "channel": "web", "available": False})
    gone = busy.api.get("/v1/products/new-cheese/similar?channel=web", expect=200).get_json()
    assert skus(gone) == []


def test_a_product_that_does_not_exist_has_none_similar(busy: Shop) -> None:
    found = busy.api.get("/v1/products/nothing/similar", expect=404).get_json()
    assert found["code"] == "product_not_found"


def test_the_card_of_the_model_tells_what_is_served(busy: Shop) -> None:
    card = busy.api.get("/v1/model", expect=200).get_json()
    assert card["version"] == answer(busy, busy.refuser)["model_version"]
    assert (card["mode"], card["epsilon"], card["k"], card["items"]) == ("plain", None, 10, 5)
    assert card["facts"]["baskets"] == 2 * BUYERS


def test_without_a_model_there_is_no_card_and_still_something_to_show(
    shop: Api, settings: Settings
) -> None:
    wound(shop, settings)
    assert shop.get("/v1/model", expect=404).get_json()["code"] == "no_model"
    put_products(shop, CATALOGUE[0])
    found = shop.get("/v1/products/milk/similar", expect=200).get_json()
    assert (found["reason"], found["items"]) == ("no_model", [])
    body = {"items": [{"sku": "milk"}]}
    assert shop.post("/v1/recommendations/session", body, expect=200).get_json()["items"] == []


def test_another_worker_sees_stock_and_rules_that_were_put_here(busy: Shop, elsewhere: Api) -> None:
    put_stock(busy.api, {"sku": "milk", "available": False})
    put_rules(busy.api, {"id": "h", "type": "hide", "match": {"skus": ["cake"]}})
    path = f"/v1/members/{busy.refuser}/recommendations"
    found = skus(elsewhere.get(path, expect=200).get_json())
    assert {"milk", "cake"}.isdisjoint(found)
    assert "bread" in found
    provided = elsewhere.client.application.extensions["carnet"]
    put_stock(busy.api, {"sku": "bread", "available": False})
    assert "bread" in skus(elsewhere.get(path, expect=200).get_json())
    provided[StockStore].forget()
    assert "bread" not in skus(elsewhere.get(path, expect=200).get_json())
    assert provided[RuleStore].current("default").version == 1


def test_a_product_nobody_bought_is_shown_to_whom_it_suits(busy: Shop, parts: Parts) -> None:
    """It came after the model was trained, and what is like it is what this member buys."""
    put_products(busy.api, {"sku": "oat-milk", "name": "Milk of oats", "category": "Dairy/Milk"})
    new_products = NewProducts(parts.catalogue)
    provided = busy.api.client.application.extensions["carnet"]
    served = provided[Shelf].served()
    assert new_products.beside(served) is None  # begun beside the request
    new_products.refresh(served)
    provided[NewProducts] = new_products
    member = busy.buyers[0]
    shown = {each["sku"]: each for each in answer(busy, member, "limit=50")["items"]}
    assert shown["oat-milk"]["reason_code"] == "new"
    assert "oat-milk" not in skus(answer(busy, busy.refuser, "limit=50"))


def test_a_first_catalogue_is_not_news(parts: Parts) -> None:
    at = now()
    parts.catalogue.put_products([Product("old", "Old")], at=at)
    assert parts.catalogue.added_since(at - timedelta(days=1), limit=9) == ()
    parts.catalogue.put_products([Product("old", "Older"), Product("new", "New")], at=at)
    assert parts.catalogue.added_since(at - timedelta(days=1), limit=9) == ("new",)
    parts.catalogue.put_products([Product("new", "Newer")], at=at + timedelta(days=9))
    assert parts.catalogue.added_since(at + timedelta(days=1), limit=9) == ()
