"""The offers for one member: what the programme says for all, in an order that consent allows.

Points, tier and progress are the member's own account of the programme, which is kept under its
contract; the order by what the member likes is personalisation, and needs consent.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from loyalty.catalogue.model import EVERY_PLACE
from loyalty.consent import gate
from loyalty.consent.model import PERSONALISATION, SENSITIVE_PERSONALISATION
from loyalty.journal.service import about_of
from loyalty.members.model import MemberNotFoundError
from loyalty.program.lots import available
from loyalty.program.model import State
from loyalty.program.passage import settle
from loyalty.program.tiers import next_tier, standing_at
from loyalty.rewards.model import REWARDS_MAX
from loyalty.rewards.service import Asked, list_rewards
from recommend.offers.model import (
    Holding,
    Liked,
    Place,
    in_common_order,
    in_own_order,
    reward_offer,
    rule_offers,
    tier_offer,
    visible,
)
from recommend.selection import places_of, taste_of
from recommend.service import HISTORY_BASKETS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from loyalty.journal.drafts import Stores
    from loyalty.rewards.store import RewardStore
    from loyalty.vault.permit import Permit
    from recommend.offers.model import Offer, Ranked
    from recommend.selection import Reason
    from recommend.service import Sources

LIKED_MAX = 200
_USES = ((PERSONALISATION, None), (SENSITIVE_PERSONALISATION, None))
DECAY_PER_BASKET = 0.9
# A reward that is further away than this is no offer yet.
REACH_MIN = 0.25


class Desk(NamedTuple):
    """What offers are made of: the programme, its rewards, and what a taste is worked out from."""

    stores: Stores
    rewards: RewardStore
    sources: Sources


class Offered(NamedTuple):
    """The offers in their order, and whether and why it is the member's own."""

    personalised: bool
    reason: Reason
    offers: tuple[Ranked, ...]


def offers(member_id: str, place: Place, *, limit: int, desk: Desk, gpc: bool = False) -> Offered:
    """What the programme offers a member at a place now, the best first.

    Args:
        member_id: whom.
        place: where and when.
        limit: how many at most.
        desk: what it is made of.
        gpc: whether the request carries `Sec-GPC: 1`, which counts as a refusal.

    Raises:
        MemberNotFoundError: there is no such member.
        NoProgramError: no programme is published.
    """
    sources, at = desk.sources, place.at
    asked, explicit = gate.ask_each(member_id, _USES, at=at, consents=sources.consents, gpc=gpc)
    restrictions = sources.catalogue.restrictions()
    if asked.permit and explicit.permit:
        restrictions = restrictions.without_sensitive()
    holding = _holding(member_id, place, desk)
    found = [*_of_rules(holding, place, desk), *_of_rewards(member_id, holding, place, desk)]
    found += _of_tiers(holding, at)
    seen = visible(found, restrictions.hidden | _sold_out(place, sources))
    taste = _taste(asked.permit, restrictions.sensitive, at, sources) if asked.permit else []
    if taste:
        return Offered(
            personalised=True, reason="consent", offers=tuple(in_own_order(seen, taste, at)[:limit])
        )
    refusal: Reason = "browser_signal" if gpc else "no_consent"
    reason: Reason = "no_history" if asked.permit else refusal
    return Offered(personalised=False, reason=reason, offers=tuple(in_common_order(seen)[:limit]))


def _holding(member_id: str, place: Place, desk: Desk) -> Holding:
    stores, at = desk.stores, place.at
    program = stores.programs.at(at)
    head = stores.journal.head(member_id)
    if head is None and not stores.members.exists(member_id):
        raise MemberNotFoundError
    state = settle(head.state if head else State(), at)[0]
    about = about_of(place.store, program, member_id, at, stores)
    tier = ""
    if program.ladder is not None:
        joined_at = state.joined_at or about.joined_at
        tier = standing_at(
            program.ladder, state.tier, at, zone=program.zone, joined_at=joined_at
        ).tier
    return Holding(program, state, tier, about)


def _of_rules(holding: Holding, place: Place, desk: Desk) -> list[Offer]:
    skus = sorted({sku for rule in holding.program.rules for sku in rule.only.skus})
    products = desk.sources.catalogue.products(skus)
    return rule_offers(holding, place, {sku: each.name for sku, each in products.items()})


def _of_rewards(member_id: str, holding: Holding, place: Place, desk: Desk) -> Iterator[Offer]:
    """The rewards that the member can take, and those that only points are missing for."""
    asked = Asked(place.channel, place.store, member_id, all=True)
    page = list_rewards(
        asked, at=place.at, after=0, limit=REWARDS_MAX, stores=desk.stores, rewards=desk.rewards
    )
    lots = holding.state.lots
    for offered in page.rewards:
        if offered.reason in (None, "insufficient_points"):
            points = available(lots.get(offered.reward.unit, ()), place.at)
            offer = reward_offer(offered.reward, points)
            if offer.progress >= REACH_MIN:
                yield offer


def _of_tiers(holding: Holding, at: datetime) -> Iterator[Offer]:
    program, state = holding.program, holding.state
    ladder = program.ladder
    if ladder is None:
        return
    joined_at = state.joined_at or holding.about.joined_at
    standing = standing_at(ladder, state.tier, at, zone=program.zone, joined_at=joined_at)
    if above := next_tier(ladder, standing):
        yield tier_offer(*above, ladder.measure, program.currency)


def _sold_out(place: Place, sources: Sources) -> frozenset[str]:
    """What cannot be had at the place: no offer of it is one."""
    places = (EVERY_PLACE, *places_of(place.channel, place.store))
    return frozenset[str]().union(*(sources.stock.sold_out(each) for each in places))


def _taste(
    permit: Permit, sensitive: frozenset[str], at: datetime, sources: Sources
) -> list[Liked]:
    """What the member bought and noticed, newer more than older; the weights add up to 1."""
    since = sources.history_since(at)
    history = sources.journal.history(permit, limit=HISTORY_BASKETS_MAX, since=since)
    weights: dict[str, float] = {}
    for age, (_, skus) in enumerate(reversed(taste_of(history, sensitive))):
        for sku in skus:
            weights[sku] = weights.get(sku, 0.0) + DECAY_PER_BASKET**age
    for signal in sources.feedback.signals(permit, since=since):
        if signal.sku not in sensitive:
            weights[signal.sku] = weights.get(signal.sku, 0.0) + signal.strength
    best = heapq.nlargest(LIKED_MAX, ((w, sku) for sku, w in weights.items() if w > 0))
    return _liked(best, sources)


def _liked(best: Sequence[tuple[float, str]], sources: Sources) -> list[Liked]:
    products = sources.catalogue.products([sku for _, sku in best])
    whole = sum(weight for weight, _ in best)
    liked = []
    for weight, sku in best:
        product = products.get(sku)
        words = (product.name, product.category, product.brand) if product else ()
        liked.append(Liked(weight / whole, sku, *words))
    return liked
