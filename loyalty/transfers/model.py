"""Why points may not change hands."""

from __future__ import annotations

from loyalty.kit.errors import ConflictError


class SelfTransferError(ConflictError):
    """Both sides are the same member."""

    code = "self_transfer"
    title = "Points cannot be transferred to the same member"
