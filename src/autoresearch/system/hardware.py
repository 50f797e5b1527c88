"""What machine this is, found without importing torch."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    memory_gb: float
    driver: str = ""


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
    out = _ask("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):  # nothing that is started here has one
        return ()
    gpus = []
    for line in out.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3 and parts[1].isdigit():
            gpus.append(Gpu(parts[0], int(parts[1]) / 1024, parts[2]))
    return tuple(gpus)


def _ask(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
