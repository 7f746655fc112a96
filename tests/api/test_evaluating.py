"""`carnet evaluate` from the outside: files in, tables, page and figures out, no database."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import app

if TYPE_CHECKING:
    from pathlib import Path

SKUS = [f"s{n:02d}" for n in range(30)]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app.main, ["evaluate", *map(str, arguments)])


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a database here fails."""

    def refuse(*_: object) -> None:
        raise AssertionError("this command needs no database")

    monkeypatch.setattr(app, "attach_or_start", refuse)


def lines(members: int = 20) -> list[tuple[str, str, str, str]]:
    chance = random.Random(1)  # noqa: S311 - a test's data
    return [
        (f"m{n}", sku, f"b{n}-{day}", f"2024-03-{day + 1:02d}")
        for n in range(members)
        for day in range(4)
        for sku in {SKUS[n], SKUS[(n + 1) % 20], chance.choice(SKUS)}
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = ["member,item,basket,at", *(",".join(line) for line in sorted(lines()))]
    target = tmp_path / "shop.csv"
    target.write_text("\n".join(rows) + "\n")
    return target


def test_last_baskets_of_a_csv_file(data: Path) -> None:
    done = run(data, "--people-min", "1", "--k", "5")
    assert done.exit_code == 0, done.output
    for word in ("Carnet", "Best sellers", "Own favourites", "ALS alone", "Item-item", "recall@5"):
        assert word in done.stdout, word
    assert "16 members; the last basket of every member" in " ".join(done.stdout.split())


def test_parquet_with_its_lines_shuffled_says_the_same_as_csv(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "shop.parquet"
    shuffled = lines()
    random.Random(2).shuffle(shuffled)  # noqa: S311 - a test's data
    columns = zip(*shuffled, strict=True)
    names = ("member", "item", "basket", "at")
    pq.write_table(pa.table({name: list(c) for name, c in zip(names, columns, strict=True)}), other)
    figures = [tmp_path / "one.json", tmp_path / "two.json"]
    for path, target in zip((data, other), figures, strict=True):
        assert run(path, "--people-min", "1", "--json", target).exit_code == 0
    assert figures[0].read_bytes() == figures[1].read_bytes()


def test_the_page_and_the_json_have_the_figures_shown(data: Path, tmp_path: Path) -> None:
    html, figures = tmp_path / "report.html", tmp_path / "figures.json"
    done = run(data, "--people-min", "1", "--seed", "3", "--html", html, "--json", figures)
    body, page = json.loads(figures.read_text()), html.read_text(encoding="utf-8")
    assert (body["form"], body["k"], body["seed"], body["split"]) == (1, 10, 3, "last-basket")
    for result in body["results"]:
        recall = f"{result['reported']['recall']:.4f}"
        assert recall in done.stdout
        assert recall in page
        assert result["label"] in page
    assert body["chosen"]["weights"].keys() >= {"personal", "shared", "collaborative"}
    assert set(body["curve"]) == {"carnet", body["best"]}


def test_a_test_file_holds_the_right_answers(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    pairs = {(member, item) for member, item, _, _ in lines()}
    held = {pair for pair in pairs if hash_of(pair) % 4 == 0}
    write(train, pairs - held)
    write(test, held | {("stranger", SKUS[0]), ("m1", "nowhere sold")})
    done = run(train, "--test", test, "--people-min", "1")
    said = " ".join(done.stdout.split())
    assert done.exit_code == 0, done.output
    assert "1 members of the test file have no history" in said
    assert "1 right answers are items without history: all misses" in said
    assert run(train, "--test", test, "--split", "file", "--people-min", "1").stdout == done.stdout


def hash_of(pair: tuple[str, str]) -> int:
    return sum(f"{pair[0]} {pair[1]}".encode())


def write(path: Path, pairs: set[tuple[str, str]]) -> None:
    path.write_text("member,item\n" + "".join(f"{m},{i}\n" for m, i in sorted(pairs)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split", "file"], "--split file goes with --test FILE"),
        (["--split", "last-basket", "--test", "x.csv"], "--split file goes with --test FILE"),
        (["--k", "0"], "--k"),
        (["--test", "missing.csv"], "missing.csv: there is no such file."),
    ],
)
def test_options_that_do_not_fit_are_refused(data: Path, arguments: list[str], said: str) -> None:
    done = run(data, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_bad_file_is_one_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    bad, html = tmp_path / "bad.csv", tmp_path / "report.html"
    for text, said in (
        ("member,thing\nm,a\n", "column `item` is missing"),
        ("member,item\nm,a\n", "nobody has 3 baskets or more"),
    ):
        bad.write_text(text)
        done = run(bad, "--html", html)
        assert done.exit_code == 2
        assert said in done.stderr
        assert done.stdout == ""
        assert not html.exists()


def test_a_report_that_cannot_be_written_is_said(data: Path, tmp_path: Path) -> None:
    done = run(data, "--people-min", "1", "--html", tmp_path / "no such place" / "r.html")
    assert done.exit_code == 2
    assert "no such place" in done.stderr
