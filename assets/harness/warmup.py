"""The first steps of a run, on random batches before the clock starts: they compile graphs and try the memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from harness.device import Machine, no_memory

Loader = TypeVar("Loader")


def warmed_up(
    make: Callable[[int], Loader], steps: Callable[[Loader], None], clear: Callable[[], None], rows: int, total: int,
    own: Machine,
) -> tuple[Loader, int, bool]:  # fmt: skip
    """(loader, micro-batches of a step, whether graphs are compiled), after `steps` has run on the loader.

    `make` gives a loader from the rows of a forward pass, which divide the `total` of a step; `clear` drops the
    gradients of steps that failed. What does not fit in memory is tried with fewer rows, what does not compile runs
    eagerly. Exits with one line when one row is too much.
    """
    import torch

    compiles = own.compiles
    while True:
        loader = make(rows)
        try:
            steps(loader)
            return loader, total // rows, compiles
        except Exception as error:
            if no_memory(error):
                if rows == 1:
                    memory = f"{own.memory / 2**30:.0f} GB of memory"
                    raise SystemExit(f"error: one row does not fit in {memory}; make the model smaller") from None
                rows = max(n for n in range(1, rows) if total % n == 0)
                print(f"memory    not enough: {rows} rows in a forward pass from here on", flush=True)
            elif not compiles:
                raise
            else:
                compiles = False
                print(f"compiler  is not used ({type(error).__name__}: {str(error).splitlines()[0][:120]})", flush=True)
                torch.compiler.set_stance("force_eager")
        clear()
        torch.cuda.empty_cache()
