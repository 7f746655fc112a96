"""Arrival order must not matter: whatever comes late or twice, the end is the fold by time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.journal.appending import append
from loyalty.program.document import ProgramSchema, check
from tests.builders import enrolled
from tests.races.lives import (
    arrivals,
    documents,
    draft_of,
    facts_in,
    is_sound,
    lives,
    publish,
    renamed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from app import Parts
    from loyalty.journal.model import Entry
    from loyalty.program.model import Activity, Program

EXAMPLES = 25
FEW = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


def sent(parts: Parts, arrived: Sequence[Activity], rules: Program) -> list[Entry]:
    """The journal of a new member after activities arrived one by one; twins are replays."""
    member, seen = enrolled(parts), set()
    for activity in arrived:
        recorded = append(draft_of(member, activity, rules), parts.stores)
        assert recorded.is_replay == (activity.key in seen)
        seen.add(activity.key)
    return list(parts.journal.entries(member))


@FEW
@given(documents(), lives(), st.data())
def test_any_order_of_arrival_ends_like_the_order_of_time(
    parts: Parts, document: dict[str, Any], life: list[Activity], data: st.DataObject
) -> None:
    rules = publish(parts, document)
    in_order = sent(parts, life, rules)
    is_sound(in_order, facts_in(life, rules))
    assert not any(each.kind == "correction" for each in in_order)
    shuffled = renamed(data.draw(arrivals(life)), "+")
    is_sound(sent(parts, shuffled, rules), facts_in(renamed(life, "+"), rules))


@settings(FEW, max_examples=100)
@given(documents())
def test_the_random_programmes_could_be_published(document: dict[str, Any]) -> None:
    check(ProgramSchema().load(document))


ARGUMENTS = {
    "test_any_order_of_arrival_ends_like_the_order_of_time": (documents(), lives(), st.data())
}
