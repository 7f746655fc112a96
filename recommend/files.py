"""Reads who bought what from a Parquet or CSV file, for evaluating without a database.

A line is one item of one member: columns `member` and `item`, and where there are any `basket`,
`at` and `kind`; others are left alone. Names may be texts or numbers. The file is read in batches:
what stays in memory is some 20 bytes a line and the names, each once. A file that cannot be used
gives one sentence that says where and why. It leaves to others: what is held out and learned.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from recommend.dataset import Basket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from recommend.dataset import Floats, Ints, Offsets

REQUIRED = ("member", "item")
OPTIONAL = ("basket", "at", "kind")
PURCHASE = "purchase"
BATCH_LINES = 1 << 17
BLOCK_BYTES = 1 << 22
HEADER_BYTES_MAX = 1 << 16
NAME_BYTES_MAX = 256
LINES_MAX = 500_000_000
PARQUET_MAGIC = b"PAR1"
GZIP_MAGIC = b"\x1f\x8b"
DELIMITERS = (",", ";", "\t", "|")
DAY_SECONDS = 86_400.0
UNITS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3), (1e8, 1.0))
"""From which size on a number is taken for nano-, micro-, milliseconds or seconds since 1970."""
FIRST_DATE, LAST_DATE = 19_000_101, 21_001_231
"""Numbers between are dates without dashes, if all of them are."""

Progress: TypeAlias = "Callable[[int, int], None]"
"""Called with (bytes or lines read, all of them)."""


class UnusableFileError(Exception):
    """A file that cannot be evaluated; the message says which one, where and why."""


@dataclass(slots=True)
class Names:
    """Numbers for names, in order of first appearance."""

    codes: dict[str, int] = field(default_factory=dict)

    def numbers(self, values: pa.Array) -> Ints:
        """(n,) the number of each name of a batch."""
        batch = values.dictionary_encode()
        codes = self.codes
        known = [codes.setdefault(name, len(codes)) for name in batch.dictionary.to_pylist()]
        return np.asarray(np.asarray(known, dtype=np.int32)[batch.indices.to_numpy()])


@dataclass(frozen=True, slots=True)
class Lines:
    """A file as arrays of n lines, in the file's order.

    Attributes:
        members: names, by number, sorted: so that what is drawn at random among members does not
            depend on the order of the lines.
        items: names, by number.
        member: (n,) numbers.
        item: (n,) numbers.
        basket: (n,) numbers; None without that column.
        at: (n,) POSIX seconds; None without that column.
        time_note: how `at` was understood; empty without.
        other_kinds: lines left out because they are no purchase.
    """

    members: tuple[str, ...]
    items: tuple[str, ...]
    member: Ints
    item: Ints
    basket: Ints | None
    at: Floats | None
    time_note: str
    other_kinds: int

    def baskets(self) -> Iterator[Basket]:
        """Each member's baskets, members by name, oldest basket first.

        A basket is what has one `basket`, or else one `at`, or else all that a member has. It is
        dated by its first line; without `at` all are, and keep the order of the file.
        """
        key = self._basket_key()
        order = np.lexsort((np.arange(len(key)), key, self.member))
        member, ordered = self.member[order], key[order]
        turns = (np.diff(member) != 0) | (np.diff(ordered) != 0)
        starts = np.concatenate([[0], np.flatnonzero(turns) + 1, [len(order)]])
        for first, last in self._oldest_first(order, starts):
            lines = order[first:last]
            at = 0.0 if self.at is None else float(self.at[lines].min())
            skus = tuple(dict.fromkeys(self.items[n] for n in self.item[lines].tolist()))
            yield Basket(self.members[int(self.member[lines[0]])], at, (), skus)

    def _oldest_first(self, order: Offsets, starts: Offsets) -> Iterator[tuple[int, int]]:
        firsts = order[starts[:-1]]
        at = (
            np.zeros(len(firsts))
            if self.at is None
            else np.minimum.reduceat(self.at[order], starts[:-1])
        )
        for n in np.lexsort((firsts, at, self.member[firsts])).tolist():
            yield int(starts[n]), int(starts[n + 1])

    def _basket_key(self) -> Offsets:
        if self.basket is not None:
            return self.basket.astype(np.int64)
        if self.at is not None:
            return np.unique(self.at, return_inverse=True)[1].astype(np.int64)
        return np.zeros(len(self.member), dtype=np.int64)


def read(path: Path, *, progress: Progress | None = None) -> Lines:
    """Read a file whole.

    Raises:
        UnusableFileError: it is missing, a directory, empty or neither Parquet nor CSV; a column is
            missing; a line has no member or item, a time that cannot be read or an unknown kind.
    """
    try:
        return _Reading(path).lines(_batches(path, progress))
    except (OSError, pa.ArrowException) as error:
        raise UnusableFileError(f"{path}: {_reason(error)}") from error


def write_lines(path: Path, columns: Mapping[str, Sequence[object]]) -> int:
    """Write a Parquet file that `read` reads; give the number of its lines."""
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    pq.write_table(table, path)
    return int(table.num_rows)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file."
    if isinstance(error, PermissionError):
        return "it may not be read."
    if row := re.search(r"Row #(\d+): (Expected \d+ columns, got \d+)", str(error)):
        return f"line {row[1]}: {row[2].lower()}."
    if "UTF8" in str(error):
        return "a name is not in UTF-8."
    # What a parser quotes may be somebody's name: its first words are enough.
    return f"it cannot be read: {str(error).splitlines()[0].split(': ')[0][:120]}."


def _batches(path: Path, progress: Progress | None) -> Iterator[pa.RecordBatch]:
    """The columns that matter, whatever the form of the file."""
    if path.is_dir():
        raise UnusableFileError(f"{path}: it is a directory; name one Parquet or CSV file.")
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES_MAX)
    if head.startswith(PARQUET_MAGIC):
        return _parquet(path, progress)
    if not head.strip():
        raise UnusableFileError(f"{path}: it is empty.")
    if path.suffix.lower() in (".parquet", ".pq"):
        raise UnusableFileError(f"{path}: it is not a Parquet file, though its name says so.")
    if b"\0" in head and not head.startswith(GZIP_MAGIC):
        raise UnusableFileError(f"{path}: it is neither a Parquet nor a CSV file.")
    return _csv(path, progress)


def _parquet(path: Path, progress: Progress | None) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        total = file.metadata.num_rows
        columns = _columns(path, file.schema_arrow.names)
        done = 0
        for batch in file.iter_batches(BATCH_LINES, columns=columns):
            yield batch
            done += len(batch)
            if progress:
                progress(done, total)


def _csv(path: Path, progress: Progress | None) -> Iterator[pa.RecordBatch]:
    total = path.stat().st_size
    delimiter, names = _header(path)
    columns = _columns(path, names)
    # Texts: a number's leading zeros are part of a name. One thread, so that errors name the line.
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.string()),
        include_columns=columns,
        strings_can_be_null=True,
        null_values=[""],
    )
    with pa.OSFile(str(path)) as raw:
        packed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        stream = pa.CompressedInputStream(raw, "gzip") if packed else raw
        reader = pyarrow.csv.open_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=False),
            convert_options=convert,
        )
        for batch in reader:
            yield batch
            if progress:
                progress(min(raw.tell(), total), total)


def _header(path: Path) -> tuple[str, list[str]]:
    """The delimiter and the columns' names, from the first line."""
    with pa.input_stream(str(path), compression=_packing(path)) as stream:
        line = stream.read(HEADER_BYTES_MAX).split(b"\n", 1)[0]
    try:
        text = line.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError as error:
        raise UnusableFileError(f"{path}: its first line is not in UTF-8.") from error
    delimiter = max(DELIMITERS, key=text.count)
    return delimiter, [name.strip('"') for name in text.split(delimiter)]


