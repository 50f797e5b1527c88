"""Cheating trainers of the pretrain task, each a piece of code in the real train.py, under the real evaluator."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import drawn
from lab import Lab, call
from made_once import made_once
from waiting import PATIENCE_S

HERE = Path(__file__).parent
CACHE = "AUTORESEARCH_CACHE"
MAIN = '\nif __name__ == "__main__":'

CASES = {
    "looks_ahead": ("tampered", "later tokens", ""),
    "leaks_across_rows": ("tampered", "other rows", ""),
    "memorises_the_search_split": ("tampered", "search.bin, which is held out", ""),
    "trains_beyond_the_clock": ("over_budget", "time to train on", ""),
    "slows_the_clock": ("tampered", "replaced prepare.Clock.seconds in memory", "off"),
    "swaps_the_weights_late": ("ok", "calls os.fork() (processes)", "off"),
    "patches_the_evaluator_in_memory": ("tampered", "replaced the evaluator.Evaluator.score in memory", ""),
    "patches_torch_in_the_evaluator": ("tampered", "replaced torch.Tensor.gather in memory", "off"),
    "returns_a_constant": ("ok", "", ""),
}
"""Trainer -> (outcome, what the reason or a warning says, what AUTORESEARCH_SANDBOX is)."""


def sentences() -> str:
    names, things = ("Ada", "Bo", "Chen", "Dara"), ("a lamp", "two boats", "the map", "an old clock", "no answer")
    lines = [f"On day {n} {names[n * 7 % 4]} found {things[n * n % 5]} near house {n * 31 % 97}." for n in range(6000)]
    return "\n\n".join("\n".join(lines[at : at + 30]) for at in range(0, len(lines), 30))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of one-second runs of a small model on a small text, with a baseline."""
    return made_once(tmp_path_factory, "pretrain session", _make)


def _make(folder: Path) -> None:
    (folder / "text.txt").write_text(sentences())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(folder / "cache"))
        words = ("--profile", "tiny", "--source", str(folder / "text.txt"), "--seconds", "1", "--policy", "greedy")
        done = call("init", str(folder / "lab"), "--tag", "t", *words, cwd=folder)
        assert done.code == 0, done
        lab = Lab(folder / "lab")
        train = lab.root / "train.py"
        small = {"DEPTH": 1, "WIDTH": 64, "BATCH_ROWS": 8}
        train.write_text(
            re.sub(r"(?m)^(DEPTH|WIDTH|BATCH_ROWS) = 0", lambda m: f"{m[1]} = {small[m[1]]}", train.read_text())
        )
        lab.git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qam", "a small model")
        done = lab.call("baseline")
        assert done.code == 0, done


@pytest.mark.slow
@pytest.mark.parametrize("name", drawn(CASES, 0.4, "cheats of the pretrain task"))
def test_a_trainer_that(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    outcome, says, sandbox = CASES[name]
    shutil.copytree(template / "lab", tmp_path / "lab", symlinks=True)
    monkeypatch.setenv(CACHE, str(template / "cache"))
    monkeypatch.setenv("AUTORESEARCH_SANDBOX", sandbox)
    lab = Lab(tmp_path / "lab")
    lab.git("status")
    honest = lab.session.best
    assert honest is not None and honest.metric is not None
    piece = (HERE / "pretrain" / f"{name}.py").read_text()
    source = (lab.root / "train.py").read_text()
    if "honest_main" in piece:
        source = source.replace("def main()", "def honest_main()")
    (lab.root / "train.py").write_text(source.replace(MAIN, f"\n{piece}\n{MAIN}"))

    done = lab.call("try", "-m", name)

    assert done.code == 0, done
    run = lab.events("run")[-1]
    told = (run["outcome"], run["metric"], run["reason"], run["warnings"])
    overloaded = outcome == "over_budget" and run["outcome"] == "killed"  # no score either; the machine was too busy
    assert run["outcome"] == outcome or overloaded, told
    assert says in " ".join([run["reason"] or "", *run["warnings"]]), told
    assert run["metric"] is None or run["metric"] > honest.metric or name == "swaps_the_weights_late"
    assert (run["status"] == "keep") is False or name == "swaps_the_weights_late", told
    assert lab.processes() == [] and lab.call("check").code == 0


def test_every_trainer_of_the_suite_is_run() -> None:
    assert sorted(CASES) == sorted(path.stem for path in (HERE / "pretrain").glob("*.py"))


@pytest.mark.slow
def test_an_honest_trainer_that_compiles_is_not_taken_for_one(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(template / "lab", tmp_path / "lab", symlinks=True)
    monkeypatch.setenv(CACHE, str(template / "cache"))
    lab = Lab(tmp_path / "lab")
    lab.git("status")
    compiles = "import torch._dynamo\n\ntorch.compile(lambda x: x, backend='eager')(torch.ones(1))\n"
    source = (lab.root / "train.py").read_text()
    (lab.root / "train.py").write_text(source.replace(MAIN, f"\n{compiles}\n{MAIN}"))
    assert lab.call("try", "-m", "compiles").code == 0
    run = lab.events("run")[-1]
    assert run["outcome"] == "ok", (run["reason"], run["warnings"])


@pytest.mark.slow
def test_an_evaluation_by_hand_says_so_to_the_sessions_beside_it(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(template / "lab", tmp_path / "lab", symlinks=True)
    monkeypatch.setenv(CACHE, str(template / "cache"))
    by_hand = tmp_path / "lab/.autoresearch/by-hand"
    by_hand.mkdir(parents=True)
    os.mkfifo(by_hand / "clock.json")  # the evaluator waits here, when it has read the split once
    command = [sys.executable, "prepare.py", "evaluate"]
    process = subprocess.Popen(command, cwd=tmp_path / "lab", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with (
        (by_hand / "clock.json").open("w"),
        (template / "cache/.evaluating-search").open() as register,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(register, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert process.wait(PATIENCE_S) == 0
