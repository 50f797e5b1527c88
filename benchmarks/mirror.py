"""What the mirror of the journal costs: time and bytes of a verdict in a short and a long session, and what git keeps.

    uv run python benchmarks/mirror.py [--markdown] [--verdicts N] [--night N] [--against COMMIT]

The journals are synthetic, as in engine.py. "A verdict" appends a `start` and a `run` line and brings the mirror up, in
this process; the git processes that it starts are in its time. "A night" is that many verdicts one after another, each
mirrored, and then what the repository has on disk: as it is, after `git gc`, and after `git gc --prune=now`. With
--against, `try` without its command and `resume --brief` of the long session are measured with both sources in turn.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from engine import environments, make_workspace, overhead, run, synthetic, write_journal
from walks import versions

from autoresearch.journal import file as journal
from autoresearch.system.git import Git
from autoresearch.system.hardware import detect
from autoresearch.workspace.journal_mirror import keep_up, mirror_of
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

Lines = Iterator[dict[str, object]]

COMMANDS = {
    "`try` without its command": (),
    "`status --json`": ("status", "--json"),
    "`resume --brief`": ("resume", "--brief"),
}
"""What is measured beside another commit -> its words; none for `try`."""

SIZES = (20, 200, 2_000, 20_000)


def objects(folder: Path) -> tuple[int, int]:
    """Return number and bytes of the loose objects of a repository."""
    sizes = [path.stat().st_size for path in (folder / ".git/objects").glob("??/*")]
    return len(sizes), sum(sizes)


def on_disk(folder: Path) -> float:
    """Return what the objects of a repository take on disk, in MB."""
    done = subprocess.run(["du", "-sk", str(folder / ".git/objects")], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0]) * 1024 / 1e6


def cpu_s() -> float:
    """Return the processor seconds of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def verdicts(workspace: Workspace, git: Git, lines: Lines, count: int) -> list[tuple[float, float]]:
    """Append so many verdicts, each mirrored; return (wall, CPU) seconds of each mirroring."""
    seconds = []
    while len(seconds) < count:
        line = next(lines)
        journal.append(workspace.journal, line)
        if "run" in line:
            session = load_session(workspace)
            wall, cpu = time.perf_counter(), cpu_s()
            told = keep_up(workspace, git, session)
            seconds.append((time.perf_counter() - wall, cpu_s() - cpu))
            if told:
                raise SystemExit(f"the mirror failed: {told}")
    return seconds


def long_session(folder: Path, env: dict[str, str], experiments: int) -> tuple[Workspace, Lines]:
    """Return a session with so many experiments, and the lines that would follow them."""
    make_workspace(folder, env, 0)
    write_journal(folder, experiments)
    tip = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True).stdout.strip()
    lines = synthetic(experiments + 10_000, tip, random.Random(experiments))
    later = (line for line in lines if int(str(line.get("run", line.get("experiment")))) > experiments)
    return Workspace(folder), (line for line in later if line.get("type") in (None, "start"))


def by_size(folder: Path, env: dict[str, str], count: int) -> list[str]:
    table = ["| experiments | journal, MB | first mirror, s | a verdict, ms | CPU, ms | bytes of objects | objects |",
             "|--:|--:|--:|--:|--:|--:|--:|"]  # fmt: skip
    for experiments in SIZES:
        workspace, lines = long_session(folder / f"long{experiments}", env, experiments)
        git, session = Git(workspace.root), load_session(workspace)
        began = time.perf_counter()
        keep_up(workspace, git, session)
        first = time.perf_counter() - began
        before = objects(workspace.root)
        seconds = verdicts(workspace, git, lines, count)
        after = objects(workspace.root)
        wall, cpu = (1000 * statistics.median(each) for each in zip(*seconds, strict=True))
        number, size = ((now - then) / count for now, then in zip(after, before, strict=True))
        content, mirror = workspace.journal.read_bytes(), mirror_of(git, session)
        assert mirror is not None and mirror.journal(git) == content
        table.append(f"| {experiments} | {len(content) / 1e6:.2f} | {first:.2f} | {wall:.1f} | {cpu:.1f} | {size:.0f} "
                     f"| {number:.1f} |")  # fmt: skip
    return table


