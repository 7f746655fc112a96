"""Who is in a model and should not be any more: who withdrew, or was erased, since it was trained.

Counted from the newest consent records alone, and never named: what comes out is a number.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from loyalty.consent import gate
from loyalty.consent.model import PERSONALISATION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from loyalty.consent.store import ConsentStore
    from loyalty.privacy.erasures import ErasureStore
    from recommend.training.reading import Roll

# A decision counts from the moment of its request, and is written a little later: those that were
# under way while a training began are looked at, too. More than any request may take.
UNDER_WAY = timedelta(seconds=60)
PAGE = 500


def withdrew_meanwhile(
    since: datetime,
    roll: Roll,
    *,
    at: datetime,
    consents: ConsentStore,
    erasures: ErasureStore | None,
) -> int:
    """How many of those who were read since a moment agree no longer, or are being erased."""
    gone = 0
    for ids in consents.refusing_since(since - UNDER_WAY, page=PAGE):
        agreeing = gate.permits(ids, PERSONALISATION, at=at, consents=consents)
        gone += sum(each in roll and each not in agreeing for each in ids)
    return gone + (erasures.begun_since(since) if erasures is not None else 0)


def withdrawn_since(
    since: datetime,
    *,
    at: datetime,
    consents: ConsentStore,
    erasures: ErasureStore | None,
    enough: int = 0,
) -> int:
    """How many agreed at a moment and do not agree now; erased members count.

    Args:
        since: when the training began.
        at: now.
        consents: where the records are.
        erasures: of members; None where nobody erases.
        enough: stop counting there; 0 counts all.
    """
    gone = erasures.begun_since(since) if erasures is not None else 0
    for ids in consents.refusing_since(since, page=PAGE):
        if enough and gone >= enough:
            break
        gone += _turned(ids, since, at=at, consents=consents)
    return gone


def _turned(ids: Sequence[str], since: datetime, *, at: datetime, consents: ConsentStore) -> int:
    """How many of some members agreed before a moment and do not agree now."""
    agreeing = gate.permits(ids, PERSONALISATION, at=at, consents=consents)
    before = consents.standings_before(since, [each for each in ids if each not in agreeing])
    return sum(
        gate.allows(standing, PERSONALISATION, None, at=since, gpc=False)
        for standing in before.values()
    )
