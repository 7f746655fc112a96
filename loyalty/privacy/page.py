"""The export as one page that people can read, print and keep: nothing in it is from elsewhere.

Each collection of a category is a table; what a row has beyond the columns is a list in its last
cell, and what only keeps the books right is folded away there. On a phone each row is a card. The table keeps its roles there, for a screen reader.
"""

from __future__ import annotations

import functools
from collections import Counter
from datetime import UTC, date, datetime
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from babel.numbers import UnknownCurrencyError, get_currency_precision

from loyalty.privacy.words import WORDS, category_of, readable, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loyalty.privacy.service import Desk
    from loyalty.privacy.words import Words
    from loyalty.vault.model import Held, Holder

COLUMNS_MAX = 7
DEPTH_MAX = 8
_NESTED = (dict, list, tuple)
# Known before others, because a reader looks for the time and the kind of a thing first.
_FIRST = (
    *("occurred_at", "recorded_at", "created_at", "at", "kind", "type", "status"),
    *("channel", "store", "activity", "decisions", "method", "value", "name", "content"),
    *("postings", "balance_after", "details", "received_at", "due_at"),
)
# What keeps the books right and says little to a reader: folded away, though it is there.
_TECHNICAL = frozenset(
    {
        *("_id", "member", "key", "mark", "fingerprint", "seq", "state", "source", "because"),
        *("hash", "previous", "flags", "signal", "newest_at", "program_version", "tries"),
    }
)
# Money in minor units: shown with the point, where a currency is named around it.
_AMOUNTS = frozenset({"amount", "tax", "discount", "net", "amount_minor"})
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--paper:#fff;--band:#f3f5f7;--mark:#0b5394}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#a3adb8;--line:#3a434d;--paper:#12161b;--band:#1b2128;--mark:#8ec1ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1.5rem 1.25rem 4rem;font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:var(--ink);background:var(--paper)}
h1{font-size:2rem;line-height:1.2;margin:.5rem 0 1rem}
h2{font-size:1.35rem;margin:3rem 0 .5rem;padding-top:1rem;border-top:2px solid var(--line)}
p{max-width:44rem}
a{color:var(--mark)}
nav ul{padding-left:1.2rem}
nav li{padding:.2rem 0}
dl.about{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:.75rem 0 1.25rem;max-width:52rem}
dl.about dt{color:var(--soft)}
dl.about dd{margin:0}
table{border-collapse:collapse;width:100%;font-size:.95rem}
caption{text-align:left;color:var(--soft);padding:.4rem 0}
th,td{text-align:left;vertical-align:top;padding:.5rem .65rem;border-bottom:1px solid var(--line);overflow-wrap:break-word}
thead th{background:var(--band);border-bottom:2px solid var(--line)}
td{min-width:7.5rem;overflow-wrap:anywhere}
table{margin-bottom:1.5rem}
td ul,td dl{margin:0;padding:0;list-style:none}
td li+li{margin-top:.3rem}
td dt,.k{color:var(--soft)}
td dd{margin:0 0 .3rem}
.p{margin:0 0 .3rem}
summary{color:var(--mark);cursor:pointer;padding:.3rem 0}
.p dt,.p dd{display:inline;margin:0 .4rem 0 0}
dd{overflow-wrap:anywhere}
.meta{color:var(--soft)}
footer{margin-top:3rem;border-top:2px solid var(--line);padding-top:1rem}
@media (max-width:60rem){
body{padding:1rem .9rem 3rem}
h1{font-size:1.6rem}
dl.about{grid-template-columns:1fr;gap:0}
dl.about dd{margin:0 0 .5rem}
table,tbody,tr,td,caption{display:block;width:100%}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tr{border:1px solid var(--line);border-radius:.5rem;margin:.75rem 0;padding:.3rem .2rem}
td{border:0;padding:.25rem .6rem;display:grid;grid-template-columns:7rem 1fr;gap:.6rem;overflow-wrap:anywhere}
td:before{content:attr(data-label);color:var(--soft)}
td.none{display:none}
}
@media print{
:root{color-scheme:light;--ink:#000;--soft:#333;--line:#999;--paper:#fff;--band:#eee;--mark:#000}
body{max-width:none;padding:0;font-size:10pt}
h2{break-after:avoid}
tr{break-inside:avoid}
thead{display:table-header-group}
}
"""


class _Table(NamedTuple):
    """What one pass over the holders found of a collection, so that it can be laid out."""

    holders: list[Holder]
    size: int
    keys: Counter[str]


class _Voice(NamedTuple):
    """In which words a value is told, how deep inside others it is, and in which currency."""

    words: Words
    depth: int = 0
    currency: str = ""


_Survey: TypeAlias = "dict[str, dict[str, _Table]]"


def page(member_id: str, *, language: str, at: datetime, desk: Desk) -> Iterator[bytes]:
    """The page, piece by piece.

    The holders are read twice: once for the columns and counts, once for the rows; so no more than
    one document is in memory at a time.
    """
    language = language if language in WORDS else "en"
    words = words_of(language)
    found = _survey(member_id, desk)
    yield _head(member_id, language, at, found, words).encode()
    for category, tables in found.items():
        yield from (piece.encode() for piece in _section(member_id, category, tables, words))
    end = f"<h2>{words.about}</h2><p>{escape(words.rights)}</p><p>{escape(words.end)}</p>"
    yield f"</main><footer>{end}</footer></body></html>\n".encode()


def _survey(member_id: str, desk: Desk) -> _Survey:
    """Which categories there are, in the order of their texts, and what their documents have."""
    found: _Survey = {}
    for holder in desk.holders:
        for each in holder.held(member_id):
            tables = found.setdefault(each.category, {})
            table = tables.get(each.collection) or _Table([], 0, Counter())
            table.keys.update(each.data.keys())
            if holder not in table.holders:
                table.holders.append(holder)
            tables[each.collection] = table._replace(size=table.size + 1)
    order = {name: place for place, name in enumerate(words_of("en").categories)}
    return dict(sorted(found.items(), key=lambda pair: order.get(pair[0], len(order))))


def _head(member_id: str, language: str, at: datetime, found: _Survey, words: Words) -> str:
    title = escape(words.title)
    links = "".join(
        f'<li><a href="#{escape(name)}">{escape(category_of(name, words).heading)}</a> '
        f'<span class="meta">({sum(each.size for each in tables.values())})</span></li>'
        for name, tables in found.items()
    )
    contents = f"<ul>{links}</ul>" if links else f"<p>{escape(words.nothing)}</p>"
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="robots" content="noindex"><meta name="referrer" content="no-referrer">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>{title}</h1><p>{escape(words.intro)}</p>"
        f'<dl class="about"><dt>{escape(words.number)}</dt><dd>{escape(member_id)}</dd>'
        f"<dt>{escape(words.made_at)}</dt><dd>{_moment(at, words)}</dd></dl></header>"
        f'<main><nav aria-labelledby="contents"><h2 id="contents">{escape(words.contents)}</h2>'
        f"{contents}</nav>\n"
    )


def _section(
    member_id: str, category: str, tables: Mapping[str, _Table], words: Words
) -> Iterator[str]:
    told = category_of(category, words)
    rows = "".join(
        f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>"
        for label, text in (
            (words.why, told.why),
            (words.basis, told.basis),
            (words.source, told.source),
            (words.kept, told.kept),
            (words.seen_by, told.seen_by),
        )
    )
    yield (
        f'<section aria-labelledby="{escape(category)}"><h2 id="{escape(category)}">'
        f'{escape(told.heading)}</h2><dl class="about">{rows}</dl>'
    )
    for collection, table in tables.items():
        yield from _table(member_id, (category, collection), table, words)
    yield "</section>\n"


def _table(member_id: str, place: tuple[str, str], table: _Table, words: Words) -> Iterator[str]:
    columns, has_more = _columns(table)
    names = [readable(each, words) for each in columns] + ([words.more] if has_more else [])
    heads = "".join(f'<th role="columnheader" scope="col">{escape(each)}</th>' for each in names)
    caption = f"{escape(readable(place[1], words))}{words.colon}{table.size}"
    yield (
        f'<table role="table"><caption>{caption}</caption>'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead><tbody role="rowgroup">\n'
    )
    for holder in table.holders:
        for each in holder.held(member_id):
            if (each.category, each.collection) == place:
                yield _row(each, columns, names, words)
    yield "</tbody></table>\n"


def _columns(table: _Table) -> tuple[list[str], bool]:
    """The fields that say most as columns, and whether anything is left over."""
    plain = [each for each, _ in table.keys.most_common() if each not in _TECHNICAL]
    columns = [each for each in _FIRST if each in table.keys]
    columns += [each for each in plain if each not in columns]
    size = COLUMNS_MAX if len(columns) <= COLUMNS_MAX else COLUMNS_MAX - 1
    return columns[:size], len(table.keys) > size or len(plain) < len(table.keys)


def _row(each: Held, columns: list[str], names: list[str], words: Words) -> str:
    voice = _Voice(words, currency=_currency(each.data, ""))
    cells = [_named(column, each.data.get(column), voice) for column in columns]
    if len(names) > len(columns):
        cells.append(_more({k: v for k, v in each.data.items() if k not in columns}, voice))
    text = "".join(
        f'<td role="cell" data-label="{escape(name)}"{_none(cell, words)}>{_cell(cell)}</td>'
        for name, cell in zip(names, cells, strict=True)
    )
    return f'<tr role="row">{text}</tr>\n'


def _more(rest: Mapping[str, Any], voice: _Voice) -> str:
    """What a row has beyond its columns; what is technical can be unfolded."""
    plain = {key: value for key, value in rest.items() if key not in _TECHNICAL}
    technical = {key: value for key, value in rest.items() if key in _TECHNICAL}
    told = "" if all(map(_is_nothing, plain.values())) else _pairs(plain, voice)
    if all(map(_is_nothing, technical.values())):
        return told or voice.words.empty
    summary = escape(voice.words.technical)
    return f"{told}<details><summary>{summary}</summary>{_pairs(technical, voice)}</details>"


def _none(cell: str, words: Words) -> str:
    """A phone does not show what is not there."""
    return ' class="none"' if cell in ("", words.empty) else ""


def _cell(cell: str) -> str:
    # One element: beside the label of a card there is one value, however it is made.
    return f"<div>{cell}</div>"


def _value(value: Any, voice: _Voice) -> str:  # noqa: ANN401  # any JSON value
    """A value as HTML: lists as lists, documents as names with values, times in words."""
    if _is_nothing(value):
        return voice.words.empty
    inner = voice._replace(depth=voice.depth + 1)
    if voice.depth < DEPTH_MAX and isinstance(value, dict):
        return _pairs(value, inner)
    if voice.depth < DEPTH_MAX and isinstance(value, (list, tuple)):
        items = (f"<li>{_item(each, inner)}</li>" for each in value)
        return f"<ul>{''.join(items)}</ul>"
    return _scalar(value, voice.words)


def _item(value: Any, voice: _Voice) -> str:  # noqa: ANN401  # any JSON value
    """What is in a list, on one line if it is a small document."""
    if not isinstance(value, dict) or any(map(_is_deep, value.values())):
        return _value(value, voice)
    return _line(value, voice)


def _line(value: Mapping[str, Any], voice: _Voice) -> str:
    """A small document on one line: names with values, one inside it in brackets."""
    voice = voice._replace(currency=_currency(value, voice.currency))
    told = (
        f'<span class="k">{escape(readable(str(name), voice.words))}</span> '
        + (f"({_line(each, voice)})" if isinstance(each, dict) else _named(str(name), each, voice))
        for name, each in value.items()
        if not _is_nothing(each)
    )
    return ", ".join(told)


def _is_deep(value: Any) -> bool:  # noqa: ANN401  # any JSON value
    """Whether a value does not fit into a line."""
    if isinstance(value, dict):
        return any(isinstance(each, _NESTED) for each in value.values())
    return bool(value) and isinstance(value, (list, tuple))


def _pairs(value: Mapping[str, Any], voice: _Voice) -> str:
    voice = voice._replace(currency=_currency(value, voice.currency))
    pairs = (
        f"<div{_inline(each)}><dt>{escape(readable(str(name), voice.words))}</dt>"
        f"<dd>{_named(str(name), each, voice)}</dd></div>"
        for name, each in value.items()
        if not _is_nothing(each)
    )
    told = "".join(pairs)
    return f"<dl>{told}</dl>" if told else voice.words.empty


def _inline(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """Name and value stand side by side where the value is short."""
    return "" if isinstance(value, _NESTED) else ' class="p"'


def _named(name: str, value: Any, voice: _Voice) -> str:  # noqa: ANN401  # any JSON value
    if name in _AMOUNTS and voice.currency and type(value) is int:
        return _money(value, voice)
    return _value(value, voice)


def _money(minor: int, voice: _Voice) -> str:
    digits = _precision(voice.currency)
    text = f"{abs(minor) / 10**digits:.{digits}f}".replace(".", voice.words.decimal)
    return f"{'-' if minor < 0 else ''}{text} {escape(voice.currency)}"


@functools.lru_cache(maxsize=64)
def _precision(currency: str) -> int:
    try:
        return int(get_currency_precision(currency))
    except UnknownCurrencyError:
        return 2


def _currency(value: Mapping[str, Any], around: str) -> str:
    found = value.get("currency")
    return found if isinstance(found, str) else around


def _is_nothing(value: Any) -> bool:  # noqa: ANN401  # any JSON value
    return value is None or value in ("", [], {})


def _scalar(value: Any, words: Words) -> str:  # noqa: ANN401  # any JSON value
    if isinstance(value, bool):
        return words.yes if value else words.no
    if isinstance(value, datetime):
        return _moment(value, words)
    if isinstance(value, date):
        return _day(value, words)
    text = value.hex() if isinstance(value, bytes) else str(value)
    return escape(words.values.get(text, text))


def _moment(moment: datetime, words: Words) -> str:
    utc = moment.astimezone(UTC)
    return f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}">{_day(utc, words)}, {utc:%H:%M} UTC</time>'


def _day(day: date, words: Words) -> str:
    number = words.first_day if day.day == 1 else str(day.day)
    return f"{number} {words.months[day.month - 1]} {day.year}"
