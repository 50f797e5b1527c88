"""What the pretrain task does on a GPU: its tests for CUDA, the ceilings of the card, training beside the reference.

    python benchmarks/gpu.py --out DIR [--phases check,ceilings,prepare,sides,long] [--seconds 100] [--long 300]
                             [--source DIR] [--profile full] [--deadline 540]

Each phase is a process with a limit of its own and writes its figures as it goes: DIR/figures.jsonl, a line each, and
DIR/<phase>.log. A phase that fails is told and the next one goes on; none begins when less than a minute is left of
--deadline. What must be installed: torch, numpy, tiktoken, rustbpe, pyarrow, huggingface_hub, psutil, pytest; not the
package. The text is by default every Python file of the installation, copied into the temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LEAST_S = 60
"""Seconds that must be left for another phase to begin."""

ABOUT = """
import json, platform, torch
cuda = torch.cuda.is_available()
card = torch.cuda.get_device_properties(0) if cuda else None
print(json.dumps({"device": card.name if card else "none", "memory_gb": card.total_memory / 2**30 if card else None,
                  "torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version()}))
"""
CEILINGS = """
import json, torch
def seconds(work, times=20):
    for _ in range(3):
        work()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    for event in events[:-1]:
        event.record()
        work()
    events[-1].record()
    torch.cuda.synchronize()
    spent = sorted(a.elapsed_time(b) / 1e3 for a, b in zip(events, events[1:]))
    return spent[len(spent) // 2]
n = 8192
a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
block = torch.randn(2**30, device="cuda", dtype=torch.bfloat16)
other = torch.empty_like(block)
print(json.dumps({"matmul_bf16_tflops": 2 * n**3 / seconds(lambda: a @ b) / 1e12,
                  "copy_tb_per_s": 2 * 2 * 2**30 / seconds(lambda: other.copy_(block)) / 1e12}))
"""


class Report:
    """Figures as they come, and the time that is left."""

    def __init__(self, out: Path, deadline_s: float) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.end = out, time.monotonic() + deadline_s

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def add(self, phase: str, **figures: Any) -> None:
        line = json.dumps({"phase": phase, **figures})
        print(line, flush=True)
        with (self.out / "figures.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def run(self, phase: str, command: list[str], limit_s: float, **env: str) -> tuple[int | None, str, float]:
        """Run a command in a group of its own; return (exit code or None at the limit, output, seconds)."""
        began, log = time.monotonic(), self.out / f"{phase}.log"
        with log.open("ab") as file:
            begin = file.tell()
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **env}, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            try:
                code: int | None = process.wait(max(1.0, min(limit_s, self.left)))
            except subprocess.TimeoutExpired:
                code = None
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        text = log.read_bytes()[begin:].decode("utf-8", "replace")
        return code, text, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--phases", default="check,ceilings,prepare,sides,long")
    parser.add_argument("--seconds", type=float, default=100, help="budget of a run side by side")
    parser.add_argument("--long", type=float, default=300, help="budget of the last run")
    parser.add_argument("--source", help="as for trainer.py; default: the Python files that are installed here")
    parser.add_argument("--profile", default="full", choices=("full", "small", "tiny"))
    parser.add_argument(
        "--arms", nargs="*", default=["train.py", "reference, compiled"], help="names, or parts of them"
    )
    parser.add_argument("--deadline", type=float, default=3600, help="seconds for all of it")
    args = parser.parse_args()
    report = Report(args.out, args.deadline)
    args.source = args.source or str(python_text())
    _, text, _ = report.run("about", [sys.executable, "-c", ABOUT], 120)
    report.add("about", **_last_json(text), system=platform.platform(), date=time.strftime("%Y-%m-%d"))
    phases: dict[str, Callable[[Report, argparse.Namespace], None]] = {
        "check": check, "ceilings": ceilings, "prepare": prepare, "sides": sides, "long": long,
    }  # fmt: skip
    for name in args.phases.split(","):
        if report.left < LEAST_S:
            report.add(name, left_out=f"{report.left:.0f} s were left")
            continue
        try:
            phases[name](report, args)
        except Exception as error:  # the figures of the other phases are worth having
            report.add(name, failed=f"{type(error).__name__}: {error}"[:300])


def python_text() -> Path:
    """Return a folder with every Python file of the standard library and the installed packages; made once."""
    folder = Path(tempfile.gettempdir()) / "autoresearch-python-text"
    if not (folder / "done").exists():
        folder.mkdir(exist_ok=True)
        places = {sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")}
        paths = sorted({path.resolve() for place in places for path in Path(place).rglob("*.py") if path.is_file()})
        for number, path in enumerate(paths):
            shutil.copyfile(path, folder / f"{number:06d}.py")
        (folder / "done").touch()
    return folder


def check(report: Report, args: argparse.Namespace) -> None:
    """The task's own tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, f"--rootdir={ROOT}", "--confcutdir=tests/pretrain",
               "-p", "no:cacheprovider", "-p", "no:randomly", "-rfEs", "--tb=short", "-q",
               "tests/harness/test_attention.py", "tests/pretrain/test_cuda.py", "tests/pretrain/test_trainer.py", "-k",
               "cuda or attention or loss or orthogonalising or muon or batches"]  # fmt: skip
    code, text, seconds = report.run("check", command, 150, PYTHONPATH=_path("tests", "assets"), HF_HUB_OFFLINE="1")
    lines = [line for line in text.splitlines() if line.startswith(("FAILED", "ERROR", "SKIPPED")) or " passed" in line]
    report.add("check", code=code, seconds=round(seconds, 1), lines=lines[-40:])


def ceilings(report: Report, args: argparse.Namespace) -> None:
    """A large matrix product on random data and a copy: what MFU and memory traffic are held against."""
    code, text, seconds = report.run("ceilings", [sys.executable, "-c", CEILINGS], 60)
    report.add("ceilings", code=code, seconds=round(seconds, 1), **_last_json(text))


def prepare(report: Report, args: argparse.Namespace) -> None:
    """Read, tokenise and pack the text; the runs afterwards find it done."""
    command = [*_trainer(args, args.seconds, report), "--arms", "nothing of this name"]
    code, text, seconds = report.run("prepare", command, 240)
    report.add("prepare", code=code, seconds=round(seconds, 1), lines=text.splitlines()[-25:])


def sides(report: Report, args: argparse.Namespace) -> None:
    """train.py and the reference at one budget, one after the other."""
    for arm in args.arms:
        _train(report, "sides", args, args.seconds, arm)


def long(report: Report, args: argparse.Namespace) -> None:
    """train.py once at its full budget."""
    _train(report, "long", args, args.long, "train.py")


def _train(report: Report, phase: str, args: argparse.Namespace, seconds: float, arm: str) -> None:
    if report.left < seconds + LEAST_S / 2:
        report.add(phase, arm=arm, left_out=f"{report.left:.0f} s were left for a budget of {seconds:g} s")
        return
    runs = report.out / f"{phase}.runs.jsonl"
    known = len(runs.read_text().splitlines()) if runs.exists() else 0
    command = [*_trainer(args, seconds, report), "--seeds", "1", "--arms", arm, "--out", str(runs)]
    code, text, spent = report.run(phase, command, seconds + 300)
    made = [json.loads(line) for line in runs.read_text().splitlines()[known:]] if runs.exists() else []
    for run in made:
        report.add(phase, budget_s=seconds, **{**run, "log": run["log"].splitlines()[:30]})
    if not made:
        report.add(phase, arm=arm, code=code, seconds=round(spent, 1), lines=text.splitlines()[-20:])


def _trainer(args: argparse.Namespace, seconds: float, report: Report) -> list[str]:
    return [sys.executable, "benchmarks/trainer.py", "--profile", args.profile, "--source", args.source,
            "--seconds", f"{seconds:g}"]  # fmt: skip


def _path(*folders: str) -> str:
    return os.pathsep.join([*(str(ROOT / folder) for folder in folders), os.environ.get("PYTHONPATH", "")])


def _last_json(text: str) -> dict[str, Any]:
    found = re.findall(r"^\{.*\}$", text, re.M)
    return json.loads(found[-1]) if found else {"output": text.splitlines()[-5:]}


if __name__ == "__main__":
    main()
