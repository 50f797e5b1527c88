"""A folder that is deleted and made anew while a command measures in it: the new one is not the old one's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from lab import Lab

from autoresearch.experiments import attempt as attempting


def state(lab: Lab) -> tuple[bytes, str, str, str]:
    return (lab.workspace.journal.read_bytes(), lab.git("rev-parse", "HEAD"), lab.git("status", "--porcelain"),
            lab.git("for-each-ref"))  # fmt: skip


def test_what_is_measured_goes_into_no_folder_that_was_made_anew_meanwhile(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another = tmp_path / "another"
    shutil.copytree(lab.root, another, symlinks=True)
    (another / "src/run.sh").write_text("echo somebody else works on this\n")
    real = attempting.measure_undisturbed
    before = []

    def measured(*args: Any, **more: Any) -> Any:
        done = real(*args, **more)
        lab.root.rename(tmp_path / "gone")
        another.rename(lab.root)
        lab.git("status")
        before.append(state(lab))
        return done

    monkeypatch.setattr(attempting, "measure_undisturbed", measured)
    refused = lab.attempt("echo METRIC total_ms=40\n")
    assert refused.code == 5 and "was deleted or made anew" in refused.err and "Traceback" not in refused.err, refused
    assert [state(lab)] == before
    monkeypatch.undo()
    done = lab.call("try", "-m", "the other one's", "--json")
    assert done.code == 0 and done.json["experiment"] == 2, done


def test_a_folder_that_is_gone_is_said(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = attempting.measure_undisturbed

    def measured(*args: Any, **more: Any) -> Any:
        done = real(*args, **more)
        lab.root.rename(tmp_path / "gone")
        return done

    monkeypatch.setattr(attempting, "measure_undisturbed", measured)
    lab.edit("echo METRIC total_ms=40\n")
    refused = lab.call("try", "-m", "x")
    assert refused.code == 5 and "Traceback" not in refused.err and len(refused.err.splitlines()) < 4, refused
