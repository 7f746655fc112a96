"""A report says the same as a page and on a terminal, and nothing in it can become markup."""

import io
import re

from rich.console import Console

from recommend.report.chart import HEIGHT, WIDTH, axes_of, bars_of
from recommend.report.model import Bar, Chart, Curve, Line, Page, Section, Table
from recommend.report.page import render
from recommend.report.terminal import show

CHART = Chart(
    "Recall",
    "a unit",
    (
        Bar("ours", 0.2, "0.200", 0.1, 0.4, mark="ours"),
        Bar("theirs", 0.1, "0.100", mark="best"),
        Bar("nothing", 0.0, "0.000"),
    ),
)
CURVE = Curve("By length", "", (Line("ours", (0.1, 0.2, 0.4), "ours"), Line("theirs", (0.1,))))
TABLE = Table(
    "All of it.", ("name", "value", "word"), (("ours", "1", "x"), ("theirs", "2", "y")),
    ("ours", "best"), frozenset({2}),
)  # fmt: skip
PAGE = Page(
    "A title",
    "The finding.",
    (("Seed", "7"),),
    (Section("Methods", "How.", (CHART,), (CURVE,), (TABLE,)),),
    ("A note.",),
)


def printed(page: Page, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(page, console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_longest_bar_or_interval_reaches_the_edge() -> None:
    first, second, third = bars_of(CHART)
    assert (first.width, first.low, first.high) == (WIDTH / 2, WIDTH / 4, WIDTH)
    assert (second.width, second.low) == (WIDTH / 4, None)
    assert third.width == 0


def test_bars_of_nothing_have_no_length() -> None:
    assert bars_of(Chart("", "", (Bar("a", 0.0, "0"),)))[0].width == 0
    assert bars_of(Chart("", "", ())) == []


def test_lines_stand_in_one_scale() -> None:
    axes = axes_of(CURVE)
    assert axes.highest == 0.4
    assert axes.ticks == [1, 2, 3]
    assert axes.lines[0].points == f"0.0,{HEIGHT * 0.75} 50.0,{HEIGHT / 2} 100.0,0.0"
    assert axes_of(Curve("", "", ())).lines == []


def test_long_curves_name_few_places() -> None:
    ticks = axes_of(Curve("", "", (Line("a", tuple([0.5] * 95)),))).ticks
    assert ticks == [1, *range(10, 91, 10)]


def test_page_and_terminal_have_the_same_words_and_figures() -> None:
    html, text = render(PAGE), printed(PAGE)
    for word in (
        "A title",
        "The finding.",
        "Seed",
        "Methods",
        "How.",
        "Recall",
        "0.200",
        "A note.",
    ):
        assert word in html, word
        assert word in text, word
    for cell in (*TABLE.header, *TABLE.rows[0], *TABLE.rows[1], TABLE.caption):
        assert cell in html
        assert cell in text


def test_the_page_stands_by_itself() -> None:
    html = render(PAGE)
    assert "<script" not in html
    assert not re.search(r"(src|href|url)\s*[=(]", html)
    assert html.count("<svg") == len(CHART.bars) + 1
    assert 'scope="row"' in html


def test_names_cannot_become_markup() -> None:
    nasty = "<b>[red]&amp;[/red]"
    bars = (Bar(nasty, 1.0, nasty),)
    table = Table(nasty, (nasty, "v"), ((nasty, nasty),))
    page = Page(nasty, nasty, ((nasty, nasty),), (Section(nasty, nasty, (Chart(nasty, nasty, bars),), (), (table,)),), (nasty,))  # fmt: skip # noqa: E501
    assert "<b>" not in render(page)
    assert "&lt;b&gt;[red]&amp;amp;[/red]" in render(page)
    assert nasty in printed(page, width=200)


def test_an_empty_report_is_a_page() -> None:
    assert "<h1>only</h1>" in render(Page("only", ""))
    assert printed(Page("only", "")).strip() == "only"
