"""The ten programmes of docs/programme.md: each is played, and every number of the page compared.

A section holds a programme, activities with the sentences that explain them, and prose, whose bold
numbers are what the activities moved, in their order.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from loyalty.program.book import Book
from loyalty.program.document import ProgramSchema, check, read
from loyalty.program.explain import explain
from loyalty.program.lots import available, balance_of
from loyalty.program.model import About, Activity, Back, Line, Payment, Posting, Program, State
from loyalty.program.passage import settle
from loyalty.program.step import step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.builders import Api

PAGE = Path(__file__).parents[2] / "docs" / "programme.md"
_BOLD = re.compile(r"\*\*(-?\d+)\s([a-z-]+)\*\*")


class Section(NamedTuple):
    """One programme of the page."""

    title: str
    document: dict[str, Any]
    activities: list[dict[str, Any]]
    numbers: list[tuple[int, str]]


def sections() -> list[Section]:
    """The programmes of the page."""
    ten = PAGE.read_text().partition("## Ten programmes")[2].partition("\n## ")[0]
    return [_section(part) for part in ten.split("\n### ")[1:]]


def _section(text: str) -> Section:
    blocks = dict(re.findall(r"```json (programme|activities)\n(.*?)```", text, re.DOTALL))
    numbers = [(int(points), unit) for points, unit in _BOLD.findall(text)]
    title = text.partition("\n")[0]
    return Section(
        title, json.loads(blocks["programme"]), json.loads(blocks["activities"]), numbers
    )


SECTIONS = sections()
_TITLES = [section.title for section in SECTIONS]


class Counter:
    """Plays a section's activities on members of their own."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.states: dict[str, State] = {}
        self.books: dict[str, Book] = {}

    def play(self, body: dict[str, Any], number: int) -> tuple[Posting, ...]:
        """What an activity moves; what must be then is looked at."""
        member = body.get("member", "Anna")
        book = self.books.setdefault(member, Book())
        activity = book.complete(_activity(body, key=f"{number}"))
        state, postings = step(self.program, self.states.get(member, State()), activity)
        book.record(activity, postings)
        self.states[member] = state
        assert_then(state, body.get("then", {}), activity.occurred_at)
        return postings


def assert_then(state: State, then: dict[str, Any], at: datetime) -> None:
    """Tier and points as the page has them."""
    if "tier" in then:
        assert state.tier
        assert state.tier.tier == then["tier"]
    for unit, points in then.get("balance", {}).items():
        assert balance_of(settle(state, at)[0].lots.get(unit, ())) == points
    for unit, points in then.get("available", {}).items():
        assert available(state.lots.get(unit, ()), at) == points


def _activity(body: dict[str, Any], *, key: str) -> Activity:
    """The activity that the page describes."""
    kind = next(kind for kind in _KINDS if kind in body)
    about = {**body.get("about", {})}
    if "place" in about:
        about["place"] = tuple(about["place"])
    activity = Activity(
        kind,  # type: ignore[arg-type]
        datetime.fromisoformat(body["at"]),
        key=body[kind].get("external_id", key),
        about=About(**about),
        budgets=body.get("budgets", {}),
    )
    return replace(activity, **_KINDS[kind](body[kind]))


def _purchase(body: dict[str, Any]) -> dict[str, Any]:
    more = {name: value for name, value in body.items() if name != "external_id"}
    lines = tuple(Line(**line) for line in body["lines"])
    return {**more, "lines": lines, "payment": Payment(**body.get("payment", {}))}


def _engagement(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "engagement": body["type"],
        "channel": body["channel"],
        "skus": tuple(body.get("skus", ())),
        "details": body.get("details", {}),
    }


def _return(body: dict[str, Any]) -> dict[str, Any]:
    lines = tuple((sku, quantity) for sku, quantity in body["lines"])
    return {"back": Back(body["purchase"], lines)}


_KINDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "purchase": _purchase,
    "engagement": _engagement,
    "return": _return,
    "referral": dict,
    "passage": dict,
}


def moved(postings: tuple[Posting, ...]) -> Iterator[tuple[int, str]]:
    """The sum of each unit, in the order in which the units come."""
    for unit in dict.fromkeys(each.unit for each in postings):
        yield sum(each.points for each in postings if each.unit == unit), unit


@pytest.mark.parametrize("section", SECTIONS, ids=_TITLES)
def test_every_number_of_a_programme_is_what_comes_out(section: Section) -> None:
    document: Any = ProgramSchema().load(section.document)
    check(document)
    program = read(document, version=1)
    counter = Counter(program)
    numbers: list[tuple[int, str]] = []
    for number, body in enumerate(section.activities):
        postings = counter.play(body, number)
        said = [explain(each, currency=program.currency, zone=program.zone) for each in postings]
        assert said == body["why"]
        if "passage" not in body:
            numbers += [each for each in moved(postings) if each[0]]
    assert numbers == [each for each in section.numbers if each[0]]


def test_there_are_ten_of_them_with_two_activities_at_least() -> None:
    assert len(SECTIONS) == 10
    assert all(len(section.activities) >= 2 for section in SECTIONS)


def test_the_first_example_of_the_page_is_a_programme() -> None:
    first = re.search(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert first
    document: Any = ProgramSchema().load(json.loads(first[1]))
    check(document)
    assert len(read(document, version=1).rules) == 3


@pytest.mark.parametrize("section", SECTIONS, ids=_TITLES)
def test_a_programme_can_be_published_as_it_stands(api: Api, section: Section) -> None:
    body = {"program": section.document}
    answer = api.post("/v1/program/versions", body, expect=201).get_json()
    assert answer["program"]["rules"][0]["id"] == section.document["rules"][0]["id"]
