"""Cheating trainers of the pretrain task, each a piece of code in the real train.py, under the real engine and harness.

A case says what may come of it. `stopped`: no score, for a reason that is told. `harmless`: a score, and none that is
better than the honest run's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from drawn import drawn
from lab import Lab, call
from made_once import made_once

from autoresearch.runs.isolation.choice import SANDBOXES
from autoresearch.runs.isolation.sandbox import SWITCH

HERE = Path(__file__).parent
CACHE = "AUTORESEARCH_CACHE"
MAIN = '\nif __name__ == "__main__":'
WHERE = ("bubblewrap", "landlock")

EXACT = 1e-4
"""Bits a byte by which a harmless trainer may be better than the honest one after the same steps: rounding."""

TIMED = 0.2
"""The same where both have as many seconds, which bring now more and now fewer steps."""


@dataclass(frozen=True)
class Case:
    """What may come of one trainer."""

    outcomes: tuple[str, ...]
    """With `ok` among them its score must be no better than the honest run's."""
    says: str = ""
    """What the reason or a warning says, when it is stopped."""
    budget: str = "steps"
    """Key of BUDGETS."""
    runs: int = 1
    """How often it is run, one after the other."""


def stopped(outcome: str, says: str = "", budget: str = "steps", *more: str) -> Case:
    overloaded = ("killed",) if outcome == "over_budget" else ()  # no score either: the machine was too busy
    return Case((outcome, *more, *overloaded), says, budget)


def harmless(budget: str = "steps", runs: int = 1) -> Case:
    return Case(("ok",), budget=budget, runs=runs)


ROW = 64
"""Tokens of a row."""

BUDGETS: dict[str, float] = {"steps": 40, "seconds": 3, "tokens": 20_000, "flops": 2e10}
"""What a run may spend, by kind."""

CASES = {
    # --- text that is none of the model's business ---
    "looks_ahead": stopped("tampered", "later tokens"),
    "looks_ahead_at_one_place_in_a_hundred": stopped("tampered", "later tokens"),
    "leaks_across_rows": stopped("tampered", "other rows"),
    "remembers_rows_between_calls": stopped("tampered", "earlier calls"),
    "remembers_what_the_second_process_is_shown": stopped("tampered", "earlier calls"),
    "learns_from_the_rows_that_it_scores": stopped("tampered", "earlier calls", "steps", "timeout"),
    "memorises_the_search_split": harmless(),
    "reads_what_is_hidden": harmless(),
    "knows_the_split_by_heart": stopped("tampered", "easier than other held-out text"),
    "knows_the_split_and_flatters_the_control": stopped("tampered", "later tokens"),
    # --- from the first model process to the second, from one run to the next ---
    "leaves_marks_on_the_weights": stopped("tampered", "later tokens", "steps", "ok"),
    "leaves_a_file_for_the_second_process": stopped("tampered", "later tokens", "steps", "ok"),
    "leaves_a_process_for_the_second": stopped("tampered", "later tokens"),
    "leaves_a_process_at_the_common_output": stopped("tampered", "later tokens"),
    "sets_the_limits_of_another_process": harmless(),
    "goes_on_from_its_previous_run": harmless(runs=2),
    # --- arithmetic, and the grader's memory ---
    "flatters_single_precision": harmless(),
    "returns_a_constant": harmless(),
    "returns_infinity_at_some_places": stopped("no_metric", "not finite"),
    "returns_not_a_number_at_some_places": stopped("no_metric", "not finite"),
    "returns_a_lazy_tensor": stopped("tampered", "must return logits"),
    "enters_a_torch_function_mode": harmless(),
    "patches_the_evaluator_in_memory": harmless(),
    "patches_torch_in_the_evaluator": harmless(),
    "walks_the_frames_and_the_collector": harmless(),
    "writes_on_after_its_answer": stopped("tampered", "later tokens", "steps", "ok"),
    "caches_by_address": stopped("tampered", "earlier calls", "steps", "ok"),
    # --- messages ---
    "replaces_stdout_and_the_result": harmless(),
    "names_its_figures_like_the_grader": harmless(),
    "never_answers": stopped("timeout", "ran out during the evaluation", "steps", "over_budget"),
    "answers_with_too_long_a_message": stopped("crash", "over 65536"),
    "answers_with_a_pickle": stopped("ok", "", "steps", "crash", "timeout"),
    "answers_with_descriptors": stopped("crash", "", "steps", "ok"),
    "sends_numbers_that_are_none": harmless(),
    "sends_a_number_that_no_float_holds_with_its_weights": harmless(),
    "sends_descriptors_to_the_feeder": stopped("crash", "", "steps", "ok"),
    "kills_the_feeder": harmless(),
    # --- weights ---
    "keeps_training_rows_in_its_weights": stopped("over_budget", "the weights have"),
    "changes_the_weights_after_they_were_sent": stopped("crash"),
    "rewinds_its_weights": stopped("ok", "", "steps", "crash"),
    "swaps_the_weights_late": harmless(),
    # --- the clock ---
    "trains_beyond_the_clock": stopped("over_budget", "time to train on"),
    "moves_the_clock": harmless("seconds"),
    "rewrites_the_clock": harmless("seconds"),
    "keeps_the_feeder_busy": stopped("over_budget", "", "seconds", "ok"),
    "takes_few_large_batches": stopped("over_budget", "time to train on", "seconds"),
    "never_asks_for_the_end": stopped("over_budget", "of training are too much", "seconds"),
    "takes_the_whole_budget_many_times_in_one_batch": stopped("crash", "", "tokens", "no_metric", "over_budget"),
    "reads_the_slots_before_the_clock": harmless("seconds"),
    "trains_on_real_rows_in_warm_up": harmless(),
}
"""Trainer -> what may come of it."""

