"""The pages for the shop in a real browser: readable, reachable, narrow, and loading nothing."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from bson import ObjectId

from loyalty.access import model as keys
from loyalty.kit.clock import now

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from app import Parts
    from tests.builders import Api

SHOTS = os.environ.get("CARNET_SCREENSHOTS")
PAGES = {"counts": "/v1/consents/counts", "register": "/v1/privacy/register"}


def furnish(api: Api, parts: Parts) -> None:
    """A controller, keys that are shown data, and a month of decisions."""
    controller = {"name": "Meadow Grocers SARL", "contact": "privacy@meadow.example, Paris"}
    api.put("/v1/privacy/register/controller", controller, expect=200)
    for name, scope in (("E-mail tool", "messages:read"), ("Back office", "privacy:read")):
        parts.keys.add(keys.mint(name, frozenset({scope}), at=now(), channel=None, store=None)[0])
    flags = (
        ("personalisation", None, "form"),
        ("marketing", "email", "form"),
        ("marketing", "sms", "till"),
        ("staff_view", None, "call"),
    )
    documents = []
    for day in range(30):
        for number in range(3 + day * 7 % 11):
            purpose, channel, method = flags[(day * 3 + number) % 4]
            status = ("granted", "granted", "granted", "refused", "withdrawn")[number % 5]
            decision = {"purpose": purpose, "channel": channel, "status": status, "granted": False}
            record_id = ObjectId()
            documents.append(
                {
                    "_id": record_id,
                    "member": f"m_{record_id}",
                    "seq": 1,
                    "decisions": [decision],
                    "flags": {},
                    "method": method,
                    "recorded_at": now() - timedelta(days=day),
                }
            )
    parts.database["consents"].insert_many(documents)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("look", [(1280, "light"), (360, "light"), (1280, "dark")], ids=str)
def test_a_page_can_be_read_by_everybody(
    api: Api, parts: Parts, browser: Browser, name: str, look: tuple[int, Any]
) -> None:
    width, scheme = look
    furnish(api, parts)
    html = api.get(PAGES[name], headers={"Accept": "text/html"}, expect=200).get_data(as_text=True)
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_content(html)
    found = Axe().run(page)
    if SHOTS:
        shot = Path(SHOTS) / f"{name}-{width}-{scheme}.png"
        page.screenshot(path=shot, full_page=True)
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    page.close()
    assert found.violations_count == 0, found.generate_report()
    assert overflow <= 0
    assert asked == []
