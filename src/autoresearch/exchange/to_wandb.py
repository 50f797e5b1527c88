"""`export --to wandb`: runs as Weights & Biases keeps them offline. `wandb sync FOLDER/wandb/*` sends them, once each:
a run has the same id whenever it is exported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from autoresearch.exchange.tracker_folder import environment, made_anew, missing
from autoresearch.exchange.trackers import TrackedRun

OFFLINE = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}


def to_wandb(folder: Path, project: str, runs: Iterable[TrackedRun]) -> int:
    """Write runs with wandb's own library, without a network; return how many.

    Raises `PreconditionError` where wandb is not installed, `UsageError` for a folder with other files.
    """
    with environment(OFFLINE):
        try:
            import wandb
        except ImportError:
            raise missing("wandb") from None
        settings = wandb.Settings(
            mode="offline", silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True,
            x_disable_meta=True, x_disable_machine_info=True,
        )  # fmt: skip
        count = 0
        with made_anew(folder) as new:
            try:
                for run in runs:
                    count += 1
                    written = wandb.init(
                        project=_name(project), id=_name(run.name), name=run.title, dir=str(new),
                        config=dict(run.config),
                        settings=settings, reinit="finish_previous",
                    )  # fmt: skip
                    for point in run.history:
                        values = {f"curve/{name}": value for name, value in point.values.items()}
                        written.log({**values, "_timestamp": point.time}, step=point.step)
                    written.summary.update(dict(run.summary))
                    written.finish()
            finally:
                wandb.teardown()  # its service would go on, and write into the folder
    return count


def _name(name: str) -> str:
    """Return a name as wandb takes it for a project and for the id of a run: a tag may have any of these in it."""
    return re.sub(r"[/\\#?%:,;']", "-", name)
