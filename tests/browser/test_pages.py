"""Every page in a real browser: accessible, private, and usable by keyboard without JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import WAIT_MS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Request

    from tests.browser.conftest import Site

TABS_MAX = 60
TARGET_PX_MIN = 44
LANGUAGES = {"en": "en-GB", "fr": "fr-FR"}
MAIN = "main button.main"
WIDE = {"width": 1280, "height": 800}
# Wider than what is seen: the phone would scroll sideways.
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SMALL_TARGETS = f"""[...document.querySelectorAll("button, input:not([type=hidden]), summary")]
  .map(each => [each, each.type == "checkbox" ? each.closest("p") : each])
  .filter(([_, box]) => box.getBoundingClientRect().height < {TARGET_PX_MIN} - .5
    || box.getBoundingClientRect().width < {TARGET_PX_MIN} - .5)
  .map(([each]) => each.outerHTML)"""


def go(page: Page, selector: str) -> None:
    """Press a button, and be on the page that it leads to."""
    with page.expect_navigation():
        page.click(selector)


def tab(page: Page, number: int) -> None:
    """Press one of the four words at the top."""
    go(page, f"nav button:nth-of-type({number + 1})")


def walk(page: Page, site: Site, member: str) -> Iterator[str]:
    """Go through every page there is, by its buttons; say at each which it is."""
    yield from preferences(page, site, member)
    yield from rights(page, site, member)
    yield from leaving(page, site, member)


def preferences(page: Page, site: Site, member: str) -> Iterator[str]:
    page.goto(site.link(member))
    yield "landing"
    go(page, MAIN)
    yield "home"
    page.check("#f-analytics-all-no")
    go(page, ".choices > .actions .main")
    yield "saved"
    tab(page, 1)
    yield "history"
    site.desk.looked(member)
    tab(page, 2)
    yield "looks"


def rights(page: Page, site: Site, member: str) -> Iterator[str]:
    tab(page, 3)
    yield "rights"
    go(page, MAIN)
    yield "code"
    page.fill("#code", "none")
    go(page, MAIN)
    yield "wrong code"
    page.fill("#code", site.desk.codes(member)[-1])
    go(page, MAIN)
    yield "rights, proven"
    go(page, "button.danger")
    yield "erasing"
    page.check("#sure")
    go(page, "button.danger")
    yield "erased"


def leaving(page: Page, site: Site, member: str) -> Iterator[str]:
    page.goto(site.link(member, "unsubscribe", channel="email"))
    yield "unsubscribe"
    go(page, MAIN)
    yield "unsubscribed"
    page.goto(f"{site.url}/confirm?token=abc")
    yield "confirm"
    go(page, MAIN)
    yield "confirmed"
    page.goto(f"{site.url}/preferences?link=abc")
    yield "error"


class Watch:
    """What a tab asked for, and what its console complained of."""

    def __init__(self, page: Page) -> None:
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        page.on("request", self._note)
        # A style or script that the page's own policy stops is said here.
        page.on("console", lambda message: self.complaints.append(message.text))

    def _note(self, request: Request) -> None:
        self.requests.append(request)

    @property
    def origins(self) -> set[str]:
        """Where the requests went."""
        return {f"{each.scheme}://{each.netloc}" for each in self._urls if each.scheme != "data"}

    @property
    def telling(self) -> set[str]:
        """Addresses with a question in them, but for the opaque links that e-mails hold."""
        opaque = ("/preferences", "/confirm", "/preferences/style.css")
        return {each.path for each in self._urls if each.query and each.path not in opaque}

    @property
    def _urls(self) -> list[Any]:
        return [urlsplit(each.url) for each in self.requests]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_nothing_on_any_page(
    browser: Browser, site: Site, member: str, language: str, scheme: Any
) -> None:
    context = browser.new_context(
        locale=LANGUAGES[language], color_scheme=scheme, viewport={"width": 1280, "height": 800}
    )
    context.set_default_timeout(WAIT_MS_MAX)
    page, axe = context.new_page(), Axe()
    found = {}
    watch = Watch(page)
    for name in walk(page, site, member):
        result = axe.run(page)
        if result.violations_count:
            found[name] = result.generate_report()
        assert page.locator("html").get_attribute("lang") == language, name
        assert page.locator("h1").count() == 1, name
    assert found == {}
    assert watch.origins == {site.url}
    assert watch.telling == set()
    assert not any(member in each.url for each in watch.requests)
    # A 403 that the walk provokes is told as a failed resource; nothing else is.
    assert [each for each in watch.complaints if "403" not in each] == []
    assert context.cookies() == []
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    context.close()


@pytest.mark.parametrize(("language", "width"), [("en", 375), ("fr", 320)])
def test_a_phone_never_scrolls_sideways_and_a_finger_hits(
    browser: Browser, site: Site, member: str, language: str, width: int
) -> None:
    context = browser.new_context(
        locale=LANGUAGES[language], viewport={"width": width, "height": 667}, has_touch=True
    )
    context.set_default_timeout(WAIT_MS_MAX)
    page = context.new_page()
    for name in walk(page, site, member):
        assert page.evaluate(OVERFLOW) <= 0, name
        assert page.evaluate(SMALL_TARGETS) == [], name
    context.close()


def test_twice_the_letters_still_fit(browser: Browser, site: Site, member: str) -> None:
    context = browser.new_context(locale="fr-FR", viewport={"width": 640, "height": 800})
    context.set_default_timeout(WAIT_MS_MAX)
    page = context.new_page()
    for name in walk(page, site, member):
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert page.evaluate(OVERFLOW) <= 0, name
    context.close()


def reach(page: Page, selector: str) -> None:
    """Press Tab until the focus is there, and see that it shows."""
    for _ in range(TABS_MAX):
        page.keyboard.press("Tab")
        if page.locator(f"{selector}:focus").count():
            return
    pytest.fail(f"Tab never reaches {selector}")


def press(page: Page, selector: str, key: str = "Enter") -> None:
    """Reach a control and press a key on it; a button leads to another page."""
    reach(page, selector)
    with page.expect_navigation():
        page.keyboard.press(key)


def test_everything_works_by_keyboard_alone_without_javascript(
    page: Page, site: Site, member: str
) -> None:
    page.goto(site.link(member))
    press(page, MAIN)
    reach(page, "#f-personalisation-all-yes")
    page.keyboard.press("ArrowLeft")
    reach(page, "#f-marketing-sms-no")
    page.keyboard.press("ArrowRight")
    press(page, ".choices > .actions .main", "Space")
    assert agreed(site, member) == {("marketing", "email"), ("marketing", "sms")}
    press(page, ".choices > .actions .second")
    assert agreed(site, member) == set()
    press(page, "nav button:nth-of-type(2)")
    assert page.locator("article").count() == 4
    press(page, "nav button:nth-of-type(4)")
    press(page, MAIN)
    reach(page, "#code")
    page.keyboard.type(site.desk.codes(member)[-1])
    with page.expect_navigation():
        page.keyboard.press("Enter")
    press(page, "button.danger")
    reach(page, "#sure")
    page.keyboard.press("Space")
    press(page, "button.danger")
    assert site.desk.asked == [(member, "erasure", "code")]


def agreed(site: Site, member: str) -> set[tuple[str, str | None]]:
    """What a member agrees to, by the API."""
    answer = site.api.get(f"/v1/members/{member}/consents", expect=200).get_json()
    return {(each["purpose"], each["channel"]) for each in answer["consents"] if each["granted"]}


def test_enter_in_the_middle_of_the_form_saves(page: Page, site: Site, member: str) -> None:
    page.goto(site.link(member))
    press(page, MAIN)
    reach(page, "#f-marketing-post-no")
    page.keyboard.press("ArrowRight")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert ("marketing", "post") in agreed(site, member)
    assert ("marketing", "email") in agreed(site, member)


def test_advertising_is_stopped_by_its_own_button(page: Page, site: Site, member: str) -> None:
    page.goto(site.link(member))
    go(page, MAIN)
    go(page, "button[form=stop]")
    assert agreed(site, member) == {("personalisation", None)}


def test_the_first_tab_leads_past_the_head(page: Page, site: Site, member: str) -> None:
    page.goto(site.link(member))
    page.keyboard.press("Tab")
    assert page.locator(".skip:focus").is_visible()
    page.keyboard.press("Enter")
    assert page.locator("main:focus").count() == 1


def test_a_withdrawal_on_the_page_holds_on_the_next_request(
    page: Page, site: Site, member: str
) -> None:
    path = f"/v1/members/{member}/recommendations"
    assert site.api.get(path, expect=200).get_json()["reason"] != "no_consent"
    page.goto(site.link(member))
    go(page, MAIN)
    page.click("#f-personalisation-all-no")
    go(page, ".choices > .actions .main")
    assert site.api.get(path, expect=200).get_json()["reason"] == "no_consent"


def test_a_yes_on_the_page_is_a_yes(page: Page, site: Site, member: str) -> None:
    page.goto(site.link(member))
    go(page, MAIN)
    # With the mouse, on the word: the button itself is not drawn.
    page.click("#f-staff_view-all-yes")
    go(page, ".choices > .actions .main")
    assert ("staff_view", None) in agreed(site, member)
    assert page.locator("#f-staff_view-all-yes").is_checked()


def test_the_language_changes_where_one_is(page: Page, site: Site, member: str) -> None:
    page.goto(site.link(member))
    go(page, "button[value=fr]")
    go(page, MAIN)
    assert page.locator("h1").inner_text() == "Vos choix"
    tab(page, 3)
    go(page, "button[value=en]")
    assert page.locator("h1").inner_text() == "Your data"
    tab(page, 1)
    assert page.locator("h1").inner_text() == "Your decisions so far"


def test_the_data_is_downloaded_to_a_file(page: Page, site: Site, member: str) -> None:
    page.goto(site.link(member))
    go(page, MAIN)
    for _ in rights(page, site, member):
        if page.locator("button[name=form]").count():
            break
    with page.expect_download() as waiting:
        page.click("button[name=form][value=json]")
    assert waiting.value.suggested_filename == "my-data.json"
    assert member in waiting.value.path().read_text()
    assert [kind for _, kind, _ in site.desk.asked] == ["portability"]
