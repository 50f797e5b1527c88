"""Studies: runs that decide nothing on the branch (`confirm`, `replicate`, `ablate`, `finalize`, `audit`, and the A/A
candidates of `run`), with a line before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEARCH = "search"
"""The split that keep or discard is decided on."""

LOCKED = "locked"
"""The split that no decision may be made on; each study on it is a use of it."""

FINALIZE = "finalize"
"""The study that measures what `finalize` makes, where that is no experiment."""

AUDIT = "audit"
"""The study that runs doubtful changes of another log again."""

AA = "aa"
"""The study that puts the incumbent's own code through the verdict of a change."""


@dataclass(frozen=True, slots=True)
class Study:
    """One study, as the journal tells it."""

    number: int
    what: str
    """confirm, replicate, ablate, finalize, audit or aa."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What was asked for: all that is needed to go on with it after a kill."""
    again: str = ""
    """What to type to go on; empty where an earlier version has not written it."""
    split: str = SEARCH
    runs: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """Commit -> seed -> value."""
    continues: int | None = None
    """The interrupted study whose runs this one has taken over; it is no further use of the locked split."""
    outcome: str | None = None
    """`done`, `failed` or `interrupted`; None while it runs, or waits for the recovery."""
    result: Mapping[str, Any] = field(default_factory=dict)
    timestamp: int | None = None

    @property
    def pairs(self) -> tuple[float, ...]:
        """The differences of its two commits on the seeds that both have run, in the order of the runs; none without
        two commits. Which of the two is the better one is not said."""
        if len(self.runs) != 2:
            return ()
        one, other = self.runs.values()
        return tuple(value - other[seed] for seed, value in one.items() if seed in other)

    @property
    def same_again(self) -> str:
        """What to type so that it takes its complete runs over: with other seeds it would be another one."""
        about, words = self.about, [self.again or f"autoresearch {self.what}"]
        if self.what == AUDIT:
            return self.again or str(about.get("again"))
        if self.again:
            if about.get("seeds") and "--seeds" not in self.again:
                words.append(f"--seeds {len(about['seeds'])}")
            return " ".join(words)
        if "experiment" in about:
            words.append(str(about["experiment"]))
        if "seed" in about:
            words.append(f"--seed {about['seed']}")
        if self.what == FINALIZE:
            words.append("--apply")
        if about.get("seeds"):
            words.append(f"--seeds {len(about['seeds'])}")
        if self.what == "confirm" and self.split == SEARCH:
            words.append("--split search")
        return " ".join(words)


def may_be_of(manifest: str, other: object) -> bool:
    """Whether two manifests may tell of the same data: what stands before a dash is of the data, the rest of the files
    that score. One without a dash, as earlier versions wrote it, tells of both together: beside one that has a dash it
    may be of the same data."""
    if not isinstance(other, str) or ("-" in manifest) != ("-" in other):
        return True
    return manifest.partition("-")[0] == other.partition("-")[0]
