"""The commands of rights, over the same data as the service."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from loyalty.kit.clock import now
from loyalty.privacy.erasing import erase_member
from loyalty.privacy.requests import open_request
from tests.builders import dump, enrolled
from tests.desks import eraser_of, put_back, whole_desk
from tests.store.test_audit import command
from tests.store.test_erasing import lived

if TYPE_CHECKING:
    from pathlib import Path

    from app import Parts
    from loyalty.kit.settings import Settings


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run a command in the directory that holds the master keys of the tests."""
    monkeypatch.setenv("CARNET_DATA_DIR", str(settings.data_dir))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: command(settings, monkeypatch, *arguments)


def test_overdue_requests_are_marked_and_come_first(parts: Parts, run: Any) -> None:
    late = open_request(
        enrolled(parts),
        "rectification",
        proof="shop",
        at=now() - timedelta(days=40),
        by="k",
        desk=parts.desk,
    )
    fresh = open_request(
        enrolled(parts), "rectification", proof="shop", at=now(), by="k", desk=parts.desk
    )
    shown = run("privacy", "requests")
    assert shown.exit_code == 0, shown.output
    assert shown.output.index(late.id) < shown.output.index(fresh.id)
    assert shown.output.count("OVERDUE") == 1
    only = run("privacy", "requests", "--overdue").output
    assert late.id in only
    assert fresh.id not in only


def test_a_certificate_is_printed_and_verified(parts: Parts, run: Any) -> None:
    done = erase_member(lived(parts), reason="request", eraser=eraser_of(whole_desk(parts)))
    shown = run("privacy", "certificate", done.id, "--verify")
    assert shown.exit_code == 0, shown.output
    assert orjson.loads(shown.stdout) == done.certificate
    certificate = {**(done.certificate or {}), "passes": 9}
    parts.vault.database["erasures"].update_one(
        {"_id": done.id}, {"$set": {"certificate": certificate}}
    )
    assert run("privacy", "certificate", done.id).exit_code == 0
    forged = run("privacy", "certificate", done.id, "--verify")
    assert forged.exit_code == 1
    assert "signature" in forged.output
    assert run("privacy", "certificate", "e_" + "0" * 32).exit_code == 1


def test_a_restore_check_says_what_came_back(parts: Parts, run: Any, tmp_path: Path) -> None:
    desk, member_id = whole_desk(parts), lived(parts)
    backup = dump(parts.database)
    erase_member(member_id, reason="request", eraser=eraser_of(desk))
    stones = tmp_path / "stones"
    stones.write_text(run("privacy", "tombstones").stdout)
    clean = run("restore-check", "--tombstones", str(stones))
    assert clean.exit_code == 0, clean.output
    assert "nothing is left" in clean.output
    put_back(parts, backup)
    found = run("restore-check", "--dry-run")
    assert found.exit_code == 1
    assert "1 members had come back" in found.output
    stones.write_text(stones.read_text().replace(member_id, "m_" + "0" * 32))
    forged = run("restore-check", "--tombstones", str(stones))
    assert forged.exit_code == 1
    assert "not those that were signed" in forged.output


def test_work_without_anything_to_do_ends_at_once(parts: Parts, run: Any) -> None:
    assert parts.erasures.count() == 0
    assert "0 erasures" in run("privacy", "work").output
    nobody = run("erase", "--member", "m_" + "0" * 32)
    assert nobody.exit_code == 1
    assert "no such member" in nobody.output
