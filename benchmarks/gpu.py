"""What the pretrain task does on a GPU that is there for ten minutes, training beside the reference included.

    python benchmarks/gpu.py --out DIR                             in 570 s: all but what the full budget takes
    python benchmarks/gpu.py --out DIR --phases prepare,sides,goal --seconds 300 --deadline 870    side by side, in full
    python benchmarks/gpu.py --out DIR --profile tiny --seconds 2 --long 3 --source DIR            a try on a CPU

The phases, in the order of what is missed most if the card goes away:

    minute    what `doctor --gpu` measures: device, products, attention, a step, memory expected and taken
    startup   from nothing to the second step, with an empty cache of compiled graphs and with the one that it left
    prepare   read, tokenise and pack the text
    sides     train.py and the reference on the same rows, at --seconds
    long      train.py alone at --long, the full budget of the task; only where it is asked for
    grading   the score by the device's memory between processes and by the machine's, with --rounds
    check     the task's own tests that need a GPU
    goal      what came out against what is wanted: bits per byte below the reference, and MFU

Each is a process, or some, with a limit of its own, and writes its figures as it goes: DIR/figures.jsonl, a line each,
and DIR/<phase>.log. A phase that fails is told and the next one goes on; one that would not end before --deadline is
left out, and told too. What must be installed: torch, numpy, tiktoken, rustbpe, pyarrow, huggingface_hub, psutil,
pytest; not the package. The text is by default every Python file of the installation, copied into the temporary folder.
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

from trainer import workspace

ROOT = Path(__file__).resolve().parents[1]
LEAST_S = 60
"""Seconds that must be left for a training to be graded and told, beside its budget."""

WANTED_BPB, WANTED_MFU = 0.040, 55.0
"""The goal: train.py so far below the reference in one run, and this part of the data sheet's FLOP/s in percent."""

MINUTE = ("card", "products", "kernels", "compiler", "step", "memory")
"""The phases of `assets/first_minute`."""

