"""Consent receipts in the form of ISO/IEC TS 27560:2023, as JSON-LD in the terms of DPV 2.

The receipt gives the person a copy of the whole record, as the DPV's guide to 27560 has it
(https://w3id.org/dpv/guides/consent-27560). Clause by clause:

- 6.4.5, receipt metadata: the receipt's id, and the schema that it follows;
- 6.4.6, receipt content: the record as a whole;
- 6.3.3, record header: schema version, record id, principal id;
- 6.3.4, PII processing: notice, language, purpose, lawful basis, controllers, storage locations,
  retention, jurisdiction, recipients, withdrawal method, rights;
- 6.3.5, PII information: the categories of data;
- 6.3.6, party identification: who the controller is;
- 6.3.7, events: state, time, how it was indicated and by whom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.consent.model import GRANTED, OBJECTED, PENDING, REFUSED, WITHDRAWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loyalty.consent.model import Change, Record, Status
    from loyalty.consent.notices import Notice
    from loyalty.consent.purposes import Purpose

CONTENT_TYPE = "application/ld+json"
SCHEMA = "https://w3id.org/dpv/schema/dpv-27560"
CONTEXT = {
    "dpv": "https://w3id.org/dpv#",
    "pd": "https://w3id.org/dpv/pd#",
    "loc": "https://w3id.org/dpv/loc#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "dct": "http://purl.org/dc/terms/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "schema": "https://schema.org/",
    "carnet": "urn:carnet:",
}
# An objection is no state of a consent: what it leaves is a withdrawn one.
STATES: Mapping[Status, str] = {
    GRANTED: "dpv:ConsentGiven",
    REFUSED: "dpv:ConsentRefused",
    WITHDRAWN: "dpv:ConsentWithdrawn",
    OBJECTED: "dpv:ConsentWithdrawn",
    PENDING: "dpv:ConsentRequested",
}
PERSONAL_DATA = {
    "purchases": "pd:PurchasesAndSpendingHabit",
    "browsing": "pd:BrowsingBehavior",
    "contact": "pd:Contact",
    "social": "pd:SocialMedia",
    "identity": "pd:Identifying",
    "household": "pd:Household",
    "points": "pd:Account",
}


class Controller(NamedTuple):
    """Who answers for the processing: where to reach it, what it is called, and in which country.

    What the shop has not said is empty, and then no receipt says it.
    """

    url: str
    name: str = ""
    contact: str = ""
    country: str = ""

    @property
    def locations(self) -> list[str]:
        """The country as a term of the DPV's, if it is known."""
        return [f"loc:{self.country}"] if self.country else []


class ControllerBook(NamedTuple):
    """Knows who the controller is at this moment: a shop may say it at any time.

    `url` is where browsers reach the pages; `read` gives what the register knows.
    """

    url: str
    read: Callable[[], Mapping[str, Any]]

    def controller(self) -> Controller:
        """Who answers for the processing now."""
        known = self.read()
        said = {name: known[name] for name in ("name", "contact", "country") if name in known}
        return Controller(self.url, **said)


def receipt_of(
    record: Record,
    *,
    notice: Notice | None,
    purposes: Mapping[str, Purpose],
    controller: Controller,
) -> dict[str, Any]:
    """The receipt of a record.

    Args:
        record: what was decided.
        notice: what the member had read, if the record names it.
        purposes: by name.
        controller: who answers for it.
    """
    return {
        "@context": CONTEXT,
        "@id": f"carnet:receipt:{record.id}",
        "@type": "dpv:ConsentReceipt",
        "dct:identifier": f"receipt-{record.id}",
        "dct:conformsTo": f"{SCHEMA}#receipt",
        "dct:created": record.recorded_at,
        "dct:publisher": {"@id": controller.url},
        "schema:recipient": "dpv:DataSubject",
        "dpv:hasRecordOfActivity": _record(record, notice, purposes, controller),
    }


