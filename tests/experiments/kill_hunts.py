"""Kills at random instants of the work of a command, each followed by the reader's check: what tests do a few times and
benchmarks/kills.py many times.

A command is at work from when it holds the workspace's lock. How long that takes undisturbed is measured first, and the
instant is drawn from that time. A kill counts only if it has landed inside: after the command's first effect and before
its last, told by what lies there.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kill_lab import Lab, kill
from waiting import PATIENCE_S, wait_for

from autoresearch.journal import file as journal

MOST = 6
"""Kills tried for each that is wanted; more would mean that the instants are drawn from the wrong time."""

OUTSIDE = ("before the commit", "after the end")


def at_work(lab: Lab, process: subprocess.Popen[bytes]) -> bool:
    """Whether the lock's holder is this process; what a killed one leaves says so, too."""
    try:
        found = json.loads((lab.folder / ".autoresearch/holder.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(found["pid"] == process.pid)


def work_time(lab: Lab, *args: str) -> float:
    """Run a command and return for how many seconds it was at work."""
    process = lab.start(*args)
    wait_for(lambda: at_work(lab, process) or process.poll() is not None, "the beginning of the work")
    began = time.monotonic()
    wait_for(lambda: not at_work(lab, process), "the end of the work")
    seconds = time.monotonic() - began
    assert process.wait(PATIENCE_S) == 0, args
    return seconds


def strike(lab: Lab, seconds: float, rng: random.Random, how: str, *args: str) -> None:
    """Start a command and kill it at a random instant of its work, which takes about that many seconds."""
    process = lab.start(*args)
    wait_for(lambda: at_work(lab, process) or process.poll() is not None, "the beginning of the work")
    time.sleep(rng.random() * seconds)
    kill(process, how)


def hunt(wanted: int, one: Callable[[int], str | None]) -> Counter[str]:
    """Kill until `wanted` kills have landed inside; `one` does a kill and says where it landed, None for outside."""
    windows: Counter[str] = Counter()
    for count in range(MOST * wanted):
        window = one(count)
        windows[window or "outside"] += 1
        if landed(windows) == wanted:
            return windows
    raise AssertionError(f"too few kills have landed inside: {dict(windows)}")


def landed(windows: Counter[str]) -> int:
    """Return how many kills landed inside."""
    return windows.total() - windows["outside"]


# --- try ---


def hunt_try(lab: Lab, wanted: int, rng: random.Random) -> Counter[str]:
    """Kill `try`, and now and then the `resume` after it; check everything after each."""
    seconds = {}
    for name, edit in (("worse", lab.edit_worse), ("better", lab.edit_better)):
        edit()
        seconds[name] = work_time(lab, "try", "-m", name)
    lab.check()

    def one(count: int) -> str | None:
        lab.gather()
        pending = lab.content if lab.content != lab.version("HEAD") else None
        if pending is None and lab.head == lab.incumbent:
            pending = lab.edit_better() if rng.random() < 0.5 else lab.edit_worse()
        better = float(lab.content.split()[0]) < lab.best
        how = rng.choice(["engine", "group", "tree"] * 2 + ["git"])
        strike(lab, seconds["better" if better else "worse"], rng, how, "try", "-m", f"kill {count}")
        window = lab.window()
        later = None
        if rng.random() < 0.15 and window != "between commit and start":
            later = lab.edit(rng.choice([lab.best - 1, lab.best + 1]))
            lab.given_up.add(pending or "")
        if rng.random() < 0.2:
            again = lab.start("resume")
            wait_for(lambda: at_work(lab, again) or again.poll() is not None, "the beginning of the repair")
            time.sleep(rng.random() * 0.1)
            kill(again, rng.choice(["engine", "group", "tree"]))
        try:
            lab.resume()
            lab.check(later)
        except AssertionError as error:
            raise AssertionError(f"kill {count}, {how}, {window}: {error}") from error
        return None if window in OUTSIDE else f"{window}{', git alone' if how == 'git' else ''}"

    windows = hunt(wanted, one)
    lab.gather()
    if lab.content == lab.version("HEAD") and lab.head == lab.incumbent:
        lab.edit_better()
    assert lab.json("try", "-m", "the last one")["outcome"] == "ok"
    lab.check()
    return windows


# --- import ---

ROWS = 1600


def hunt_import(lab: Lab, wanted: int, rng: random.Random) -> Counter[str]:
    """Kill `import` of a log, go on with it, and compare what the journal has with the log, row by row."""
    log, before, own = lab.folder.parent / "results.tsv", state(lab), _text(lab)
    rows = _new_log(log, 0)
    seconds = work_time(lab, "import", str(log))

    def one(count: int) -> str | None:
        nonlocal rows
        here = _imported(lab)
        if len(here) == ROWS:  # begin again, with other rows
            (lab.folder / "autoresearch.jsonl").write_text(own)
            lab.git("update-ref", "-d", "refs/autoresearch/t/0-journal")
            rows, here = _new_log(log, count + 1), []
        how = rng.choice(["engine", "group", "tree"])
        strike(lab, seconds * (ROWS - len(here)) / ROWS, rng, how, "import", str(log))
        torn = not _text(lab).endswith("\n")
        found = _imported(lab)
        check_import(found, rows)
        assert len(found) >= len(here) and _text(lab).startswith(own)
        lab.resume()
        assert _imported(lab) == found, "resume has changed what was imported"
        settled(lab)
        assert state(lab) == before
        if rng.random() < 0.5 or len(found) == ROWS:
            view = lab.json("import", str(log))
            assert (view["known"], view["added"]) == (len(found), ROWS - len(found))
            check_import(_imported(lab), rows, whole=True)
        inside = len(here) < len(found) < ROWS or torn
        return ("in a journal line" if torn else "between two lines") if inside else None

    windows = hunt(wanted, one)
    lab.json("import", str(log))
    check_import(_imported(lab), rows, whole=True)
    assert lab.json("status")["best"]["experiment"] == 1
    return windows


def check_import(found: list[dict[str, Any]], rows: list[str], *, whole: bool = False) -> None:
    """Each row is there once, in order, up to where the import has come."""
    assert [e["imported"]["entry"] for e in found] == [*range(1, len(found) + 1)]
    assert [e["description"] for e in found] == [row.split("\t")[-1] for row in rows[: len(found)]]
    assert len({e["run"] for e in found}) == len(found)
    assert not whole or len(found) == len(rows)


def _new_log(log: Path, number: int) -> list[str]:
    kept = ["keep" if n % 3 else "discard" for n in range(ROWS)]
    rows = [f"{n:07x}\t{1 - n / 1000:.6f}\t44.0\t{kept[n]}\trow {n} of {number}" for n in range(ROWS)]
    log.write_text("\n".join(["commit\tval_bpb\tmemory_gb\tstatus\tdescription", *rows, ""]))
    return rows


def _text(lab: Lab) -> str:
    return (lab.folder / "autoresearch.jsonl").read_text()


def _imported(lab: Lab) -> list[dict[str, Any]]:
    """Return the imported lines of the journal, but a torn last one."""
    events = (event.get("entry", event) for _, event in journal.read(lab.folder / "autoresearch.jsonl"))
    return [event for event in events if "imported" in event and "run" in event]


# --- studies ---


def state(lab: Lab) -> dict[str, Any]:
    """What no study may change: branch, folder, verdicts and refs of experiments."""
    refs = lab.git("for-each-ref", "--format=%(objectname) %(refname)").splitlines()
    refs = [ref for ref in refs if not ref.endswith("/0-journal")]  # it follows the journal
    return {
        "head": lab.head,
        "content": lab.content,
        "status": lab.git("status", "--porcelain"),
        "verdicts": {n: e for n, e in lab.verdicts().items() if "imported" not in e},
        "refs": [ref for ref in refs if "-ablate/" not in ref],
    }


def settled(lab: Lab) -> None:
    """Nothing is left running or lying about, and git's objects are whole."""
    assert lab.marked() == [] and lab.locks() == []
    lab.unreachable()
    folder = lab.folder / ".autoresearch"
    assert not (folder / "running.json").exists() and not (folder / "git-at-work").exists()
    assert not (folder / "scratch").exists() or not [*(folder / "scratch").iterdir()]


def check_studies(lab: Lab) -> None:
    """Each study that began has one end; no run is in the journal twice; nothing is left running or lying about."""
    events = lab.events()
    begun = {e["study"]: e for e in events if e.get("type") == "study"}
    ends = Counter(e["study"] for e in events if e.get("type") == "study_end")
    assert ends == Counter(dict.fromkeys(begun, 1))
    chains = {n: n for n in begun}
    for n, e in begun.items():
        chains[n] = chains[e["continues"]] if "continues" in e else n
    runs = Counter((chains[e["study"]], e["commit"], e["seed"]) for e in events if e.get("type") == "study_run")
    assert all(count == 1 for count in runs.values()), runs
    settled(lab)


def study_runs(lab: Lab) -> list[dict[str, Any]]:
    return [e for e in lab.events() if e.get("type") == "study_run"]


def keep_something(lab: Lab) -> None:
    """Make a keep, which studies need."""
    lab.edit_better()
    assert lab.json("try", "-m", "better")["status"] == "keep"


def hunt_study(lab: Lab, wanted: int, rng: random.Random, *command: str) -> Counter[str]:
    """Kill `confirm` or `ablate`; half of the time let it end then, and see that it took over what was measured."""
    if len(lab.verdicts()) == 1:
        keep_something(lab)
    before, told = state(lab), len(study_runs(lab))
    seconds = work_time(lab, *command)
    each = len(study_runs(lab)) - told
    left = each

    def one(count: int) -> str | None:
        nonlocal left
        had = study_runs(lab)
        strike(lab, seconds * left / each, rng, rng.choice(["engine", "group", "tree"]), *command)
        lines = [event for _, event in journal.read(lab.folder / "autoresearch.jsonl")]
        began, ended = (sum(e.get("type") == kind for e in lines) for kind in ("study", "study_end"))
        running = (lab.folder / ".autoresearch/running.json").exists()
        lab.resume()
        found = study_runs(lab)
        assert found[: len(had)] == had, "lost a run"
        check_studies(lab)
        assert state(lab) == before
        inside = began > ended
        ended_well = began == ended and lines[-1].get("type") == "study_end" and lines[-1]["outcome"] == "done"
        left = each if ended_well else left - (len(found) - len(had))
        if inside and rng.random() < 0.5:
            lab.json(*command)
            check_studies(lab)
            assert state(lab) == before and len(study_runs(lab)) == len(found) + left
            left = each
        return ("during a run" if running else "between two runs") if inside else None

    return hunt(wanted, one)
