"""The words that other tools use in their logs: names of columns, decisions, and which way of a metric is better."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from autoresearch.escaping import one_line
from autoresearch.journal.statuses import Status
from autoresearch.metrics import Direction

ROLES: dict[str, tuple[str, ...]] = {
    "commit": ("commit", "commit_hash", "commit_sha", "commit_id", "git_commit", "git_sha", "git_hash", "sha", "hash",
               "rev", "commit_after"),
    "status": ("status", "decision", "verdict", "kept", "keep", "accepted", "outcome", "result",
               "is_best", "improved", "is_improvement", "new_best", "promoted", "state"),
    "description": ("description", "desc", "change", "changes", "hypothesis", "idea", "summary", "message", "title",
                    "notes", "note", "experiment", "name", "display_name", "run_name"),
    "time": ("timestamp", "time", "datetime", "date", "ts", "created_at", "started_at", "finished_at", "created"),
    "number": ("run", "iter", "iteration", "trial", "round", "cycle", "run_id", "exp", "exp_id", "experiment_id", "id",
               "n", "no", "#", "index", "step", "gen", "experiment"),
    "memory": ("memory_gb",),
}  # fmt: skip
"""What a column is -> the names it has, the surer first."""

KNOWN = {alias for aliases in ROLES.values() for alias in aliases}

STATUS_WORDS: dict[str, Status] = {
    **dict.fromkeys(("keep", "kept", "accept", "accepted", "improved", "baseline", "true", "yes", "merged", "best",
                     "new_best", "promote", "promoted", "保留", "采纳", "接受", "基线"), "keep"),
    **dict.fromkeys(("discard", "discarded", "reject", "rejected", "revert", "reverted", "false", "no", "worse",
                     "rolled_back", "dropped", "same", "neutral", "no_change", "no_improvement", "regression",
                     "regressed", "回滚", "丢弃", "放弃", "拒绝"), "discard"),
    **dict.fromkeys(("crash", "crashed", "fail", "failed", "error", "oom", "timeout"), "crash"),
    **dict.fromkeys(("checks_failed", "check_failed", "tests_failed", "gate_fail", "gate_failed", "guard_failed"),
                    "checks_failed"),
}  # fmt: skip
"""A word of another tool -> ours. A word that is not here decides nothing: it is a discard, with the word as a note."""

YES_OR_NO = ("kept", "keep", "accepted", "is_best", "improved", "is_improvement", "new_best", "promoted")
"""Columns in which 1 and 0 are answers. Elsewhere a number may be an exit code."""

NOTHING = ("", "-", "–", "—", "n/a", "na", "none", "null", "nan", "inf", "-inf", "+inf", "?")

_METRICS = ("metric", "score", "value", "objective", "metric_value", "primary_metric", "primary", "fitness",
            "composite", "combined", "overall")  # fmt: skip
"""Names that say no more than that this is what counts."""

_WHOLE = ("composite", "overall", "total", "combined", "primary", "main", "final", "aggregate")

NAMED = ("metric_name", "metric", "measure")
"""Columns that hold the name of a metric whose number is in one of `VALUED`."""
VALUED = ("metric_value", "value", "score", "result")

_LOWER = (
    "loss", "losses", "bpb", "bpc", "ppl", "perplexity", "nll", "wer", "cer", "rmse", "nrmse", "mse", "mae", "mape",
    "err", "errors", "error", "latency", "seconds", "bytes", "time", "runtime", "duration", "fid", "brier", "defects",
    "failures", "failing", "regret", "crps", "ece", "cost", "allocations", "allocs", "violations", "crossentropy",
    "logloss",
)  # fmt: skip
_UNITS = ("s", "sec", "secs", "ms", "us", "µs", "μs", "ns", "kb", "mb", "kib", "mib")
"""Units of what costs something, at the end of a name."""
_COSTS = frozenset((
    "latency", "seconds", "bytes", "time", "runtime", "duration", "cost", "allocations", "allocs", "throughput",
    "tflops", "gflops", "mfu", "speedup", "tps", "qps", "fps",
))  # fmt: skip
"""Words of what something takes, or how fast it is."""
_HIGHER = (
    "acc", "accuracy", "f1", "auc", "auroc", "auprc", "bleu", "rouge", "precision", "recall", "reward", "sharpe",
    "throughput", "tflops", "gflops", "mfu", "speedup", "ndcg", "mrr", "psnr", "ssim", "iou", "miou", "dice", "loglik",
    "likelihood", "elbo", "winrate", "tps", "qps", "fps", "r2", "spearman", "pearson", "profit", "coverage", "passing",
    "passed",
)  # fmt: skip
RATES: dict[str, Direction] = {
    **dict.fromkeys(("win", "pass", "success", "hit", "match"), "higher"),
    **dict.fromkeys(("error", "failure", "fail", "miss"), "lower"),
}
_TURNING = ("reduction", "saved", "saving", "savings", "improvement", "gain", "delta", "diff", "inv", "neg", "negative",
            "minus", "free", "inverse")  # fmt: skip
"""Words that turn what is behind or before them: nothing is said of such a name."""

_BESIDE = frozenset((
    "memory", "mem", "vram", "ram", "rss", "gb", "mb", "gib", "mib", "param", "params", "step", "steps", "epoch",
    "epochs", "iters", "iterations", "batch", "layers", "seconds", "secs", "sec", "time", "duration", "elapsed",
    "runtime", "wall", "hours", "minutes", "cost", "usd", "price", "delta", "diff", "gain", "improvement", "change",
    "confidence", "budget", "seed", "seeds", "before", "prior", "previous", "baseline", "old", "best", "threshold",
    "target", "goal", "expected", "predicted", "learning", "lr", "length", "lora", "rank", "width", "hidden", "heads",
    "dim", "champion", "incumbent",
    "reference", "std", "stdev", "stddev", "stderr", "sem", "depth", "gen", "generation", "tokens", "segment",
    "parent", "size",
))  # fmt: skip
"""Words in the names of what is noted beside a metric: what a run used, or how far it is from another."""
_NEVER = re.compile(r"(^|_)(parent|commit|hash|sha|ref|id|seq|seed|segment)$|^(parent|commit|seed)_", re.I)
"""Names of what is no measurement, even where every cell is a number (a commit may be `1234567` or `525e040`)."""


_COUNTED = frozenset("tok it iter req img seq toks its iters reqs imgs seqs ops tokens iterations requests images "
                     "samples steps examples rows records queries items frames docs documents batches words chars "
                     "bytes lines edges nodes messages events".split())  # fmt: skip
"""What is counted in a second where a name ends in `_s`; behind anything else that is a unit of time."""


def words_of(name: str) -> list[str]:
    """Return the words of a name, `tokPerSec` and `tok/s` too."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return [word for word in re.split(r"[^\w]+|_", apart.lower()) if word]


