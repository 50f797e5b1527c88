"""How long the engine itself takes: start, status and resume of a long session, and what `try` adds to a command.

    python benchmarks/engine.py [--json | --markdown] [--runs N] [--experiments N]
    python benchmarks/engine.py --against COMMIT [--runs N] [--files 3,2003,5000,40000]

Everything is measured from outside, as the wall time of real processes, on workspaces in a temporary folder. The long
journal is synthetic: drawn by a seeded generator, not measured by any experiment.

With --against, `try` without its command, in repositories of several sizes, and `status` and `resume --brief` of the
long journal are measured with the present source and with that of another commit in turn, in CPU seconds too: those
hardly depend on what else the machine does. The tries follow one another at once.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import autoresearch
from autoresearch.system.hardware import detect

PROGRAM = Path(sys.executable).with_name("autoresearch")

START_S = 0.3
READ_S = 0.7
OVERHEAD_S = 0.7


@dataclass(frozen=True)
class Figure:
    """One measured duration in seconds."""

    name: str
    bytecode: str
    """`cached` as in an installed package, or `not written` (PYTHONDONTWRITEBYTECODE=1)."""
    n: int
    median: float
    min: float
    max: float
    target: float
    ok: bool


def figure(name: str, bytecode: str, seconds: list[float], target: float) -> Figure:
    middle = statistics.median(seconds)
    return Figure(
        name, bytecode, len(seconds), round(middle, 3), round(min(seconds), 3), round(max(seconds), 3), target,
        middle < target,
    )  # fmt: skip


def environments(folder: Path) -> dict[str, dict[str, str]]:
    """Return the environment for each way that Python may keep its compiled modules."""
    plain = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")}
    plain |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return {
        "cached": plain | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")},
        "not written": plain | {"PYTHONDONTWRITEBYTECODE": "1"},
    }


def run(folder: Path, env: dict[str, str], *args: str) -> float:
    """Run autoresearch in `folder` and return its wall time in seconds."""
    program = [sys.executable, "-m", "autoresearch"] if "PYTHONPATH" in env else [str(PROGRAM)]
    began = time.perf_counter()
    done = subprocess.run([*program, *args], cwd=folder, env=env, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(args)} failed: {done.stderr}")
    return seconds


def repeated(runs: int, measured: Callable[[], float]) -> list[float]:
    """Return the durations of `runs` calls after one that warms up."""
    measured()
    return [measured() for _ in range(runs)]


# --- workspaces ---


def make_workspace(folder: Path, env: dict[str, str], files: int) -> Path:
    """Make a session of the task `command` in a repository of `files` files beside the two that it needs."""
    folder.mkdir(parents=True)
    rng = random.Random(files)
    for number in range(files):
        path = folder / f"package{number // 100}" / f"module{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"value_{k} = {rng.random()}\n" for k in range(40)))
    (folder / "number.txt").write_text("100\n")
    (folder / "bench.sh").write_text('echo "METRIC loss=$(cat number.txt)"\n')
    who = (("config", "user.name", "a"), ("config", "user.email", "a@example.org"))
    for command in (("init", "-q", "-b", "main"), *who, ("add", "."), ("commit", "-q", "-m", "start")):
        subprocess.run(["git", *command], cwd=folder, env=env, check=True)
    run(folder, env, "init", ".", "--task", "command", "--command", "bash bench.sh", "--metric", "loss",
        "--direction", "lower", "--mutable", "number.txt", "--tag", "bench")  # fmt: skip
    return folder


def write_journal(folder: Path, experiments: int) -> None:
    """Append a synthetic session whose last experiment is the kept commit at the tip."""
    git = ["git", "-C", str(folder)]
    tip = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run([*git, "update-ref", f"refs/autoresearch/bench/{experiments}", tip], check=True)
    with (folder / "autoresearch.jsonl").open("a") as file:
        for event in synthetic(experiments, tip, random.Random(experiments)):
            file.write(json.dumps(event, separators=(",", ":")) + "\n")


def synthetic(experiments: int, tip: str, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Yield the events of a session: about one in twelve is kept, one in ten crashes, some carry notes and repeats."""
    noise, best, incumbent, now = 0.002, 1.1, None, 1_790_000_000
    env = {"gpu": "NVIDIA H100 80GB HBM3", "cpu": "a processor", "cores": 26, "system": "Linux", "python": "3.11.7"}
    for number in range(1, experiments + 1):
        commit = tip if number == experiments else f"{rng.getrandbits(160):040x}"
        fate = "keep" if number in (1, experiments) else rng.choices(["keep", "crash", "discard"], [8, 10, 82])[0]
        description = f"change {number}: " + " ".join(rng.choices(WORDS, k=8))
        asi = {"hypothesis": " ".join(rng.choices(WORDS, k=20)), "family": rng.choice(WORDS)}
        yield {"type": "start", "experiment": number, "commit": commit, "parent": incumbent and incumbent[1], "seed": 1,
               "description": description, "asi": asi, "fingerprint": f"{rng.getrandbits(256):064x}",
               "timestamp": now}  # fmt: skip
        if fate == "keep":
            best -= rng.expovariate(1 / 0.0002)
        value = best if fate == "keep" else best + rng.expovariate(1 / 0.01)
        runs = 0 if fate == "crash" else 4 if fate == "keep" else rng.choices([1, 2], [4, 1])[0]
        values = [round(rng.gauss(value, noise), 6) for _ in range(runs)]
        fresh = values[1:] or values
        now += 300 * max(1, runs)
        yield {"run": number, "commit": commit[:7], "metric": sum(fresh) / len(fresh) if fresh else None,
               "metrics": {"peak_vram_mb": round(rng.gauss(45000, 500), 1), "mfu_percent": 39.8} if runs else {},
               "status": fate, "description": description, "timestamp": now, "segment": 0, "confidence": 2.1,
               "asi": asi, "outcome": "crash" if fate == "crash" else "ok",
               "reason": " ".join(rng.choices(WORDS, k=10)),
               "values": values, "seeds": [*range(1, runs + 1)], "screened": runs > 1,
               "parent": incumbent and incumbent[1], "manifest": "0" * 64, "seconds": 301.5, "env": env}  # fmt: skip
        if fate == "keep":
            incumbent = (number, commit)
        if incumbent and rng.random() < 0.03:
            yield {"type": "repeat", "experiment": incumbent[0], "seed": rng.randrange(100, 10_000),
                   "value": round(rng.gauss(best, noise), 6), "timestamp": now}  # fmt: skip
        if rng.random() < 0.1:
            yield {"type": "note", "experiment": number, "asi": {"result": " ".join(rng.choices(WORDS, k=15))},
                   "timestamp": now}  # fmt: skip


