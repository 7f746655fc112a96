"""The export as one page that people can read, print and keep: nothing in it is from elsewhere.

Each category is a table; what a row has beyond the columns is a list in its last cell. On a phone
each row is a card. The table keeps its roles there, for a screen reader.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.privacy.words import WORDS, category_of, readable, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loyalty.privacy.service import Desk
    from loyalty.privacy.words import Words
    from loyalty.vault.model import Held, Holder

COLUMNS_MAX = 7
DEPTH_MAX = 8
# Known before others, because a reader looks for the time and the kind of a thing first.
_FIRST = ("occurred_at", "received_at", "recorded_at", "created_at", "at", "kind", "type", "status")
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
th,td{text-align:left;vertical-align:top;padding:.5rem .65rem;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
thead th{background:var(--band);border-bottom:2px solid var(--line);overflow-wrap:normal}
td ul,td dl{margin:0;padding:0;list-style:none}
td li+li{margin-top:.4rem;padding-top:.4rem;border-top:1px dotted var(--line)}
td dl{display:grid;grid-template-columns:max-content 1fr;gap:0 .6rem}
td dt{color:var(--soft)}
td dd{margin:0}
.meta{color:var(--soft)}
footer{margin-top:3rem;border-top:2px solid var(--line);padding-top:1rem}
@media (max-width:45rem){
body{padding:1rem .9rem 3rem}
h1{font-size:1.6rem}
dl.about{grid-template-columns:1fr;gap:0}
dl.about dd{margin:0 0 .5rem}
table,tbody,tr,td,caption{display:block;width:100%}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tr{border:1px solid var(--line);border-radius:.5rem;margin:.75rem 0;padding:.3rem .2rem}
td{border:0;padding:.3rem .6rem}
td:before{content:attr(data-label);display:block;color:var(--soft);font-size:.85rem}
td dl{grid-template-columns:1fr}
td dd{margin:0 0 .25rem}
}
@media print{
:root{color-scheme:light;--ink:#000;--soft:#333;--line:#999;--paper:#fff;--band:#eee;--mark:#000}
body{max-width:none;padding:0;font-size:10pt}
h2{break-after:avoid}
tr{break-inside:avoid}
thead{display:table-header-group}
}
"""


class _Part(NamedTuple):
    """What one pass over the holders found of a category, so that it can be laid out."""

    holders: list[Holder]
    size: int
    keys: Counter[str]


def page(member_id: str, *, language: str, at: datetime, desk: Desk) -> Iterator[bytes]:
    """The page, piece by piece.

    The holders are read twice: once for the columns and counts, once for the rows; so no more than
    one document is in memory at a time.
    """
    language = language if language in WORDS else "en"
    words = words_of(language)
    parts = _survey(member_id, desk)
    yield _head(member_id, language, at, parts, words).encode()
    for name, part in parts.items():
        yield from (piece.encode() for piece in _section(member_id, name, part, words))
    end = f"<h2>{words.about}</h2><p>{escape(words.rights)}</p><p>{escape(words.end)}</p>"
    yield f"</main><footer>{end}</footer></body></html>\n".encode()


def _survey(member_id: str, desk: Desk) -> dict[str, _Part]:
    """Which categories there are, in the order of their texts, and what their documents have."""
    found: dict[str, _Part] = {}
    for holder in desk.holders:
        for each in holder.held(member_id):
            part = found.get(each.category) or _Part([], 0, Counter())
            part.keys.update(each.data.keys())
            if holder not in part.holders:
                part.holders.append(holder)
            found[each.category] = part._replace(size=part.size + 1)
    order = {name: place for place, name in enumerate(words_of("en").categories)}
    return dict(sorted(found.items(), key=lambda pair: order.get(pair[0], len(order))))


def _head(
    member_id: str, language: str, at: datetime, parts: Mapping[str, _Part], words: Words
) -> str:
    title = escape(words.title)
    links = "".join(
        f'<li><a href="#{escape(name)}">{escape(category_of(name, words).heading)}</a> '
        f'<span class="meta">({part.size})</span></li>'
        for name, part in parts.items()
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


def _section(member_id: str, name: str, part: _Part, words: Words) -> Iterator[str]:
    told = category_of(name, words)
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
    columns, has_more = _columns(part)
    names = [readable(each, words) for each in columns] + ([words.more] if has_more else [])
    heads = "".join(f'<th role="columnheader" scope="col">{escape(each)}</th>' for each in names)
    yield (
        f'<section aria-labelledby="{escape(name)}"><h2 id="{escape(name)}">'
        f'{escape(told.heading)}</h2><dl class="about">{rows}</dl>'
        f'<table role="table"><caption>{escape(told.heading)}: {part.size} '
        f'{escape(words.entries)}</caption><thead role="rowgroup"><tr role="row">{heads}</tr>'
        '</thead><tbody role="rowgroup">\n'
    )
    for holder in part.holders:
        for each in holder.held(member_id):
            if each.category == name:
                yield _row(each, columns, names, words)
    yield "</tbody></table></section>\n"


def _columns(part: _Part) -> tuple[list[str], bool]:
    """The fields that most documents have as columns, and whether anything is left over."""
    first = [each for each in _FIRST if each in part.keys]
    others = [each for each, _ in part.keys.most_common() if each not in first]
    columns = [*first, *others]
    if len(columns) <= COLUMNS_MAX:
        return columns, False
    return columns[: COLUMNS_MAX - 1], True


def _row(each: Held, columns: list[str], names: list[str], words: Words) -> str:
    cells = [_value(each.data.get(column), words) for column in columns]
    if len(names) > len(columns):
        rest = {key: value for key, value in each.data.items() if key not in columns}
        cells.append(_value(rest, words))
    text = "".join(
        f'<td role="cell" data-label="{escape(name)}">{cell}</td>'
        for name, cell in zip(names, cells, strict=True)
    )
    return f'<tr role="row">{text}</tr>\n'


def _value(value: Any, words: Words, depth: int = 0) -> str:  # noqa: ANN401  # any JSON value
    """A value as HTML: lists as lists, documents as names with values, times in words."""
    if value is None or value in ("", [], {}):
        return words.empty
    if depth < DEPTH_MAX and isinstance(value, dict):
        return _pairs(value, words, depth)
    if depth < DEPTH_MAX and isinstance(value, (list, tuple)):
        items = (f"<li>{_value(each, words, depth + 1)}</li>" for each in value)
        return f"<ul>{''.join(items)}</ul>"
    return _scalar(value, words)


def _scalar(value: Any, words: Words) -> str:  # noqa: ANN401  # any JSON value
    if isinstance(value, bool):
        return words.yes if value else words.no
    if isinstance(value, datetime):
        return _moment(value, words)
    if isinstance(value, date):
        return _day(value, words)
    return escape(str(value))


def _pairs(value: Mapping[str, Any], words: Words, depth: int) -> str:
    pairs = (
        f"<dt>{escape(readable(str(name), words))}</dt><dd>{_value(each, words, depth + 1)}</dd>"
        for name, each in value.items()
        if each is not None and each not in ("", [], {})
    )
    return f"<dl>{''.join(pairs)}</dl>"


def _moment(moment: datetime, words: Words) -> str:
    utc = moment.astimezone(UTC)
    return f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}">{_day(utc, words)}, {utc:%H:%M} UTC</time>'


def _day(day: date, words: Words) -> str:
    number = words.first_day if day.day == 1 else str(day.day)
    return f"{number} {words.months[day.month - 1]} {day.year}"
