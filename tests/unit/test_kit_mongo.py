"""What the driver's errors mean. No server is asked."""

from __future__ import annotations

import pytest
from pymongo import ReadPreference
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteError,
)

from loyalty.kit.mongo import DURABLE, connect, duplicate_index, is_away, open_database


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("gone"),
        ExecutionTimeout("slow"),
        NetworkTimeout("slow"),
        ServerSelectionTimeoutError("nobody"),
        WaitQueueTimeoutError("full"),
        OperationFailure("stepping down", 189),
        OperationFailure("shutting down", 91),
    ],
)
def test_an_error_of_a_database_that_is_away(error: PyMongoError) -> None:
    assert is_away(error)


@pytest.mark.parametrize(
    "error",
    [OperationFailure("no such command", 59), WriteError("too large", 10334), PyMongoError("?")],
)
def test_an_error_of_ours(error: PyMongoError) -> None:
    assert not is_away(error)


@pytest.mark.parametrize(
    ("message", "index"),
    [
        (
            'E11000 duplicate key error collection: a.journal index: key dup key: { key: "x" }',
            "key",
        ),
        (
            'E11000 duplicate key error collection: j index: member_seq dup key: { m: "index: k" }',
            "member_seq",
        ),
        ("something else", ""),
    ],
)
def test_the_index_that_refused(message: str, index: str) -> None:
    assert duplicate_index(DuplicateKeyError(message)) == index


def test_every_database_is_opened_with_durable_writes_and_a_deadline() -> None:
    client = connect("mongodb://nowhere.invalid/?readPreference=secondary", timeout_seconds=1.5)
    database = open_database(client, "shop")
    assert database.write_concern == DURABLE
    assert DURABLE.document == {"w": "majority", "j": True}
    assert database.codec_options.tz_aware
    assert database.read_preference == ReadPreference.PRIMARY
    assert client.options.server_selection_timeout == 1.5
    assert client.options.pool_options.socket_timeout == 7.5
    client.close()