def a_night(folder: Path, env: dict[str, str], count: int) -> list[str]:
    workspace, lines = long_session(folder / "night", env, 1)
    git = Git(workspace.root)
    before = on_disk(workspace.root)
    verdicts(workspace, git, lines, count)
    found = [("as it is", on_disk(workspace.root), objects(workspace.root)[0])]
    for name, words in (("after `git gc`", ["gc", "-q"]), ("after `git gc --prune=now`", ["gc", "-q", "--prune=now"])):
        subprocess.run(["git", *words], cwd=workspace.root, env=env, check=True)
        found.append((name, on_disk(workspace.root), objects(workspace.root)[0]))
    mirror = mirror_of(Git(workspace.root), load_session(workspace))
    assert mirror is not None and mirror.journal(Git(workspace.root)) == workspace.journal.read_bytes()
    table = ["| objects of the repository | MB on disk, more than before | loose objects |", "|---|--:|--:|"]
    return table + [f"| {name} | {size - before:.1f} | {number} |" for name, size, number in found]


def restoring(folder: Path, env: dict[str, str]) -> str:
    workspace, _ = long_session(folder / "lost", env, SIZES[-1])
    run(workspace.root, env, "resume", "--brief")
    before = workspace.journal.read_bytes()
    workspace.journal.unlink()
    seconds = run(workspace.root, env, "resume", "--brief", "--restore", "bench")
    assert workspace.journal.read_bytes() == before
    return f"`resume --brief --restore` of {SIZES[-1]} experiments: {seconds:.2f} s"


def against(folder: Path, commit: str, runs: int) -> list[str]:
    """Return a table of both sources on the same long journal, one after the other."""
    top = Path(__file__).resolve().parents[1]
    for words in (("clone", "-q", "--shared", str(top), str(folder / "before")),
                  ("-C", str(folder / "before"), "checkout", "-q", commit)):  # fmt: skip
        subprocess.run(["git", *words], check=True)
    lines = ["| | n | wall before | wall now | CPU before | CPU now |", "|---|--:|--:|--:|--:|--:|"]
    plain, numbers = environments(folder)["cached"], itertools.count(10**6, -1)
    for sandbox in ("off", "auto"):
        wall: dict[tuple[str, str], list[float]] = {}
        cpu: dict[tuple[str, str], list[float]] = {}
        for which, source in (("before", folder / "before" / "src"), ("now", top / "src")):
            env = plain | {"PYTHONPATH": str(source), "PYTHONPYCACHEPREFIX": str(folder / f"bytecode {which}"),
                           "AUTORESEARCH_SANDBOX": sandbox}  # fmt: skip
            place = make_workspace(folder / f"{which} {sandbox}", env, 0)
            write_journal(place, SIZES[-1])
            for turn in range(runs + 1):
                for what, words in COMMANDS.items():
                    began = resource.getrusage(resource.RUSAGE_CHILDREN)
                    seconds = run(place, env, *words) if words else overhead(place, env, numbers)
                    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
                    if turn:  # the first one warms up
                        wall.setdefault((what, which), []).append(seconds)
                        spent = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
                        cpu.setdefault((what, which), []).append(spent)
        where = "without a sandbox" if sandbox == "off" else "in the sandbox"
        for what in dict.fromkeys(what for what, _ in wall):
            both = [(each, which) for each in (wall, cpu) for which in ("before", "now")]
            cells = [f"{statistics.median(each[what, which]):.2f}" for each, which in both]
            lines.append(f"| {what}, {where} | {runs} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--verdicts", type=int, default=100, help="how many are measured at each size")
    parser.add_argument("--night", type=int, default=2_000, help="verdicts of the night")
    parser.add_argument("--against", metavar="COMMIT", help="measure beside the source of this commit")
    parser.add_argument("--runs", type=int, default=5, help="how often each command of --against is measured")
    parser.add_argument("--json", action="store_true", help="print the lines as one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="autoresearch-mirror-") as name:
        folder = Path(name).resolve()
        env = environments(folder)["cached"]
        parts = {
            "A verdict, by the length of the session": by_size(folder, env, options.verdicts),
            f"{options.night} verdicts one after another": a_night(folder, env, options.night),
            "Back again": [restoring(folder, env)],
        }
        if options.against:
            parts[f"Commands at {SIZES[-1]} experiments, seconds"] = against(folder, options.against, options.runs)
    if options.json:
        print(json.dumps(parts))
        return
    print(f"- date: {datetime.date.today().isoformat()}\n- machine: {detect().describe()}\n- versions: {versions()}")
    print(f"- command: `{' '.join(['python benchmarks/mirror.py', *sys.argv[1:]])}`")
    for title, lines in parts.items():
        print("\n".join(["", f"## {title}", "", *lines]))


if __name__ == "__main__":
    main()
