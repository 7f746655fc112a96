"""What was kept with a consent goes when the consent is gone (Art. 17(1)(b) GDPR).

It is out of use the moment the member withdraws, because every use passes the gate; this removes
it for good, with the rules of retention. What is restricted (Art. 18) stays, unused, as was asked.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from loyalty.consent.gate import allows
from loyalty.consent.model import PERSONALISATION, Standing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from loyalty.consent.store import ConsentStore
    from recommend.feedback.store import FeedbackStore

MEMBERS_AT_ONCE = 500


def count(feedback: FeedbackStore, consents: ConsentStore, *, at: datetime) -> int:
    """Of how many members there is feedback that they do not agree to any more."""
    return sum(1 for _ in _withdrawn(feedback, consents, at))


def sweep(feedback: FeedbackStore, consents: ConsentStore, *, at: datetime) -> int:
    """Remove it; how many events."""
    return sum(
        feedback.erase(member_id)["feedback"] for member_id in _withdrawn(feedback, consents, at)
    )


def _withdrawn(feedback: FeedbackStore, consents: ConsentStore, at: datetime) -> Iterator[str]:
    members = feedback.member_ids()
    nothing = Standing()
    while chunk := list(islice(members, MEMBERS_AT_ONCE)):
        standings = consents.standings(chunk)
        for member_id in chunk:
            standing = standings.get(member_id, nothing)
            agrees = allows(standing, PERSONALISATION, None, at=at, gpc=False)
            if not agrees and not standing.restricted:
                yield member_id