def surely_better(name: str) -> Direction | None:
    """Return which way of a metric is better where its name leaves no doubt."""
    words = words_of(name)
    if any(word in _TURNING for word in words):
        return None
    counted = words[-1:] == ["s"] and words[-2:-1] and words[-2] in _COUNTED  # req_s, images_s
    if "per" in words or name.lower().endswith("/s") or counted:  # a rate: tokens per second, errors per line
        amount = words[: words.index("per")] if "per" in words else words[:-1]
        lower = any(word in _LOWER for word in amount)
        return None if lower or words[-1] not in ("s", "sec", "second", "minute", "hour") else "higher"
    if words[:1] == ["pass"] and words[-1].isdigit():
        return "higher"  # pass@1
    if words[-1:] == ["rate"]:
        return RATES.get(words[-2] if len(words) > 1 else "")
    words += [word.rstrip("0123456789") for word in words if len(word) > 4]  # ndcg10
    lower, higher = (any(word in table for word in words) for table in (_LOWER, _HIGHER))
    lower = lower or name.strip().lower().endswith(tuple(f"_{unit}" for unit in _UNITS)) or name.strip() in _UNITS
    if lower == higher:
        return None
    return "lower" if lower else "higher"


def is_beside(name: str) -> bool:
    """Whether a column of this name is noted beside the metric, by its name."""
    words = words_of(name)
    if words in (["new"], ["new", "value"], ["from"], ["to"]):
        return True  # the values of a parameter, beside those before
    return "per" not in words and (words[:1] in (["n"], ["num"]) or any(word in _BESIDE for word in words))


