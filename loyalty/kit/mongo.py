"""How this program talks to MongoDB: one client, durable writes, a deadline on everything.

The stores know collections; this module knows connections and nothing of what is kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import pymongo
from bson.codec_options import CodecOptions
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.database import Database
from pymongo.errors import (
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.client_session import ClientSession

__all__ = [
    "DURABLE",
    "Database",
    "Document",
    "connect",
    "duplicate_index",
    "is_away",
    "is_ready",
    "is_refused",
    "open_database",
    "transact",
]

Document: TypeAlias = dict[str, Any]

# An acknowledged write is on the disk of a majority. Named here, never left to a default.
DURABLE = WriteConcern(w="majority", j=True)
# Driver errors that mean "the database is away or too slow", whatever was asked of it.
AWAY_ERRORS: tuple[type[PyMongoError], ...] = (
    ConnectionFailure,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WTimeoutError,
)
_UNAUTHORIZED = 13
_DUPLICATE_INDEX = re.compile(r"index: (\S+)")
# Interrupted, shutting down, stepping down, out of time, write conflict, too many waits.
_AWAY_CODES = frozenset({50, 89, 91, 112, 189, 262, 10107, 11600, 11602, 13435, 13436})


def connect(uri: str, *, timeout_seconds: float, pool_size: int = 64) -> MongoClient[Document]:
    """A client with bounded waits. It connects when first used, not here.

    Args:
        uri: a MongoDB connection string.
        timeout_seconds: the longest one operation may take, finding a server included.
        pool_size: connections at most; callers beyond it wait at most the timeout.
    """
    return MongoClient(
        uri,
        appname="carnet",
        connect=False,
        maxPoolSize=pool_size,
        serverSelectionTimeoutMS=int(timeout_seconds * 1000),
        connectTimeoutMS=int(timeout_seconds * 1000),
        waitQueueTimeoutMS=int(timeout_seconds * 1000),
        # Requests and batches work under `pymongo.timeout`; this is for what has no deadline.
        socketTimeoutMS=int(timeout_seconds * 5000),
        retryWrites=True,
        retryReads=True,
    )


def open_database(client: MongoClient[Document], name: str) -> Database[Document]:
    """The database with durable writes and times as aware UTC values."""
    codec: CodecOptions[Document] = CodecOptions(tz_aware=True)
    return client.get_database(
        name,
        codec_options=codec,
        write_concern=DURABLE,
        # Whatever the connection string says: a secondary may not know of a withdrawal yet.
        read_preference=ReadPreference.PRIMARY,
        # Linearizable is not needed: the unique indexes decide every race.
        read_concern=ReadConcern("local"),
    )


def transact(client: MongoClient[Document], write: Callable[[ClientSession], None]) -> None:
    """Write all of it or nothing, from one snapshot.

    Args:
        client: of the database.
        write: the work; the driver calls it again when another writer got in between.
    """
    with client.start_session() as session:
        session.with_transaction(
            write,
            write_concern=DURABLE,
            read_concern=ReadConcern("snapshot"),
            read_preference=ReadPreference.PRIMARY,
        )


def is_away(error: PyMongoError) -> bool:
    """Whether the error says that the database is away, rather than that we asked wrongly."""
    if isinstance(error, AWAY_ERRORS) or error.timeout:
        return True
    return isinstance(error, OperationFailure) and error.code in _AWAY_CODES


def is_refused(error: OperationFailure) -> bool:
    """Whether the server says that this user may not do that."""
    return error.code == _UNAUTHORIZED


def duplicate_index(error: DuplicateKeyError) -> str:
    """The name of the unique index that refused a write, such as `member_seq`."""
    found = _DUPLICATE_INDEX.search(str(error))
    return found.group(1) if found else ""


def is_ready(database: Database[Document], *, timeout_seconds: float) -> bool:
    """Whether the server answers in time and takes writes."""
    try:
        with pymongo.timeout(timeout_seconds):
            hello = database.client.admin.command("hello")
    except PyMongoError:
        return False
    return bool(hello.get("isWritablePrimary"))
