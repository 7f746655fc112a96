"""What a reader of personal data asks for: the word of the gate that this use is agreed to."""

from __future__ import annotations

from typing import NamedTuple


class Permit(NamedTuple):
    """The gate's yes to one use of one member's data, at one moment. Only `consent.gate` makes one.

    It is good for the request, or the batch, that asked for it, and is never kept.
    """

    member_id: str
    purpose: str
    channel: str | None = None
