"""The metadata of a bundle as an RO-Crate (1.1): who reads it needs nothing of ours to know what is in the file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from autoresearch import __version__
from autoresearch.escaping import one_line
from autoresearch.exchange.stack_message import gain_of
from autoresearch.journal.session import Session
from autoresearch.reports.views import number

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
TYPES = {".json": "application/json", ".jsonl": "application/jsonl", ".html": "text/html", ".md": "text/markdown",
         ".toml": "application/toml", ".log": "text/plain", ".sh": "application/x-sh"}  # fmt: skip
WHAT = {
    "autoresearch.jsonl": "The journal: every experiment with its runs, values, seeds and verdict",
    "repo.bundle": "The commits of the session and of every experiment, as a git bundle",
    "report.html": "The report",
    "environment.json": "The packages that runs could import",
    "hardware.json": "The machines that runs were made on",
    "data.json": "Hashes of the data and of the files that no experiment may change",
}


def metadata(session: Session, files: Iterable[str], now: int) -> bytes:
    """Return `ro-crate-metadata.json`: the files, one action for the session and one for each kept experiment."""
    names, metric = sorted(files), session.metric
    kept = [e for e in session.current if e.status == "keep"]
    engine = {"@id": "#autoresearch", "@type": "SoftwareApplication", "name": "autoresearch", "version": __version__}
    actions: list[dict[str, Any]] = [
        {
            "@id": "#session",
            "@type": "CreateAction",
            "name": one_line(session.segment.name, 200) or "a session",
            "description": f"{len(session.current)} experiments on {metric.name}, {metric.direction} is better",
            "instrument": {"@id": engine["@id"]},
            "result": [{"@id": name} for name in ("autoresearch.jsonl", "repo.bundle", "report.html")],
            "endTime": _iso(now),
        }
    ]
    for e in kept:
        gained = gain_of(session, e)["step_text"] if e.parent else "the baseline"
        actions.append({
            "@id": f"#experiment-{e.number}",
            "@type": "CreateAction",
            "name": one_line(e.description, 200) or f"experiment {e.number}",
            "description": f"{metric.name} {number(session, e.reference)}: {gained}",
            "identifier": e.commit,
            "instrument": {"@id": engine["@id"]},
            "object": {"@id": "repo.bundle"},
            **({"endTime": _iso(e.finished)} if e.finished is not None else {}),
        })  # fmt: skip
    graph: list[dict[str, Any]] = [
        {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": one_line(session.segment.name, 200) or "a session of autoresearch",
            "description": "A session of autoresearch that can be run again with: autoresearch replay FILE",
            "datePublished": _iso(now),
            "license": "not stated by whoever made this file",
            "hasPart": [{"@id": name} for name in names],
            "mentions": [{"@id": action["@id"]} for action in actions],
        },
        engine,
        *actions,
        *(_file(name) for name in names),
    ]
    return (json.dumps({"@context": CONTEXT, "@graph": graph}, indent=1, sort_keys=True) + "\n").encode()


def _file(name: str) -> dict[str, Any]:
    about = {"@id": name, "@type": "File", "name": name.rpartition("/")[2]}
    suffix = name[name.rindex(".") :] if "." in name else ""
    about |= {"encodingFormat": TYPES[suffix]} if suffix in TYPES else {}
    return about | ({"description": WHAT[name]} if name in WHAT else {})


def _iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
