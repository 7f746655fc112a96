"""All that is held about a member, as a stream: JSON to take along, or one page to read.

It is never stored: there is nothing to leak and nothing to erase. Memory stays flat however long
the history is: documents come from the holders one after the other and go out as they come.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Literal, TypeAlias

import orjson

from loyalty.members.model import MemberNotFoundError
from loyalty.privacy.page import page
from loyalty.privacy.rights import answered
from loyalty.privacy.words import WORDS, category_of, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from loyalty.privacy.model import Request
    from loyalty.privacy.rights import Asking
    from loyalty.privacy.service import Desk
    from loyalty.vault.model import Held

Form: TypeAlias = Literal["json", "html"]
FORMS: tuple[Form, ...] = ("json", "html")
SCHEMA = "carnet-export/1"
CHUNK_BYTES = 32_768
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


def stream(
    member_id: str, *, form: Form, language: str, at: datetime, desk: Desk
) -> Iterator[bytes]:
    """All that is held about a member.

    Args:
        member_id: whom.
        form: `json` for computers (Art. 20), `html` for people (Art. 15).
        language: of what is said about the data: `en`, `fr`.
        at: now.
        desk: the stores.

    Raises:
        MemberNotFoundError: there is no such member; before anything is given out.
    """
    if not desk.members.exists(member_id):
        raise MemberNotFoundError
    if form == "html":
        return _in_chunks(page(member_id, language=language, at=at, desk=desk))
    return _in_chunks(_json(member_id, language, at, desk))


def answering(found: Iterator[bytes], request: Request, asking: Asking) -> Iterator[bytes]:
    """The stream; the request is answered when its last byte was taken, and not before."""
    yield from found
    if request.is_open:
        answered(request, asking)


def documents(member_id: str, desk: Desk) -> Iterator[Held]:
    """Every document about a member, holder by holder."""
    for holder in desk.holders:
        yield from holder.held(member_id)


def _json(member_id: str, language: str, at: datetime, desk: Desk) -> Iterator[bytes]:
    """`{schema, member_id, made_at, language, categories, data: [...], count}`.

    The count stands at the end: a file without it is not whole.
    """
    words = words_of(language)
    described = {name: category_of(name, words)._asdict() for name in words_of("en").categories}
    head = {
        "schema": SCHEMA,
        "member_id": member_id,
        "made_at": at,
        "language": language if language in WORDS else "en",
        "categories": described,
    }
    yield orjson.dumps(head, option=_OPTIONS)[:-1] + b',"data":['
    count = 0
    for count, each in enumerate(documents(member_id, desk), 1):
        yield (b",\n" if count > 1 else b"\n") + orjson.dumps(
            {
                "category": each.category,
                "collection": each.collection,
                "id": each.id,
                "data": dict(each.data),
            },
            option=_OPTIONS,
            default=_plain,
        )
    yield b'],"count":%d}\n' % count


def _plain(value: object) -> str:
    """A value that JSON does not know: bytes as base64, an id as its text."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _in_chunks(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
