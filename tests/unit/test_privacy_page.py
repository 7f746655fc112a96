"""The page of an export: well formed, safe, in one piece, readable by everybody."""

from __future__ import annotations

import re
import tracemalloc
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from loyalty.members.model import MemberNotFoundError
from loyalty.privacy import export
from loyalty.privacy.words import WORDS
from loyalty.vault.model import Held
from tests.builders import NOON

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MEMBER = "m_" + "a" * 32
VOID = {"meta"}


class Listed:
    """A holder of what it is given."""

    def __init__(self, *held: Held) -> None:
        self._held = held

    def held(self, _: str) -> Iterator[Held]:
        yield from self._held

    def erase(self, _: str) -> Mapping[str, int]:
        return {}


class Long(Listed):
    """A holder of a long history, made as it is read."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def held(self, _: str) -> Iterator[Held]:
        for number in range(self._count):
            yield entry(number)


def entry(number: int) -> Held:
    lines = [{"sku": f"sku-{number}-{each}", "quantity": 1, "amount": 250} for each in range(5)]
    data = {"occurred_at": NOON, "kind": "purchase", "points": 3, "lines": lines, "store": None}
    return Held("journal", str(number), "purchases", data)


def desk(*holders: Any) -> Any:
    members = SimpleNamespace(exists=lambda member_id: member_id == MEMBER)
    return SimpleNamespace(holders=holders, members=members)


def made(form: export.Form, *holders: Any, language: str = "en") -> str:
    found = export.stream(MEMBER, form=form, language=language, at=NOON, desk=desk(*holders))
    return b"".join(found).decode()


class Outline(HTMLParser):
    """Notes the elements, and that each is closed in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.seen)


def outline(text: str) -> Outline:
    found = Outline()
    found.feed(text)
    assert found.open == []
    return found


NASTY = '<script>alert("x")</script>&\'"'


@pytest.mark.parametrize("language", WORDS)
def test_the_page_is_well_formed_and_says_its_language(language: str) -> None:
    loose = Held("odd", "1", "loose_ends", {"a": [], "b": {"c": [True, {"d": NOON.date()}]}})
    found = outline(made("html", Listed(entry(1), entry(2), loose), language=language))
    assert ("html", {"lang": language}) in found.seen
    assert found.count("h1") == 1
    assert found.count("table") == found.count("caption") == found.count("tbody") == 2
    heads = [attrs for tag, attrs in found.seen if tag == "th"]
    assert all(attrs["scope"] == "col" for attrs in heads)
    links = [attrs["href"] for tag, attrs in found.seen if tag == "a"]
    ids = {attrs["id"] for _, attrs in found.seen if "id" in attrs}
    assert {str(each)[1:] for each in links} <= ids
    assert WORDS[language].categories["purchases"].heading in found.texts


def test_every_value_of_every_document_is_on_the_page() -> None:
    wide = Held("odd", "1", "purchases", {f"field_{each}": f"value-{each}" for each in range(30)})
    text = made("html", Listed(entry(7), wide))
    for each in (*(f"value-{n}" for n in range(30)), "sku-7-4", "1 March 2026, 12:00 UTC"):
        assert each in text
    outline(text)


def test_what_only_keeps_the_books_right_is_folded_away() -> None:
    data = {"kind": "purchase", "fingerprint": "f00d", "_id": "", "amount": 150, "currency": "JPY"}
    text = made("html", Listed(Held("journal", "1", "purchases", data)), language="fr")
    found = outline(text)
    assert found.count("details") == 1
    assert "150 JPY" in text
    folded = text.partition("<details>")[2]
    assert "f00d" in folded
    assert "achat" not in folded


def test_amounts_stand_in_their_currency() -> None:
    lines = [{"amount": 518, "tax": -5}, {"amount": 95, "inner": {"amount": 1}}]
    data = {"currency": "EUR", "lines": lines, "amount": True}
    text = made("html", Listed(Held("journal", "1", "purchases", data)), language="fr")
    for each in ("5,18 EUR", "-0,05 EUR", "0,95 EUR", "0,01 EUR"):
        assert each in text
    bare = Held("journal", "1", "purchases", {"amount": 518})
    assert ">518<" in made("html", Listed(bare))
    odd = Held("journal", "1", "purchases", {"amount": 518, "currency": "ZZ"})
    assert "5.18 ZZ" in made("html", Listed(odd))


def test_nothing_of_a_member_becomes_markup() -> None:
    nasty = Held(NASTY, NASTY, NASTY, {NASTY: NASTY, "more": [{NASTY: NASTY}]})
    text = made("html", Listed(nasty))
    found = outline(text)
    assert found.count("script") == 0
    assert NASTY in found.texts


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = made("html", Listed(entry(1)))
    assert not re.search(r"https?:|src=|@import|url\(|<link|<script", text)


def test_a_member_without_data_gets_a_page_that_says_so() -> None:
    text = made("html", Listed())
    assert WORDS["en"].nothing in text
    outline(text)


def test_the_file_is_json_and_counts_its_documents() -> None:
    body = orjson.loads(made("json", Listed(entry(1), entry(2)), Listed()))
    assert body["schema"] == "carnet-export/1"
    assert body["count"] == len(body["data"]) == 2
    assert body["data"][0] == {
        "category": "purchases",
        "collection": "journal",
        "id": "1",
        "data": orjson.loads(orjson.dumps(dict(entry(1).data), option=orjson.OPT_UTC_Z)),
    }
    assert body["categories"]["purchases"]["why"]
    assert orjson.loads(made("json"))["count"] == 0


def test_a_stream_that_breaks_off_is_not_whole() -> None:
    class Broken(Listed):
        def held(self, _: str) -> Iterator[Held]:
            yield entry(1)
            raise ConnectionError

    pieces: list[bytes] = []
    with pytest.raises(ConnectionError):
        pieces.extend(
            export.stream(MEMBER, form="json", language="en", at=NOON, desk=desk(Broken()))
        )
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(b"".join(pieces))


def test_nobody_has_no_export() -> None:
    with pytest.raises(MemberNotFoundError):
        export.stream("m_" + "b" * 32, form="json", language="en", at=NOON, desk=desk())


@pytest.mark.parametrize(("form", "count"), [("json", 20_000), ("html", 6_000)])
def test_a_long_history_goes_out_in_flat_memory(form: export.Form, count: int) -> None:
    found = export.stream(MEMBER, form=form, language="en", at=NOON, desk=desk(Long(count)))
    tracemalloc.start()
    size = sum(len(each) for each in found)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 5_000_000
    assert most < 2_000_000
