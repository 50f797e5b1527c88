"""What a step of the pretrain task takes of the memory, against what `memory_bytes` of its train.py expects.

    uv run python benchmarks/memory.py [--profile tiny] [--sizes 2x128x8,4x256x16] [--checkpoint] [--markdown]

A size is layers x width x rows of a forward pass. Each is a process of its own that makes three steps on random tokens,
as `doctor --gpu` does; measured is the most that it held: of the device's memory, on a CPU of the machine's.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

from autoresearch.reports.first_minute import Place, make_folder, phase_alone

SIZES = "2x128x8,2x128x64,4x256x16,6x384x16,6x512x32"


def measured(profile: str, size: tuple[int, int, int], checkpoint: bool) -> dict[str, object]:
    """Return what the step phase found with layers, width and rows set in the task's train.py."""
    with tempfile.TemporaryDirectory(prefix="autoresearch-memory-") as temporary:
        folder = make_folder(Path(temporary) / "task", profile)
        file = folder / "train.py"
        source = file.read_text(encoding="utf-8")
        layers, width, rows = size
        for name, value in {"DEPTH": layers, "WIDTH": width, "BATCH_ROWS": rows, "MICRO_ROWS": rows}.items():
            source, found = re.subn(rf"(?m)^{name} = 0\b", f"{name} = {value}", source)
            assert found == 1, name
        if checkpoint:
            source = source.replace("device.fit(lambda", "(MICRO_ROWS, True) or device.fit(lambda")
        file.write_text(source, encoding="utf-8")
        return phase_alone(Place(folder), "step", 600, "--seconds", "0.01")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--checkpoint", action="store_true", help="recompute the blocks in the backward pass")
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args()
    if asked.markdown:
        print("| layers x width | rows | how | expected, MB | taken, MB | taken / expected |")
        print("|---|--:|---|--:|--:|--:|")
    for size in asked.sizes.split(","):
        layers, width, rows = map(int, size.split("x"))
        found = measured(asked.profile, (layers, width, rows), asked.checkpoint)
        if "error" in found:
            print(f"{size}: {found['error']}")
            continue
        expected, taken = float(str(found["estimated_mb"])), float(str(found["measured_mb"]))
        how = f"{found['dtype']}, {found['attention']}{', checkpointed' if found['checkpointed'] else ''}"
        cells = (f"{layers} x {width}", rows, how, f"{expected:.0f}", f"{taken:.0f}", f"{taken / expected:.2f}")
        print("| " + " | ".join(map(str, cells)) + " |" if asked.markdown else "  ".join(map(str, cells)), flush=True)


if __name__ == "__main__":
    main()
