"""Users of the database: the service runs on what it may do, and the server refuses the rest."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from pymongo.database import Database
from pymongo.errors import OperationFailure

from app import assemble, create_app, initialise, main, picks_kind
from loyalty.access import model as keys
from loyalty.jobs.runner import Runner
from loyalty.kit.clock import now
from loyalty.kit.mongo import connect, is_refused
from loyalty.kit.settings import Settings
from loyalty.members.rotation import IdentifierRotation, rotate_pepper
from loyalty.vault.peppers import Peppers
from loyalty.vault.roles import SERVICE, SERVICE_VAULT, roles_of
from recommend import artefact
from recommend.artefact import Shelf
from recommend.service import Popularity
from recommend.training import depot as depots
from recommend.training.depot import Depot
from recommend.training.model import version_name
from tests.api.test_batches import upload
from tests.api.test_coupons import CHECK, REDEMPTIONS, made, showing, using
from tests.api.test_redeeming import OFF, act, paying, put, redeem
from tests.api.test_returning import back
from tests.api.test_simulating import finished
from tests.api.test_transferring import transfer
from tests.builders import NOON, Api, permit, program_document, purchase_body, unique
from tests.guarded import as_user, guarded
from tests.races.model_node import model_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app import Parts
    from loyalty.kit.mongo import Document

ROOT = Path(__file__).parents[2]
PAYMENT = {"points": 100, "amount": 100, "step": 10, "share_max": "0.5"}
BONUS = {"id": "hello", "type": "first_on_channel", "points": 20}
FRIENDS = {"id": "friends", "type": "referral", "friend_points": 50, "referrer_points": 200}
BASE = {"id": "base", "type": "spend", "points": 1, "per_amount": 100}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server with users: its address, and its administrator's."""
    with guarded(tmp_path_factory.mktemp("guarded")) as found:
        yield found