ABOUT = """
import json, platform, torch
cuda = torch.cuda.is_available()
card = torch.cuda.get_device_properties(0) if cuda else None
print(json.dumps({"device": card.name if card else "none", "memory_gb": card.total_memory / 2**30 if card else None,
                  "torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version()}))
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

    def run(
        self, phase: str, command: list[str], limit_s: float, cwd: Path = ROOT, **env: str
    ) -> tuple[int | None, str, float]:
        """Run a command in a group of its own; return (exit code or None at the limit, output, seconds)."""
        began, log = time.monotonic(), self.out / f"{phase}.log"
        with log.open("ab") as file:
            begin = file.tell()
            process = subprocess.Popen(
                command, cwd=cwd, env={**os.environ, **env}, stdout=file, stderr=subprocess.STDOUT,
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
    parser.add_argument("--phases", default="minute,startup,prepare,sides,grading,check,goal")
    parser.add_argument("--seconds", type=float, default=100, help="budget of a run side by side")
    parser.add_argument("--long", type=float, default=300, help="budget of the last run")
    parser.add_argument("--source", help="as for trainer.py; default: the Python files that are installed here")
    parser.add_argument("--profile", default="full", choices=("full", "small", "tiny"))
    parser.add_argument(
        "--arms", nargs="*", default=["train.py", "reference, compiled"], help="names, or parts of them"
    )
    parser.add_argument("--rounds", type=int, default=1, help="gradings by each way of the logits")
    parser.add_argument("--deadline", type=float, default=570, help="seconds for all of it")
    args = parser.parse_args()
    report = Report(args.out, args.deadline)
    args.source = args.source or str(python_text())
    _, text, _ = report.run("about", [sys.executable, "-c", ABOUT], 120)
    report.add("about", **_last_json(text), system=platform.platform(), date=time.strftime("%Y-%m-%d"))
    phases: dict[str, Callable[[Report, argparse.Namespace], None]] = {
        "minute": minute, "startup": startup, "prepare": prepare, "sides": sides, "long": long, "grading": grading,
        "check": check, "goal": goal,
    }  # fmt: skip
    names = args.phases.split(",")
    if unknown := {*names} - {*phases}:
        parser.error(f"there is no phase {min(unknown)}; choose from {', '.join(phases)}")
    for name in names:
        if report.left < 15 and name != "goal":
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


def minute(report: Report, args: argparse.Namespace) -> None:
    """The phases of `doctor --gpu`."""
    with tempfile.TemporaryDirectory(prefix="autoresearch-gpu-") as temporary:
        folder = workspace(Path(temporary) / "task", args.profile, "python", args.long)
        for name in MINUTE:
            _first_minute(report, "minute", folder, name, limit_s=120)


def startup(report: Report, args: argparse.Namespace) -> None:
    """Imports, model, compilation and the first steps: with an empty cache of compiled graphs, then with what that
    left."""
    with tempfile.TemporaryDirectory(prefix="autoresearch-gpu-") as temporary:
        folder = workspace(Path(temporary) / "task", args.profile, "python", args.long)
        for how in ("cold", "warm"):
            caches = {"TORCHINDUCTOR_CACHE_DIR": f"{temporary}/inductor", "TRITON_CACHE_DIR": f"{temporary}/triton"}
            _first_minute(report, "startup", folder, "step", "--seconds", "0", limit_s=180, cache=how, env=caches)


def _first_minute(
    report: Report, phase: str, folder: Path, name: str, *more: str, limit_s: float, cache: str | None = None,
    env: dict[str, str] | None = None,
) -> None:  # fmt: skip
    command = [sys.executable, "-m", "first_minute", name, *more]
    code, text, spent = report.run(phase, command, limit_s, cwd=folder, PYTHONPATH=_path("assets"), **(env or {}))
    about = {"name": name, **({"cache": cache} if cache else {}), "code": code, "seconds": round(spent, 1)}
    report.add(phase, **about, **_last_json(text))


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


def grading(report: Report, args: argparse.Namespace) -> None:
    """A short training, graded by each way of the logits."""
    command = [sys.executable, "benchmarks/grading.py", "--profile", args.profile, "--source", args.source,
               "--seconds", f"{min(5.0, args.seconds):g}", "--rounds", str(args.rounds)]  # fmt: skip
    code, text, seconds = report.run("grading", command, 150, PYTHONPATH=_path("benchmarks"))
    report.add("grading", code=code, seconds=round(seconds, 1), lines=text.splitlines()[-12:])


def goal(report: Report, args: argparse.Namespace) -> None:
    """What was found against what is wanted; None for what was not measured."""
    lines = [json.loads(line) for line in (report.out / "figures.jsonl").read_text("utf-8").splitlines()]
    sides = [line for line in lines if line["phase"] == "sides" and line.get("val_bpb") is not None]
    ours = [line for line in sides if line["arm"] == "train.py"]
    reference = [line for line in sides if line["arm"].startswith("reference")]
    trained = [line for line in lines if line["phase"] in ("sides", "long") and line.get("val_bpb") is not None]
    own = [line for line in trained if line["arm"] == "train.py"]
    below = reference[-1]["val_bpb"] - ours[-1]["val_bpb"] if ours and reference else None
    taken = [line["peak_vram_mb"] / line["estimated_memory_mb"] for line in own
             if line.get("peak_vram_mb") and line.get("estimated_memory_mb")]  # fmt: skip
    mfu = max((line["mfu_percent"] for line in own if line.get("mfu_percent")), default=None)
    report.add("goal", bpb_below_reference=below, wanted_bpb=WANTED_BPB, mfu_percent=mfu, wanted_mfu=WANTED_MFU,
               memory_taken_of_expected=taken[-1] if taken else None,
               reached={"bpb": None if below is None else below >= WANTED_BPB,
                        "mfu": None if mfu is None else mfu >= WANTED_MFU})  # fmt: skip


def _train(report: Report, phase: str, args: argparse.Namespace, seconds: float, arm: str) -> None:
    if report.left < seconds + (LEAST_S if args.profile == "full" else 15):
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
