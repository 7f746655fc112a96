"""Every use of personal data in the program, and what it is for. A test keeps this list whole.

The key is the function in which a reader of personal data is called. What stands on consent passes
the gate: in that function, or in the one that is named as its guard. A use whose purpose does not
hang on consent says so by its purpose. Adding a use means adding a line here, on purpose.
"""

from __future__ import annotations

from typing import NamedTuple

from loyalty.consent.model import (
    ACCOUNTING,
    HOUSEHOLD_POOLING,
    LOYALTY_PROGRAMME,
    MARKETING,
    PERSONALISATION,
    RIGHTS,
    SENSITIVE_PERSONALISATION,
    STAFF_VIEW,
)


class Use(NamedTuple):
    """What a function uses personal data for.

    Attributes:
        purposes: of `purposes.json`.
        guard: the function that passes the gate for it; "" if it does so itself.
    """

    purposes: tuple[str, ...]
    guard: str = ""


_PROGRAMME = Use((LOYALTY_PROGRAMME,))
_ACCOUNTS = Use((ACCOUNTING,))
# Where a member stands, and the proof of it.
_RIGHTS = Use((RIGHTS,))
# To shop staff only with the member's consent; else the member's own account of the programme.
_HISTORY = Use((LOYALTY_PROGRAMME, STAFF_VIEW), "loyalty.journal.views._staff_gate")

