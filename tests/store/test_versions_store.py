"""Programme versions: the first rules all the past, later ones never reach into it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.members.model import KeyReusedError
from loyalty.program.document import ProgramSchema
from loyalty.versions import service
from loyalty.versions.model import InvalidProgramError, NoProgramError, PastStartError, Version
from loyalty.versions.service import VERSION_SECONDS_MAX, ProgramShelf
from loyalty.versions.store import VersionExistsError
from tests.builders import BASE_RULE, NOON, dump, program_document

if TYPE_CHECKING:
    from app import Parts
    from loyalty.versions.service import Published

HOUR = timedelta(hours=1)
LONG_AGO = datetime(1990, 1, 2, tzinfo=UTC)


def loaded(**change: Any) -> dict[str, Any]:
    """A document as the schema loads it."""
    document: dict[str, Any] = ProgramSchema().load(program_document(**change))
    return document


class Shop:
    """Publishes programmes; `clock` is what its shelf takes for the time that passes."""

    def __init__(self, parts: Parts) -> None:
        self.clock = 0.0
        self.shelf = ProgramShelf(parts.versions, monotonic=lambda: self.clock)

    def publish(
        self,
        name: str = "Shop",
        *,
        at: datetime = NOON,
        starts_at: datetime | None = None,
        request_key: str | None = None,
        **change: Any,
    ) -> Published:
        return service.publish(
            loaded(name=name, **change),
            starts_at=starts_at,
            at=at,
            by="tests",
            request_key=request_key,
            shelf=self.shelf,
        )

    def ruling(self, at: datetime) -> str:
        return self.shelf.at(at).name


@pytest.fixture
def shop(parts: Parts) -> Shop:
    return Shop(parts)


def test_nothing_rules_before_the_first_version(shop: Shop) -> None:
    with pytest.raises(NoProgramError):
        shop.shelf.at(NOON)
    assert shop.shelf.all() == []


def test_the_first_version_rules_all_the_past(shop: Shop) -> None:
    shop.publish("First", starts_at=NOON + HOUR)
    for at in (LONG_AGO, NOON, NOON + 2 * HOUR):
        assert shop.ruling(at) == "First"


def test_a_later_version_rules_from_its_start_and_never_before(shop: Shop) -> None:
    shop.publish("First")
    shop.publish("Second", starts_at=NOON + HOUR)
    assert shop.ruling(LONG_AGO) == shop.ruling(NOON) == "First"
    assert shop.ruling(NOON + HOUR - timedelta(milliseconds=1)) == "First"
    assert shop.ruling(NOON + HOUR) == "Second"
    assert [each.number for each in shop.shelf.all()] == [1, 2]


def test_without_a_start_a_version_rules_from_now(shop: Shop) -> None:
    shop.publish("First")
    second = shop.publish("Second", at=NOON + HOUR).version
    assert second.starts_at == NOON + HOUR
    assert shop.ruling(NOON) == "First"


def test_a_version_that_rules_from_now_waits_for_one_that_is_announced(shop: Shop) -> None:
    shop.publish("First")
    shop.publish("Easter", starts_at=NOON + 9 * HOUR)
    third = shop.publish("Third").version
    assert third.starts_at == NOON + 9 * HOUR
    assert shop.ruling(NOON + 8 * HOUR) == "First"
    assert shop.ruling(NOON + 9 * HOUR) == "Third"


@pytest.mark.parametrize("early", [timedelta(milliseconds=1), timedelta(days=400)])
def test_a_version_may_not_start_in_the_past(shop: Shop, early: timedelta) -> None:
    shop.publish("First")
    with pytest.raises(PastStartError) as refusal:
        shop.publish("Second", starts_at=NOON - early)
    assert refusal.value.errors[0].field == "starts_at"
    assert len(shop.shelf.all()) == 1


def test_a_version_may_not_start_before_its_predecessor(shop: Shop) -> None:
    shop.publish("First")
    shop.publish("Second", starts_at=NOON + 2 * HOUR)
    with pytest.raises(PastStartError):
        shop.publish("Third", starts_at=NOON + HOUR)


def test_a_document_whose_parts_do_not_fit_is_refused_with_their_places(
    parts: Parts, shop: Shop
) -> None:
    before = dump(parts.database)
    with pytest.raises(InvalidProgramError) as refusal:
        shop.publish(time_zone="Mars/Base", rules=[BASE_RULE, BASE_RULE])
    assert [each.field for each in refusal.value.errors] == [
        "program.time_zone",
        "program.rules.1.id",
    ]
    assert refusal.value.detail == "program.time_zone: There is no time zone Mars/Base."
    assert dump(parts.database) == before


def test_a_version_reads_back_as_it_was_published(parts: Parts, shop: Shop) -> None:
    published = shop.publish("First", expires_after_months=6).version
    assert parts.versions.after(0) == [published]
    assert parts.versions.after(1) == []
    again = shop.publish("Second", starts_at=NOON + HOUR).version
    assert parts.versions.after(0) == [published, again]


def test_a_published_version_is_never_changed(parts: Parts, shop: Shop) -> None:
    version = shop.publish("First").version
    before = dump(parts.database)
    with pytest.raises(VersionExistsError):
        parts.versions.add(Version(1, loaded(name="Other"), NOON, NOON, "tests"))
    assert dump(parts.database) == before
    assert version.number == 1


def test_a_retry_is_the_same_version(shop: Shop) -> None:
    first = shop.publish("First", request_key="k1")
    again = shop.publish("First", request_key="k1", at=NOON + HOUR)
    assert (first.is_replay, again.is_replay) == (False, True)
    assert again.version == first.version
    with pytest.raises(KeyReusedError):
        shop.publish("Other", request_key="k1")
    with pytest.raises(KeyReusedError):
        shop.publish("First", request_key="k1", starts_at=NOON + HOUR)


def test_one_request_at_once_publishes_one_version(parts: Parts) -> None:
    with ThreadPoolExecutor(4) as workers:
        done = list(workers.map(lambda _: Shop(parts).publish(request_key="k1"), range(8)))
    assert {each.version.number for each in done} == {1}
    assert sum(not each.is_replay for each in done) == 1


def test_many_at_once_get_numbers_of_their_own(parts: Parts) -> None:
    with ThreadPoolExecutor(3) as workers:
        done = list(workers.map(lambda _: Shop(parts).publish(), range(6)))
    assert sorted(each.version.number for each in done) == [1, 2, 3, 4, 5, 6]


def test_every_worker_knows_a_new_version_within_half_a_second(parts: Parts, shop: Shop) -> None:
    shop.publish("First")
    other = Shop(parts)
    assert other.ruling(NOON) == "First"
    shop.publish("Second")
    other.clock += VERSION_SECONDS_MAX
    assert other.ruling(NOON) == "First"
    other.clock += 0.001
    assert other.ruling(NOON) == "Second"
    assert VERSION_SECONDS_MAX <= 0.5


def test_a_version_is_compiled_once(shop: Shop) -> None:
    shop.publish("First")
    compiled = shop.shelf.at(NOON)
    shop.clock += 60
    shop.publish("Second", starts_at=NOON + HOUR)
    assert shop.shelf.at(NOON) is compiled
