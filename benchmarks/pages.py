"""How long report and page take at 20,000 experiments, with a curve of 10 MB: in the program, and in a browser.

    python benchmarks/pages.py [--experiments N] [--chromium PATH]

The journal is that of `engine.py`: synthetic, none of it measured. The server is the real program on the loopback
interface. The browser's part needs playwright and a Chromium, and is left out without them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from engine import PROGRAM, environments, make_workspace, write_journal

CURVE_BYTES = 10 * 2**20


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def write_curve(path: Path) -> None:
    path.parent.mkdir(parents=True)
    rng, loss = random.Random(1), 11.0
    with path.open("w") as file:
        for step in range(10**9):
            loss -= (loss - 3) * 1e-4
            line = {"step": step, "loss": round(loss + rng.gauss(0, 0.05), 5), "progress": step / 10**5, "rate": 0.001}
            file.write(json.dumps(line) + "\n")
            if file.tell() > CURVE_BYTES:
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--experiments", type=int, default=20_000)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    given = parser.parse_args()
    figures: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        env = environments(Path(name))["cached"]
        folder = make_workspace(Path(name) / "ws", env, 3)
        write_journal(folder, given.experiments)
        number = given.experiments
        write_curve(folder / ".autoresearch/runs" / str(number) / "1" / "curve.jsonl")
        write = [str(PROGRAM), "report", "-o", str(folder / "r.html"), "--json"]
        took, work = [], []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            took.append(seconds(lambda: subprocess.run(write, cwd=folder, env=env, check=True, capture_output=True)))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            work.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        said = f"{sorted(took)[1]:.2f} s, {sorted(work)[1]:.2f} s of processor time"
        figures.append(("report, whole command", said))
        figures.append(("report, its size", f"{(folder / 'r.html').stat().st_size / 1e6:.2f} MB"))
        server = subprocess.Popen([str(PROGRAM), "dashboard", "--json"], cwd=folder, env=env, stdout=subprocess.PIPE)
        assert server.stdout is not None
        try:
            url = json.loads(server.stdout.readline())["url"]
            figures += asked(url, number, folder)
            if given.chromium:
                figures += seen(url, number, folder, given.chromium)
        finally:
            server.terminate()
            server.wait()
    wide = max(len(what) for what, _ in figures)
    for what, value in figures:
        print(f"{what:<{wide}}  {value}")


def asked(url: str, number: int, folder: Path) -> list[tuple[str, str]]:
    """Return how long the server takes for each answer, the second time too."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port)

    def get(path: str, cookie: str) -> http.client.HTTPResponse:
        connection.request("GET", path, headers={"Cookie": cookie})
        answer = connection.getresponse()
        answer.data = answer.read()  # type: ignore[attr-defined]
        return answer

    cookie = (get(f"/?{place.query}", "").getheader("set-cookie") or "").partition(";")[0]
    id = json.loads(get("/index.json", cookie).data)["workspaces"][0]["id"]  # type: ignore[attr-defined]
    with (folder / "autoresearch.jsonl").open("a") as file:
        file.write(json.dumps({"type": "note", "experiment": number, "asi": {"a": "b"}, "timestamp": 1}) + "\n")
    found = []
    for what, path in (
        ("overview, after a new line", f"/w/{id}.json"),
        ("overview, unchanged", f"/w/{id}.json"),
        ("200 rows of the table", f"/w/{id}/experiments.json"),
        ("200 rows with a text", f"/w/{id}/experiments.json?q=momentum"),
        ("an experiment with a 10 MB curve", f"/w/{id}/experiments/{number}.json"),
        ("the same again", f"/w/{id}/experiments/{number}.json"),
    ):
        took = seconds(lambda path=path: get(path, cookie))  # type: ignore[misc]
        found.append((f"server: {what}", f"{took:.2f} s"))
    return found


def seen(url: str, number: int, folder: Path, chromium: str) -> list[tuple[str, str]]:
    """Return how long it takes until a browser shows it; the page from an open browser on."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(url)
        page.wait_for_selector("html[data-ready=yes]")
        overview = page.url
        for what, address in (
            ("page", overview),
            ("experiment with a 10 MB curve", f"{overview}/experiments/{number}"),
            ("report from the disk", (folder / "r.html").as_uri()),
        ):

            def show(address: str = address) -> None:
                page.goto(address)
                page.wait_for_selector("html[data-ready=yes]")

            found.append((f"browser: {what}, until it is there", f"{seconds(show):.2f} s"))
        show_again = "() => { const c = document.querySelector('#progress .chart').chart, t = performance.now();" \
                     "c.draw(); c.pen.getImageData(0, 0, 1, 1); return performance.now() - t }"  # fmt: skip
        found.append(("browser: the chart of all experiments, drawn anew", f"{page.evaluate(show_again):.0f} ms"))
        nearest = "() => { const c = document.querySelector('#progress .chart').chart; c.nearest(500, 100);" \
                  "const t = performance.now(); c.nearest(501, 100); return performance.now() - t }"  # fmt: skip
        found.append(("browser: what the pointer is at", f"{page.evaluate(nearest):.1f} ms"))
        browser.close()
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
