"""Cheating trainers of the tasks that we ship beside pretrain, under the real engine and harness.

A case is a piece of code in the task's real train.py, or optimizer.py: those of `any_task` in each task that trains,
the others in their own. What may come of one is said as in test_pretrain_cheats.py.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
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
STEPS = 20
EXACT = 1e-4
"""By how much a harmless trainer may be better than the honest one after the same steps: rounding."""


@dataclass(frozen=True)
class Task:
    """One task, made small: edits of its files, of which each must hit."""

    metric: str
    shrink: dict[str, dict[str, str]]
    """File -> pattern -> what takes its place."""
    mutable: str = "train.py"
    options: tuple[str, ...] = ("--steps", str(STEPS))
    """Of `init`."""
    higher: bool = False
    """Whether more of the metric is better."""


RL = "Profile(1, 64, 2, 300, 64, (2, 3), 10, 2000, 200"

TASKS = {
    "shakespeare": Task(
        "val_bpb",
        {
            "train.py": {r"(?m)^DEPTH = .*$": "DEPTH = 1", r"(?m)^WIDTH = .*$": "WIDTH = 64"},
            "autoresearch.toml": {r"# seq_len = 256": "seq_len = 64"},
        },
    ),
    "images": Task(
        "error",
        {
            "train.py": {r"(?m)^WIDTH = 0": "WIDTH = 8", r"(?m)^BATCH = .*$": "BATCH = 64"},
            "prepare.py": {
                r"SEARCH, CONTROL, BATCH = 5000, 2500, 500": "SEARCH, CONTROL, BATCH = 1000, 600, 200",
                r'"train": 20_000': '"train": 2000',
                r'"locked": 5000': '"locked": 500',
            },
        },
    ),
    "mazes": Task(
        "route_error",
        {
            "train.py": {r"(?m)^WIDTH = .*$": "WIDTH = 8"},
            "prepare.py": {r"Profile\(17, 25, 10_000, 500, 125": "Profile(11, 17, 2000, 400, 100"},
        },
    ),
    "prompt": Task(
        "target_loss",
        {
            "autoresearch.toml": {r"flops = [\d.e+]+": "flops = 2.5e8"},
            "prepare.py": {
                r"Profile\(Sizes\(2, .*\)": "Profile(Sizes(2, 64, 2, 260, 32, 300_000, 250, 16), 12, 4, 24, 24, 8)"
            },
        },
        "optimizer.py",
        (),
    ),
    "rl": Task(
        "pass_at_1",
        {
            "train.py": {r"(?m)^PROBLEMS = .*$": "PROBLEMS = 8"},
            "prepare.py": {r"Profile\(2, 64, 4, 800, 128, .3, 4., 10, 30_000, 1000": RL},
        },
        higher=True,
    ),
    "sft": Task(
        "response_bpb",
        {
            "train.py": {r"(?m)^BATCH = .*$": "BATCH = 8"},
            "prepare.py": {
                r"Profile\(2, 128, 4, 1024, 128, .*, 500, Al": "Profile(1, 64, 2, 512, 128, 10**6, 40, 16, 200, Al"
            },
        },
    ),
}


@dataclass(frozen=True)
class Case:
    outcomes: tuple[str, ...]
    """With `ok` among them its score must be no better than the honest run's."""
    says: str = ""
    """What the reason says when it is stopped."""
    better: bool = False
    """Whether it gets through: its score is better, and nothing stops it."""


