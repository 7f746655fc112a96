"""The desk at which rights are exercised: the stores that answering takes, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loyalty.members.store import MemberStore
    from loyalty.messages.store import Outbox
    from loyalty.privacy.certificate import Signer
    from loyalty.privacy.erasures import ErasureStore
    from loyalty.privacy.standing import Ending, Ledger, Standing
    from loyalty.privacy.store import CodeStore, RequestStore
    from loyalty.vault.model import Holder
    from loyalty.vault.store import Vault


class Desk(NamedTuple):
    """What answering members takes.

    `holders` are all that keep anything about members, in the order of an export; `journal` ends a
    member's journal; `ledger`, where there is one, says what the consent records of a member add to
    their checkpoint; `code_secret` is the key of the codes' digests, `signer` signs certificates.
    """

    requests: RequestStore
    codes: CodeStore
    erasures: ErasureStore
    members: MemberStore
    outbox: Outbox
    vault: Vault
    standing: Standing
    journal: Ending
    holders: Sequence[Holder]
    signer: Signer
    code_secret: bytes
    ledger: Ledger | None = None
