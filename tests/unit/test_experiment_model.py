"""Who gets which variant: stable, in proportion, and nobody is moved without need."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from recommend.experiments.model import (
    FREE,
    SLOTS,
    Experiment,
    ExperimentFixedError,
    Variant,
    Wish,
    allot,
    assigned,
    changed,
    made,
    slot_of,
)
from recommend.experiments.statistics import share_mismatch
from recommend.feedback.model import origin_of, recommendation_id

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MEMBERS = [f"m_{number:032x}" for number in range(1500)]
SHARES = st.lists(st.integers(0, 40), min_size=2, max_size=5).filter(lambda each: sum(each) <= 100)


def wish(*shares: int, **overrides: object) -> Wish:
    variants = tuple(Variant(name, share) for name, share in zip("abcdef", shares, strict=False))
    blank = Wish(variants, "conversion", 14, "running", None, None)
    return blank._replace(**overrides)  # type: ignore[arg-type]


def running(*shares: int) -> Experiment:
    return made("test", wish(*shares), "a salt of its own", at=NOW)


def names(experiment: Experiment) -> dict[str, str | None]:
    found = ((member, assigned(experiment, member)) for member in MEMBERS)
    return {member: variant.name if variant else None for member, variant in found}


def test_a_member_has_one_place_which_the_salt_decides() -> None:
    # HMAC-SHA256, its first 64 bits in hundredths: no release may move anybody.
    assert [slot_of("salt-one", member) for member in MEMBERS[:4]] == [89, 58, 84, 16]
    other = [slot_of("salt-two", member) for member in MEMBERS]
    same = sum(slot_of("salt-one", m) == place for m, place in zip(MEMBERS, other, strict=True))
    assert same / len(MEMBERS) < 0.03


@examples(max_examples=40)
@given(shares=SHARES, salt=st.text(min_size=8, max_size=20))
def test_each_variant_gets_its_share(shares: list[int], salt: str) -> None:
    experiment = made("test", wish(*shares), salt, at=NOW)
    counts = Counter(names(experiment).values())
    rest = SLOTS - sum(shares)
    due = dict(zip([*"abcdef"[: len(shares)], None], [*shares, rest], strict=True))
    seen = [counts[name] for name in due]
    assert sum(seen) == len(MEMBERS)
    # With so many examples one in ten thousand is no surprise, and one in a billion is.
    assert share_mismatch(seen, list(due.values())) > 1e-9
    assert all(share or not counts[name] for name, share in due.items())


@given(before=SHARES, data=st.data())
def test_who_need_not_move_does_not(before: list[int], data: st.DataObject) -> None:
    after = data.draw(SHARES.filter(lambda each: len(each) >= len(before)))
    slots = allot([FREE] * SLOTS, before)
    fresh = allot(slots, after)
    assert [fresh.count(position) for position in range(len(after))] == after
    for old, new in zip(slots, fresh, strict=True):
        has_shrunk = old != FREE and after[old] < before[old]
        has_grown = new != FREE and after[new] > ([*before, 0, 0, 0][new])
        assert old == new or ((old == FREE or has_shrunk) and (new == FREE or has_grown))


@examples(max_examples=25)
@given(share=st.integers(1, 39), more=st.integers(1, 20))
def test_a_variant_that_grows_only_gains_members(share: int, more: int) -> None:
    before = running(40, share)
    after = changed(before, wish(40, share + more), at=NOW)
    old, new = names(before), names(after)
    assert all(new[member] == name for member, name in old.items() if name is not None)
    assert {new[m] for m in MEMBERS if new[m] != old[m]} <= {"b"}
    assert after.is_resized


def test_variants_listed_in_another_order_keep_their_members() -> None:
    before = made("test", wish(30, 30, status="draft"), "salt", at=NOW)
    turned = wish(30, 30, status="draft")
    turned = turned._replace(variants=turned.variants[::-1])
    assert names(changed(before, turned, at=NOW)) == names(before)


def test_the_same_again_is_no_change() -> None:
    before = running(50, 50)
    assert changed(before, wish(50, 50), at=NOW + timedelta(days=1)) is not None
    assert changed(before, wish(50, 50), at=NOW + timedelta(days=1)) == before


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (wish(50, 50, metric="revenue"), "metric"),
        (wish(50, 50, window_days=7), "window_days"),
        (wish(50, 50, salt="another one"), "salt"),
        (wish(50, 50, starts_at=NOW), "starts_at"),
        (wish(50, 50, status="draft"), "status"),
        (wish(50, 30, 20), "variants"),
    ],
)
def test_the_question_is_fixed_once_answers_come_in(other: Wish, field: str) -> None:
    before = running(50, 50)
    with pytest.raises(ExperimentFixedError) as met:
        changed(before, other, at=NOW)
    assert met.value.errors[0].field == field
    draft = made("test", wish(50, 50, status="draft"), "salt", at=NOW)
    assert changed(draft, other, at=NOW).metric == other.metric


def test_what_is_stopped_stays_so() -> None:
    stopped = changed(running(50, 50), wish(50, 50, status="stopped"), at=NOW)
    assert stopped.stopped_at == NOW
    assert not stopped.is_live(NOW)
    for other in (wish(50, 50), wish(40, 50, status="stopped")):
        with pytest.raises(ExperimentFixedError):
            changed(stopped, other, at=NOW)


def test_it_is_live_between_its_times() -> None:
    day = timedelta(days=1)
    experiment = made("test", wish(50, 50, starts_at=NOW, ends_at=NOW + day), "salt", at=NOW)
    moments = (NOW - day, NOW, NOW + day / 2, NOW + day)
    assert [experiment.is_live(at) for at in moments] == [False, True, True, False]


@given(experiment=st.from_regex(r"\A[a-z][a-z0-9_-]{0,63}\Z"), variant=st.sampled_from("ab"))
def test_an_answers_id_names_its_variant_and_nothing_else(experiment: str, variant: str) -> None:
    assert origin_of(recommendation_id((experiment, variant), "0" * 16)) == (experiment, variant)
    assert origin_of(recommendation_id(None, "0" * 16)) is None
