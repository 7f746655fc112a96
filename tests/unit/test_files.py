"""What a file may look like, what its baskets are, and what each bad file is told."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommend.files import UnusableFileError, read

Baskets = list[tuple[str, float, tuple[str, ...]]]
DAY = 86_400.0


def csv(path: Path, text: str, name: str = "data.csv") -> Path:
    target = path / name
    target.write_text(text, encoding="utf-8")
    return target


def parquet(path: Path, **columns: Any) -> Path:
    target = path / "data.parquet"
    pq.write_table(pa.table(columns), target)
    return target


def baskets(path: Path) -> Baskets:
    return [(each.member, each.at, each.items) for each in read(path).baskets()]


def test_a_csv_with_all_columns(tmp_path: Path) -> None:
    text = (
        "at,extra,item,member,basket\n"
        "2020-01-02,x,b,007,2\n2020-01-01T10:00:00Z,x,a,007,1\n2020-01-02,x,c,007,2\n"
        '2020-01-01 12:00:00+02:00,x,"d,e",8,2\n'
    )
    at = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    assert baskets(csv(tmp_path, text)) == [
        ("007", at + 36_000, ("a",)),
        ("007", at + DAY, ("b", "c")),
        ("8", at + 36_000, ("d,e",)),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    text = f"member{delimiter}item\r\nm{delimiter}a\r\n"
    assert baskets(csv(tmp_path, f"\ufeff{text}")) == [("m", 0.0, ("a",))]


def test_a_packed_csv(tmp_path: Path) -> None:
    target = tmp_path / "data.csv.gz"
    target.write_bytes(gzip.compress(b"member,item\nm,a\n"))
    assert baskets(target) == [("m", 0.0, ("a",))]


def test_numbers_are_names_and_whole_floats_are_whole(tmp_path: Path) -> None:
    path = parquet(tmp_path, member=[1, 2], item=[7.0, 8.0])
    assert baskets(path) == [("1", 0.0, ("7",)), ("2", 0.0, ("8",))]


def test_categories_and_stamps_of_parquet(tmp_path: Path) -> None:
    at = pa.array([datetime(2020, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("ns", "Europe/Berlin"))
    path = parquet(
        tmp_path, member=pa.array(["m", "m"]).dictionary_encode(), item=["a", "b"], at=at
    )
    assert baskets(path) == [("m", datetime(2020, 1, 1, tzinfo=UTC).timestamp(), ("a", "b"))]


@pytest.mark.parametrize(
    ("values", "seconds", "note"),
    [
        ([1_577_836_800, 1_577_923_200], [1_577_836_800.0, 1_577_923_200.0], "seconds since 1970"),
        ([1_577_836_800_000], [1_577_836_800.0], "milliseconds since 1970"),
        ([20200101, 20200102], [1_577_836_800.0, 1_577_923_200.0], "dates as YYYYMMDD"),
        ([1, 40], [DAY, 40 * DAY], "days"),
        ([20200199, 20200102], [20200102 * DAY, 20200199 * DAY], "days"),
    ],
)
def test_numbers_as_times(
    tmp_path: Path, values: list[int], seconds: list[float], note: str
) -> None:
    for text in (False, True):
        at: list[Any] = [str(value) for value in values] if text else values
        path = parquet(tmp_path, member=["m"] * len(at), item=["a"] * len(at), at=at)
        lines = read(path)
        assert [each.at for each in lines.baskets()] == pytest.approx(seconds)
        assert lines.time_note == note


def test_without_basket_one_time_is_one_basket(tmp_path: Path) -> None:
    text = "member,item,at\nm,a,2\nm,b,1\nn,x,2\nm,c,2\n"
    assert baskets(csv(tmp_path, text)) == [
        ("m", DAY, ("b",)),
        ("m", 2 * DAY, ("a", "c")),
        ("n", 2 * DAY, ("x",)),
    ]


def test_without_at_the_order_of_the_file_is_kept(tmp_path: Path) -> None:
    text = "member,item,basket\nm,a,9\nm,b,3\nn,x,9\nm,c,9\n"
    assert baskets(csv(tmp_path, text)) == [
        ("m", 0.0, ("a", "c")),
        ("m", 0.0, ("b",)),
        ("n", 0.0, ("x",)),
    ]


def test_without_both_all_of_a_member_is_one_basket(tmp_path: Path) -> None:
    text = "member,item\nm,a\nn,x\nm,b\nm,a\n"
    assert baskets(csv(tmp_path, text)) == [("m", 0.0, ("a", "b")), ("n", 0.0, ("x",))]


def test_only_purchases_count_and_the_others_are_counted(tmp_path: Path) -> None:
    text = "member,item,kind\nm,a,purchase\nm,b,view\nn,c,\nm,d,Purchase\n"
    lines = read(csv(tmp_path, text))
    assert [each.items for each in lines.baskets()] == [("a", "d"), ("c",)]
    assert lines.other_kinds == 1


def test_reading_says_how_far_it_is(tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    path = csv(tmp_path, "member,item\n" + "m,a\n" * 100)
    read(path, progress=lambda done, total: said.append((done, total)))
    assert said[-1] == (path.stat().st_size,) * 2


def broken(text: str) -> Callable[[Path], Path]:
    return lambda path: csv(path, text)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda path: path, "it is a directory"),
        (lambda path: path / "none.csv", "there is no such file"),
        (broken(""), "it is empty"),
        (broken("member,item\n"), "it has columns, but no lines"),
        (broken("who,what\nm,a\n"), "column `member` is missing; the columns are: who, what"),
        (broken("member,thing\nm,a\n"), "column `item` is missing"),
        (broken("member,item,item\nm,a,b\n"), "there are two columns `item`"),
        (broken("member,item\nm,a\n,b\n"), "row 2 has no `member`"),
        (broken("member,item\nm,\n"), "row 1 has no `item`"),
        (broken("member,item\nm,a,x\n"), "line 2: expected 2 columns, got 3"),
        (broken("member,item,at\nm,a,2020-01-01\nm,b,soon\n"), "row 2 has an `at` that is not a"),
        (broken("member,item,at\nm,a,1\nm,b,2020-01-01\n"), "not a number, as the first one is"),
        (broken("member,item,at\nm,a,1\nm,b,\n"), "row 2 has no `at`"),
        (broken("member,item,at\nm,a,1\nm,b,inf\n"), "row 2 has an `at` that is not a finite"),
        (broken("member,item,kind\nm,a,view\n"), "none of its lines is a purchase"),
        (broken(f"member,item\nm,{'x' * 300}\n"), "row 1 has a `item` of more than 256 bytes"),
        (lambda path: csv(path, "member,item\nm,a\n", "data.parquet"), "it is not a Parquet file"),
        (lambda path: parquet(path, member=["m"], item=["a"], at=[True]), "column `at` holds bool"),
        (lambda path: parquet(path, member=["m"], item=[None]), "row 1 has no `item`"),
        (lambda path: parquet(path, member=["m"], item=["a\0b"]), "with a NUL character"),
        (lambda path: parquet(path, member=["m"], item=[["a"]]), "cannot be read"),
        (lambda path: parquet(path, member=["m", ""], item=["a", "b"]), "row 2 has an empty `me"),
    ],
)
def test_a_bad_file_is_told_what_is_wrong(
    tmp_path: Path, made: Callable[[Path], Path], said: str
) -> None:
    path = made(tmp_path)
    with pytest.raises(UnusableFileError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    binary, latin = tmp_path / "a.csv", tmp_path / "b.csv"
    binary.write_bytes(b"\x7fELF\0\0")
    latin.write_bytes("member,item\nm,caf\u00e9\n".encode("latin-1"))
    for path, said in ((binary, "neither a Parquet nor a CSV"), (latin, "not in UTF-8")):
        with pytest.raises(UnusableFileError, match=said):
            read(path)


def test_a_cut_off_parquet_file_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, member=["m"] * 100, item=["a"] * 100)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UnusableFileError, match="cannot be read"):
        read(path)


def test_the_row_is_counted_over_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommend.files.BATCH_LINES", 10)
    path = parquet(tmp_path, member=["m"] * 25 + [None], item=["a"] * 26)
    with pytest.raises(UnusableFileError, match="row 26 has no `member`"):
        read(path)
