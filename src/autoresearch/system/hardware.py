"""What machine this is, found without importing torch."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

VISIBLE = "CUDA_VISIBLE_DEVICES"

BY_BUS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""With it CUDA numbers the GPUs of a machine as nvidia-smi does; without it the fastest comes first."""

_SLICE = re.compile(r"MIG (\S+) .*\(UUID: (MIG-\S+)\)")
"""A line of `nvidia-smi -L` about a part of a GPU: its profile, its name for CUDA."""


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    memory_gb: float
    driver: str = ""
    id: str = ""
    """By which `CUDA_VISIBLE_DEVICES` names it, whatever order CUDA has them in."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The hardware an experiment runs on; recorded with every result."""

    gpus: tuple[Gpu, ...]
    cpu: str
    cores: int
    memory_gb: float
    system: str

    def describe(self) -> str:
        gpu = f"{len(self.gpus)} x {self.gpus[0].name} ({self.gpus[0].memory_gb:.0f} GB), " if self.gpus else ""
        return f"{gpu}{self.cpu}, {self.cores} cores, {self.memory_gb:.0f} GB, {self.system}"

    def env(self) -> dict[str, object]:
        """Return what a `run` line says of the machine."""
        return {
            "gpu": self.gpus[0].name if self.gpus else None,
            "cpu": self.cpu,
            "cores": self.cores,
            "system": self.system,
            "python": platform.python_version(),
        }

    def profile(self) -> str:
        """Return the profile of an ML task that fits: `full` from 16 GB of GPU memory, `small` on any GPU or Apple
        chip, else `tiny`."""
        if any(gpu.memory_gb >= 16 for gpu in self.gpus):
            return "full"
        return "small" if self.gpus or (sys.platform == "darwin" and platform.machine() == "arm64") else "tiny"


@functools.cache
def detect() -> Machine:
    """Return this machine; what cannot be asked is left out."""
    affinity = getattr(os, "sched_getaffinity", None)
    return Machine(
        gpus=_gpus(),
        cpu=_cpu(),
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        memory_gb=psutil.virtual_memory().total / 2**30,
        system=f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
    )


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        done = _ask("sysctl", "-n", "machdep.cpu.brand_string")
        if done:
            return done
    return platform.processor() or platform.machine()


def _gpus() -> tuple[Gpu, ...]:
    mask = os.environ.get(VISIBLE)
    if mask in ("", "-1"):  # nothing that is started here has one
        return ()
    out = _ask("nvidia-smi", "--query-gpu=name,memory.total,driver_version,uuid", "--format=csv,noheader,nounits")
    gpus: list[Gpu] = []
    for line in out.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4 and parts[1].isdigit():
            id = parts[3] if parts[3].startswith("GPU-") else str(len(gpus))
            gpus.append(Gpu(parts[0], int(parts[1]) / 1024, parts[2], id))
    if mask is None:
        return tuple(gpus)
    return visible(gpus, mask, _ask("nvidia-smi", "-L") if "MIG-" in mask else "")


def visible(gpus: Sequence[Gpu], mask: str, listed: str = "") -> tuple[Gpu, ...]:
    """Return those of a machine's GPUs, in nvidia-smi's order, that programs see by what `CUDA_VISIBLE_DEVICES` says:
    numbers in that order, ids or their beginnings, or parts of a GPU by name; `listed` (`nvidia-smi -L`) has these.

    As for CUDA, a name that is none hides whatever comes after it. A part of a GPU is a kind by its profile.
    """
    known = {str(number): gpu for number, gpu in enumerate(gpus)}
    whole: Gpu | None = None
    for line in listed.splitlines():
        whole = next((gpu for gpu in gpus if gpu.id.startswith("GPU-") and gpu.id in line), whole)
        part = _SLICE.search(line)
        if part is not None and whole is not None:
            size = re.search(r"(\d+)gb", part[1])
            memory_gb = float(size[1]) if size else whole.memory_gb
            known[part[2]] = Gpu(f"{whole.name} MIG {part[1]}", memory_gb, whole.driver, part[2])
    found: list[Gpu] = []
    for name in (each.strip() for each in mask.split(",")):
        begun = [gpu for gpu in gpus if name.startswith("GPU-") and gpu.id.startswith(name)]
        gpu = known.get(name) or (begun[0] if len(begun) == 1 else None)
        if gpu is None:
            break
        found += [gpu] if gpu not in found else []
    return tuple(found)


def siblings(processors: Sequence[int]) -> dict[int, str]:
    """Return processor -> what tells the core that it is a thread of; without those that the system does not tell."""
    found = {}
    for number in processors:
        with contextlib.suppress(OSError):
            found[number] = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list").read_text()
    return found


def along_cores(processors: Sequence[int], cores: Mapping[int, str], each: int) -> tuple[int, ...]:
    """Return the processors in an order of which every `each` make a slot: the threads of a core are in one slot where
    that many fit, and slots that are smaller than a core have one to themselves while there are enough."""
    threads: dict[str, list[int]] = {}
    for number in sorted(processors):
        threads.setdefault(cores.get(number, f"alone {number}"), []).append(number)
    places = [(rank // each, core, rank, number) for core, own in enumerate(threads.values())
              for rank, number in enumerate(own)]  # fmt: skip
    return tuple(number for *_, number in sorted(places))


def _ask(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