USES: dict[str, Use] = {
    "loyalty.accesslog.service.looks": _RIGHTS,
    "loyalty.audit.owing.expiries": Use((LOYALTY_PROGRAMME, MARKETING)),
    "loyalty.audit.owing.liability": _ACCOUNTS,
    "loyalty.audit.service._name_transfers": _ACCOUNTS,
    "loyalty.audit.service._read": _ACCOUNTS,
    "loyalty.audit.upkeep.passage": _PROGRAMME,
    "loyalty.audit.upkeep.redate": _PROGRAMME,
    "loyalty.batches.service._replays": _PROGRAMME,
    "loyalty.consent.due.due": _RIGHTS,
    "loyalty.consent.gate.ask_each": _RIGHTS,
    "loyalty.consent.gate.permits_for": _RIGHTS,
    "loyalty.consent.opt_in.confirm": _RIGHTS,
    "loyalty.consent.opt_in.look": _RIGHTS,
    "loyalty.consent.service._record": _RIGHTS,
    "loyalty.consent.service.append_if": _RIGHTS,
    "loyalty.consent.service.recorded": _RIGHTS,
    "loyalty.consent.views.receipt": _RIGHTS,
    "loyalty.consent.views.records": _RIGHTS,
    "loyalty.consent.views.show": _RIGHTS,
    "loyalty.households.service.contributors": Use(
        (HOUSEHOLD_POOLING,), "loyalty.households.service.agreeing"
    ),
    "loyalty.households.service.create": _PROGRAMME,
    "loyalty.households.service.join": _PROGRAMME,
    "loyalty.households.service.shares": Use(
        (HOUSEHOLD_POOLING,), "loyalty.households.service.agreeing"
    ),
    "loyalty.importing.service._ask_consent": _RIGHTS,
    "loyalty.journal.appending._plan": _PROGRAMME,
    "loyalty.journal.appending._seen": _PROGRAMME,
    "loyalty.journal.bulk._entries": _PROGRAMME,
    "loyalty.journal.bulk._planned": _PROGRAMME,
    "loyalty.journal.exchanges.record_exchange": _PROGRAMME,
    "loyalty.journal.late._related": _PROGRAMME,
    "loyalty.journal.late._reversed": _PROGRAMME,
    "loyalty.journal.late._stretch": _PROGRAMME,
    "loyalty.journal.returns._purchase": _PROGRAMME,
    "loyalty.journal.returns.record_return": _PROGRAMME,
    "loyalty.journal.ripples._paid": _PROGRAMME,
    "loyalty.journal.ripples._share_of": _PROGRAMME,
    "loyalty.journal.service.about_of": _PROGRAMME,
    "loyalty.journal.service._resolve": _PROGRAMME,
    "loyalty.journal.service.recorded": _PROGRAMME,
    "loyalty.journal.service.reverse": _PROGRAMME,
    "loyalty.journal.views.list_journal": _HISTORY,
    "loyalty.journal.views.show_entry": _HISTORY,
    "loyalty.journal.views.show_points": _PROGRAMME,
    "loyalty.members.service._replay": _PROGRAMME,
    "loyalty.members.service.enrol": _PROGRAMME,
    "loyalty.members.service.find": _PROGRAMME,
    "loyalty.members.service.link": _PROGRAMME,
    "loyalty.members.service.set_profile": _PROGRAMME,
    "loyalty.members.views.show": _PROGRAMME,
    "loyalty.messages.service.waiting": _RIGHTS,
    "loyalty.privacy.commands.erase": _RIGHTS,
    "loyalty.privacy.erasing._close": _RIGHTS,
    "loyalty.privacy.erasing._holds": _RIGHTS,
    "loyalty.privacy.erasing._note_before": _RIGHTS,
    "loyalty.privacy.erasing.work": _RIGHTS,
    "loyalty.privacy.export.documents": _RIGHTS,
    "loyalty.privacy.identity._channel": _RIGHTS,
    "loyalty.privacy.page._survey": _RIGHTS,
    "loyalty.privacy.page._table": _RIGHTS,
    "loyalty.privacy.requests._met": _RIGHTS,
    "loyalty.privacy.requests._seen": _RIGHTS,
    "loyalty.privacy.requests.close": _RIGHTS,
    "loyalty.privacy.rights.answered": _RIGHTS,
    "loyalty.privacy.views.complete_request": _RIGHTS,
    "loyalty.privacy.views.extend_request": _RIGHTS,
    "loyalty.privacy.views.list_requests": _RIGHTS,
    "loyalty.privacy.views.refuse_request": _RIGHTS,
    "loyalty.privacy.views.show_request": _RIGHTS,
    "loyalty.referrals.service._is_self": _PROGRAMME,
    "loyalty.referrals.service.give_code": _PROGRAMME,
    "loyalty.referrals.service.record_referrer": _PROGRAMME,
    "loyalty.rewards.entries.captured_of": _PROGRAMME,
    "loyalty.rewards.pool.contributors_with": Use((HOUSEHOLD_POOLING,)),
    "loyalty.rewards.pool.lots_of": Use(
        (LOYALTY_PROGRAMME, HOUSEHOLD_POOLING), "loyalty.rewards.pool.contributors_with"
    ),
    "loyalty.rewards.redemptions._held": _PROGRAMME,
    "loyalty.rewards.redemptions._hold_pooled": _PROGRAMME,
    "loyalty.rewards.redemptions._on_top": _PROGRAMME,
    "loyalty.rewards.redemptions.hold": _PROGRAMME,
    "loyalty.rewards.redemptions.show": _PROGRAMME,
    "loyalty.rewards.redemptions.undo": _PROGRAMME,
    "loyalty.rewards.service._taker": _PROGRAMME,
    "loyalty.rewards.service._tier": _PROGRAMME,
    "loyalty.rewards.service.taker_of": _PROGRAMME,
    "loyalty.simulation.service._Run._about": _PROGRAMME,
    "loyalty.simulation.service._Run._life": _PROGRAMME,
    "loyalty.transfers.service.transfer": _PROGRAMME,
    "loyalty.web.backing.history": _RIGHTS,
    "loyalty.web.backing.receipt": _RIGHTS,
    "loyalty.web.backing.standings": _RIGHTS,
    "loyalty.web.backing.stop_marketing": _RIGHTS,
    "loyalty.web.backing.summary": _RIGHTS,
    "loyalty.web.backing.unsubscribe": _RIGHTS,
    "loyalty.web.backing.withdraw_all": _RIGHTS,
    "loyalty.web.rights.require_staying": _RIGHTS,
    "recommend.experiments.results._facts": Use((PERSONALISATION,)),
    "recommend.experiments.results.results": Use(
        (PERSONALISATION,), "recommend.experiments.results._facts"
    ),
    "recommend.bulk.exports._next_part": Use(
        (PERSONALISATION, MARKETING), "recommend.bulk.stream.agreed_of"
    ),
    "recommend.bulk.stream._addresses": Use((MARKETING,), "recommend.bulk.stream.agreed_of"),
    "recommend.bulk.stream.draw": Use(
        (PERSONALISATION, MARKETING), "recommend.bulk.stream.agreed_of"
    ),
    "recommend.feedback.service._kept": Use((PERSONALISATION, SENSITIVE_PERSONALISATION)),
    "recommend.feedback.service._written": Use(
        (PERSONALISATION,), "recommend.feedback.service._kept"
    ),
    "recommend.feedback.withdrawn._withdrawn": _RIGHTS,
    "recommend.offers.service._holding": _PROGRAMME,
    "recommend.offers.service._taste": Use(
        (PERSONALISATION, SENSITIVE_PERSONALISATION), "recommend.offers.service.offers"
    ),
    "recommend.service.Popularity._make": Use((PERSONALISATION,)),
    "recommend.training.reading.agreed_baskets": Use((PERSONALISATION,)),
    "recommend.training.reading.agreed_signals": Use((PERSONALISATION,)),
    # Who is to be left out from now on, as a number.
    "recommend.training.withdrawals._turned": _RIGHTS,
    "recommend.training.withdrawals.withdrawn_since": _RIGHTS,
    "recommend.training.withdrawals.withdrew_meanwhile": _RIGHTS,
    "recommend.service._asked": Use((PERSONALISATION, SENSITIVE_PERSONALISATION)),
}