WORDS = """
attention batch bias clip cosine decay depth dropout embedding gate head init layer lr mlp momentum
muon norm optimizer residual rotary schedule softcap warmup weight width window
""".split()


# --- figures ---


def overhead(folder: Path, env: dict[str, str], number: Iterator[int]) -> float:
    """Return how much longer `try` takes than its command does, as the journal has it."""
    (folder / "number.txt").write_text(f"{next(number)}\n")
    seconds = run(folder, env, "try", "-m", "another number", "--json")
    last = json.loads((folder / "autoresearch.jsonl").read_text().splitlines()[-1])
    if last["outcome"] != "ok":
        raise SystemExit(f"the experiment failed: {last}")
    return seconds - float(last["seconds"])


def measure(runs: int, experiments: int, tell: Callable[[str], None]) -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(prefix="autoresearch-bench-") as name:
        folder = Path(name).resolve()
        settings = environments(folder)
        tell("making the workspaces")
        long = make_workspace(folder / "long", settings["cached"], 0)
        write_journal(long, experiments)
        repositories = {
            files: make_workspace(folder / f"files{files}", settings["cached"], files) for files in (0, 2000)
        }
        for repository in repositories.values():
            run(repository, settings["cached"], "baseline")
        numbers = iter(range(1_000_000, 0, -1))
        for bytecode, env in settings.items():

            def take(name: str, target: float, measured: Callable[[], float], bytecode: str = bytecode) -> None:
                tell(f"{name}, bytecode {bytecode}")
                figures.append(figure(name, bytecode, repeated(runs, measured), target))

            take("--version", START_S, lambda env=env: run(folder, env, "--version"))
            for command in (("status", "--json"), ("resume", "--brief")):
                what = f"{' '.join(command)}, {experiments} experiments"
                take(what, READ_S, lambda env=env, command=command: run(long, env, *command))
            for files, repository in repositories.items():
                what = f"try without its command, {files + 3} files"
                take(what, OVERHEAD_S, lambda env=env, at=repository: overhead(at, env, numbers))
    return figures


# --- beside another commit ---


