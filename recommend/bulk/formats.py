"""Rows as NDJSON, CSV and Parquet, piece by piece. Pure: rows in, bytes out.

NDJSON says most and is read line by line. CSV is flat, for the import pages of e-mail tools. A
Parquet file is for a warehouse, which unnests lists: so it is nested and typed like NDJSON, and its
schema is the same whatever the limit is.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
from babel.numbers import get_currency_precision
from pyarrow import parquet as pq

from loyalty.kit.sheets import CSV_TYPE, cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from loyalty.catalogue.model import Price
    from recommend.bulk.model import Format, Item, Question, Row

    Confirm = Callable[[Sequence[Row]], list[Row]]

# The same as kit.http has, which knows Flask.
NDJSON_TYPE = "application/x-ndjson"
PARQUET_TYPE = "application/vnd.apache.parquet"
TYPES: dict[Format, str] = {"ndjson": NDJSON_TYPE, "csv": CSV_TYPE, "parquet": PARQUET_TYPE}
# A group is all that is held of a file: some megabytes, however many picks a row has.
GROUP_ROWS = 1024
GROUP_ITEMS = 8192
ITEM_COLUMNS = ("sku", "name", "price", "currency", "image_url", "url", "because")
ADDRESS_COLUMNS = {"email": "email", "sms": "phone", "phone": "phone"}
# An international number calls no function; a quote in front would make it no number.
_PHONE = re.compile(r"\+[0-9]{5,15}\Z", re.ASCII)
_ITEM = pa.struct(
    [
        ("sku", pa.string()),
        ("score", pa.float64()),
        ("name", pa.string()),
        ("price_amount", pa.int64()),
        ("price_currency", pa.string()),
        ("image_url", pa.string()),
        ("url", pa.string()),
        ("because", pa.string()),
    ]
)
PARQUET_SCHEMA = pa.schema(
    [
        ("member_id", pa.string()),
        ("address", pa.string()),
        ("personalised", pa.bool_()),
        ("reason", pa.string()),
        ("model_version", pa.string()),
        ("campaign", pa.string()),
        ("unsubscribe_url", pa.string()),
        ("items", pa.list_(_ITEM)),
        ("cursor", pa.string()),
    ]
)


def encoded(
    form: Format, rows: Iterable[Row], question: Question, confirm: Confirm
) -> Iterator[bytes]:
    """The rows in a form, in pieces; each row is asked for only when it is needed.

    Args:
        form: which.
        rows: in their order.
        question: what was asked.
        confirm: says which rows may still leave, for a form that has to collect some first.
    """
    if form == "csv":
        return csv_pieces(rows, question)
    return parquet_pieces(rows, question, confirm) if form == "parquet" else map(line_of, rows)


def line_of(row: Row) -> bytes:
    """A row as a line of NDJSON."""
    return orjson.dumps({**row._asdict(), "items": [_item(each) for each in row.items]}) + b"\n"


def _item(item: Item) -> dict[str, Any]:
    price = item.price
    amount = {"amount": price.amount, "currency": price.currency} if price else None
    return {**item._asdict(), "price": amount}


def header_of(question: Question) -> list[str]:
    """The columns of a CSV: the same for every audience of a channel with that limit."""
    picks = [
        f"pick_{number}_{name}" for number in range(1, question.limit + 1) for name in ITEM_COLUMNS
    ]
    return [
        "member_id",
        ADDRESS_COLUMNS.get(question.channel, "address"),
        "personalised",
        "reason",
        *picks,
        "unsubscribe_url",
        "campaign",
        "model_version",
        "cursor",
    ]


def csv_pieces(rows: Iterable[Row], question: Question) -> Iterator[bytes]:
    """CSV by RFC 4180 in UTF-8, its header first; no text in it begins a formula."""
    yield _record(header_of(question))
    for row in rows:
        yield _record(cells_of(row, question.limit))


def cells_of(row: Row, limit: int) -> list[str]:
    """A row's cells, `limit` picks wide; what is not there is empty."""
    address = row.address or ""
    picks = [text for item in row.items for text in _cells(item)]
    blank = [""] * (len(ITEM_COLUMNS) * (limit - len(row.items)))
    return [
        row.member_id,
        address if _PHONE.match(address) else cell(address),
        cell(row.personalised),
        row.reason,
        *picks,
        *blank,
        row.unsubscribe_url,
        cell(row.campaign),
        cell(row.model_version),
        row.cursor,
    ]


def _cells(item: Item) -> list[str]:
    price = item.price
    return [
        cell(item.sku),
        cell(item.name),
        decimal_of(price) if price else "",
        price.currency if price else "",
        cell(item.image_url),
        cell(item.url),
        cell(item.because),
    ]


def decimal_of(price: Price) -> str:
    """An amount as people read it, with a point: `1.19`, or `119` of a currency without cents."""
    digits = _digits(price.currency)
    whole, rest = divmod(price.amount, 10**digits)
    return f"{whole}.{rest:0{digits}}" if digits else str(whole)


@lru_cache(maxsize=256)
def _digits(currency: str) -> int:
    return get_currency_precision(currency)


def _record(cells: Sequence[str]) -> bytes:
    quoted = (text.replace('"', '""') for text in cells)
    return ('"' + '","'.join(quoted) + '"\r\n').encode()


class _Pieces:
    """A file that pyarrow writes into and that is emptied as it grows."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> int:  # noqa: ANN401  # a buffer of pyarrow's
        piece = bytes(data)
        self._pieces.append(piece)
        return len(piece)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        """What was written since the last time."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def parquet_pieces(rows: Iterable[Row], question: Question, confirm: Confirm) -> Iterator[bytes]:
    """A Parquet file in row groups of a bounded size; an empty audience has the schema."""
    size = min(GROUP_ROWS, max(1, GROUP_ITEMS // question.limit))
    pieces, source = _Pieces(), iter(rows)
    with pa.PythonFile(pieces, mode="w") as file:
        with pq.ParquetWriter(file, PARQUET_SCHEMA, compression="zstd") as writer:
            while group := list(islice(source, size)):
                # The first of them were asked about when the group was begun.
                records = [_record_of(each) for each in confirm(group)]
                if records:
                    writer.write_table(pa.Table.from_pylist(records, PARQUET_SCHEMA))
                yield pieces.take()
        file.flush()
    yield pieces.take()


def _record_of(row: Row) -> dict[str, Any]:
    items = [
        {
            **item._asdict(),
            "price_amount": item.price.amount if item.price else None,
            "price_currency": item.price.currency if item.price else None,
        }
        for item in row.items
    ]
    return {**row._asdict(), "items": items}
