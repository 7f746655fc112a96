"""The same rows say the same in every form, and no text of a product becomes a formula."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.catalogue.model import Price, Product, Restrictions
from loyalty.kit.sheets import FORMULA_STARTS
from recommend.bulk import formats
from recommend.bulk.formats import csv_pieces, decimal_of, encoded, header_of, parquet_pieces
from recommend.bulk.model import Draft, Item, Question, Row
from recommend.bulk.stream import items_of, tagged
from recommend.dataset import build
from recommend.model import Pick, Settings, train
from recommend.selection import Terms

MAIL = Question("email", 2, campaign="spring")
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
ITEMS = st.builds(
    Item,
    sku=TEXTS,
    score=st.floats(0, 9),
    name=st.none() | TEXTS,
    price=st.none() | st.builds(Price, st.integers(0, 10**9), st.sampled_from(["EUR", "JPY"])),
    image_url=st.none() | st.just("https://shop.example/a.png"),
    url=st.none() | st.just("https://shop.example/a?b=c&d"),
    because=TEXTS,
)
ROWS = st.builds(
    Row,
    member_id=st.just("m_" + "a" * 32),
    address=st.none() | TEXTS,
    personalised=st.booleans(),
    reason=st.sampled_from(["consent", "no_consent"]),
    model_version=st.none() | st.just("20260301T020000000Z"),
    campaign=st.none() | st.just("spring"),
    unsubscribe_url=st.just("https://shop.example/unsubscribe/x"),
    items=st.lists(ITEMS, max_size=2).map(tuple),
    cursor=st.just("abc"),
)


def as_csv(rows: list[Row], question: Question = MAIL) -> list[dict[str, str]]:
    text = b"".join(csv_pieces(rows, question)).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def as_parquet(rows: list[Row]) -> list[dict[str, Any]]:
    file = io.BytesIO(b"".join(parquet_pieces(rows, MAIL, list)))
    found: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return found


def as_ndjson(rows: list[Row]) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in encoded("ndjson", rows, MAIL, list)]


def nested(row: dict[str, Any]) -> dict[str, Any]:
    """A row of Parquet in the shape of NDJSON."""
    items = []
    for item in row["items"]:
        amount, currency = item.pop("price_amount"), item.pop("price_currency")
        price = None if amount is None else {"amount": amount, "currency": currency}
        items.append({**item, "price": price})
    return {**row, "items": items}


@given(st.lists(ROWS, max_size=4))
def test_parquet_says_what_ndjson_says(rows: list[Row]) -> None:
    assert [nested(each) for each in as_parquet(rows)] == as_ndjson(rows)


@given(st.lists(ROWS, max_size=4))
def test_csv_says_the_same_but_for_the_quote_before_a_formula(rows: list[Row]) -> None:
    for flat, row in zip(as_csv(rows), rows, strict=True):
        assert flat["member_id"] == row.member_id
        assert flat["personalised"] == str(row.personalised).lower()
        assert bare(flat["email"]) == bare(row.address or "")
        for number in (1, 2):
            item = row.items[number - 1] if len(row.items) >= number else None
            for name in ("sku", "name", "because"):
                said = getattr(item, name) if item else None
                assert flat[f"pick_{number}_{name}"] in (said or "", f"'{said}")
            assert flat[f"pick_{number}_url"] == ((item.url if item else None) or "")


def bare(text: str) -> str:
    return text.removeprefix("'")


@given(st.lists(ROWS, min_size=1, max_size=3))
def test_no_cell_is_a_formula(rows: list[Row]) -> None:
    for flat in as_csv(rows):
        for name, text in flat.items():
            begins = text.lstrip(" \u00a0\ufeff")[:1] or text[:1]
            is_number = name == "email" and formats._PHONE.match(text)
            assert not begins or begins not in FORMULA_STARTS or is_number, (name, text)


def row_of(**more: Any) -> Row:
    base: dict[str, Any] = {
        "member_id": "m_" + "0" * 32,
        "address": None,
        "personalised": False,
        "reason": "no_consent",
        "model_version": None,
        "campaign": None,
        "unsubscribe_url": "https://shop.example/unsubscribe/x",
        "items": (),
        "cursor": "abc",
    }
    return Row(**{**base, **more})


def test_a_phone_number_stays_one_that_tools_can_dial() -> None:
    question = Question("sms", 1)
    [found] = as_csv([row_of(address="+4930901820")], question)
    assert found["phone"] == "+4930901820"
    for text in ("+1+cmd", "=4930901820", "+49 30", "+"):
        assert as_csv([row_of(address=text)], question)[0]["phone"] == f"'{text}"


def test_an_empty_audience_is_a_header_and_a_schema() -> None:
    assert b"".join(csv_pieces([], MAIL)).decode().count("\r\n") == 1
    assert pq.read_table(io.BytesIO(b"".join(parquet_pieces([], MAIL, list)))).schema.equals(
        formats.PARQUET_SCHEMA
    )
    assert as_ndjson([]) == []


def test_the_columns_depend_on_nothing_but_the_channel_and_the_limit() -> None:
    assert header_of(Question("email", 1)) == [
        "member_id",
        "email",
        "personalised",
        "reason",
        "pick_1_sku",
        "pick_1_name",
        "pick_1_price",
        "pick_1_currency",
        "pick_1_image_url",
        "pick_1_url",
        "pick_1_because",
        "unsubscribe_url",
        "campaign",
        "model_version",
        "cursor",
    ]
    assert len(header_of(Question("sms", 100))) == 8 + 700
    assert [header_of(Question(each, 1))[1] for each in ("sms", "push")] == ["phone", "address"]


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (Price(119, "EUR"), "1.19"),
        (Price(5, "EUR"), "0.05"),
        (Price(0, "EUR"), "0.00"),
        (Price(119, "JPY"), "119"),
        (Price(1234, "KWD"), "1.234"),
    ],
)
def test_a_price_is_written_with_the_places_of_its_currency(price: Price, text: str) -> None:
    assert decimal_of(price) == text


def test_row_groups_are_bounded_and_asked_about_before_they_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(formats, "GROUP_ROWS", 10)
    rows = [row_of(member_id=f"m_{number:032x}") for number in range(35)]
    asked: list[int] = []

    def confirm(some: Any) -> list[Row]:
        asked.append(len(some))
        return [each for each in some if each.member_id != rows[12].member_id]

    whole = b"".join(parquet_pieces(rows, MAIL, confirm))
    file = pq.ParquetFile(io.BytesIO(whole))
    assert asked == [10, 10, 10, 5]
    assert [file.metadata.row_group(n).num_rows for n in range(4)] == [10, 9, 10, 5]


@pytest.mark.parametrize(("limit", "size"), [(5, 1024), (100, 81)])
def test_a_group_is_smaller_where_rows_are_wide(limit: int, size: int) -> None:
    asked: list[int] = []

    def confirm(some: Any) -> list[Row]:
        asked.append(len(some))
        return []

    list(parquet_pieces([row_of()] * 1100, Question("email", limit), confirm))
    assert asked[0] == size


def test_a_row_is_drawn_only_when_it_is_wanted() -> None:
    drawn: list[int] = []

    def rows() -> Any:
        for number in range(5):
            drawn.append(number)
            yield row_of()

    for form in ("ndjson", "csv"):
        drawn.clear()
        pieces = iter(encoded(form, rows(), MAIL, list))
        next(pieces)
        assert len(drawn) <= 1


@pytest.mark.parametrize(
    ("url", "tag"),
    [
        ("https://s.example/a", "https://s.example/a?utm_source=carnet&utm_medium=email&utm_campaign=spring"),
        (
            "https://s.example/a?x=1#top",
            "https://s.example/a?x=1&utm_source=carnet&utm_medium=email&utm_campaign=spring#top",
        ),
        (
            "https://s.example/a?utm_campaign=own",
            "https://s.example/a?utm_campaign=own&utm_source=carnet&utm_medium=email",
        ),
    ],
)  # fmt: skip
def test_a_campaign_stands_in_the_links_and_the_shops_own_tags_stay(url: str, tag: str) -> None:
    assert tagged(url, MAIL) == tag
    assert tagged(url, Question("email", 2)) == url


def test_what_speaks_for_a_pick_is_named_unless_it_is_sensitive() -> None:
    products = {sku: Product(sku, sku.title()) for sku in ("tea", "pills", "milk", "gone")}
    restrictions = Restrictions(frozenset({"gone"}), frozenset({"pills"}), frozenset())

    def said(*because: str, sku: str = "tea") -> list[str]:
        draft = Draft("m_1", "consent", None, [Pick(sku, 1.0, "collaborative", because)])
        terms, model = Terms(restrictions), train(build([]), Settings())
        return [each.because for each in items_of(draft, products, terms, MAIL, model)]

    assert said("milk", "gone") == ["Because you bought Milk"]
    assert said("pills", "milk") == ["Because you bought Milk"]
    assert said("pills", "unknown") == said() == ["Goes with what you buy"]
    assert said("milk", sku="gone") == []
