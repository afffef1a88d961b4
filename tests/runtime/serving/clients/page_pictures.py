"""The pictures of the chat page in docs/pictures, taken in a real browser.

    python -m tests.runtime.serving.clients.page_pictures NEEDLE.sala SMOLLM2.sala [FOLDER]

The artifacts are those of `make demo` and `make chat`.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from examples.needle.haystack import draw_case
from tests.support.http_server import serving
from tests.support.imports import ROOT

FOLDER = ROOT / "docs" / "pictures"
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 780}
SAMPLING = {"temperature": 0.2, "top_p": 0.9, "seed": 7}
"""For SmolLM2, as its publisher advises."""
QUESTIONS = ("What is a compiler? Answer in two sentences.", "Name three of them.")
TOKENS = 12_000


def main(needle: Path, smollm2: Path, folder: Path) -> None:
    """Take all of them."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )

        def opened(address: str, **options: Any) -> Any:
            page = browser.new_context(**({"viewport": DESK} | options)).new_page()
            page.goto(address)
            page.wait_for_selector("#memory-held dd", state="attached")
            return page

        with serving(needle, context=16384, prefix_cache="64MiB") as running:
            page = opened(running.url)
            _ask_of_a_document(page)
            page.screenshot(path=folder / "chat-page-light.png")
        with serving(smollm2, context=4096, prefix_cache="256MiB") as running:
            page = opened(running.url, color_scheme="dark")
            _talk(page)
            page.screenshot(path=folder / "chat-page-dark.png")
            page = opened(running.url, viewport=PHONE, has_touch=True)
            _talk(page)
            page.screenshot(path=folder / "chat-page-phone.png")
        browser.close()


def _ask_of_a_document(page: Any) -> None:
    case = draw_case(7, 0, length=TOKENS, depth=0.4, hops=1)
    cut = case.text.rindex("Answer:")
    book = {"name": "book.txt", "mimeType": "text/plain", "buffer": case.text[:cut].encode()}
    page.set_input_files("#file", book)
    _send(page, case.text[cut:].strip())


def _talk(page: Any) -> None:
    page.evaluate("options => localStorage['sala.options'] = JSON.stringify(options)", SAMPLING)
    page.reload()
    page.wait_for_selector("#memory-held dd", state="attached")
    for question in QUESTIONS:
        _send(page, question)


def _send(page: Any, text: str) -> None:
    page.fill("#message", text)
    page.keyboard.press("Enter")
    page.wait_for_selector("#stop", state="visible")
    page.wait_for_selector("#stop", state="hidden", timeout=120_000)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path((sys.argv[3:] or [str(FOLDER)])[0]))
