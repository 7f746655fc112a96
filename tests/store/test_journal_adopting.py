"""A journal that was written before marks is brought into today's form by `carnet init`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo import ASCENDING

from loyalty.journal.adopting import FORMER_INDEX, adopt
from loyalty.journal.appending import append
from tests.builders import draft, dump, engagement, enrolled, published, purchase

if TYPE_CHECKING:
    from app import Parts


def test_former_entries_are_marked_and_sealed_once(parts: Parts) -> None:
    rules, member = published(parts), enrolled(parts)
    journal = parts.database["journal"]
    facts = [draft(member, purchase(), rules)]
    facts.append(draft(member, engagement("review", details={"rating": 5}), rules))
    entries = [append(each, parts.stores).entry for each in facts]
    journal.drop_index("mark")
    for entry in entries:
        change = {"$set": {"activity": entry.activity}, "$unset": {"mark": ""}}
        journal.update_one({"key": entry.key}, change)
    journal.create_index([("key", ASCENDING)], name=FORMER_INDEX, unique=True)

    parts.journal.create_indexes()

    assert list(parts.journal.entries(member)) == entries
    assert [parts.journal.by_key(each.key) for each in entries] == entries
    assert [("sealed" in each["activity"]) for each in journal.find().sort("seq", 1)] == [
        False,
        True,
    ]
    assert FORMER_INDEX not in journal.index_information()
    before = dump(parts.database)
    assert adopt(journal, parts.secrecy) == 0
    assert dump(parts.database) == before