def _packing(path: Path) -> str | None:
    with path.open("rb") as file:
        return "gzip" if file.read(2) == GZIP_MAGIC else None


def _columns(path: Path, names: list[str]) -> list[str]:
    """Those that matter, in a fixed order."""
    for name in (*REQUIRED, *OPTIONAL):
        if names.count(name) > 1:
            raise UnusableFileError(f"{path}: there are two columns `{name}`.")
    if missing := [name for name in REQUIRED if name not in names]:
        found = ", ".join(name[:40] for name in names[:20]) or "none"
        raise UnusableFileError(
            f"{path}: column `{missing[0]}` is missing; the columns are: {found}."
        )
    return [name for name in (*REQUIRED, *OPTIONAL) if name in names]


@dataclass(slots=True)
class _Reading:
    """What is gathered while a file is read, and where in it we are."""

    path: Path
    members: Names = field(default_factory=Names)
    items: Names = field(default_factory=Names)
    basket_names: Names = field(default_factory=Names)
    member: array[int] = field(default_factory=lambda: array("i"))
    item: array[int] = field(default_factory=lambda: array("i"))
    basket: array[int] = field(default_factory=lambda: array("i"))
    at: array[float] = field(default_factory=lambda: array("d"))
    clock: _Clock | None = None
    has_baskets: bool = False
    rows: int = 0
    other_kinds: int = 0

    def lines(self, batches: Iterator[pa.RecordBatch]) -> Lines:
        for batch in batches:
            self._add(batch)
            if self.rows > LINES_MAX:
                raise UnusableFileError(f"{self.path}: it has more than {LINES_MAX:,} lines.")
        if not self.rows:
            raise UnusableFileError(f"{self.path}: it has columns, but no lines.")
        if not self.member:
            raise UnusableFileError(f"{self.path}: none of its lines is a purchase.")
        at, note = self.clock.seconds(self) if self.clock else (None, "")
        members = sorted(self.members.codes)
        ranks = np.empty(len(members), dtype=np.int32)
        ranks[[self.members.codes[name] for name in members]] = np.arange(len(members))
        return Lines(
            members=tuple(members),
            items=tuple(self.items.codes),
            member=ranks[np.array(self.member, dtype=np.int32)],
            item=np.array(self.item, dtype=np.int32),
            basket=np.array(self.basket, dtype=np.int32) if self.has_baskets else None,
            at=at,
            time_note=note,
            other_kinds=self.other_kinds,
        )

    def _add(self, batch: pa.RecordBatch) -> None:
        columns = {name: batch.column(name) for name in batch.schema.names}
        kept = self._purchases(columns.get("kind"))
        before = self.rows
        for name in REQUIRED:
            columns[name] = self._names(name, columns[name])
        if "basket" in columns:
            self.has_baskets = True
            columns["basket"] = self._names("basket", columns["basket"])
        if "at" in columns:
            self.clock = self.clock or _Clock(columns["at"].type)
            times = self.clock.numbers(self, columns["at"])
            self.at.frombytes(times[kept].tobytes() if kept is not None else times.tobytes())
        numbered = [("member", self.members, self.member), ("item", self.items, self.item)]
        if self.has_baskets:
            numbered.append(("basket", self.basket_names, self.basket))
        for name, names, target in numbered:
            values = columns[name] if kept is None else columns[name].filter(pa.array(kept))
            target.frombytes(names.numbers(values).tobytes())
        self.rows = before + len(batch)

    def _purchases(self, kinds: pa.Array | None) -> Any:  # noqa: ANN401  # an array of bools
        """(n,) True where a line is a purchase; None if all are."""
        if kinds is None:
            return None
        texts = pc.fill_null(_texts(kinds), PURCHASE)
        kept = pc.equal(pc.utf8_lower(texts), PURCHASE).to_numpy(zero_copy_only=False)
        self.other_kinds += int(len(kept) - kept.sum())
        return kept

    def _names(self, column: str, values: pa.Array) -> pa.Array:
        """As texts, none of them missing, empty, too long or with NUL."""
        texts = _texts(values)
        self.require(pc.is_valid(texts), f"has no `{column}`")
        self.require(pc.greater(pc.binary_length(texts), 0), f"has an empty `{column}`")
        short = pc.less_equal(pc.binary_length(texts), NAME_BYTES_MAX)
        self.require(short, f"has a `{column}` of more than {NAME_BYTES_MAX} bytes")
        whole = pc.invert(pc.match_substring(texts, "\0"))
        self.require(whole, f"has a `{column}` with a NUL character")
        return texts

    def require(self, fine: pa.Array, problem: str) -> None:
        """Refuse the file at the first line that is not fine."""
        at = pc.index(fine.fill_null(False), False).as_py()
        if at >= 0:
            raise UnusableFileError(f"{self.path}: row {self.rows + at + 1} {problem}.")