HARMLESS = Case(("ok",))
ALONE = Case(("tampered",), "another answer among others")
CASES = {
    "any_task/claims_a_score": HARMLESS,
    "any_task/reads_what_is_hidden": HARMLESS,
    "any_task/trains_beyond_the_clock": Case(("over_budget", "killed"), "time to train on"),
    "shakespeare/looks_ahead": Case(("tampered",), "later tokens"),
    "shakespeare/leaks_across_rows": Case(("tampered",), "other rows"),
    "shakespeare/counts_bytes_between_calls": Case(("tampered",), "earlier calls"),
    "shakespeare/knows_the_split_by_heart": Case(("tampered",), "easier than other held-out text"),
    "images/normalises_over_the_batch": ALONE,
    "images/remembers_images_between_calls": ALONE,
    "images/learns_while_it_is_scored": ALONE,
    "images/knows_the_split_by_heart": Case(("tampered",), "easier than other held-out images"),
    "mazes/asks_the_maze_beside_it": ALONE,
    "mazes/knows_the_split_by_heart": Case(("tampered",), "easier than other held-out mazes"),
    "mazes/names_a_fifth_move": Case(("tampered",), "must return logits"),
    "mazes/returns_not_a_number_where_it_is_unsure": HARMLESS,
    "mazes/searches_instead_of_learning": Case(("ok",), better=True),
    "prompt/asks_for_more_tokens_than_there_are": Case(("tampered",), "strings of"),
    "prompt/asks_with_what_is_no_request": Case(("tampered",), "no numbers"),
    "prompt/changes_the_string_after_it_was_checked": Case(("tampered", "ok"), "not allowed"),
    "prompt/computes_its_own_forward": Case(("over_budget", "killed"), "of its own"),
    "prompt/counts_less": HARMLESS,
    "prompt/imports_the_model": HARMLESS,
    "prompt/leaves_a_process_for_the_next_target": HARMLESS,
    "prompt/stores_strings": Case(("tampered",), "easier than others"),
    "rl/asks_for_problems_that_there_are_not": Case(("crash",), "problems have numbers"),
    "rl/edits_who_says_what_is_right": HARMLESS,
    "rl/goes_through_all_answers": Case(("crash",), "times in a run"),
    "rl/hands_in_what_overflows": HARMLESS,
    "rl/knows_the_split_by_heart": Case(("tampered",)),
    "rl/learns_what_it_was_not_told": Case(("tampered",), "not learned from rewards"),
    "rl/sends_what_is_no_completion": Case(("crash",), "the feeder has ended"),
    "rl/tests_before_the_clock": Case(("crash",), "tested between the first batch"),
    "rl/writes_its_own_log_of_rewards": HARMLESS,
    "sft/answers_every_response_the_same": HARMLESS,
    "sft/edits_the_forward_pass": HARMLESS,
    "sft/goes_back_to_a_checkpoint": Case(("crash",), "the feeder has ended"),
    "sft/hands_in_a_larger_model": Case(("crash",), "do not fit the model"),
    "sft/hands_in_a_program": Case(("crash",), "do not fit the model"),
    "sft/hands_in_what_is_no_number": Case(("no_metric",), "not finite"),
    "sft/hands_in_what_overflows": Case(("no_metric",), "not finite"),
    "sft/knows_the_split_by_heart": Case(("tampered",), "easier than other held-out responses"),
    "sft/reads_the_held_out_functions": HARMLESS,
}
"""Trainer -> what may come of it. One that is `better` is what only a reader of the diff can stop."""


def runs_of(case: str) -> list[str]:
    """The tasks in which a case is run."""
    folder = case.partition("/")[0]
    return [name for name in TASKS if TASKS[name].mutable == "train.py"] if folder == "any_task" else [folder]


def sentences() -> str:
    rng = np.random.default_rng(0)
    words = ["the", "old", "queen", "of", "Wales", "sends", "her", "fool", "to", "France", "and", "weeps"]
    return "\n\n".join(" ".join(rng.choice(words, 80)) + "." for _ in range(1500))


def make(folder: Path, name: str) -> None:
    """A session of short runs, with a baseline, beside the cache of its data."""
    (folder / "text.txt").write_text(sentences())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(folder / "cache"))
        source = ("--source", str(folder / "text.txt")) if name == "shakespeare" else ()
        words = (
            "--task",
            name,
            "--profile",
            "tiny",
            *TASKS[name].options,
            "--policy",
            "greedy",
            "--no-setup",
            *source,
        )
        done = call("init", str(folder / "lab"), "--tag", "t", *words, cwd=folder)
        assert done.code == 0, done
        lab = Lab(folder / "lab")
        for file, edits in TASKS[name].shrink.items():
            shrink(lab, file, edits)
        lab.git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qam", "small")
        done = lab.call("baseline", "--seeds", "1")
        assert done.code == 0, done


def shrink(lab: Lab, file: str, edits: dict[str, str]) -> None:
    """Edit a file as if the session had been made with it so."""
    path, log = lab.root / file, lab.root / "autoresearch.jsonl"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    text = path.read_text()
    for pattern, new in edits.items():
        text, count = re.subn(pattern, new, text, count=1)
        assert count == 1, f"{pattern} is not in {file}"
    path.write_text(text)
    log.write_text(log.read_text().replace(before, hashlib.sha256(path.read_bytes()).hexdigest()))


def known_split(name: str, cache: Path) -> bytes:
    """What somebody who has read the hidden split would write into train.py."""
    if name == "shakespeare":
        [path] = cache.glob("shakespeare/tiny-*/search.bin")
        return path.read_bytes()[24:]  # behind the header
    if name == "rl":
        return known_solutions(cache)
    [folder] = cache.glob(f"{name}/*/search")
    if name == "sft":
        np.savez(file := io.BytesIO(), *(np.load(folder / f"{part}.npy") for part in ("ids", "span")))
        return file.getvalue()
    first, second = (np.load(path) for path in sorted(folder.iterdir()))
    if name == "images":
        keys = (hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in first)
        return b"".join(key + bytes([label]) for key, label in zip(keys, second, strict=True))
    return np.stack((first, second), 1).tobytes()


