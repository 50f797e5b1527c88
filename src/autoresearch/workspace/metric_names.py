"""Names of metrics as programs print them, and which way is better where a name says so."""

from __future__ import annotations

import re

from autoresearch.metrics import Direction

_LOWER = frozenset(
    "loss losses error errors err bpb bpc perplexity ppl ns us ms s sec secs seconds bytes kb mb gb latency runtime "
    "duration mse rmse mae mape nll wer cer".split()
)
_HIGHER = frozenset("accuracy acc f1 auc auroc reward rewards throughput precision recall bleu r2 mrr ndcg iou".split())
_COUNTS = frozenset("error errors err ns us ms sec secs seconds bytes kb mb gb wer cer mae mse rmse".split())
_PARTS = frozenset("accuracy acc f1 auc auroc precision recall iou".split())
_TURNED = frozenset("per no non neg negative inverse saved saving reduction reduced improvement drop gain".split())
"""Words beside which the others say nothing: `bytes_saved`, `ms_per_step`."""


def canonical(name: str) -> str:
    """Return a name as it is compared: `val loss`, `val/loss` and `Val-Loss` are `val_loss`."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def direction_of(name: str) -> Direction | None:
    """Return which way is better where the name says it for certain."""
    words = {*canonical(name).split("_")}
    if words & _TURNED:
        return None
    ways: list[Direction] = []
    ways += ["lower"] if words & _LOWER else []
    ways += ["higher"] if words & _HIGHER else []
    return ways[0] if len(ways) == 1 else None


def best_possible(name: str, direction: Direction, unit: str = "", small: bool = True) -> float | None:
    """Return the value that nothing can be better than, where the name says that there is one: 0 of a count, all of a
    part. `small` is whether no value so far is above 1, so that it is no percentage."""
    words = {*canonical(name).split("_")}
    if words & _TURNED or not words & (_COUNTS if direction == "lower" else _PARTS):
        return None
    if direction == "lower":
        return 0.0
    return 100.0 if unit == "%" else 1.0 if small else None
