"""Arrival order must not matter: whatever comes late or twice, the end is the fold by time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.journal.appending import append
from loyalty.journal.drafts import EMPTY
from loyalty.journal.late import fold
from loyalty.program.document import check
from tests.builders import enrolled
from tests.races.lives import (
    arrivals,
    documents,
    draft_of,
    facts_in,
    is_sound,
    kept,
    lives,
    publish,
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
    suffix = f"/{member}"
    for activity in arrived:
        recorded = append(renamed(draft_of(member, activity, rules), suffix), parts.stores)
        assert recorded.is_replay == (activity.key in seen)
        seen.add(activity.key)
    return list(parts.journal.entries(member))


@FEW
@given(documents(), lives(), st.data())
def test_any_order_of_arrival_ends_like_the_order_of_time(
    parts: Parts, document: dict[str, Any], life: list[Activity], data: st.DataObject
) -> None:
    rules = publish(parts, document)
    state = kept(fold(EMPTY, facts_in(life, rules))[0])
    for number in range(2):
        arrived = data.draw(arrivals(life)) if number else life
        member, seen = enrolled(parts), set()
        named = {each.key: f"{each.key}/{number}" for each in life}
        for activity in arrived:
            own = renamed(activity, named)
            recorded = append(draft_of(member, own, rules), parts.stores)
            assert recorded.is_replay == (own.key in seen)
            seen.add(own.key)
        entries = list(parts.journal.entries(member))
        is_sound(entries, facts_in([renamed(each, named) for each in life], rules))
    assert state


def test_the_random_programmes_could_be_published() -> None:
    check_all()
