"""What the command line says and does about rights; the commands themselves are in `app.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import orjson
from rich.table import Table

from loyalty.members.model import MemberNotFoundError
from loyalty.privacy import erasing, restoring
from loyalty.privacy.certificate import InvalidCertificateError, read_list, signed_list
from loyalty.privacy.model import KINDS, ErasureNotFoundError
from loyalty.privacy.requests import open_request
from loyalty.privacy.rights import METHOD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from loyalty.kit.mongo import Database, Document
    from loyalty.privacy.erasing import Eraser
    from loyalty.privacy.restoring import Restored
    from loyalty.privacy.service import Desk

BY = "command-line"
REQUESTS_MAX = 1000


def erase(member_id: str, eraser: Eraser) -> str:
    """Erase a member for good; the certificate as text.

    Raises:
        ClickException: there is no such member, or another process has not finished with it.
    """
    desk, at = eraser.desk, eraser.clock()
    try:
        request = open_request(member_id, "erasure", proof="shop", at=at, by=BY, desk=desk)
    except MemberNotFoundError as error:
        raise click.ClickException(error.detail) from error
    desk.standing.withdraw_all(member_id, at=at, by=BY, method=METHOD)
    erasing.work(eraser)
    found = desk.requests.get(request.id)
    return certificate(found.erasure_id or "", desk, verify=True)


def work(eraser: Eraser) -> list[str]:
    """Carry out what was asked for; the ids of the erasures."""
    return erasing.work(eraser)


def certificate(erasure_id: str, desk: Desk, *, verify: bool) -> str:
    """The certificate of an erasure as text.

    Raises:
        ClickException: there is none, or its signature does not fit.
    """
    try:
        found = desk.erasures.get(erasure_id)
    except ErasureNotFoundError as error:
        raise click.ClickException(error.detail) from error
    if found.certificate is None:
        raise click.ClickException("The erasure is not done yet: run `carnet privacy work`.")
    if verify:
        try:
            desk.signer.verify(found.certificate)
        except InvalidCertificateError as error:
            raise click.ClickException(str(error)) from error
    return orjson.dumps(found.certificate, option=orjson.OPT_INDENT_2).decode()


def tombstones(desk: Desk, *, at: datetime) -> Iterator[bytes]:
    """The signed list of who was erased, a line each."""
    return signed_list(desk.erasures.all(), at=at, signer=desk.signer)


def take_in(lines: Iterable[bytes], *, at: datetime, desk: Desk) -> int:
    """Put up the tombstones of a list that are missing; how many.

    Raises:
        ClickException: the list is not as it was signed.
    """
    try:
        stones = read_list(lines, signer=desk.signer)
    except InvalidCertificateError as error:
        raise click.ClickException(f"The list of tombstones: {error}") from error
    return restoring.take_in(stones, at=at, desk=desk)


def restore_check(database: Database[Document], eraser: Eraser, *, is_dry: bool) -> Restored:
    """Erase again who came back with a backup."""
    return restoring.restore_check(
        database=database,
        desk=eraser.desk,
        clock=eraser.clock,
        is_dry=is_dry,
        progress=eraser.progress,
    )


def restored_table(found: Restored) -> Table:
    """What came back, by collection."""
    table = Table("collection", "came back", "erased again", "left", title="Restore check")
    for name in sorted(found.found | found.erased | found.left):
        counts = (found.found[name], found.erased[name], found.left[name])
        table.add_row(name, *(str(each) for each in counts))
    return table


def restored_line(found: Restored) -> str:
    """The result in a sentence."""
    left = f"{found.left.total()} documents are left" if found.left else "nothing is left"
    return f"{found.tombstones} tombstones; {found.members} members had come back; {left}."


def requests_table(desk: Desk, *, overdue: bool, at: datetime) -> Table:
    """Open requests, the one that is due first on top; those overdue are marked."""
    table = Table(title="Requests")
    for column in ("due", "request", "right", "status", "received", "member"):
        table.add_column(column, overflow="fold")
    for each in desk.requests.due(overdue_at=at if overdue else None, limit=REQUESTS_MAX):
        is_late = each.is_overdue(at)
        due = f"{each.due_at:%Y-%m-%d}" + (" OVERDUE" if is_late else "")
        right = f"{each.kind} ({KINDS[each.kind]})"
        received = f"{each.received_at:%Y-%m-%d}"
        row = (due, each.id, right, each.status, received, each.member_id or "")
        table.add_row(*row, style="bold red" if is_late else "")
    return table
