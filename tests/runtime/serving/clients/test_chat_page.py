"""The chat page in a real browser (Debian's chromium, driven by playwright)."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.needle.haystack import draw_case
from tests.support.http_server import serving, write_talking

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
DESK = {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as play:
        # A container has no place for the sandbox; the pages come from this test.
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(needle: Path) -> Iterator[str]:
    with serving(needle, batch=4, context=4096, prefix_cache="64MiB") as running:
        yield running.url


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    """Opens the page as a new visitor; fails afterwards if a script or a policy did."""
    visitors, faults = [], []

    def opened(address: str, **options: Any) -> Any:
        visitor = browser.new_context(**({"viewport": DESK} | options))
        visitors.append(visitor)
        page = visitor.new_page()
        page.add_init_script("localStorage['sala.options'] ??= '{\"max_tokens\": 24}'")
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda text: text.type == "error" and faults.append(text.text))
        page.goto(address)
        return page

    yield opened
    for visitor in visitors:
        visitor.close()
    assert [fault for fault in faults if "401" not in fault] == []


def send(page: Any, text: str) -> None:
    page.fill("#message", text)
    page.keyboard.press("Enter")


def answered(page: Any, count: int) -> str:
    """The text of an answer, once so many are there and none is on its way."""
    api.expect(page.locator("article.assistant")).to_have_count(count)
    api.expect(page.locator("#stop")).to_be_hidden(timeout=30_000)
    return page.locator("article.assistant .body").last.inner_text()


def _endless(route: Any) -> None:
    """Let the model go on after the ends of its answers."""
    route.continue_(post_data=route.request.post_data_json | {"ignore_eos": True})


def test_a_document_is_read_once_and_the_strip_shows_the_needle(visit: Any, address: str) -> None:
    page = visit(address)
    case = draw_case(7, 0, length=3000, depth=0.4, hops=1)
    cut = case.text.rindex("Answer:")
    book = {"name": "book.txt", "mimeType": "text/plain", "buffer": case.text[:cut].encode()}
    page.set_input_files("#file", book)
    api.expect(page.locator("#cost")).to_contain_text("tokens")
    assert page.locator("#files li").inner_text().startswith("book.txt")
    send(page, case.text[cut:].strip())
    assert case.answer in answered(page, 1)
    assert page.locator("article.user summary").inner_text().startswith("book.txt (")
    assert page.locator("article.user p").inner_text() == case.text[cut:].strip()
    assert page.locator("#strip svg rect").count() > 3
    assert "blocks read" in page.inner_text("#strip-text")
    assert "left of 4,096" in page.inner_text("#context-text")
    api.expect(page.locator("#memory-held")).to_contain_text("kv")
    send(page, "And again?")
    answered(page, 2)
    assert "tokens (" in page.locator("#answer dd").nth(1).inner_text(), "nothing was reused"
    page.reload()
    page.click("article.user summary")
    assert page.locator("article.user pre").first.inner_text() == case.text[:cut].strip()


def test_conversations_stay_apart_and_outlive_the_page(visit: Any, address: str) -> None:
    page = visit(address, color_scheme="dark")
    send(page, "first words")
    first = answered(page, 1)
    page.keyboard.press("Alt+KeyN")
    assert page.locator("article").count() == 0
    send(page, "second words")
    answered(page, 1)
    page.reload()
    assert page.locator("article.user").inner_text().endswith("second words")
    page.get_by_role("button", name="first words", exact=True).click()
    assert page.locator("article.assistant .body").inner_text() == first
    page.get_by_role("button", name="Delete first words").click()
    assert page.locator("nav li").count() == 1


def test_an_answer_stops_by_the_escape_key(visit: Any, address: str) -> None:
    page = visit(address)
    page.fill("[name=max_tokens]", "3500")
    page.route("**/v1/chat/completions", _endless)
    send(page, "count")
    page.wait_for_selector("article.assistant .body > p")
    page.keyboard.press("Escape")
    assert "Stopped." in answered(page, 1)
    page.reload()
    assert "Stopped." in page.locator("article.assistant .body").inner_text()
    assert page.input_value("[name=max_tokens]") == "3500"


def test_what_the_server_refuses_is_said_and_the_words_are_not_lost(
    visit: Any, address: str
) -> None:
    page = visit(address)
    send(page, "hello")
    said = answered(page, 1)
    words = "are you there?"
    note = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"a note"}
    page.set_input_files("#file", note)
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('no')) }")
    send(page, words)
    page.wait_for_selector("#notice:not([hidden])")
    assert "does not answer" in page.inner_text("#notice")
    assert page.input_value("#message") == words
    assert page.locator("#files li").count() == 1
    page.click(".again")
    api.expect(page.locator("#stop")).to_be_hidden()
    assert page.locator("article .body").last.inner_text() == said, "an answer was lost"
    assert page.locator("article").count() == 2


def test_an_answer_is_given_again_in_place_of_the_last(visit: Any, address: str) -> None:
    page = visit(address)
    send(page, "first words")
    answered(page, 1)
    page.fill("[name=temperature]", "1")
    page.fill("[name=seed]", "5")
    with page.expect_request("**/v1/chat/completions") as asked:
        page.click(".again")
    body = asked.value.post_data_json
    assert (body["temperature"], body["seed"]) == (1, 5)
    assert [message["role"] for message in body["messages"]] == ["user"]
    answered(page, 1)


def test_empty_options_show_what_holds_without_them(
    visit: Any, address: str, tmp_path: Path
) -> None:
    page = visit(address)
    api.expect(page.locator("#options-text")).to_contain_text("generation_config.json")
    assert page.get_attribute("[name=temperature]", "placeholder") == "0"
    with serving(write_talking(tmp_path / "talking.sala")) as silent:
        page = visit(silent.url)
        api.expect(page.locator("#options-text")).to_contain_text("names no sampling")
        assert page.get_attribute("[name=temperature]", "placeholder") == "0.7"
        page.fill("[name=seed]", "3")
        with page.expect_request("**/v1/chat/completions") as asked:
            send(page, "hello")
        assert asked.value.post_data_json["temperature"] == 0.7
        assert answered(page, 1) == "The answer is empty.", "3 draws the end first"


def test_text_of_a_model_is_never_markup(visit: Any, address: str) -> None:
    page = visit(address)
    kinds = page.evaluate(
        """async () => {
            const { prose } = await import("/page/prose.js");
            const text = "<img src=x onerror=alert(1)> **b** `c`\\n\\n# T\\n- one\\n\\n";
            const list = "2. two\\n\\n3. three\\n\\n";
            return prose(text + list + "```\\n<b>\\n").map((node) => node.outerHTML);
        }"""
    )
    assert kinds == [
        "<p>&lt;img src=x onerror=alert(1)&gt; <strong>b</strong> <code>c</code></p>",
        "<h3>T</h3>",
        "<ul><li>one</li></ul>",
        '<ol start="2"><li>two</li><li>three</li></ol>',
        '<pre tabindex="0"><code>&lt;b&gt;\n</code></pre>',
    ]


def test_a_phone_and_a_key(visit: Any, needle: Path) -> None:
    with serving(needle, keys=["open sesame".replace(" ", "-")], context=4096) as running:
        page = visit(running.url, viewport={"width": 390, "height": 780}, has_touch=True)
        page.wait_for_selector("#key-dialog[open]")
        page.fill("#key", "open-sesame")
        page.keyboard.press("Enter")
        api.expect(page.locator("#model")).to_have_text("needle")
        assert not page.locator("aside").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        send(page, "hello")
        answered(page, 1)
        page.click("#show-panel")
        assert page.locator("aside").is_visible()
        assert page.get_attribute("#show-panel", "aria-expanded") == "true"
        page.fill("[name=temperature]", "0.5")
        page.click("#show-panel")
        page.click("#show-conversations")
        page.get_by_role("button", name="hello", exact=True).click()
        assert page.locator("#message").evaluate("node => node === document.activeElement")