@pytest.fixture(scope="module")
def guarded_settings(server: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A service whose users `carnet init --users` made."""
    address, admin = server
    directory = tmp_path_factory.mktemp("guarded-data")
    settings = Settings(data_dir=directory, secret="s" * 40, database_timeout_seconds=5.0)
    environment = {
        "CARNET_DATA_DIR": str(directory),
        "CARNET_SECRET": settings.secret,
        "CARNET_ADMIN_URI": admin,
    }
    done = CliRunner().invoke(main, ["init", "--users"], env=environment)
    assert done.exit_code == 0, done.output
    users = dict(line.split(" ") for line in done.stdout.splitlines())
    assert users.keys() == {"carnet_service", "carnet_eraser"}
    again = CliRunner().invoke(main, ["init", "--users"], env=environment)
    assert (again.exit_code, again.stdout) == (0, ""), "a password is shown once"
    service, eraser = (as_user(address, *user) for user in users.items())
    return replace(settings, mongodb_uri=service, eraser_uri=eraser)


@pytest.fixture
def guarded_parts(guarded_settings: Settings) -> Iterator[Parts]:
    parts = assemble(guarded_settings, guarded_settings.mongodb_uri)
    yield parts
    for database in (parts.database, parts.eraser_database):
        database.client.close()


@pytest.fixture
def guarded_shop(guarded_settings: Settings, guarded_parts: Parts) -> Iterator[Api]:
    """The shop's API, served through the service's own user."""
    initialise(guarded_settings, guarded_parts)
    app = create_app(guarded_settings)
    app.testing = True
    key, text = keys.mint("tests", frozenset(keys.SCOPES), at=now(), channel=None, store=None)
    guarded_parts.keys.add(key)
    api = Api(app.test_client(), text)
    document = program_document(BASE, BONUS, FRIENDS, points_payment=PAYMENT)
    api.post("/v1/program/versions", {"program": document}, expect=201)
    yield api
    app.extensions["carnet"][Database].client.close()


def member_of(api: Api, points: int = 1000) -> str:
    member = api.enrol(("card", unique("card")))
    api.buy(member, points * 100)
    return member


class TestTheServiceRuns:
    """Every flow of the API, through the user who may only append."""

    def test_members(self, guarded_shop: Api, guarded_parts: Parts) -> None:
        api, value = guarded_shop, unique("card")
        member = api.enrol(("card", value), ("email", f"{value}@example.org"))
        found = api.post(
            "/v1/members/lookup", {"identifier": {"type": "card", "value": value}}, expect=200
        ).get_json()
        assert found["id"] == member
        profile = {"birthday": "--02-29", "segments": ["vip"]}
        api.put(f"/v1/members/{member}/profile", profile, expect=200)
        linked = {"type": "app", "value": value}
        identifiers = api.post(f"/v1/members/{member}/identifiers", linked, expect=200).get_json()
        gone = identifiers["identifiers"][-1]["id"]
        api.call("DELETE", f"/v1/members/{member}/identifiers/{gone}", expect=204)
        till = {"type": "card", "value": unique("stranger")}
        body = purchase_body("", identifier=till)
        del body["member"]
        api.post("/v1/purchases", body, expect=201)
        api.post("/v1/members", {"identifiers": [till]}, expect=201)
        assert guarded_parts.members.get(member).profile.segments == {"vip"}

    def test_models(self, guarded_parts: Parts, tmp_path: Path) -> None:
        nodes = [Depot(tmp_path / name, guarded_parts.models) for name in ("one", "two")]
        for number in range(5):
            at = now() - timedelta(hours=9 - number)
            artefact.save(model_of(number), nodes[0].root, version_name(at), created_at=0)
            depots.publish(nodes[0], version_name(at), created_at=at, refused=False)
            depots.promote(nodes[0], version_name(at), at=at, by="tests")
        depots.rollback(nodes[1], None, at=now(), by="tests")
        assert len(depots.prune(nodes[1], 1)) == 3
        assert artefact.load(nodes[1].root, artefact.current(nodes[1].root) or "")

    def test_facts_and_points(self, guarded_shop: Api) -> None:
        api, member = guarded_shop, member_of(guarded_shop)
        receipt = unique("receipt")
        api.buy(member, 1000, external_id=receipt)
        back(api, receipt)
        engagement = {"external_id": receipt, "channel": "web", "type": "review", "member": member}
        api.post("/v1/engagements", engagement, expect=201)
        by_hand = {"external_id": receipt, "points": 5, "reason": "sorry", "actor": "ada"}
        api.post(f"/v1/members/{member}/adjustments", by_hand, expect=201)
        lines = [{"kind": "purchase", **purchase_body(member)} for _ in range(3)]
        assert upload(api, lines, till=unique("till")).status_code == 200
        assert api.get(f"/v1/members/{member}/journal", expect=200).get_json()["entries"]
        assert api.balance(member) > 1000

    def test_rewards_and_coupons(self, guarded_shop: Api) -> None:
        api, member = guarded_shop, member_of(guarded_shop)
        put(api, {**OFF, "stock": 100})
        act(api, redeem(api, member), "capture")
        act(api, redeem(api, member), "release")
        act(api, redeem(api, member, **paying(100)), "capture")
        _, coupon = made(api)
        api.post(CHECK, showing(coupon["code"]), expect=200)
        done = api.post(REDEMPTIONS, using(coupon["code"]), expect=201).get_json()
        api.post(f"{REDEMPTIONS}/{done['id']}/void", {}, expect=201)

    def test_consents_and_several_members(self, guarded_shop: Api) -> None:
        api = guarded_shop
        ada, bob = member_of(api), member_of(api)
        for member in (ada, bob):
            for purpose in ("points_transfer", "household_pooling", "personalisation"):
                api.consent(member, purpose)
        api.consent(ada, "personalisation", granted=False)
        api.post("/v1/transfers", transfer(ada, bob, 40), expect=201)
        household = api.post("/v1/households", {"name": "Elm"}, expect=201).get_json()["id"]
        for member in (ada, bob):
            api.put(f"/v1/households/{household}/members/{member}", None, expect=200)
        api.get(f"/v1/households/{household}/points", expect=200)
        api.call("DELETE", f"/v1/households/{household}/members/{bob}", expect=204)
        code = api.post(f"/v1/members/{ada}/referral-code", None, expect=201).get_json()["code"]
        friend = api.enrol()
        api.post(f"/v1/members/{friend}/referrer", {"code": code}, expect=201)
        api.buy(friend, 1000)
        for member in (ada, bob):
            path = f"/v1/members/{member}/recommendations"
            api.get(path, query_string={"channel": "web"}, expect=200)

    def test_feedback(self, guarded_shop: Api) -> None:
        api, member = guarded_shop, member_of(guarded_shop)
        api.consent(member, "personalisation")
        act = {"id": unique("event"), "kind": "click", "sku": "milk", "channel": "web"}
        for status in ("recorded", "replayed"):
            body = {"events": [{**act, "member": member}]}
            assert api.post("/v1/feedback", body, expect=200).get_json()[status] == 1
        variants = [{"name": "a", "share": 50}, {"name": "b", "share": 50}]
        for status in ("running", "stopped"):
            made = {"variants": variants, "status": status}
            api.put("/v1/experiments/roles", made, expect=200)
        api.get("/v1/experiments/roles/results", expect=200)
        api.get(f"/v1/members/{member}/offers", expect=200)

    def test_catalogue_and_jobs(self, guarded_shop: Api, guarded_parts: Parts) -> None:
        api = guarded_shop
        member_of(api)
        headers = {"Content-Type": "application/x-ndjson"}
        product = json.dumps({"sku": "milk", "name": "Milk"})
        api.call("PUT", "/v1/products", data=product, headers=headers, expect=200)
        job = api.post("/v1/program/simulations", {"program": program_document()}, expect=202)
        assert finished(api, guarded_parts, job.get_json())["status"] == "done"
        api.get("/v1/program/liability", expect=200)
        assert api.get("/health/ready", expect=200)

    def test_picks_for_audiences(
        self, guarded_shop: Api, guarded_parts: Parts, guarded_settings: Settings
    ) -> None:
        api, parts, member = guarded_shop, guarded_parts, member_of(guarded_shop)
        api.consent(member, "marketing", channel="email")
        assert parts.journal.histories([permit(member)], limit=1).keys() == {member}
        served = Shelf(guarded_settings.model_dir), Popularity(parts.sources)
        runner = Runner(parts.jobs, picks_kind(guarded_settings, parts, *served))
        ids = []
        for _ in range(2):
            asked = api.post("/v1/picks/exports", {"channel": "email"}, expect=202)
            ids.append(asked.get_json()["id"])
            assert runner.run_one()
            answer = api.get(f"/v1/picks/exports/{ids[-1]}/download", expect=200)
            assert member in answer.get_data(as_text=True)
            past = {"$set": {"expires_at": NOON}}
            parts.eraser_database["picks_exports"].update_many({}, past)
        # The job destroys the key of what has expired, which the service itself may not.
        assert [parts.vault.has_key(each) for each in ids] == [False, True]


def is_refused_by_the_server(attempt: Callable[[], object]) -> bool:
    """Whether the server says that this user may not do that."""
    with pytest.raises(OperationFailure) as met:
        attempt()
    return is_refused(met.value)


@pytest.mark.parametrize("name", ["journal", "consents", "notices", "coupon_uses"])
def test_the_server_refuses_to_change_or_remove_facts(
    guarded_shop: Api, guarded_parts: Parts, name: str
) -> None:
    member = member_of(guarded_shop)
    guarded_shop.consent(member, "personalisation")
    facts = guarded_parts.database[name]
    before = list(guarded_parts.eraser_database[name].find().sort("_id"))
    change: Document = {"$set": {"canary": 1}}
    for attempt in (
        lambda: facts.update_one({}, change),
        lambda: facts.update_many({}, change),
        lambda: facts.update_one({"_id": 1}, change, upsert=True),
        lambda: facts.replace_one({}, {"canary": 1}),
        lambda: facts.find_one_and_update({}, change),
        lambda: facts.find_one_and_delete({}),
        lambda: facts.delete_one({}),
        lambda: facts.delete_many({}),
        facts.drop,
        lambda: facts.rename(f"{name}2"),
        lambda: facts.create_index("at", expireAfterSeconds=0),
        facts.drop_indexes,
        lambda: list(facts.aggregate([{"$out": name}])),
        lambda: list(facts.aggregate([{"$merge": name}])),
        lambda: guarded_parts.database.command("collMod", name, validator={}),
    ):
        assert is_refused_by_the_server(attempt)
    assert list(guarded_parts.eraser_database[name].find().sort("_id")) == before


def test_the_service_makes_keys_and_removes_none(guarded_parts: Parts) -> None:
    vault = guarded_parts.vault
    owner = unique("m")
    sealed = vault.seal(owner, "mine")
    keys_, peppers, erasures = (vault.database[name] for name in ("keys", "peppers", "erasures"))
    for attempt in (
        lambda: vault.shred(owner),
        lambda: keys_.update_one({}, {"$set": {"a": 1}}),
        lambda: peppers.delete_many({}),
        lambda: peppers.update_one({}, {"$set": {"a": 1}}),
        lambda: erasures.delete_many({}),
        lambda: erasures.update_one({}, {"$set": {"a": 1}}),
        lambda: vault.database.command("dropDatabase"),
        lambda: guarded_parts.database.command("dropDatabase"),
        lambda: guarded_parts.database.command("listCollections"),
        lambda: guarded_parts.database["elsewhere"].insert_one({}),
        guarded_parts.database["elsewhere"].find_one,
        guarded_parts.database.client["other"]["any"].find_one,
        lambda: guarded_parts.database.client.admin.command("usersInfo", 1),
        lambda: guarded_parts.database.client.admin.command(
            "grantRolesToUser", "carnet_service", roles=["root"]
        ),
    ):
        assert is_refused_by_the_server(attempt)
    assert vault.open(sealed) == "mine"


def test_the_eraser_may_erase_shred_and_rotate(guarded_shop: Api, guarded_parts: Parts) -> None:
    api, parts = guarded_shop, guarded_parts
    card = unique("card")
    member, other = api.enrol(("card", card)), api.enrol(("card", unique("card")))
    api.buy(member)
    api.consent(member, "personalisation")
    peppers = Peppers(parts.eraser_database, parts.eraser_vault)
    rotation = IdentifierRotation(parts.eraser_database, parts.eraser_vault, peppers)
    rotate_pepper(rotation, peppers, wait=lambda _: None, progress=lambda *_: None)
    assert parts.eraser_vault.shred(member)
    for holder in parts.eraser_desk.holders:
        holder.erase(member)
    # The ends of the journal stay for a day.
    ends = parts.eraser_database["journal"].delete_many({"member": member, "kind": "erasure"})
    assert ends.deleted_count == 2
    for database in (parts.eraser_database, parts.eraser_vault.database):
        for name in database.list_collection_names():
            assert member not in repr(list(database[name].find())), name
    api.get(f"/v1/members/{member}", expect=404)
    api.get(f"/v1/members/{other}", expect=200)
    elsewhere = parts.eraser_database.client["elsewhere"]["any"]
    for attempt in (
        parts.eraser_database["journal"].drop,
        elsewhere.find_one,
        lambda: parts.eraser_database.client.admin.command("usersInfo", 1),
    ):
        assert is_refused_by_the_server(attempt)


def test_the_service_starts_on_what_the_administrator_made_and_not_before(
    server: tuple[str, str], guarded_settings: Settings, guarded_parts: Parts
) -> None:
    initialise(guarded_settings, guarded_parts)
    with connect(server[1], timeout_seconds=5) as admin:
        before = admin["carnet"]["meta"].find_one_and_delete({"_id": "secret"})
        try:
            with pytest.raises(OperationFailure) as met:
                initialise(guarded_settings, guarded_parts)
            assert is_refused(met.value)
        finally:
            admin["carnet"]["meta"].insert_one(before or {})


def test_users_need_an_administrator(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["init", "--users"], env={"CARNET_DATA_DIR": str(tmp_path)})
    assert done.exit_code == 1
    assert "CARNET_ADMIN_URI" in done.output


def test_a_role_is_for_one_shop_alone() -> None:
    for role in roles_of("elm", "elm_vault"):
        assert role.name.startswith("elm_")
        assert {each["resource"]["db"] for each in role.privileges} == {"elm", "elm_vault"}


def test_every_collection_of_the_program_is_in_the_table() -> None:
    """A new collection has to say what the service may do with it."""
    found: dict[str, set[str]] = {"data": set(), "vault": set()}
    for path in [ROOT / "app.py", *ROOT.glob("loyalty/**/*.py"), *ROOT.glob("recommend/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if name := _collection(node):
                found["vault" if "vault" in ast.unparse(node) else "data"].add(name)
    assert found["data"] <= SERVICE.keys() | SERVICE_VAULT.keys()
    assert found["vault"] <= SERVICE_VAULT.keys()


def _collection(node: ast.AST) -> str | None:
    """The name in `database["name"]`, whatever leads to the database."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Constant):
        return None
    if not ast.unparse(node.value).lower().endswith("database"):
        return None
    return str(node.slice.value)
