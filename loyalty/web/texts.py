"""The words of the pages in each language, from `locales/`; dates and numbers by Babel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babel import Locale
from babel.dates import format_date, format_datetime
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
    return accepted.best_match(LANGUAGES, default=LANGUAGES[0]) or LANGUAGES[0]


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

    def count(self, key: str, number: int) -> str:
        """A text that differs by number: `points.one`, `points.other`."""
        form = self._locale.plural_form(number)
        known = texts(self.language)
        text = known.get(f"{key}.{form}", known[f"{key}.other"])
        return text.format_map({"number": self.number(number)})

    def number(self, number: int) -> str:
        """A whole number with the language's separators."""
        return format_decimal(number, locale=self._locale)

    def signed(self, number: int) -> str:
        """A whole number that says which way it goes."""
        return self.number(number) if number <= 0 else f"+{self.number(number)}"

    def date(self, moment: datetime) -> str:
        """A day, such as 3 March 2026."""
        return format_date(moment.astimezone(self.zone), "long", locale=self._locale)

    def time(self, moment: datetime) -> str:
        """A day and a time of day."""
        return format_datetime(moment, "long", tzinfo=self.zone, locale=self._locale)

    @property
    def _locale(self) -> Locale:
        return _locale(self.language)


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(_LOCALES[language])
