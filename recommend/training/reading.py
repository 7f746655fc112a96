"""What a training reads: a stream of baskets, only what consent allows at that moment.

Members come in pages in the order of their ids. Consent of a page is read just before its journals
are, and nothing of a member outlives the page but integers and, while training lasts, eight bytes
by which a member who withdraws meanwhile is recognised.
"""

from __future__ import annotations

import hashlib
from array import array
from typing import TYPE_CHECKING

from loyalty.consent import gate
from loyalty.consent.model import PERSONALISATION
from loyalty.kit.clock import now
from recommend.dataset import Basket
from recommend.model import BASKETS_MAX
from recommend.selection import kept, places_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from recommend.service import Sources
    from recommend.taste import Signal

PAGE = 500


class Roll:
    """Who was read, as eight bytes each; not kept anywhere, and of no use after the training."""

    def __init__(self) -> None:
        self._marks = array("Q")
        self._sorted: frozenset[int] | None = None

    def add(self, member_ids: Iterable[str]) -> None:
        """Note who is being read."""
        self._marks.extend(map(_mark, member_ids))
        self._sorted = None

    def __contains__(self, member_id: str) -> bool:
        """Whether the member was read; wrong for one in 10**13 or so."""
        if self._sorted is None:
            self._sorted = frozenset(self._marks)
        return _mark(member_id) in self._sorted

    def __len__(self) -> int:
        """How many were read."""
        return len(self._marks)


def _mark(member_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(member_id.encode(), digest_size=8).digest(), "big")


def agreed_baskets(
    sources: Sources,
    *,
    progress: Callable[[str, int, int], None],
    clock: Callable[[], datetime] = now,
    roll: Roll | None = None,
) -> Iterator[Basket]:
    """The baskets of members who agree to personalisation at this moment, member by member.

    What was returned is taken off, sensitive products and what is older than the rules of retention
    allow are left out, and a member counts with the newest 200 baskets. Memory holds one page.
    """
    sensitive = sources.catalogue.restrictions().sensitive
    done, total = 0, sources.consents.count_members()
    for ids in sources.consents.all_member_ids(page=PAGE):
        at = clock()
        agreed = gate.permits(ids, PERSONALISATION, at=at, consents=sources.consents)
        if roll is not None:
            roll.add(agreed)
        histories = sources.journal.histories(
            agreed.values(), limit=BASKETS_MAX, since=sources.history_since(at)
        )
        for member, history in histories.items():
            for past, skus in kept(history, sensitive):
                place = places_of(past.channel, past.store)
                yield Basket(member, past.occurred_at.timestamp(), place, skus)
        done += len(ids)
        progress("read", done, max(done, total))


def agreed_signals(
    sources: Sources, roll: Roll, *, clock: Callable[[], datetime] = now
) -> Iterator[tuple[str, Signal]]:
    """What feedback says, with who gave it, of those on the roll who still agree; page by page.

    To be read after the baskets. Sensitive products are left out, and what was merely shown.
    """
    sensitive = sources.catalogue.restrictions().sensitive
    for ids in sources.consents.all_member_ids(page=PAGE):
        at = clock()
        read = [each for each in ids if each in roll]
        agreed = gate.permits(read, PERSONALISATION, at=at, consents=sources.consents)
        for member, signal in sources.feedback.scan(
            agreed.values(), since=sources.history_since(at)
        ):
            if signal.sku not in sensitive:
                yield member, signal
