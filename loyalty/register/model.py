"""What stands in the register: purposes, categories of data, and which collection holds what.

Every collection of the database is in `COLLECTIONS`; a test fails on one that is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty.consent.purposes import Purpose as Configured

MEMBERS = "members of the loyalty programme"


class Purpose(NamedTuple):
    """One reason for which personal data is used, as the register shows it.

    Args:
        name: what views and permits call it.
        text: what it is for.
        basis: `consent`, `contract`, `legal_obligation` or `legitimate_interest`.
        article: of the GDPR.
        channels: those it is agreed to one by one.
        categories: names in `CATEGORIES` of what it uses.
    """

    name: str
    text: str
    basis: str
    article: str
    channels: tuple[str, ...]
    categories: tuple[str, ...]


class Category(NamedTuple):
    """A category of data.

    Args:
        text: what it is.
        rule: the rule of retention that ends it; "" if another one does, as `kept` says.
        kept: for how long, in words; a rule's period stands before it.
        is_personal: whether it is about members.
        protection: how it is kept from those whom it does not concern.
    """

    text: str
    rule: str = ""
    kept: str = ""
    is_personal: bool = True
    protection: str = "readable only by keys with the scope for it"


_SEALED = "sealed under a key for each member, which an erasure destroys"
_MEMBERSHIP = "while the membership lasts"
_SHOP = "as long as the shop wants"
CATEGORIES: dict[str, Category] = {
    "identity": Category(
        "the member's number, cards, e-mail addresses, phone numbers and accounts on networks",
        "inactive_months",
        "without any activity; a provisional member's by a rule of its own",
        protection=f"found by a keyed hash; {_SEALED}",
    ),
    "profile": Category(
        "day and month of birth, segments, age for consents, language",
        "inactive_months",
        "without any activity",
        protection=_SEALED,
    ),
    "purchases": Category(
        "what was bought when, where and on which channel, returns, engagements",
        "inactive_months",
        "without any activity; recommendations use the newer part of it only. After an erasure "
        "amounts and points by day stay for the accounts, without any link to a person",
    ),
    "feedback": Category(
        "which products a member looked at, clicked, put aside, reviewed and was shown",
        "feedback_months",
        "at most; kept with the consent to personalisation only, and used only while it holds",
    ),
    "points": Category(
        "points, tiers, redemptions, gifts of points",
        "inactive_months",
        "without any activity; see purchases",
    ),
    "household": Category(
        "who shares points with whom, and the household's name",
        kept=_MEMBERSHIP,
        protection=_SEALED,
    ),
    "referrals": Category("who brought whom", kept=_MEMBERSHIP),
    "coupons": Category("which coupon a member used when", kept=_MEMBERSHIP),
    "consents": Category(
        "what was agreed to, refused and withdrawn, how, when and on which notice",
        "inactive_months",
        "without any activity, as proof (Art. 7(1)); chained by hashes",
        protection=f"append-only; evidence {_SEALED}",
    ),
    "requests": Category(
        "requests to exercise rights, and one-time codes as keyed hashes",
        "requests_months",
        "after the answer; of an erasure the certificate stays, without what was erased",
        protection=_SEALED,
    ),
    "picks": Category(
        "products chosen for members who agreed to marketing, for the shop's e-mail tool; no "
        "addresses",
        kept="for 24 hours",
        protection="sealed under a key for each export, which is destroyed when it expires",
    ),
    "messages": Category(
        "what the shop's e-mail tool is to send: links, codes, warnings",
        "messages_days",
        "at most, or until each expires",
        protection=_SEALED,
    ),
    "access": Category(
        "which key was shown which member's data, for which purpose and how often",
        "access_log_days",
        "after the last look of a day",
    ),
    "retention": Category(
        "when an inactive member was warned", kept="until the member is active again or erased"
    ),
    "keys": Category(
        "the key under which each member's data is sealed, itself sealed by the master key",
        kept="until the erasure, which destroys it first; backed up apart from the data",
        protection="wrapped by a master key from a file or a key management service",
    ),
    "jobs": Category(
        "long-running work and its results; no names in them", "jobs_days", "after it finished"
    ),
    "counts": Category(
        "how many decisions there were, by purpose, channel, method and status, without members",
        kept=_SHOP,
        is_personal=False,
    ),
    "catalogue": Category(
        "products, stores, stock, rewards, rules of what is shown", kept=_SHOP, is_personal=False
    ),
    "programme": Category("rules and their versions, budgets", kept=_SHOP, is_personal=False),
    "models": Category(
        "what goes with what and what is popular, learnt from members who agreed: products only",
        kept="the newest few",
        is_personal=False,
    ),
    "configuration": Category(
        "API keys as hashes, notices, purposes, rules of retention, experiments, tills' last "
        "numbers, what trainings have spent of the privacy budget",
        kept=_SHOP,
        is_personal=False,
    ),
}
# What of these words another module calls otherwise.
ALIASES = {"contact": "identity", "browsing": "feedback", "social": "purchases"}

# Collection -> categories. `vault:` stands before those of the keys' own database.
COLLECTIONS: dict[str, tuple[str, ...]] = {
    "members": ("identity", "profile", "referrals"),
    "identifiers": ("identity",),
    "peppers": ("configuration",),
    "journal": ("purchases", "points"),
    "consents": ("consents",),
    "consent_checkpoints": ("counts",),
    "consent_counts": ("counts",),
    "consent_erasures": ("counts",),
    "notices": ("configuration",),
    "purposes": ("configuration",),
    "households": ("household",),
    "household_members": ("household",),
    "reward_takings": ("points",),
    "reward_counters": ("catalogue",),
    "rewards": ("catalogue",),
    "coupon_campaigns": ("catalogue",),
    "coupon_batches": ("catalogue",),
    "coupon_uses": ("coupons",),
    "coupon_conflicts": ("coupons",),
    "messages": ("messages",),
    "picks_exports": ("configuration",),
    "picks_parts": ("picks",),
    "access_log": ("access",),
    "feedback": ("feedback",),
    "experiments": ("configuration",),
    "retention": ("configuration",),
    "retention_warnings": ("retention",),
    "privacy_requests": ("requests",),
    "identity_codes": ("requests",),
    "jobs": ("jobs",),
    "model_versions": ("models",),
    "model_current": ("models",),
    "models.files": ("models",),
    "models.chunks": ("models",),
    "tills": ("configuration",),
    "keys": ("configuration",),
    "meta": ("configuration",),
    "register": ("configuration",),
    "products": ("catalogue",),
    "stores": ("catalogue",),
    "stock": ("catalogue",),
    "merchandising": ("catalogue",),
    "program_versions": ("programme",),
    "budgets": ("programme",),
    "privacy_ledger": ("configuration",),
    "vault:keys": ("keys",),
    "vault:erasures": ("requests",),
    "vault:peppers": ("configuration",),
    "vault:rotations": ("configuration",),
}


def purposes(known: Mapping[str, Configured]) -> list[Purpose]:
    """Every purpose as the register shows it, as the shop has configured it."""
    return [
        Purpose(
            each.name,
            each.text("en").description,
            each.basis,
            each.article,
            each.channels,
            tuple(dict.fromkeys(ALIASES.get(name, name) for name in each.data)),
        )
        for each in known.values()
    ]


MEASURES = (
    "Personal fields are encrypted in the application (AEAD, AES-256) under a key for each member.",
    "Those keys lie in a database of their own, wrapped by the master key and backed up apart.",
    "An erasure destroys the member's key first, then every document, and is certified.",
    "Members are found by keyed hashes of their identifiers, whose secret can be rotated.",
    "API keys are kept as hashes, with scopes, channel and store.",
    "A browser gets a token for one member, for fifteen minutes at most, and never a key.",
    "Consent is read live in every request; unknown means no.",
    "Who was shown whose data is kept, and each member can read it.",
    "Nothing personal stands in an address, a log, a metric or an error.",
    "Facts and consent records are only ever appended; consent records are chained by hashes.",
    "No vector of a person is stored; what is shared between people is k-anonymous.",
)
