"""The pages' texts: both languages say the same things, and nothing that no page says."""

from __future__ import annotations

import re
import string
from datetime import datetime
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from werkzeug.datastructures import LanguageAccept

import loyalty.web
from loyalty.consent.model import MARKETING_CHANNELS, METHODS
from loyalty.consent.model import Kind as RecordKind
from loyalty.consent.purposes import BASES, CONSENT
from loyalty.program.model import Kind
from loyalty.web.texts import LANGUAGES, Words, choose_language, texts

HOME = Path(loyalty.web.__file__).parent
SOURCES = [*HOME.glob("*.py"), *HOME.glob("templates/*.html")]
ENGLISH = texts("en")
# Families of which a page says one by name; a text that is no family's must stand in a source.
FAMILIES = {
    "basis": {*BASES} - {CONSENT},
    "record": {*get_args(RecordKind)} - {"decision"},
    "channel": set(MARKETING_CHANNELS),
    "leave.text": set(MARKETING_CHANNELS),
    "leave.done": set(MARKETING_CHANNELS),
    "method": set(METHODS),
    "activity": set(get_args(Kind)),
    "identifier": {"card", "email", "phone", "app", "social", "marketplace"},
    "place": {"store", "web", "app", "social", "call", "marketplace"},
    "status": {"granted", "refused", "withdrawn", "objected", "pending", "expired", "unknown"},
    "language": set(LANGUAGES),
    "nav": {"home", "history", "looks", "rights"},
    "code.by": {"email", "sms"},
    "erasing.goes": {"points", "history", "identifiers", "consents"},
    "error": {
        "invalid_link",
        "invalid_key",
        "being_erased",
        "member_not_found",
        "identity_not_proven",
        "no_address",
        "already_confirmed",
        "guardian_required",
        "not_for_minors",
        "age_unknown",
        "status_413",
        "status_429",
        "status_500",
        "status_503",
        "other",
    },
}
TITLES = {f"{each}.title" for each in ("download", "correct", "restrict", "erase")}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def family_of(key: str) -> str | None:
    return next((each for each in FAMILIES if key.startswith(f"{each}.")), None)


def test_every_language_has_the_same_keys() -> None:
    for language in LANGUAGES:
        assert texts(language).keys() == ENGLISH.keys()


@pytest.mark.parametrize("key", ENGLISH)
def test_a_text_fills_in_the_same_values_in_each_language(key: str) -> None:
    for language in LANGUAGES:
        text = texts(language)[key]
        assert text.strip() == text != ""
        assert placeholders(text) == placeholders(ENGLISH[key])


def test_every_text_is_said_by_some_page() -> None:
    source = "\n".join(each.read_text("utf-8") for each in SOURCES)
    said = set(re.findall(r"""["']([a-z_]+(?:\.[a-z_]+)*)["']""", source)) | TITLES
    unsaid = set()
    for key in ENGLISH.keys() - said:
        family = family_of(key)
        member = key.removeprefix(f"{family}.").partition(".")[0]
        if family is None or member not in FAMILIES[family]:
            unsaid.add(key)
    assert unsaid == set()


def test_every_text_that_a_page_says_is_there() -> None:
    for each in SOURCES:
        for key in re.findall(r"""say\(["']([a-z_.]+)["'][,)]""", each.read_text("utf-8")):
            assert key in ENGLISH, (each.name, key)
    for family, members in FAMILIES.items():
        for member in members:
            assert any(key.startswith(f"{family}.{member}") for key in ENGLISH), (family, member)


@pytest.mark.parametrize("key", ENGLISH)
def test_french_is_set_as_french_is(key: str) -> None:
    text = texts("fr")[key]
    assert not re.search(r"[^\u00a0][:;?!»]", text.replace("://", "")), text
    assert not re.search(r"«[^\u00a0]", text), text
    assert "'" not in text, text


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        ("fr", [("en", 1)], "fr"),
        ("", [("fr-CA", 1), ("en", 0.5)], "fr"),
        ("", [("de", 1)], "en"),
        ("", [], "en"),
        ("xx", [("fr", 1)], "fr"),
    ],
)
def test_the_choice_comes_before_the_browser(
    chosen: str, accepted: list[tuple[str, float]], language: str
) -> None:
    assert choose_language(chosen, LanguageAccept(accepted)) == language


def test_times_are_on_the_shops_clock_and_in_the_language() -> None:
    moment = datetime.fromisoformat("2026-02-28T23:30:00Z")
    english, french = (Words(each, ZoneInfo("Europe/Paris")) for each in LANGUAGES)
    assert english.time(moment) == "1 March 2026, 00:30"
    assert french.time(moment) == "1er mars 2026 à 00:30"
    assert english.number(1234567) == "1,234,567"
    assert french.number(1234567) == "1\u202f234\u202f567"
    assert english.signed(21) == "+21"
    assert english.signed(-21) == "-21"
