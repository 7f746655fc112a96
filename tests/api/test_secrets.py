"""Peppers and master keys are rotated by a command, while the service answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from app import main
from loyalty.vault import peppers
from loyalty.vault.masters import MASTER_KEY_BYTES, read_file, write_file
from tests.builders import unique

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app import Parts
    from loyalty.kit.settings import Settings
    from tests.builders import Api


@pytest.fixture(autouse=True)
def _master_key_as_before(settings: Settings) -> Iterator[None]:
    """The file is shared by all tests of the run."""
    before = settings.master_key_file.read_bytes()
    yield
    settings.master_key_file.write_bytes(before)


def run(settings: Settings, *arguments: str, expect: int = 0) -> str:
    environment = {
        "CARNET_MONGODB_URI": settings.mongodb_uri,
        "CARNET_DATABASE": settings.database,
        "CARNET_DATA_DIR": str(settings.data_dir),
        "CARNET_SECRET": settings.secret,
    }
    done = CliRunner().invoke(main, ["secrets", *arguments], env=environment)
    assert done.exit_code == expect, done.output
    return done.output


def found(api: Api, card: str) -> str:
    body = {"identifier": {"type": "card", "value": card}}
    member: str = api.post("/v1/members/lookup", body, expect=200).get_json()["id"]
    return member


def test_a_new_pepper_comes_in_while_the_service_answers(
    shop: Api, parts: Parts, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command does not wait here, so a look-up must not be a second behind.
    monkeypatch.setattr(peppers, "STALE_SECONDS_MAX", -1.0)
    members = {card: shop.enrol(("card", card)) for card in (unique("c") for _ in range(5))}
    assert "pepper 1: settled" in run(settings, "status")
    assert "Pepper 2 is the only one now." in run(settings, "rotate-pepper", "--settle-seconds=0")
    assert {card: found(shop, card) for card in members} == members
    assert "pepper 2: settled" in run(settings, "status")
    assert {each["pepper"] for each in parts.database["identifiers"].find()} == {2}
    shop.enrol(("card", unique("c")))


def test_a_stopped_rotation_says_where_it_stands(parts: Parts, settings: Settings) -> None:
    parts.peppers.advance(parts.peppers.stage())
    assert "pepper 1: both 2" in run(settings, "status")
    run(settings, "rotate-pepper", "--settle-seconds=0")
    assert "pepper 2: settled" in run(settings, "status")


def test_a_new_master_key_comes_in_while_the_service_answers(
    shop: Api, parts: Parts, settings: Settings
) -> None:
    card = unique("c")
    member = shop.enrol(("card", card))
    before = read_file(settings.master_key_file)
    assert "keys are wrapped by the new master" in run(
        settings, "rotate-master", "--settle-seconds=0"
    )
    after = read_file(settings.master_key_file)
    assert before.providers.keys().isdisjoint(after.providers)
    assert set(parts.vault.wrapped()) == {after.current}
    assert f"master {after.current}: 2 keys (current)" in run(settings, "status")
    shown = shop.get(f"/v1/members/{member}", expect=200).get_json()
    assert shown["identifiers"][0]["value"] == card.upper().replace("-", "")
    shop.enrol(("card", unique("c")))
    assert set(parts.vault.wrapped()) == {after.current}


def test_a_new_master_key_can_be_taken_to_all_nodes_first(parts: Parts, settings: Settings) -> None:
    before = read_file(settings.master_key_file)
    assert "Copy it to every node" in run(settings, "rotate-master", "--prepare")
    prepared = read_file(settings.master_key_file)
    assert prepared.current == before.current
    assert len(prepared.providers) == 2
    run(settings, "rotate-master", "--settle-seconds=0")
    after = read_file(settings.master_key_file)
    assert set(after.providers) == prepared.providers.keys() - {before.current}
    assert set(parts.vault.wrapped()) == {after.current}


def test_a_master_key_of_another_database_is_named(parts: Parts, settings: Settings) -> None:
    parts.peppers.check()
    keys = {"1": b"o" * MASTER_KEY_BYTES}
    write_file(settings.master_key_file, keys, "1", replace=True)
    assert "CARNET_DATA_DIR" in run(settings, "status", expect=1)


def test_a_broken_file_is_named(parts: Parts, settings: Settings) -> None:
    parts.peppers.check()
    settings.master_key_file.write_text("{}")
    assert "master-key is not a file of master keys" in run(settings, "status", expect=1)


def test_a_key_that_cannot_be_unwrapped_is_503_and_no_404(
    shop: Api, parts: Parts, settings: Settings
) -> None:
    member = shop.enrol(("card", unique("c")))
    key = {"masterKey.provider": "local:9"}
    parts.vault.database["keys"].update_many({"keyAltNames": member}, {"$set": key})
    answer = shop.get(f"/v1/members/{member}", expect=503)
    assert answer.headers["Retry-After"]
    assert settings.database not in answer.get_data(as_text=True)
