"""Awarding over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.builders import purchase_body

if TYPE_CHECKING:
    from tests.builders import Api


def test_a_retry_gets_the_same_answer_and_awards_nothing(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    body = purchase_body(member, 2190)
    first = shop.post("/v1/purchases", body, expect=201)
    again = shop.post("/v1/purchases", body, expect=201)
    assert again.data == first.data
    assert again.headers["Idempotent-Replay"] == "true"
    assert "Idempotent-Replay" not in first.headers
    assert shop.balance(member) == 21
