"""From which age a person can agree alone, and from which month on a member can. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime

from loyalty.consent.model import Age

# Art. 8(1) GDPR: 16, unless the member state says less. The states' ages as the Commission lists
# them (SWD(2020) 115, p. 17), and what was enacted since: Denmark 15 from 2024, Slovenia 15
# (ZVOP-2, art. 8). National law: Italy art. 2-quinquies Codice privacy, Spain art. 7 LOPDGDD,
# France art. 45 loi 78-17, Greece art. 21 law 4624/2019. EEA: Iceland, Norway 13. UK: 13, s. 9 Data
# Protection Act 2018. US: 13, COPPA (16 CFR 312.2). Switzerland names no age: the strictest here.
AGES = {
    **dict.fromkeys(("BE", "EE", "FI", "LV", "MT", "PT", "SE", "GB", "US", "IS", "NO"), 13),
    **dict.fromkeys(("AT", "BG", "CY", "ES", "IT", "LT"), 14),
    **dict.fromkeys(("CZ", "DK", "FR", "GR", "SI"), 15),
    **dict.fromkeys(("DE", "HR", "HU", "IE", "LI", "LU", "NL", "PL", "RO", "SK", "CH"), 16),
}
# Where we know of no rule, the strictest of the regulation.
AGE_ELSEWHERE = 16


def age_of_consent(country: str) -> int:
    """Years from which a person can agree alone in a country (ISO 3166-1 alpha-2)."""
    return AGES.get(country, AGE_ELSEWHERE)


def age_of(born_on: date, country: str, *, at: datetime) -> Age:
    """What the gate may know: an adult's age says nothing, a minor's the month of coming of age."""
    years = age_of_consent(country)
    adult_from = _month_after(born_on.year + years, born_on.month)
    return Age(adult_from if at < adult_from else None)


def _month_after(year: int, month: int) -> datetime:
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
