"""The preference centre inside the shop's own page: only where the shop said so."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from werkzeug.serving import make_server

from loyalty.kit.clock import now
from tests.browser.conftest import Quiet, serve, stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from playwright.sync_api import Frame, Page

    from app import Parts
    from loyalty.kit.settings import Settings
    from tests.browser.conftest import Site

# What docs/preferences.md tells a shop to write.
EMBEDDING = """<!doctype html><html lang="en"><title>Shop</title>
<iframe name="preferences" title="Your data and your choices"></iframe>
<form method="post" action="{url}/preferences" target="preferences">
<input type="hidden" name="token" value="{token}"><button>Show</button></form>"""


class Shop:
    """A web shop on an origin of its own, with one page."""

    html = ""

    def __call__(self, _: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The page."""
        start_response("200 OK", [("Content-Type", "text/html")])
        return [self.html.encode()]


@pytest.fixture
def shop() -> Iterator[tuple[Shop, str]]:
    """The shop, and its origin."""
    shop = Shop()
    server = make_server("127.0.0.1", 0, shop, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield shop, f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def embeddable(settings: Settings, parts: Parts, shop: tuple[Shop, str]) -> Iterator[Site]:
    """The service, which lets that shop embed it."""
    site, served = serve(replace(settings, embed_origins=(shop[1],)), parts)
    yield site
    stop(site, served)


def embedded(page: Page, site: Site, shop: tuple[Shop, str]) -> Frame:
    """The frame in the shop's page after the member pressed its button."""
    member = site.api.enrol()
    token = site.parts.tokens.mint(member, at=now(), seconds=60)
    shop[0].html = EMBEDDING.format(url=site.url, token=token)
    page.goto(shop[1])
    with page.expect_event("framenavigated", lambda each: each.name == "preferences"):
        page.click("button")
    frame = page.frame("preferences")
    assert frame
    frame.wait_for_load_state()
    return frame


def test_the_shop_shows_it_in_a_frame_and_it_works(
    page: Page, embeddable: Site, shop: tuple[Shop, str]
) -> None:
    frame = embedded(page, embeddable, shop)
    assert frame.locator("h1").inner_text() == "Your choices"
    frame.check("#f-analytics-all-yes", force=True)
    with frame.expect_navigation():
        frame.click(".choices > .actions .main")
    assert "Saved" in frame.locator("[role=status]").inner_text()
    assert page.context.cookies() == []


def test_nobody_else_may(page: Page, site: Site, shop: tuple[Shop, str]) -> None:
    frame = embedded(page, site, shop)
    assert frame.locator("h1", has_text="Your choices").count() == 0
    assert frame.url.startswith("chrome-error:")
