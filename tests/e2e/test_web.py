"""`cis web` as it is used: a real node, the command, and a headless Chromium; skipped where there is none."""

from __future__ import annotations

import contextlib
import json
import re
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from cis.api.control.client import connect
from cis.api.memories.memory_schema import GetMemory, ListConflicts, SetMemory
from cis.api.peers.network_schema import ConnectPeer, DisconnectPeer
from tests.e2e.conftest import COMMAND_S, Home
from tools.browser import browser_page, web, why_not

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.timeout(300)
in_a_browser = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")

HOSTILE = '<img src=x onerror="window.owned = 1"><script>window.owned = 1</script>\u202egnp.exe'


@pytest.fixture(scope="module")
def apart(couple: tuple[Home, Home]) -> tuple[Home, Home]:
    """Two running nodes in touch again, that each changed notes/plan while they were not."""
    one, two = couple
    with connect(one.path) as first, connect(two.path) as second:
        first.call(SetMemory(key="hostile", value=HOSTILE))
        second.call(DisconnectPeer(target="one"))
        one.wait_status(lambda status: not status.connected)
        first.call(SetMemory(key="notes/plan", value="Buy milk"))
        second.call(SetMemory(key="notes/plan", value="Buy bread\nCall Ana"))
        second.call(ConnectPeer(target="one"))
        one.wait_answer(bool, ListConflicts())
    return one, two


def go(page: Page, part: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=re.compile(part)).click()


def accessible(page: Page) -> None:
    from axe_playwright_python.sync_playwright import Axe

    found: list[Any] = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found] == []


def test_the_command_tells_a_link_and_asks_the_running_node(couple: tuple[Home, Home]) -> None:
    one, _ = couple
    with web(one.path) as link:
        address, _, token = link.partition("/#token=")
        place = address.removeprefix("http://")
        with contextlib.closing(HTTPConnection(place, timeout=COMMAND_S)) as browser:
            own = {"Origin": address}
            browser.request("POST", "/enter", json.dumps({"token": token}), own)
            answer = browser.getresponse()
            own["Cookie"] = (answer.headers["Set-Cookie"] or "").partition(";")[0]
            own["X-Cis-Key"] = json.load(answer)["key"]
            browser.request("POST", "/api/live", "{}", own)
            live = json.load(browser.getresponse())
            assert live["status"]["connected"] == ["two"]
            assert [peer["name"] for peer in live["peers"]] == ["two"]
            browser.request("POST", "/api/topology", "{}", own)
            assert [tie["ends"] for tie in json.load(browser.getresponse())["ties"]] == [["one", "two"]]


@in_a_browser
def test_the_page_shows_the_cluster_and_settles_a_conflict_and_asks_nobody_else(apart: tuple[Home, Home]) -> None:
    from playwright.sync_api import expect

    one, two = apart
    with web(one.path) as link, browser_page() as watched:
        page = watched.page
        page.goto(link)
        expect(page.locator("#standing")).to_have_text("1 connected, in step")
        assert "token" not in page.url
        expect(page.get_by_role("img", name=re.compile("one with two"))).to_be_visible()
        expect(page.locator("#peers tbody tr")).to_contain_text("in step")
        accessible(page)

        go(page, "Memories")
        page.get_by_role("searchbox").fill("onerror")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("found")
        page.locator(".hit", has_text="hostile").first.press("Enter")
        value = page.locator("#opened pre")
        expect(value).to_contain_text("<img src=x")
        expect(value).to_contain_text("\\u{202e}gnp.exe")
        assert page.locator("main img, main script").count() == 0
        accessible(page)

        go(page, "Conflicts")
        expect(page.get_by_role("article")).to_have_count(1)
        accessible(page)
        page.get_by_role("button", name="Write another value").press("Enter")
        page.keyboard.press("Control+A")
        page.keyboard.type("Buy bread and milk")
        page.get_by_role("button", name="Keep this").press("Enter")
        expect(page.locator("#conflict-list")).to_have_text("There are none.")
        two.wait_answer(lambda found: found.value == "Buy bread and milk", GetMemory(key="notes/plan"))
        two.wait_answer(lambda found: not found, ListConflicts())

        assert watched.origins == {link.partition("/#")[0]}
        assert watched.wrong == []
        assert page.evaluate("() => window.owned ?? 0") == 0


@in_a_browser
def test_memories_are_made_changed_and_deleted_with_the_keyboard_and_none_is_overwritten_unseen(
    apart: tuple[Home, Home],
) -> None:
    from playwright.sync_api import expect

    one, _ = apart
    with web(one.path) as link, browser_page(dark=True, width=400) as watched, connect(one.path) as node:
        page = watched.page
        page.goto(link)
        go(page, "Memories")
        page.get_by_role("button", name="New memory").press("Enter")
        page.get_by_role("textbox", name="Key").fill("editor")
        page.get_by_role("textbox", name="Value").fill("dark mode")
        page.get_by_role("button", name="Save").press("Enter")
        expect(page.get_by_role("status")).to_have_text("Saved editor")
        expect(page.locator("#opened-title")).to_be_focused()
        memory = node.call(GetMemory(key="editor"))
        assert memory is not None
        assert memory.value == "dark mode"
        accessible(page)

        page.get_by_role("button", name="Edit", exact=True).press("Enter")
        node.call(SetMemory(key="editor", value="of another"))
        page.get_by_role("textbox", name="Value").fill("light mode")
        page.get_by_role("button", name="Save").press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("has changed it since you opened it")
        page.locator(".hit", has_text="of another").press("Enter")

        page.get_by_role("button", name="Delete").press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        assert node.call(GetMemory(key="editor")) is not None
        page.get_by_role("button", name="Delete").press("Enter")
        page.get_by_role("dialog").get_by_role("button", name="Delete").press("Enter")
        expect(page.get_by_role("status")).to_have_text("Deleted editor")
        assert node.call(GetMemory(key="editor")) is None
        assert [text for text in watched.wrong if "Failed to load resource" not in text] == []


@in_a_browser
def test_a_node_that_ends_is_told_and_shown_again_when_it_is_back(home: Home) -> None:
    from playwright.sync_api import expect

    home.up()
    with web(home.path) as link, browser_page() as watched:
        page = watched.page
        page.goto(link)
        expect(page.locator("#facts")).to_contain_text("solo")
        home.cis("down")
        expect(page.get_by_role("alert")).to_contain_text("cis up")
        home.up()
        expect(page.get_by_role("status")).to_have_text("The node answers again")
        expect(page.get_by_role("alert")).to_be_empty()
        page.goto(link)
        expect(page.get_by_role("alert")).to_contain_text("was used")