GETS_THROUGH = {
    "trains_on_in_the_exam": harmless(),
    "patches_the_counter_of_flops": harmless("flops"),
}
"""What nothing stops yet: training while it is scored, on rows that the weights brought along, for as long as it
may take; and a count of operations that only the trainer's code can make."""


def sentences() -> str:
    names, things = ("Ada", "Bo", "Chen", "Dara"), ("a lamp", "two boats", "the map", "an old clock", "no answer")
    lines = [
        f"On day {n} {names[n * 7 % 4]} found {things[n * n % 5]} near house {n * 31 % 97}." for n in range(12_000)
    ]
    return "\n\n".join("\n".join(lines[at : at + 30]) for at in range(0, len(lines), 30))


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small text and the cache of what was made of it."""
    return made_once(tmp_path_factory, "pretrain text", lambda folder: (folder / "text.txt").write_text(sentences()))


def make(folder: Path, text: Path, budget: str) -> None:
    """Make a session of short runs of a small model, with a baseline."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(text / "cache"))
        words = ("--profile", "tiny", "--source", str(text / "text.txt"), "--steps", "1", "--policy", "greedy")
        done = call("init", str(folder / "lab"), "--tag", "t", *words, cwd=folder)
        assert done.code == 0, done
        lab = Lab(folder / "lab")
        small = {"DEPTH": 1, "WIDTH": 64, "BATCH_ROWS": 8, "HEAD_DIM": 64}
        source = (lab.root / "train.py").read_text()
        source = re.sub(r"(?m)^(DEPTH|WIDTH|BATCH_ROWS) = 0", lambda m: f"{m[1]} = {small[m[1]]}", source)
        (lab.root / "train.py").write_text(source)
        shorten(lab, budget)
        lab.git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qam", "a small model")
        done = lab.call("baseline")
        assert done.code == 0, done


def shorten(lab: Lab, budget: str) -> None:
    """Give a session another budget and shorter rows, as if it had been made with them."""
    toml, log = lab.root / "autoresearch.toml", lab.root / "autoresearch.jsonl"
    before = hashlib.sha256(toml.read_bytes()).hexdigest()
    changed = re.sub(r"budget = \{.*?\}", f"budget = {{ {budget} = {BUDGETS[budget]:.0f} }}", toml.read_text())
    changed = re.sub(r"(?m)^limit_s = \d+", "limit_s = 100", changed)
    toml.write_text(changed.replace("# seq_len = 512", f"seq_len = {ROW}"))
    log.write_text(log.read_text().replace(before, hashlib.sha256(toml.read_bytes()).hexdigest()))


