"""The program of a node: makes a replica of the workspace, measures one attempt in it, answers in files, and ends.

    python -m autoresearch.workers.cluster.node FOLDER PARENT

FOLDER has the job, the parcel and the pack, and gets the answer and the files of the run; PARENT is the process of Ray
that this one must not outlive. A job that only asks what this machine is gets an answer of another kind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from autoresearch import __version__
from autoresearch.errors import AutoresearchError, MachineError, PreconditionError
from autoresearch.runs.isolation.choice import missing
from autoresearch.runs.isolation.policy import sandbox_for
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunSpec
from autoresearch.system.files import Held, held_by_us, remove_tree
from autoresearch.system.hardware import detect
from autoresearch.system.process import die_with_parent, signals_interrupt
from autoresearch.workers.cluster.manifest import check_whole, manifest
from autoresearch.workers.cluster.replica import Parcel, bring, parcel_of, places, remove_old
from autoresearch.workers.messages import answer, spec_of
from autoresearch.workers.worker import measured
from autoresearch.workspace.orphans import end_run
from autoresearch.workspace.python import python_of, redirected
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace

FREE_S = 10.0
"""Seconds that a replica is waited for whose last worker was ended: the kernel takes a moment to end it."""

MOST_SENT = 64 * 2**20
"""Bytes of a run's folder that are sent back, the smallest files first: logs and curves, and weights that are small."""

NOT_SENT = "not_fetched.txt"
"""Names what was too large, in the run's folder."""


def main(folder: Path, parent: int) -> None:
    die_with_parent(parent)
    begun = time.monotonic()
    job = json.loads((folder / "job").read_bytes())
    parcel, pack = parcel_of((folder / "parcel").read_bytes()), (folder / "pack").read_bytes()
    if job["version"] != __version__ or job.get("asks"):
        said = {"version": __version__} if job["version"] != __version__ else _about(job, parcel, pack)
        (folder / "answer").write_text(json.dumps(said))
        return
    outcome: Measurement | AutoresearchError
    try:
        with signals_interrupt():
            outcome = _measured(job, parcel, pack, folder)
    except AutoresearchError as error:
        error.message = f"on {socket.gethostname()}: {error.message}"
        outcome = error
    except OSError as error:
        outcome = MachineError(f"on {socket.gethostname()}: {error}", "see: autoresearch doctor")
    except KeyboardInterrupt:
        sys.exit(1)  # whoever asked for that does not wait for an answer
    (folder / "answer").write_text(answer(job["attempt"], outcome, time.monotonic() - begun))


def _about(job: dict[str, Any], parcel: Parcel, pack: bytes) -> dict[str, Any]:
    """Return what this machine is, and what it has of the workspace, or lacks."""
    said: dict[str, Any] = {"version": __version__, "machine": asdict(detect()), "env": detect().env()}
    try:
        with _replica(job, parcel, pack) as workspace:
            remove_old(places())
            task = load(workspace.root)
            if sandbox_for(task) is None:
                raise PreconditionError(f"runs have no sandbox there: {missing()}", "see there: autoresearch doctor")
            python = python_of(workspace, task)
            prepared = manifest(workspace, task)
            said |= {"python": python.version if python is not None else None, "data": prepared.sha256}
            check_whole(prepared, job["prepared"])
            if redirected(python, workspace, workspace.root, {}):
                raise PreconditionError("its Python imports from the workspace", "leave out --workers")
    except AutoresearchError as error:
        said["error"] = error.as_dict()
    except OSError as error:
        said["error"] = MachineError(str(error), "see there: autoresearch doctor").as_dict()
    return said


def _measured(job: dict[str, Any], parcel: Parcel, pack: bytes, folder: Path) -> Measurement:
    remove_old(places())
    with _replica(job, parcel, pack) as workspace:
        spec = spec_of(job["spec"])
        # The engine writes the patch itself: here is no other commit to compare with.
        here = replace(spec, parent=None, folder=workspace.run_dir(spec.experiment, spec.seed))
        outcome = measured(workspace, job["slots"], here, os.getppid(), around=places())
        pack_files(here, folder / "tar")
        return outcome


@contextlib.contextmanager
def _replica(job: dict[str, Any], parcel: Parcel, pack: bytes) -> Iterator[Workspace]:
    """Give the workspace of a slot, which no other process has now; what an earlier run has left there is ended."""
    folder = places() / f"{parcel.key}-{job['node'][:16]}-{job['slot']}"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held_by_us(folder.with_suffix(".lock"), wait_s=FREE_S))
        except Held:
            raise MachineError(f"another process measures in {folder}", "wait for it, or end it") from None
        workspace = Workspace(folder / "tree" / parcel.prefix)
        if workspace.running.exists():
            end_run(workspace)
            workspace.running.unlink(missing_ok=True)
        try:
            yield bring(folder, parcel, job["commit"], pack)
        finally:
            for path in workspace.state.glob("runs/*/*"):
                remove_tree(path)


def pack_files(spec: RunSpec, target: Path) -> None:
    """Write the regular files of a run's folder into a tar, as many as may be sent; name those that are too large."""
    found = sorted((path.lstat().st_size, path) for path in spec.folder.rglob("*") if path.is_file())
    found = [(size, path) for size, path in found if not path.is_symlink()]
    total, left = 0, []
    with tarfile.open(target, "w") as tar:
        for size, path in found:
            name = path.relative_to(spec.folder).as_posix()
            total += size
            if total <= MOST_SENT:
                tar.add(path, name, recursive=False)
            else:
                left.append(f"{name} {size}\n")
        if left:
            note = spec.folder / NOT_SENT
            note.write_text(
                f"too large to be sent by {socket.gethostname()}, and deleted there (bytes):\n" + "".join(left)
            )
            tar.add(note, NOT_SENT, recursive=False)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main(Path(sys.argv[1]), int(sys.argv[2]))