def known_solutions(cache: Path) -> bytes:
    """Problems of `rl`, those of the split and others, with the solutions of who knows which id is which symbol."""
    [folder] = cache.glob("rl/*/search")
    pieces = [base64.b64decode(piece).decode() for piece in json.loads((folder.parent / "writing.json").read_text())]
    numbers, end = {piece: number for number, piece in enumerate(pieces)}, len(pieces) + 1
    known = {}
    for split in ("search", "train"):
        asked, lengths = (np.load(folder.parent / split / f"{name}.npy") for name in ("ids", "lengths"))
        ids = np.pad(asked.astype(np.int64), ((0, 0), (0, asked.shape[1] - 2)), constant_values=end)
        span = np.stack((lengths, lengths), 1)
        for row, place in zip(ids, span, strict=True):
            question = "".join(pieces[number] for number in row[1 : place[0]])
            results = accumulate(int(term) for term in re.findall(r"[+-]?\d+", question))
            words = [numbers[word] for result in list(results)[1:] for word in (str(result), "\n")]
            place[1] += len(words)
            row[place[0] : place[1]] = [*words[:-1], end]
        known |= {f"{split}_ids": ids, f"{split}_span": span}
    np.savez(file := io.BytesIO(), **known)
    return file.getvalue()


def solved(lab: Lab, cache: Path) -> bytes:
    """Strings for the targets of the first seeds, looked for place by place with the weights and the secret."""
    env = {**os.environ, CACHE: str(cache)}
    done = subprocess.run([sys.executable, "-c", SOLVE], cwd=lab.root, env=env, capture_output=True, check=True)
    return done.stdout


SOLVE = """
import json
import numpy as np
from harness.task import read_task_file
from prepare import HERE, Options, Prompt

task = Prompt(HERE, *read_task_file(HERE, Options))
base, found = task.base("search"), {}
for seed in (1,):  # of the one run that decides
    for number in range(task.profile.targets):
        target, _ = task.drawn(base, "search", "search", seed, number)
        ids = np.random.default_rng(0).choice(base.allowed, task.profile.length)
        for place in [*range(len(ids))] * 3:
            trials = np.tile(ids, (len(base.allowed), 1))
            trials[:, place] = base.allowed
            ids = trials[base.frozen.losses(trials, target).argmin()]
        found[str(target.tolist())] = ids.tolist()
print(json.dumps(found))
"""


def trainer(lab: Lab, name: str, case: str, cache: Path) -> str:
    """The real trainer with the piece in it."""
    piece = (HERE / f"{case}.py").read_text()
    if 'b"SPLIT"' in piece:
        packed = zlib.compress(solved(lab, cache) if name == "prompt" else known_split(name, cache), 9)
        piece = piece.replace('b"SPLIT"', repr(base64.b85encode(packed)))
    files = [p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.is_file() and "base" not in p.parts]
    piece = piece.replace("KNOWN_FILES", repr(files)).replace("THE_METRIC", TASKS[name].metric)
    piece = piece.replace("THE_CACHE", str(cache))
    return (lab.root / TASKS[name].mutable).read_text().replace(MAIN, f"\n{piece}\n{MAIN}")


TRIALS = [(case, task, where) for case in CASES for task in runs_of(case) for where in WHERE]


@pytest.mark.slow
@pytest.mark.sampled(0.5, "cheats of trainings")
@pytest.mark.parametrize(("case", "task", "where"), drawn(TRIALS, 0.006, "cheats of the other tasks"))
def test_a_trainer_that(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    case: str, task: str, where: str,
) -> None:  # fmt: skip
    for sandbox in SANDBOXES:
        if sandbox.name == where and (why := sandbox.missing()):
            pytest.skip(why)
    made = made_once(tmp_path_factory, f"cheats of {task}", lambda folder: make(folder, task))
    shutil.copytree(made / "lab", tmp_path / "lab", symlinks=True)
    monkeypatch.setenv(SWITCH, where)
    monkeypatch.setenv(CACHE, str(made / "cache"))
    lab, expected = Lab(tmp_path / "lab"), CASES[case]
    lab.git("status")
    honest = lab.session.best
    assert honest is not None and honest.metric is not None
    (lab.root / TASKS[task].mutable).write_text(trainer(lab, task, case, made / "cache"))

    done = lab.call("try", "-m", case)

    assert done.code == 0, done
    run = lab.events("run")[-1]
    told = json.dumps([run["outcome"], run["metric"], run["reason"], run["warnings"]])
    assert run["outcome"] in expected.outcomes and run["env"]["isolation"] == where, told
    if run["outcome"] == expected.outcomes[0] != "ok":
        shown = lab.call("show", "2").out if run["outcome"] == "crash" else ""  # the end of what it printed
        assert expected.says in " ".join([run["reason"] or "", *run["warnings"], shown]), told
    if run["outcome"] == "ok":
        gain = (run["metric"] - honest.metric) * (1 if TASKS[task].higher else -1)
        assert (gain > EXACT) == expected.better, told
    assert lab.processes() == [] and lab.call("check").code == 0


def test_every_trainer_of_the_tasks_is_run() -> None:
    folders = ("any_task", *TASKS)
    assert sorted(CASES) == sorted(f"{name}/{path.stem}" for name in folders for path in (HERE / name).glob("*.py"))
    assert all(sum(task in runs_of(case) for case in CASES) >= 4 for task in TASKS)
