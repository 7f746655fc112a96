from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.journal.appending import append
from loyalty.kit.clock import now
from loyalty.program.document import ProgramSchema
from loyalty.simulation.model import question_of
from loyalty.simulation.service import Sources, simulate
from tests.builders import enrolled
from tests.races.lives import arrivals, documents, draft_of, lives, publish
from tests.store.test_audit import audited

FEW = settings(max_examples=150, suppress_health_check=list(HealthCheck))


@FEW
@given(documents(), lives(), st.data())
def test_clean(parts: Any, document: Any, life: Any, data: Any) -> None:
    for name in ("journal", "budgets"):
        parts.database[name].delete_many({})
    rules = publish(parts, document)
    member = enrolled(parts)
    for activity in data.draw(arrivals(life)):
        append(draft_of(member, activity, rules), parts.stores)
    report = audited(parts)
    assert report.findings == [], report.findings
    loaded: Any = ProgramSchema().load(document)
    found = simulate(
        question_of({"program": loaded}),
        at=now(),
        sources=Sources(parts.scan, parts.stores),
        progress=lambda *_: None,
    )
    for cell, (before, after, diff) in found.totals._moments.items():
        if cell.table in ("tiers", "effect", "redated", "redated_members"):
            continue
        assert diff.squares == 0, (cell, before, after)
