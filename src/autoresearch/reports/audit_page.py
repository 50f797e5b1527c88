"""The page of `audit`: one HTML file with the same sections as the report, that needs no server and no network."""

from __future__ import annotations

from html import escape
from typing import Any

from autoresearch.reports.overview import harmless
from autoresearch.reports.report import content_hash, island, static

SCRIPTS = ("chart.js", "sections.js", "audit.js")

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
<main>
<h1>{title}</h1>
<noscript><p>The tables are drawn by a script in this file, which is turned off here.</p></noscript>
<div id="sections"></div>
</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def audit_page(views: list[dict[str, Any]], unread: list[str]) -> str:
    """Return the page of audited logs, which are views of `exchange/audit.py`, and of files that are no logs."""
    style, script = static("style.css"), "\n".join(static(name) for name in SCRIPTS)
    hashes = f"style-src {content_hash(style)}; script-src {content_hash(script)}"
    return PAGE.format(
        policy=f"default-src 'none'; {hashes}; base-uri 'none'",
        title=escape(f"What {len(views)} logs are worth" if len(views) > 1 else f"What {views[0]['file']} is worth"),
        style=style,
        data=island(harmless({"logs": views, "unread": unread})),
        script=script,
    )
