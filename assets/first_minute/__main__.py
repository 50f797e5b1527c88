"""python -m first_minute PHASE [--seconds S] [--share N], in a folder with the task's files and the harness."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path.cwd()))  # the folder's own train.py and harness, also where PYTHONSAFEPATH is set

PHASES = ("card", "products", "kernels", "compiler", "step", "memory")


def found(phase: str, seconds: float, share: int) -> dict[str, Any]:
    """What a phase has to say; the imports are those that it needs, since each may be what fails."""
    if phase == "card":
        from first_minute import card

        return card.phase()
    import train  # before torch, as it says itself

    from first_minute import kernels, products, training

    if phase == "step":
        return training.phase(train, seconds, share)
    if phase == "memory":
        return training.handed_over(train.machine())
    chosen = training.sizes(train)
    if phase == "products":
        return products.phase(train.machine(), training.shapes(chosen))
    return {"kernels": kernels.attention_phase, "compiler": kernels.compiler_phase}[phase](train.machine(), chosen)


def plain(value: Any) -> Any:
    """The value with None for what is not finite, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    if sys.argv[1:2] == ["fill"]:
        from first_minute import training

        training.fill(bytes.fromhex(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("phase", choices=PHASES)
    parser.add_argument("--seconds", type=float, default=4.0, help="for steps")
    parser.add_argument("--share", type=int, default=1, help="use one of so many parts of the memory")
    args = parser.parse_args()
    print(json.dumps(plain(found(args.phase, args.seconds, args.share))), flush=True)


if __name__ == "__main__":
    main()
