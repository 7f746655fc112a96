"""Look for members in every document of a database, whoever keeps it: the proof beside the work.

It reads everything and knows no collection, so it finds what a holder would forget.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pymongo.database import Database

    from loyalty.kit.mongo import Document

_MEMBER_ID = re.compile(rb"m_[0-9a-f]{32}")
# What stays for ever and says nothing: the end of a journal, so that it is never begun anew.
_END = ("journal", "erasure")
BATCH = 1000


def places(
    database: Database[Document],
    member_ids: Collection[str],
    *,
    progress: Callable[[int, int, str], None],
) -> dict[str, Counter[str]]:
    """Where members occur, in any field of any document: counts by member and collection.

    Args:
        database: the data; every collection is read once, whole.
        member_ids: of whom.
        progress: gets (documents read, documents, collection).
    """
    wanted = {each.encode() for each in member_ids}
    found: dict[str, Counter[str]] = {}
    for name in sorted(database.list_collection_names()):
        total = database[name].estimated_document_count()
        raw = database[name].with_options(CodecOptions(document_class=RawBSONDocument))
        for done, document in enumerate(raw.find({}, batch_size=BATCH), 1):
            for member_id in wanted.intersection(_MEMBER_ID.findall(document.raw)):
                if not _is_end(name, document):
                    found.setdefault(member_id.decode(), Counter())[name] += 1
            progress(done, max(total, done), name)
    return found


def _is_end(collection: str, document: RawBSONDocument) -> bool:
    return (collection, document.get("kind")) == _END
