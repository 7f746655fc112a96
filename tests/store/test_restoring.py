"""A restored backup brings an erased member back, unreadable; the check erases it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from bson import encode

from loyalty.kit.clock import now
from loyalty.privacy.certificate import InvalidCertificateError, Signer, read_list, signed_list
from loyalty.privacy.erasing import erase_member, work
from loyalty.privacy.restoring import Restored, restore_check, take_in
from loyalty.vault.model import ShreddedError
from tests.builders import NOON, dump
from tests.desks import Clock, eraser_of, put_back, whole_desk
from tests.store.test_erasing import everywhere, lived, require_gone

if TYPE_CHECKING:
    from app import Parts
    from loyalty.privacy.service import Desk

CANARY = "canary-of-the-backup"


def check(parts: Parts, desk: Desk, *, is_dry: bool = False) -> Restored:
    return restore_check(
        database=parts.database,
        desk=desk,
        clock=Clock(),
        is_dry=is_dry,
        progress=lambda *_: None,
    )


@pytest.fixture
def restored(parts: Parts) -> tuple[Desk, str, str]:
    """A desk over a restored backup from before an erasure, who was erased, and who was not."""
    desk = whole_desk(parts)
    gone, stays = lived(parts, CANARY), lived(parts)
    backup = dump(parts.database)
    erase_member(gone, reason="request", eraser=eraser_of(desk))
    put_back(parts, backup)
    return desk, gone, stays


def test_what_a_backup_brings_back_cannot_be_read(
    parts: Parts, restored: tuple[Desk, str, str]
) -> None:
    _, gone, stays = restored
    sealed = {each["member"]: each["sealed"] for each in parts.database["messages"].find()}
    assert parts.vault.open(sealed[stays])
    with pytest.raises(ShreddedError):
        parts.vault.open(sealed[gone])
    readable = [each.member_id for each in parts.outbox.waiting(after=None, limit=9, at=now())]
    assert readable == [stays]
    raw = b"".join(encode(each) for each in parts.database["messages"].find())
    assert CANARY.encode() not in raw


def test_a_dry_check_finds_all_and_touches_nothing(
    parts: Parts, restored: tuple[Desk, str, str]
) -> None:
    desk, gone, _ = restored
    before = dump(parts.database), dump(parts.vault.database)
    found = check(parts, desk, is_dry=True)
    assert found.found == {"journal": 3, "consents": 1, "messages": 1, "members": 1}
    assert (found.tombstones, found.members, found.left) == (1, 1, found.found)
    assert (dump(parts.database), dump(parts.vault.database)) == before
    assert parts.members.exists(gone)


def test_the_check_erases_it_again_and_nobody_else(
    parts: Parts, restored: tuple[Desk, str, str]
) -> None:
    desk, gone, stays = restored
    before = everywhere(parts, stays)
    found = check(parts, desk)
    assert found.erased == found.found
    assert not found.left
    require_gone(parts, desk, gone)
    assert everywhere(parts, stays) == before
    (again,) = desk.erasures.of_member(gone).again
    assert again["erased"] == found.found
    assert check(parts, desk) == Restored(1, 0, *[found.left] * 3)


def test_tombstones_that_were_lost_come_from_the_list(
    parts: Parts, restored: tuple[Desk, str, str]
) -> None:
    desk, gone, _ = restored
    lines = list(signed_list(desk.erasures.all(), at=NOON, signer=desk.signer))
    parts.vault.database["erasures"].delete_many({})
    assert check(parts, desk).members == 0
    stones = read_list(lines, signer=desk.signer)
    assert take_in(stones, at=NOON, desk=desk) == 1
    assert take_in(stones, at=NOON, desk=desk) == 0
    assert check(parts, desk).members == 1
    assert not parts.members.exists(gone)
    work(eraser_of(desk))
    require_gone(parts, desk, gone)


def signed(parts: Parts, count: int = 3) -> list[bytes]:
    desk = whole_desk(parts)
    for number in range(count):
        member_id = f"m_{number:032x}"
        desk.erasures.begin(f"e_{number:032x}", member_id, reason="r", asked_at=NOON, at=NOON)
    return list(signed_list(desk.erasures.all(), at=NOON, signer=desk.signer))


def forgeries(lines: list[bytes]) -> dict[str, list[bytes]]:
    other = orjson.loads(lines[0]) | {"member_id": "m_" + "f" * 32}
    seal: dict[str, Any] = orjson.loads(lines[-1])
    mine = Signer(b"m" * 32).sign({k: v for k, v in seal.items() if k != "signature"})
    return {
        "a line changed": [orjson.dumps(other) + b"\n", *lines[1:]],
        "a line missing": lines[1:],
        "a line twice": [lines[0], *lines],
        "lines in another order": [lines[1], lines[0], *lines[2:]],
        "no signature": lines[:-1],
        "a line after the signature": [*lines, lines[0]],
        "another's signature": [*lines[:-1], orjson.dumps(mine)],
        "another count": [*lines[:-1], orjson.dumps(seal | {"count": 2})],
        "not JSON": [b"{", *lines],
        "nothing": [],
    }


def test_a_list_reads_as_it_was_written(parts: Parts) -> None:
    lines = signed(parts)
    stones = read_list(lines, signer=parts.signer)
    assert [each["member_id"] for each in stones] == [f"m_{number:032x}" for number in range(3)]


def test_a_list_that_was_changed_is_refused(parts: Parts) -> None:
    for name, lines in forgeries(signed(parts)).items():
        with pytest.raises(InvalidCertificateError):
            pytest.fail(f"{name}: {read_list(lines, signer=parts.signer)}")
