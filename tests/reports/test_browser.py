"""Page and report in a real browser: what happens is seen, hostile text stays text, and the keys are enough.

Needs playwright (the group `heavy`) and a Chromium: on the path, or named by AUTORESEARCH_CHROMIUM.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import call
from night import run_files
from served import Server, serve
from waiting import PATIENCE_S

from autoresearch.journal import events
from autoresearch.workspace.workspace import Workspace

CHROMIUM = os.environ.get("AUTORESEARCH_CHROMIUM") or shutil.which("chromium")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("uvicorn")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that may not ask anybody but this machine, and in which no script may fail."""
    context = browser.new_context()
    made, wrong = context.new_page(), list[str]()
    made.set_default_timeout(PATIENCE_S * 1000)
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    made.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
    made.on("request", lambda asked: wrong.append(asked.url) if "127.0.0.1" not in asked.url[:20] else None)
    yield made
    context.close()
    assert [text for text in wrong if not text.startswith(("file:", "data:"))] == []


@pytest.fixture(scope="module")
def server(finished_night: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("browsed") / "ws"
    shutil.copytree(finished_night.root, root, symlinks=True, ignore=shutil.ignore_patterns("runs"))
    run_files(Workspace(root))
    running = serve(Workspace(root))
    yield running
    running.process.terminate()
    running.process.communicate()


def opened(page: Any, server: Server, rest: str = "") -> None:
    page.goto(f"http://127.0.0.1:{server.port}/?token={server.token}")
    page.wait_for_selector("html[data-ready=yes]")  # it goes on to the only workspace by itself
    page.goto(f"http://127.0.0.1:{server.port}{server.at(rest)}")
    page.wait_for_selector("html[data-ready=yes]")


def test_a_new_verdict_appears_without_asking_and_what_it_says_stays_text(page: Any, server: Server) -> None:
    opened(page, server)
    row = page.locator("#experiments tr.new", has_text="brand new")
    assert row.count() == 0 and page.locator("img").count() == 0
    with server.workspace.journal.open("a") as file:
        text = "brand new <img src=x onerror=alert(1)>"
        line = events.run_line(13, "abcdef0", 3.2, {}, "discard", text, 2, {}, 1, details={"values": [3.2]})
        file.write(json.dumps(line) + "\n")
    row.wait_for()
    assert "<img src=x onerror=alert(1)>" in row.inner_text() and page.locator("img").count() == 0
    page.locator("#headline", has_text="after 11 experiments").wait_for()


def test_filters_keys_and_links_lead_to_an_experiment(page: Any, server: Server) -> None:
    opened(page, server)
    page.locator("#by-status").select_option("keep")
    page.locator("#experiments .controls", has_text="1 to 3 of 3").wait_for()
    page.locator("#progress canvas").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert page.locator("#progress .tip").inner_text() == "experiment 4, kept: 4.015"
    page.keyboard.press("Enter")
    page.wait_for_url("**/experiments/4")
    page.locator("#change pre", has_text="onerror=alert(1)").wait_for()
    assert page.locator("#curve canvas").count() == 1 and page.locator("img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_from_the_disk_and_draws_itself(
    page: Any, finished_night: Workspace, tmp_path: Path, scheme: str
) -> None:
    path = tmp_path / "r.html"
    assert call("report", "-o", str(path), cwd=finished_night.root).code == 0
    page.emulate_media(color_scheme=scheme)
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    assert page.locator("#experiments tbody tr").count() == 9 and page.locator("img").count() == 0
    drawn = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    for canvas in page.locator("canvas").all():
        assert canvas.evaluate(drawn) > 10, "an empty chart"
    assert page.pdf().startswith(b"%PDF")
