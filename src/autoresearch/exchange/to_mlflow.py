"""`export --to mlflow`: a database that `mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db` opens."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from autoresearch.exchange.tracker_folder import environment, made_anew, missing
from autoresearch.exchange.trackers import TrackedRun

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}

AT_ONCE = 1000
"""Values of one request: no more are taken."""


def to_mlflow(folder: Path, experiment: str, runs: Iterable[TrackedRun]) -> int:
    """Write runs with mlflow's own library into a database in `folder`, without a server; return how many.

    Raises `PreconditionError` where mlflow is not installed, `UsageError` for a folder with other files.
    """
    with environment(QUIET):
        try:
            import alembic  # noqa: F401  (for the database; the small package of mlflow comes without)
            import sqlalchemy  # noqa: F401
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
        except ImportError:
            raise missing("mlflow") from None
        count = 0
        with made_anew(folder) as new:
            client = MlflowClient(tracking_uri=f"sqlite:///{new / 'mlflow.db'}")
            place = client.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())
            for run in runs:
                count += 1
                began = run.history[0].time if run.history else run.time
                written = client.create_run(
                    place, start_time=round(1000 * began), run_name=run.title, tags={"autoresearch.run": run.name}
                ).info.run_id
                last = run.history[-1].step if run.history else 0
                metrics = iter([
                    *(Metric(f"curve/{_name(name)}", value, round(1000 * point.time), point.step)
                      for point in run.history for name, value in point.values.items()),
                    *(Metric(_name(name), value, round(1000 * run.time), last) for name, value in run.summary.items()),
                ])  # fmt: skip
                while some := [*islice(metrics, AT_ONCE)]:
                    client.log_batch(written, metrics=some)
                client.log_batch(written, params=[Param(_name(name), value) for name, value in run.config.items()])
                client.set_terminated(written, end_time=round(1000 * run.time))
    return count


def _name(name: str) -> str:
    """Return a name that mlflow takes: letters, digits and a few signs."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)
