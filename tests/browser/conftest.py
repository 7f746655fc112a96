"""A real browser at the real service over the real database. Without a browser the tests fail."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from playwright.sync_api import sync_playwright
from pymongo.database import Database
from werkzeug.serving import WSGIRequestHandler, make_server

from app import create_app
from loyalty.access import model as keys
from loyalty.kit.clock import now
from tests.browser.chromium import find
from tests.browser.desk import SmallDesk
from tests.builders import Api, program_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page
    from werkzeug.serving import BaseWSGIServer

    from app import Parts
    from loyalty.kit.settings import Settings

# Nothing that a browser does on its own account reaches for the network.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
# Far above what any step takes: a page that hangs ends as a failure and not as a wait.
WAIT_MS_MAX = 30_000


class Quiet(WSGIRequestHandler):
    """Writes no line a request."""

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002
        pass


class Site(NamedTuple):
    """A service that a browser can reach, and what stands behind it."""

    url: str
    api: Api
    parts: Parts
    desk: SmallDesk
    settings: Settings

    def link(self, member: str, use: str = "preferences", **more: object) -> str:
        """A link of the API, as an e-mail would carry it."""
        body = {"use": use, **more}
        answer = self.api.post(f"/v1/members/{member}/links", body, expect=201)
        url: str = answer.get_json()["url"]
        return url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all: the system's, else the one that playwright installed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=list(QUIET))
        yield browser
        browser.close()


class Served(NamedTuple):
    """A running server, its thread and its settings."""

    server: BaseWSGIServer
    thread: threading.Thread
    settings: Settings


def serve(settings: Settings, parts: Parts) -> tuple[Site, Served]:
    """Run the service in a thread on a free port of the loopback."""
    server = make_server("127.0.0.1", 0, lambda *_: [], threaded=True, request_handler=Quiet)
    settings = replace(settings, public_url=f"http://127.0.0.1:{server.server_port}")
    app = create_app(settings)
    app.testing = True
    server.app = app
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    key, text = keys.mint("browser", frozenset(keys.SCOPES), at=now(), channel=None, store=None)
    parts.keys.add(key)
    api = Api(app.test_client(), text)
    api.post("/v1/program/versions", {"program": program_document()}, expect=201)
    return Site(settings.url, api, parts, SmallDesk(parts), settings), Served(
        server, thread, settings
    )


def stop(site: Site, served: Served) -> None:
    """End the server and close what it opened."""
    served.server.shutdown()
    served.thread.join()
    served.server.server_close()
    site.api.client.application.extensions["carnet"][Database].client.close()


@pytest.fixture
def site(settings: Settings, parts: Parts) -> Iterator[Site]:
    """A shop that is open, with the pages on the network."""
    site, served = serve(settings, parts)
    yield site
    stop(site, served)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without JavaScript, as a visitor of the desktop."""
    context = browser.new_context(java_script_enabled=False, locale="en-GB")
    context.set_default_timeout(WAIT_MS_MAX)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab of it."""
    return context.new_page()


@pytest.fixture
def member(site: Site) -> str:
    """A member who bought something and answered one question."""
    member = site.api.enrol(
        ("card", "9300 1234 5678"),
        ("email", "ada.lovelace@example.com"),
        ("phone", "+4915123456789"),
    )
    site.api.buy(member, 2190)
    site.api.buy(member, 4711, channel="web")
    site.api.consent(member, "personalisation")
    site.api.consent(member, "marketing", channel="email")
    return member