def _texts(values: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        # A column of whole numbers with gaps comes as floats; 7.0 and 7 are the same name.
        values = pc.if_else(pc.is_finite(values), values, None)
        if pc.all(pc.equal(values, pc.round(values)), min_count=0).as_py():
            values = values.cast(pa.int64())
    return values.cast(pa.string())


@dataclass(slots=True)
class _Clock:
    """How a column of times is understood; one way for the whole file."""

    kind: pa.DataType
    texts_are_numbers: bool | None = None

    @property
    def is_numeric(self) -> bool:
        return bool(
            self.texts_are_numbers
            or pa.types.is_integer(self.kind)
            or pa.types.is_floating(self.kind)
            or pa.types.is_decimal(self.kind)
        )

    def numbers(self, reading: _Reading, values: pa.Array) -> Floats:
        """(n,) seconds of times, days of dates as seconds, or the numbers themselves."""
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        reading.require(pc.is_valid(values), "has no `at`")
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            values = self._parsed(reading, values)
        if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
            micros = values.cast(pa.timestamp("us", getattr(values.type, "tz", None)), safe=False)
            return np.asarray(micros.cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6)
        if not self.is_numeric:
            raise UnusableFileError(
                f"{reading.path}: column `at` holds {values.type}, not times, dates or numbers."
            )
        floats = values.cast(pa.float64())
        reading.require(pc.is_finite(floats), "has an `at` that is not a finite number")
        return np.asarray(floats.to_numpy(zero_copy_only=False))

    def _parsed(self, reading: _Reading, texts: pa.Array) -> pa.Array:
        texts = pc.utf8_trim_whitespace(texts.cast(pa.string()))
        if self.texts_are_numbers is None:
            self.texts_are_numbers = len(texts) > 0 and _is_number(texts[0].as_py())
        convert = _number if self.texts_are_numbers else _time
        try:
            return _all_at_once(texts, numeric=self.texts_are_numbers)
        except pa.ArrowInvalid:
            found = [convert(text) for text in texts.to_pylist()]
        values = pa.array(found, pa.float64() if self.texts_are_numbers else pa.timestamp("us"))
        wanted = "number, as the first one is" if self.texts_are_numbers else "time or date"
        reading.require(pc.is_valid(values), f"has an `at` that is not a {wanted}")
        return values

    def seconds(self, reading: _Reading) -> tuple[Floats, str]:
        """POSIX seconds of all lines, and how they were understood."""
        values = np.array(reading.at, dtype=np.float64)
        if not self.is_numeric:
            return values, "times and dates"
        largest = float(np.abs(values).max(initial=0.0))
        for size, factor in UNITS:
            if largest >= size:
                unit = {1.0: "seconds", 1e-3: "milliseconds", 1e-6: "microseconds"}
                return values * factor, f"{unit.get(factor, 'nanoseconds')} since 1970"
        dates = _plain_dates(values)
        return (values * DAY_SECONDS, "days") if dates is None else (dates, "dates as YYYYMMDD")


def _is_number(text: str) -> bool:
    return _number(text) is not None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _time(text: str) -> datetime | None:
    """A time by ISO 8601; without a zone it is taken for UTC. None for anything else."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time if time.tzinfo is None else time.astimezone(UTC)).replace(tzinfo=None)


def _all_at_once(texts: pa.Array, *, numeric: bool) -> pa.Array:
    return texts.cast(pa.float64() if numeric else pa.timestamp("us"))


def _plain_dates(values: Floats) -> Floats | None:
    """Seconds of numbers like 20101201; None if they are no dates."""
    if not len(values) or values.min() < FIRST_DATE or values.max() > LAST_DATE:
        return None
    days, inverse = np.unique(values, return_inverse=True)
    times = [_time(f"{day:.0f}") for day in days.tolist()]
    if None in times:
        return None
    seconds = [time.replace(tzinfo=UTC).timestamp() for time in times if time]
    return np.asarray(np.array(seconds)[inverse])