def trainer(lab: Lab, name: str, cache: Path) -> str:
    """The real trainer with the piece in it."""
    piece = (HERE / "pretrain" / f"{name}.py").read_text()
    if 'b"SPLIT"' in piece:
        [data] = (data for path in cache.glob("pretrain/*/search.bin") if (data := path.read_bytes())[16] == ROW + 1)
        rows = zlib.compress(data[24:], 9)  # behind the header
        piece = piece.replace('b"SPLIT"', repr(base64.b85encode(rows)))
    common = (HERE / "pretrain" / "common.py").read_text()
    helpers = any(f"{helper}(" in piece for helper in ("serving", "tell", "tell_from"))
    source = (lab.root / "train.py").read_text()
    source = source.replace("def main()", "def honest_main()") if "def main()" in piece else source
    return source.replace(MAIN, f"\n{common if helpers else ''}\n{piece}\n{MAIN}")


def measure(lab: Lab, name: str, cache: Path, number: int = 1) -> dict[str, Any]:
    """Run one trainer as an experiment and return its line of the journal."""
    lab.git("status")
    (lab.root / "train.py").write_text(trainer(lab, name, cache) + f"TURN = {number}\n" * (number > 1))
    done = lab.call("try", "-m", name)
    assert done.code == 0, done
    return lab.events("run")[-1]


TRIALS = [(name, where) for name in (*CASES, *GETS_THROUGH) for where in WHERE]


@pytest.fixture
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ask for one of `WHERE`; skip where it cannot be had."""
    for sandbox in SANDBOXES:
        if sandbox.name == request.param and (why := sandbox.missing()):
            pytest.skip(why)
    monkeypatch.setenv(SWITCH, request.param)
    return str(request.param)


@pytest.mark.slow
@pytest.mark.sampled(0.5, "cheats of trainings")
@pytest.mark.parametrize(("name", "where"), drawn(TRIALS, 0.006, "cheats of the pretrain task"), indirect=["where"])
def test_a_trainer_that(
    tmp_path_factory: pytest.TempPathFactory,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    where: str,
) -> None:
    case = {**CASES, **GETS_THROUGH}[name]
    lab, honest = workspace(tmp_path_factory, text, tmp_path, monkeypatch, case.budget, where)

    for number in range(1, case.runs + 1):
        run = measure(lab, name, text / "cache", number)

        told = json.dumps([run["outcome"], run["metric"], run["reason"], run["warnings"], run.get("metrics")])
        assert run["outcome"] in case.outcomes, told
        assert run["env"]["isolation"] == where, told
        if run["outcome"] == case.outcomes[0] != "ok":
            assert case.says in " ".join([run["reason"] or "", *run["warnings"]]), told
        gain = EXACT if case.budget != "seconds" else TIMED
        if name in GETS_THROUGH:
            assert run["metric"] < honest - gain, told
        else:
            assert run["metric"] is None or run["metric"] > honest - gain, told
    assert lab.processes() == [] and lab.call("check").code == 0


def workspace(
    factory: pytest.TempPathFactory, text: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, budget: str, where: str
) -> tuple[Lab, float]:
    """A session with a baseline, and the baseline's score."""
    monkeypatch.delenv(SWITCH)
    template = made_once(factory, f"pretrain {budget}", lambda made: make(made, text, budget))
    monkeypatch.setenv(SWITCH, where)
    shutil.copytree(template / "lab", folder / "lab", symlinks=True)
    monkeypatch.setenv(CACHE, str(text / "cache"))
    lab = Lab(folder / "lab")
    honest = lab.session.best
    assert honest is not None and honest.metric is not None
    return lab, honest.metric


def test_every_trainer_of_the_suite_is_run() -> None:
    assert sorted([*CASES, *GETS_THROUGH, "common"]) == sorted(path.stem for path in (HERE / "pretrain").glob("*.py"))
