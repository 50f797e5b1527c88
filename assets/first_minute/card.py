"""The device, its driver and its limits, and the build of torch: what they are, and whether they go together."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from harness.device import Machine, cores, pick_device

LEAST_DRIVER = {"11": 450, "12": 525, "13": 580}
"""CUDA version -> first driver branch on Linux that runs every program of it ("minor version compatibility" in
NVIDIA's CUDA Compatibility guide)."""

ASKED = ("name", "driver_version", "compute_mode", "memory.total", "memory.used", "power.limit", "power.max_limit",
         "clocks.sm", "clocks.max.sm", "temperature.gpu")  # fmt: skip

FREE_PART = 0.8
"""With less of its memory free, the sizes that are chosen by all of it may not fit."""

BUSY_PART = 0.5
"""Of the cores in use by others, from which on what is measured here says little."""


def phase() -> dict[str, Any]:
    """The device in words and numbers, and `problems`: a line each, with what to do."""
    seen = asked_of_nvidia()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        device = pick_device()
    said = [str(warning.message) for warning in told]
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "built_for": built_for(),
        "kind": kind_of(device),
    }
    if device.type == "cuda":
        found |= about_gpu(device)
    elif device.type == "mps":
        found |= {"device": processor(), "memory_gb": gigabytes(torch.mps.recommended_max_memory())}
    else:
        found |= about_cpu()
    if seen:
        found["driver"] = seen.get("driver_version")
        found["limits"] = limits(seen)
    return {**found, "problems": problems(found, seen, said)}


def kind_of(device: torch.device) -> str:
    return "rocm" if device.type == "cuda" and torch.version.hip else device.type


def built_for() -> str:
    """What this build of torch computes on, beside the processor."""
    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else "no GPU of NVIDIA or AMD"


def about_gpu(device: torch.device) -> dict[str, Any]:
    about = torch.cuda.get_device_properties(device)
    found: dict[str, Any] = {
        "device": about.name,
        "devices": torch.cuda.device_count(),
        "capability": f"{about.major}.{about.minor}",
        "memory_gb": gigabytes(about.total_memory),
        "archs": torch.cuda.get_arch_list(),
    }
    if torch.version.hip:
        found["capability"] = getattr(about, "gcnArchName", found["capability"]).partition(":")[0]
    try:
        found["free_gb"] = gigabytes(torch.cuda.mem_get_info(device)[0])
    except Exception as error:  # a device that is lost, or another process's alone
        found["unusable"] = str(error).splitlines()[0]
    return found


def about_cpu() -> dict[str, Any]:
    bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "device": processor(), "cores": cores(), "threads": torch.get_num_threads(), "memory_gb": gigabytes(memory),
        "load": os.getloadavg()[0], "vectors": torch.backends.cpu.get_cpu_capability(), "bf16_instructions": bool(bf16),
    }  # fmt: skip


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def gigabytes(size: float) -> float:
    return round(size / 2**30, 1)


def asked_of_nvidia() -> dict[str, str]:
    """What the driver says of the first card; empty where there is none, or no program to ask with."""
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    values = [value.strip() for value in (done.stdout.splitlines() or [""])[0].split(",")]
    return dict(zip(ASKED, values, strict=True)) if len(values) == len(ASKED) and done.returncode == 0 else {}


def limits(seen: Mapping[str, str]) -> dict[str, float | None]:
    """Power in watts, clocks in MHz, temperature in degrees; None for what the card does not tell."""
    names = {
        "power_w": "power.limit", "power_most_w": "power.max_limit", "clock_mhz": "clocks.sm",
        "clock_most_mhz": "clocks.max.sm", "celsius": "temperature.gpu",
    }  # fmt: skip
    return {name: number(seen.get(key, "")) for name, key in names.items()}


def number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def problems(found: Mapping[str, Any], seen: Mapping[str, str], said: Sequence[str]) -> list[str]:
    """What does not go together, a line each.

    `found` is what `phase` knows of device and torch, `seen` what the driver says, `said` what torch has warned of.
    """
    told = []
    if found["kind"] == "cpu" and seen:
        if not found["built_for"].startswith("CUDA"):
            told.append(f"{seen['name']} is here, and torch {found['torch']} is built for {found['built_for']}: "
                        "install a build of torch for CUDA")  # fmt: skip
        elif (wrong := driver_for(found["built_for"].split()[-1], seen["driver_version"])) is not None:
            told.append(wrong)
        else:
            hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
            why = "CUDA_VISIBLE_DEVICES hides it: unset it" if hidden else (said or ["torch does not say why"])[0]
            told.append(f"{seen['name']} is here, and torch cannot use it: {why.splitlines()[0]}")
    if found["kind"] in ("cuda", "rocm"):
        told += filter(None, [code_for(found["capability"], found["archs"])])
        if "unusable" in found:
            told.append(f"the device does not answer: {found['unusable']}")
        elif found["free_gb"] < FREE_PART * found["memory_gb"]:
            told.append(f"only {found['free_gb']:g} of {found['memory_gb']:g} GB are free: "
                        "end what else uses the device, or sizes will not fit")  # fmt: skip
    if found.get("load", 0) > BUSY_PART * found.get("cores", 1):
        told.append(f"other programs keep the processor busy (load {found['load']:.1f}, {found['cores']} cores): "
                    "all speeds are too low, measure again at rest")  # fmt: skip
    if "exclusive" in seen.get("compute_mode", "").lower():
        told.append("the card takes one process at a time, and a run is several: nvidia-smi -c DEFAULT (as root)")
    return told


def driver_for(cuda: str, driver: str) -> str | None:
    """What is wrong with a driver for a build of torch; None where nothing is, or nothing is known."""
    least, has = LEAST_DRIVER.get(cuda.partition(".")[0]), driver.partition(".")[0]
    if least is None or not has.isdigit() or int(has) >= least:
        return None
    return f"the driver {driver} is too old for CUDA {cuda}: it takes {least} or newer, or an older build of torch"


def code_for(capability: str, archs: Sequence[str]) -> str | None:
    """What is wrong with a build of torch for a card; None where it has code for it, or nothing is known.

    `sm_86` is machine code for cards of the same first digits and at least that last one, `sm_90a` for that card
    alone, `compute_80` a text that the driver makes code of for any later card.
    """
    if not archs or not re.fullmatch(r"\d+\.\d+", capability):
        fits = not archs or any(capability == arch.partition(":")[0] for arch in archs)
    else:
        own = tuple(int(part) for part in capability.split("."))
        fits = any(_runs(arch, own) for arch in archs)
    return None if fits else f"this torch has code for {' '.join(archs)}, and the card is {capability}: install another"


def _runs(arch: str, own: tuple[int, ...]) -> bool:
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    if found is None:
        return False
    code = int(found[2]), int(found[3])
    if found[1] == "compute":
        return code <= own
    return code == own if found[4] == "a" else code[0] == own[0] and code <= own


def under_load(own: Machine) -> dict[str, float | None]:
    """The limits once more, while the device works; empty where they cannot be read."""
    if own.device.type != "cuda" or not (seen := asked_of_nvidia()):
        return {}
    return limits(seen)
