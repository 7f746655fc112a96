"""The words of the pages in each language, from `locales/`; dates and numbers by Babel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babel import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_decimal

from loyalty.program.model import UTC_ZONE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from werkzeug.datastructures import LanguageAccept

LANGUAGES = ("en", "fr")
LOCALES = Path(__file__).parent / "locales"
# British English: day before month, and 24 hours, as Europe writes them.
_LOCALES = {"en": "en_GB", "fr": "fr"}


@cache
def texts(language: str) -> Mapping[str, str]:
    """All texts of a language by their keys."""
    found: dict[str, str] = json.loads((LOCALES / f"{language}.json").read_text("utf-8"))
    return found


def choose_language(chosen: str, accepted: LanguageAccept) -> str:
    """The language that was chosen on the page, else what the browser prefers, else English."""
    if chosen in LANGUAGES:
        return chosen
    # Best first. `best_match` would take a second choice that it finds whole before a first one
    # that names a country, such as fr-CA.
    wanted = (tag.partition("-")[0].lower() for tag, quality in accepted if quality > 0)
    return next((tag for tag in wanted if tag in LANGUAGES), LANGUAGES[0])


@dataclass(frozen=True, slots=True)
class Words:
    """One language at one place: says keys as texts, and times in the shop's time zone."""

    language: str
    zone: ZoneInfo = UTC_ZONE

    def __call__(self, key: str, **values: Any) -> str:  # noqa: ANN401  # whatever a text names
        """The text under a key, with its `{names}` filled in."""
        text = texts(self.language)[key]
        return text.format_map(values) if values else text

    def name(self, family: str, member: str) -> str:
        """The text of one of a family, such as `channel.email`; a shop's own names stay as is."""
        return texts(self.language).get(f"{family}.{member}", member)

    def number(self, number: int) -> str:
        """A whole number with the language's separators."""
        return format_decimal(number, locale=self._locale)

    def signed(self, number: int) -> str:
        """A whole number that says which way it goes."""
        return self.number(number) if number <= 0 else f"+{self.number(number)}"

    def date(self, moment: datetime) -> str:
        """A day, such as 3 March 2026."""
        day = moment.astimezone(self.zone)
        text = format_date(day, "long", locale=self._locale)
        # CLDR's French has no ordinal for the first of a month, and French always writes it.
        return text.replace("1", "1er", 1) if self.language == "fr" and day.day == 1 else text

    def time(self, moment: datetime) -> str:
        """A day and a time of day, on the shop's clock."""
        time = format_time(moment.astimezone(self.zone), "short", locale=self._locale)
        return self("time", date=self.date(moment), time=time)

    @property
    def _locale(self) -> Locale:
        return _locale(self.language)


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(_LOCALES[language])
