"""`doctor --gpu`: what the machine does with the pretrain task."""

from __future__ import annotations

import typer

from autoresearch.cli.output import emit, remark


def doctor_gpu(as_json: bool) -> None:
    """Measure, print the report, and leave with 1 where runs would not work."""
    from autoresearch.reports import first_minute, first_minute_text

    found = first_minute.measured(lambda phase: remark(f"measuring: {phase}"))
    usable = first_minute_text.usable(found)
    view = {
        "ok": usable and not first_minute_text.problems(found),
        "verdict": first_minute_text.verdict(found),
        "problems": first_minute_text.problems(found),
        "found": found,
    }
    emit(as_json, view, first_minute_text.report(found))
    if not usable:
        raise typer.Exit(1)