def _record(
    record: Record, notice: Notice | None, purposes: Mapping[str, Purpose], controller: Controller
) -> dict[str, Any]:
    return {
        "@id": f"carnet:record:{record.id}",
        "@type": "dpv:ConsentRecord",
        "dct:identifier": record.id,
        "dct:conformsTo": f"{SCHEMA}#record",
        "dct:created": record.recorded_at,
        "dct:language": record.language or "en",
        "dpv:hasDataSubject": {"@type": "dpv:Customer", "dct:identifier": record.member_id},
        "dpv:hasDataController": _party(controller),
        "dpv:hasJurisdiction": controller.locations,
        "dpv:hasApplicableLaw": ["eu-gdpr:GDPR"],
        "dpv:hasNotice": _notice(record, notice),
        "dpv:hasProcess": [
            _process(each, record, purposes, controller) for each in record.decisions
        ],
        "dpv:hasRight": [
            "eu-gdpr:A7-3",
            "eu-gdpr:A15",
            "eu-gdpr:A17",
            "eu-gdpr:A21",
            "eu-gdpr:A77",
        ],
        "carnet:sha256": record.hash,
        "carnet:previous": record.previous,
    }


def _party(controller: Controller) -> dict[str, Any]:
    terms = {"dpv:hasName": controller.name, "dpv:hasContact": controller.contact}
    said = {term: text for term, text in terms.items() if text}
    return {"@id": controller.url, "@type": "dpv:DataController", **said}


def _notice(record: Record, notice: Notice | None) -> dict[str, Any] | None:
    if notice is None:
        return None
    return {
        "@type": "dpv:ConsentNotice",
        "dct:identifier": notice.version,
        "dct:language": record.language,
        "dct:issued": notice.published_at,
        "carnet:sha256": notice.sha256.get(record.language or ""),
    }


def _process(
    change: Change, record: Record, purposes: Mapping[str, Purpose], controller: Controller
) -> dict[str, Any]:
    purpose = purposes.get(change.purpose)
    retention = purpose.retention if purpose else ""
    is_shared = change.purpose == "sharing"
    return {
        "@type": "dpv:Process",
        "dpv:hasPurpose": _purpose(change, purpose, record.language or "en"),
        "dpv:hasLegalBasis": f"eu-gdpr:{_article(purpose)}",
        "dpv:hasPersonalData": [PERSONAL_DATA.get(each, each) for each in purpose.data]
        if purpose
        else [],
        "dpv:hasStorageCondition": [
            *(
                {"@type": "dpv:StorageLocation", "dpv:hasLocation": each}
                for each in controller.locations
            ),
            {"@type": "dpv:StorageDuration", "dpv:hasDuration": retention},
        ],
        "dpv:hasRecipient": [controller.url, *(["dpv:ThirdParty"] if is_shared else [])],
        "dpv:hasConsentControl": {
            "@type": "dpv:WithdrawConsent",
            "dpv:isExercisedAt": controller.url,
        },
        "dpv:hasConsentStatus": [_event(change, record)],
    }


def _purpose(change: Change, purpose: Purpose | None, language: str) -> dict[str, Any]:
    channel = {"carnet:channel": change.channel} if change.channel else {}
    if purpose is None:
        return {"@type": "dpv:Purpose", "dct:identifier": change.purpose, **channel}
    text = purpose.text(language)
    return {
        "@type": purpose.dpv,
        "dct:identifier": change.purpose,
        "skos:prefLabel": text.title,
        "skos:definition": text.description,
        **channel,
    }


def _article(purpose: Purpose | None) -> str:
    """`6(1)(a)` as the DPV's extension for the GDPR names it: `A6-1-a`."""
    text = purpose.article if purpose else "6(1)(a)"
    return "A" + text.replace(")(", "-").replace("(", "-").rstrip(")")


def _event(change: Change, record: Record) -> dict[str, Any]:
    is_guardian = record.method == "guardian"
    ends = {"@type": "dpv:UntilTimeDuration", "rdf:value": change.expires_at}
    return {
        "@type": [STATES[change.status], "dpv:ExpressedConsent"],
        "dpv:isIndicatedAtTime": record.decided_at,
        "dpv:isIndicatedBy": "dpv:GuardianOfDataSubject" if is_guardian else "dpv:DataSubject",
        "dpv:hasIndicationMethod": record.method,
        "dpv:isExercisedAt": record.method,
        **({"dpv:hasDuration": ends} if change.expires_at and change.granted else {}),
    }
