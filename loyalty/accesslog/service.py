"""Read the log with the names that the shop gave its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty.members.model import MemberNotFoundError

if TYPE_CHECKING:
    from loyalty.access.store import KeyStore
    from loyalty.accesslog.model import Look
    from loyalty.accesslog.store import AccessLog
    from loyalty.members.store import MemberStore


def looks(
    member_id: str,
    *,
    before: str | None,
    limit: int,
    accesslog: AccessLog,
    keys: KeyStore,
    members: MemberStore,
) -> list[Look]:
    """Who was shown a member's data, those of the newest day first.

    Args:
        member_id: whose data.
        before: the id of the last look of the page before.
        limit: looks at most.
        accesslog: the log.
        keys: the keys, for their names.
        members: the members.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    found = accesslog.page(member_id, before=before, limit=limit)
    if not found and not members.exists(member_id):
        raise MemberNotFoundError
    ids = {each.place.key_id for each in found}
    names = {key_id: key.name for key_id in ids if (key := keys.find(key_id))}
    return [each._replace(key_name=names.get(each.place.key_id, "")) for each in found]
