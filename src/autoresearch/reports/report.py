"""The report: one HTML file with all of a session, that needs no server, no network and no other file."""

from __future__ import annotations

import base64
import hashlib
import time
import zlib
from collections.abc import Callable
from html import escape
from importlib.resources import files
from typing import Any

from autoresearch.escaping import printable
from autoresearch.journal.session import Session
from autoresearch.reports import summary
from autoresearch.reports.claims import claim_view, weigh
from autoresearch.reports.figures import finished
from autoresearch.reports.overview import diff_of, families_of, harmless, overview, task_of
from autoresearch.workspace.workspace import Workspace

SCRIPTS = ("chart.js", "sections.js", "report.js")

COLUMNS = ("experiment", "status", "outcome", "value_text", "gain_text", "family", "commit", "secondary", "description")
"""Of the table, each packed as one list: alike stands beside alike, which packs best."""

KEPT = 100
"""Kept changes whose claims are listed, the last ones."""
WEIGHED = 5000
"""Experiments of a segment up to which its claim is weighed for the report: a longer one takes seconds."""
CLAIM = ("reason", "remarks", "result", "facts")
"""What is shown of `audit`'s view, beside its steps."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#experiments">to the table</a>
<main>
<h1>{title}</h1>
<p class="headline" id="headline">{headline}</p>
<p class="faint">Written {written} UTC from {lines} experiments.</p>
<noscript><p>Figures and tables are drawn by a script in this file, which is turned off here.</p></noscript>
<div id="sections"></div>
<section id="methods" aria-label="Methods"><h2>Methods</h2><p>{methods}</p></section>
</main>
<script type="application/json" id="data">{data}</script>
<script type="text/plain" id="rows">{rows}</script>
<script>{script}</script>
</body>
</html>
"""


def html_report(
    workspace: Workspace, session: Session, now: int, clean: Callable[[str], str] = lambda text: text
) -> str:
    """Return the report as HTML; `now` is in seconds since 1970.

    `clean` is what becomes of each text on its way into a file that leaves this machine.
    """

    def shown(text: str) -> str:
        return clean(printable(text))

    view = overview(workspace, session, now)
    for row in view["top"]:
        e = session.find(row["experiment"])
        row["diff"] = diff_of(workspace, e) if e is not None else ""
    claim = claim_view(weigh(session.current if len(session.current) <= WEIGHED else (), session.metric))
    claim |= (
        {} if len(session.current) <= WEIGHED else {"reason": "more than 5,000 experiments; see: autoresearch audit"}
    )
    view["claim"] = {"steps": claim.pop("steps")[-KEPT:], **{key: claim[key] for key in claim if key in CLAIM}}
    view = harmless(view, clean=shown)
    style, script = static("style.css"), "\n".join(static(name) for name in SCRIPTS)
    hashes = f"style-src {content_hash(style)}; script-src {content_hash(script)}"
    return PAGE.format(
        policy=f"default-src 'none'; {hashes}; base-uri 'none'",
        title=escape(view["name"]),
        style=style,
        headline=escape(view["headline"]),
        written=time.strftime("%Y-%m-%d %H:%M", time.gmtime(now)),
        lines=len(session.current),
        methods=escape(" ".join(view["methods"])),
        data=island(view),
        rows=base64.b64encode(zlib.compress(_json(harmless(rows(workspace, session), clean=shown)), 9)).decode(),
        script=script,
    )


def rows(workspace: Workspace, session: Session) -> list[Any]:
    """Return the whole table of the segment in force: the names of `COLUMNS`, and then a list for each."""
    task = task_of(workspace)
    known, secondary = families_of(task), task.metric.secondary if task is not None else ()
    table = [summary.row(session, e, known, secondary) for e in finished(session)]
    return [COLUMNS, *([row[name] for row in table] for name in COLUMNS)]


def static(name: str) -> str:
    """Return a file of the folder `static`, which is in the wheel."""
    return (files("autoresearch.reports") / "static" / name).read_text(encoding="utf-8")


def island(view: Any) -> str:
    """Return data as JSON that may stand inside a `<script>`: nothing in it can end that, or begin a comment."""
    return _json(view).decode("utf-8").replace("<", "\\u003c")


def _json(view: Any) -> bytes:
    import orjson

    return orjson.dumps(view)


def content_hash(text: str) -> str:
    """Return what a content security policy allows a text of a page by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
