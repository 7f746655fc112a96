"""Double opt-in: a yes given for an address waits until the address itself answers.

The link in the message is signed, expires, and can be used once; to look at it changes nothing.
Whoever confirms nothing stays as if never asked: waiting counts as no.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import ObjectId

from loyalty.access.links import InvalidLinkError
from loyalty.consent.model import (
    GRANTED,
    PENDING,
    AlreadyConfirmedError,
    Change,
    RecordNotFoundError,
)
from loyalty.consent.service import Circumstances, Next, append
from loyalty.members.model import MemberNotFoundError
from loyalty.messages.model import Message

if TYPE_CHECKING:
    from datetime import datetime

    from loyalty.access.links import LinkMint
    from loyalty.consent.model import Record, Standing
    from loyalty.consent.store import ConsentStore
    from loyalty.members.store import MemberStore
    from loyalty.messages.store import Outbox

USE = "confirm_consent"
LASTS = timedelta(days=7)
PATH = "/confirm"
# Somebody else's mailbox is not filled by saying yes and no by turns.
LINKS_A_DAY_MAX = 6
DAY = timedelta(days=1)


class OptIn(NamedTuple):
    """What posts a link: where messages wait, what signs, and where browsers reach the pages."""

    outbox: Outbox
    links: LinkMint
    url: str

    def post(self, record: Record) -> None:
        """Post a message for each yes of the record that waits for its confirmation.

        Not more than a few a day to one member: what is above that waits for another try.
        """
        for each in record.decisions:
            state = record.standing.flags.get(each.flag)
            is_waiting = state is not None and state.pending == record.id
            if each.asked == PENDING and is_waiting and not self._is_full(record):
                self.outbox.post(self._message(record, each))

    def _is_full(self, record: Record) -> bool:
        since = record.recorded_at - DAY
        found = self.outbox.posted(
            record.member_id, "confirm_consent", since=since, limit=LINKS_A_DAY_MAX
        )
        return found >= LINKS_A_DAY_MAX

    def _message(self, record: Record, change: Change) -> Message:
        at = record.recorded_at
        claims = {"member": record.member_id, "record": record.id, "flag": change.flag}
        token = self.links.mint(USE, claims, at=at, lasts=LASTS)
        content = {
            "purpose": change.purpose,
            "channel": change.channel,
            "notice_version": record.notice_version,
            "token": token,
            "url": f"{self.url}{PATH}?token={token}",
        }
        return Message(
            id=str(ObjectId()),
            member_id=record.member_id,
            kind="confirm_consent",
            channel=change.channel or "email",
            language=record.language or "en",
            content=content,
            created_at=at,
            expires_at=at + LASTS,
        )


class Waiting(NamedTuple):
    """What a link would confirm, for a page to show before anybody presses anything."""

    member_id: str
    purpose: str
    channel: str | None
    record: Record


def look(token: str, *, at: datetime, links: LinkMint, consents: ConsentStore) -> Waiting:
    """What a link would confirm. Changes nothing.

    Raises:
        InvalidLinkError: it is forged or expired, or its member is gone.
        AlreadyConfirmedError: it was used, or the member has decided otherwise since.
    """
    member_id, record_id, flag = _claims(token, at, links)
    _require_waiting(consents.standing(member_id), record_id, flag)
    try:
        record = consents.get(member_id, record_id)
    except RecordNotFoundError as error:
        raise InvalidLinkError from error
    purpose, _, channel = flag.partition(":")
    return Waiting(member_id, purpose, channel or None, record)


def confirm(
    token: str,
    *,
    at: datetime,
    links: LinkMint,
    consents: ConsentStore,
    members: MemberStore,
    evidence: dict[str, Any] | None = None,
) -> Record:
    """Turn a yes that waits into one that holds. Of many uses of a link at once, one does it.

    Args:
        token: of the link.
        at: now.
        links: what reads it.
        consents: where the record goes.
        members: who there is.
        evidence: what shows it, beside the link itself; kept sealed.

    Raises:
        InvalidLinkError: it is forged or expired, or its member is gone.
        AlreadyConfirmedError: it was used, or the member has decided otherwise since.
    """
    member_id, record_id, flag = _claims(token, at, links)
    try:
        asked = consents.get(member_id, record_id)
    except RecordNotFoundError as error:
        raise InvalidLinkError from error
    waiting = next(each for each in asked.decisions if each.flag == flag)
    granted = Change(waiting.purpose, waiting.channel, GRANTED, waiting.expires_at)

    def draw(standing: Standing) -> Next:
        _require_waiting(standing, record_id, flag)
        return Next([granted])

    how = Circumstances(
        "confirmation",
        "link",
        at,
        asked.recorded_by,
        asked.notice_version,
        asked.language,
        {**(evidence or {}), "confirms": record_id},
    )
    try:
        return append(member_id, draw, how, consents=consents, members=members)
    except MemberNotFoundError as error:
        raise InvalidLinkError from error


def _claims(token: str, at: datetime, links: LinkMint) -> tuple[str, str, str]:
    claims = links.read(USE, token, at=at)
    return claims["member"], claims["record"], claims["flag"]


def _require_waiting(standing: Standing, record_id: str, flag: str) -> None:
    if standing.seq == 0:
        raise InvalidLinkError
    state = standing.flags.get(flag)
    if state is None or state.pending != record_id:
        raise AlreadyConfirmedError
