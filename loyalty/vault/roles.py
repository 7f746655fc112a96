"""What each user of the database may do: the service appends, only the eraser changes and removes.

Two roles, described as data and written by `carnet init` with an administrator's connection. A role
is named by the database that it is for (`carnet_service`, `carnet_eraser`), so that several shops
can live on one server. What is not in the table is refused by the server, whatever a bug or a
stolen connection string asks for.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymongo import MongoClient

    from loyalty.kit.mongo import Document

_READ = ("find", "listIndexes")
_APPEND = (*_READ, "insert")
_CHANGE = (*_APPEND, "update")
_FREE = (*_CHANGE, "remove")
_TAKE = (*_APPEND, "remove")

# What the service may do, by collection of the data. A test holds that every collection is here.
SERVICE: Mapping[str, tuple[str, ...]] = {
    # The facts: appended, never changed.
    "journal": _APPEND,
    "consents": _APPEND,
    "consent_checkpoints": _APPEND,
    "consent_erasures": _APPEND,
    "notices": _APPEND,
    "program_versions": _APPEND,
    "privacy_ledger": _APPEND,
    "merchandising": _APPEND,
    "coupon_uses": _APPEND,
    "coupon_conflicts": _APPEND,
    "feedback": _APPEND,
    # What is kept up to date.
    "budgets": _CHANGE,
    "consent_counts": _CHANGE,
    "coupon_batches": _CHANGE,
    "coupon_campaigns": _CHANGE,
    "experiments": _CHANGE,
    "households": _CHANGE,
    "jobs": _CHANGE,
    "keys": _CHANGE,
    "members": _CHANGE,
    "messages": _CHANGE,
    "model_current": _CHANGE,
    "meta": _CHANGE,
    "picks_exports": _CHANGE,
    "picks_parts": _CHANGE,
    "products": _CHANGE,
    "purposes": _CHANGE,
    "register": _CHANGE,
    "retention": _CHANGE,
    "retention_warnings": _CHANGE,
    "reward_counters": _CHANGE,
    "rewards": _CHANGE,
    "stock": _CHANGE,
    "stores": _CHANGE,
    "tills": _CHANGE,
    # What a caller may take away again: an identifier, a place in a household, a reservation.
    "identifiers": _TAKE,
    "household_members": _TAKE,
    "reward_takings": _FREE,
    # The newest few models: no facts, and nobody's.
    "model_versions": _FREE,
    "models.chunks": _FREE,
    "models.files": _FREE,
    "access_log": _FREE,
    "identity_codes": _FREE,
    "privacy_requests": _FREE,
}
# In the vault's own database: keys are made and used, never removed.
SERVICE_VAULT: Mapping[str, tuple[str, ...]] = {
    "keys": _APPEND,
    "peppers": _APPEND,
    "erasures": _APPEND,
}
# What erasing, retention, verification and rotation need, on every collection of both databases.
_ERASER = (*_FREE, "listCollections", "collStats")
# 256 bits, as a connection string takes them without quoting.
_PASSWORD_BYTES = 32


class Role(NamedTuple):
    """A name and what it may do, as the server's `createRole` takes it."""

    name: str
    privileges: Sequence[Document]


def roles_of(database: str, vault: str) -> tuple[Role, Role]:
    """The service's role and the eraser's.

    Args:
        database: the name of the data's database.
        vault: the name of the vault's.
    """
    tables = ((database, SERVICE), (vault, SERVICE_VAULT))
    service = [
        _privilege(name, collection, actions)
        for name, table in tables
        for collection, actions in table.items()
    ]
    eraser = [_privilege(name, "", _ERASER) for name in (database, vault)]
    return Role(f"{database}_service", service), Role(f"{database}_eraser", eraser)


def write_roles(client: MongoClient[Document], roles: Sequence[Role]) -> None:
    """Create the roles, or bring those that are there up to date. For an administrator."""
    for role in roles:
        is_there = client.admin.command("rolesInfo", role.name)["roles"]
        client.admin.command(
            "updateRole" if is_there else "createRole",
            role.name,
            privileges=list(role.privileges),
            roles=[],
        )


def add_users(client: MongoClient[Document], roles: Sequence[Role]) -> dict[str, str]:
    """A user of each role, of its name; the passwords of those that were made now. Shown once."""
    made = {}
    for role in roles:
        if client.admin.command("usersInfo", role.name)["users"]:
            continue
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        client.admin.command("createUser", role.name, pwd=password, roles=[role.name])
        made[role.name] = password
    return made


def _privilege(database: str, collection: str, actions: Sequence[str]) -> Document:
    return {"resource": {"db": database, "collection": collection}, "actions": list(actions)}
