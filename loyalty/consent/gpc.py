"""Global Privacy Control: what a browser says for the person who uses it.

https://www.w3.org/TR/gpc/ : the request header `Sec-GPC` counts if its value is exactly `1`; any
other value is as if the header were not there. It speaks of selling and sharing; Carnet takes it as
a refusal of profiling and of shared statistics too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty.consent.model import ANALYTICS, PERSONALISATION, SHARING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty.consent.model import Standing

SIGNALLED = (SHARING, PERSONALISATION, ANALYTICS)
# When what is said at /.well-known/gpc.json last changed.
LAST_UPDATE = "2026-11-25"


def is_signalled(environ: Mapping[str, Any]) -> bool:
    """Whether a WSGI request carries the signal. A header that came twice is joined by a comma."""
    return environ.get("HTTP_SEC_GPC") == "1"


def unrecorded(standing: Standing) -> tuple[str, ...]:
    """The purposes whose refusal by the signal is not on record yet.

    Not one that is refused already, and not one that the member granted in a request that itself
    carried the signal: that is known, and the signal goes on counting request by request.
    """
    return tuple(purpose for purpose in SIGNALLED if _is_news(standing, purpose))


def _is_news(standing: Standing, purpose: str) -> bool:
    found = standing.flags.get(purpose)
    return found is None or (found.status in ("granted", "pending") and not found.has_signal)