def is_cost(name: str) -> bool:
    """Whether a name is that of what something takes or how fast it is: a time, a size, a rate."""
    words = words_of(name)
    return (
        "per" in words or not _COSTS.isdisjoint(words) or words[-1:] == ["s"] or any(unit in words for unit in _UNITS)
    )


def says_metric(name: str) -> bool:
    """Whether a name says no more than that this is what counts: `score`, `composite_score`."""
    words = words_of(name)
    whole = len(words) == 2 and words[0] in _WHOLE and words[1] in ("score", "metric", "objective", "quality", "value")
    return whole or name.strip().lower() in _METRICS


def is_no_measurement(name: str) -> bool:
    return bool(_NEVER.search(name.strip()))


LONGEST = 200
"""Characters of a cell that are looked through: in a text of nothing but digits these would look for long."""

_INSIDE = re.compile(r"\b([A-Za-z]\w*)\s*[=:]\s*[-+]?\d*\.?\d")
_BEHIND = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?\s*[^\W\d_]+")


def instead_of_numbers(rows: Sequence[Mapping[str, object]]) -> str:
    """Return in a phrase where most rows have numbers that no column of their own has; empty where nothing is seen."""
    for column in rows[0] if rows else ():
        cells = [str(row.get(column, ""))[:LONGEST].strip() for row in rows]
        behind = [cell for cell in cells if _BEHIND.fullmatch(cell)]
        if 2 * len(behind) > len(cells):
            return f": the numbers of {one_line(column, 40)} have words behind them ({one_line(behind[0], 40)})"
        names = Counter(name for cell in cells for name in {*_INSIDE.findall(cell)})
        name, often = names.most_common(1)[0] if names else ("", 0)
        if 2 * often > len(cells):
            return f": {one_line(name, 40)} stands inside {one_line(column, 40)}, and needs a column of its own"
    return ""


_ALONE = ("no", "yes", "true", "false", "baseline", "best", "same")
"""Words that decide only where nothing stands beside them: `best effort`, `true baseline`."""


_DOUBT = frozenset((
    "not", "non", "un", "never", "almost", "partial", "candidate", "maybe", "possible", "pending", "or",
    "no", "false", "cannot", "without", "don", "dont", "didn", "didnt", "isn", "isnt", "wasn", "wasnt", "old",
    "previous",
))  # fmt: skip
"""Words beside which another one decides nothing: `keep-candidate`, `kept: no`, `don't keep`, `keep old`."""


def decided(word: str, column: str = "") -> Status | None:
    """Return what a word of another tool decides: `KEEP`, `kept (new best)`, `compile_clean_accept`; None: nothing.

    A word of several parts decides what all the parts that decide anything agree on.
    """
    plain = word.strip().lower()
    if plain in ("0", "1"):
        return None if column.strip().lower() not in YES_OR_NO else "keep" if plain == "1" else "discard"
    joined = re.sub(r"[\s-]+", "_", plain)
    if joined in STATUS_WORDS:
        return STATUS_WORDS[joined]
    parts = words_of(plain)
    if not _DOUBT.isdisjoint(parts):
        return None
    found = {STATUS_WORDS[part] for part in parts if part in STATUS_WORDS and part not in _ALONE}
    return found.pop() if len(found) == 1 else None