def against(commit: str, runs: int, sizes: list[int], experiments: int, tell: Callable[[str], None]) -> list[str]:
    """Return a table of both sources: median wall and CPU seconds of what the engine itself does."""
    top = Path(__file__).resolve().parents[1]
    lines = ["| | n | wall before | wall now | CPU before | CPU now |", "|---|--:|--:|--:|--:|--:|"]
    with tempfile.TemporaryDirectory(prefix="autoresearch-bench-") as name:
        folder = Path(name).resolve()
        for words in (("clone", "-q", "--shared", str(top), str(folder / "before")),
                      ("-C", str(folder / "before"), "checkout", "-q", commit)):  # fmt: skip
            subprocess.run(["git", *words], check=True)
        sources = {"before": folder / "before" / "src", "now": top / "src"}
        plain = environments(folder)["cached"]
        envs = {
            which: plain | {"PYTHONPATH": str(source), "PYTHONPYCACHEPREFIX": str(folder / f"bytecode {which}")}
            for which, source in sources.items()
        }
        numbers = iter(range(1_000_000, 0, -1))

        def row(what: str, count: int, measured: Callable[[str], float]) -> None:
            wall: dict[str, list[float]] = {which: [] for which in envs}
            cpu: dict[str, list[float]] = {which: [] for which in envs}
            for turn in range(count + 1):
                for which in envs:
                    tell(f"{what}, {which}, {turn} of {count}")
                    began = resource.getrusage(resource.RUSAGE_CHILDREN)
                    seconds = measured(which)
                    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
                    if turn:  # the first one warms up
                        wall[which].append(seconds)
                        spent = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
                        cpu[which].append(spent)
            cells = [f"{statistics.median(times[which]):.2f}" for times in (wall, cpu) for which in envs]
            lines.append(f"| {what} | {count} | {' | '.join(cells)} |")

        for files in sizes:
            places = {which: make_workspace(folder / f"{which}{files}", envs[which], files - 3) for which in envs}
            for which, place in places.items():
                run(place, envs[which], "baseline")
            count = runs if files < 10_000 else min(runs, 3)  # where it was slow, it took minutes
            row(f"`try` without its command, {files} files", count,
                lambda which, places=places: overhead(places[which], envs[which], numbers))  # fmt: skip
        long = make_workspace(folder / "long", envs["now"], 0)
        write_journal(long, experiments)
        row(f"reading the journal of {experiments} experiments", runs, lambda which: reading(long, envs[which]))
        for command in (("status", "--json"), ("resume", "--brief")):
            row(f"`{' '.join(command)}`, {experiments} experiments", runs,
                lambda which, command=command: run(long, envs[which], *command))  # fmt: skip
    return lines


def reading(folder: Path, env: dict[str, str]) -> float:
    """Return how long a Python takes that does no more than parse each line of a journal."""
    program = "import orjson, pathlib, gc; gc.disable()\n"
    program += "[orjson.loads(line) for line in pathlib.Path('autoresearch.jsonl').read_bytes().splitlines()]\n"
    program += "import os; os._exit(0)"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=folder, env=env, check=True)
    return time.perf_counter() - began


def about(experiments: int) -> dict[str, str]:
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    machine = detect()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine.describe(),
        "versions": f"autoresearch {autoresearch.__version__}, Python {machine.env()['python']}, git {git}",
        "journal": f"synthetic: {experiments} experiments drawn by a seeded generator, none of them measured",
    }


def table(figures: list[Figure]) -> list[str]:
    rows = [("seconds", "bytecode", "n", "median", "min", "max", "target", "ok")]
    rows += [
        (f.name, f.bytecode, str(f.n), f"{f.median:.3f}", f"{f.min:.3f}", f"{f.max:.3f}", f"< {f.target:g}",
         "yes" if f.ok else "NO")
        for f in figures
    ]  # fmt: skip
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--markdown", action="store_true", help="print the page that is kept in benchmarks/results")
    parser.add_argument("--runs", type=int, default=9, help="how often each figure is measured, after a warm-up")
    parser.add_argument("--experiments", type=int, default=20_000, help="length of the synthetic journal")
    parser.add_argument("--against", metavar="COMMIT", help="measure beside the source of this commit")
    parser.add_argument("--files", default="3,2003,5000,40000", help="sizes of the repositories of --against")
    options = parser.parse_args()
    if options.against:
        sizes = [int(size) for size in options.files.split(",")]
        told = about(options.experiments)
        print("\n".join(f"- {key}: {value}" for key, value in told.items()) + "\n", flush=True)
        lines = against(
            options.against, options.runs, sizes, options.experiments, lambda text: print(text, file=sys.stderr)
        )
        print("\n".join(lines))
        return
    figures = measure(options.runs, options.experiments, lambda text: print(text, file=sys.stderr))
    told = about(options.experiments)
    if options.json:
        print(json.dumps({**told, "figures": [asdict(f) for f in figures]}))
    elif options.markdown:
        command = f"python benchmarks/engine.py --markdown --runs {options.runs}"
        print("# How long the engine itself takes\n")
        told |= {"command": f"`{command}`"}
        print("\n".join(f"- {key}: {value}" for key, value in told.items()))
        print("\nWall time of whole processes, in seconds. Bytecode `cached` is how an installed package starts;")
        print("`not written` is `PYTHONDONTWRITEBYTECODE=1`, where modules may be compiled anew at each start.\n")
        print("\n".join(table(figures)))
    else:
        print("\n".join([*(f"{key:<9} {value}" for key, value in told.items()), "", *table(figures)]))


if __name__ == "__main__":
    main()
