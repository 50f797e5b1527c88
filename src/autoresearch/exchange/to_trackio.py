"""`export --to trackio`: a database that `TRACKIO_DIR=FOLDER trackio show` opens."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable
from pathlib import Path

from autoresearch.errors import PreconditionError
from autoresearch.exchange.tracker_folder import environment, made_anew, missing
from autoresearch.exchange.trackers import TrackedRun


def to_trackio(folder: Path, project: str, runs: Iterable[TrackedRun]) -> int:
    """Write runs with trackio's own library into a database in `folder`, without a network; return how many.

    Raises `PreconditionError` where trackio is not installed or has been imported already, `UsageError` for a folder
    with other files.
    """
    if "trackio" in sys.modules:  # it has chosen its folder when it was imported
        raise PreconditionError("trackio is in use in this process", "run: autoresearch export --to trackio")
    count = 0
    with made_anew(folder) as new, environment({"TRACKIO_DIR": str(new), "HF_HUB_OFFLINE": "1"}):
        try:
            from trackio.sqlite_storage import SQLiteStorage
        except ImportError:
            raise missing("trackio") from None
        for run in runs:
            count += 1
            rows = [{f"curve/{name}": value for name, value in point.values.items()} for point in run.history]
            last = run.history[-1].step if run.history else 0
            SQLiteStorage.bulk_log(
                project, run.title, [*rows, dict(run.summary)], [*(point.step for point in run.history), last],
                [*map(_time, (*(point.time for point in run.history), run.time))], dict(run.config), run_id=run.name,
            )  # fmt: skip
    return count


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
