"""The score of an honest trainer is the same to the last digit whichever way it is run."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pretrain_workspace import Workspace

METRIC = re.compile(r"METRIC ([A-Za-z_][\w.]*)=(\S+)")


def session(made: Workspace) -> None:
    for words in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "start")):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=made.folder, check=True)


def engine(made: Workspace, *words: str) -> dict[str, Any]:
    done = made.run("-m", "autoresearch", *words, "--json")
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.sampled(0.2, "end to end")
def test_by_hand_by_try_and_by_replicate_the_score_is_the_same(tmp_path: Path, prepared: Workspace) -> None:
    made = prepared.copy(tmp_path / "ws", cache=tmp_path / "cache")
    made.edit("autoresearch.toml", r'policy = "confirm"', 'policy = "greedy"')
    session(made)
    engine(made, "init", ".", "--task", "command")
    baseline = engine(made, "baseline")["metric"]
    (made.folder / "train.py").write_text((made.folder / "train.py").read_text() + "\nUNUSED = 1\n")
    by_hand = made.run("train.py", AUTORESEARCH_SEED="1")
    printed = dict(METRIC.findall(by_hand.stdout[by_hand.stdout.index("---\n") :]))
    assert re.search(rf"^val_bpb: +{float(printed['val_bpb']):.6f}$", by_hand.stdout, re.MULTILINE), by_hand.stderr
    assert float(printed["num_steps"]) == 6
    tried = engine(made, "try", "-m", "nothing that trains")
    again = engine(made, "replicate", "2")
    assert repr(baseline) == printed["val_bpb"] == repr(tried["metric"]) == repr(again["replicated"])
    assert (tried["status"], again["same"]) == ("discard", True)
