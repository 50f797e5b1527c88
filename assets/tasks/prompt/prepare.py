"""Model, targets and scoring rule of the prompt task; the optimiser may not change this file. Its commands:
harness/command_line.py.

A search looks for L token ids after which a frozen language model gives T target ids the lowest loss. The targets are
random ids, drawn by an HMAC of a secret that set-up makes, the split, the seed and a number: a fresh seed has fresh
targets, and nobody without the secret can know one before it is searched for. Some more are drawn by chance in each
evaluation, and count for nothing: targets on which a search gains much more than on these were known to somebody.
"""

from __future__ import annotations

import hmac
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from harness.base import BaseTask
from harness.command_line import main
from harness.device import pick_device, prepare_cpu
from harness.errors import TaskError, Verdict
from harness.files import Progress, data_path, digest, read_json, write_json
from harness.finish import run_seed
from harness.task import Budget
from oracle import bases
from oracle.bases import Base, Sizes
from oracle.evaluator import Found, Search, Terms

HERE = Path(__file__).resolve().parent
PROGRAMS = ("oracle",)
"""What decides a score beside this file."""

PLAIN = 64
"""Strings by chance, whose mean loss says how hard a target is before anything is searched."""

SPREAD, SURE = 0.1, 5.0
"""Nats by which gains on targets differ at the least, and standard errors beyond which a difference is no chance."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of one scale of the task. Results of different profiles are not comparable."""

    model: Sizes  # of the model that set-up trains
    length: int  # L: tokens of a string
    wanted: int  # T: tokens of a target
    targets: int  # of one evaluation
    fresh: int  # more of them, that count for nothing
    own_s: float  # seconds of the optimiser's own arithmetic for one target


PROFILES = {
    "full": Profile(Sizes(6, 512, 8, 4096, 128, 32 * 10**6, 4000, 128), 15, 10, 16, 4, 120),
    "small": Profile(Sizes(4, 256, 4, 2048, 128, 16 * 10**6, 1500, 64), 15, 10, 16, 4, 60),
    "tiny": Profile(Sizes(2, 128, 4, 1024, 64, 8 * 10**6, 400, 32), 15, 10, 16, 4, 20),
}


@dataclass(frozen=True, slots=True)
class Options:
    """[options] of autoresearch.toml."""

    profile: str = field(default="tiny", metadata={"choices": tuple(PROFILES), "help": "the scale of the task"})
    source: str = field(default="trained", metadata={"help": bases.HELP})

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise TaskError(f"no profile is called {self.profile!r}; choose from: {', '.join(PROFILES)}")


class Prompt(BaseTask):
    """The prompt task: of `harness.task.Task` what an evaluation by `grade` needs."""

    name = "prompt"
    counts_flops = True

    def __init__(self, folder: Path, options: Options, budget: Budget) -> None:
        super().__init__(folder, options, budget)
        self.profile = PROFILES[options.profile]
        if budget.kind != "flops":
            raise TaskError("the budget of this task is { flops = N }: of the search for one target")

    def data_folder(self) -> Path:
        return data_path(self.name, self.options.profile, self.version, asdict(self.profile), self.options.source)

    def prepare(self, *, force: bool = False, workers: int = 4) -> Path:
        folder = self.data_folder()
        if (folder / "manifest.json").exists() and not force:
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
        try:
            about = bases.make(part, self.folder, self.options.source, self.profile.model, workers)
            for split in ("search", "locked"):
                (part / f"{split}.key").write_bytes(secrets.token_bytes(32))
            names = sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file())
            write_json(part / "manifest.json", about | {"sha256": {name: digest(part / name) for name in names}})
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # another process was first
                part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        print(f"ready     {about['told']}", flush=True)
        return folder

    def describe(self) -> None:
        print((self.prepared() / "manifest.json").read_text(encoding="utf-8"))
        base = self.base("search")
        prices = {kind: base.frozen.price(kind, self.profile.length) for kind in ("LOSS", "GRAD", "NEXT")}
        print("FLOPs     " + ", ".join(f"{kind.lower()} {price:.4g}" for kind, price in prices.items()) + " a string")
        print(f"ids       {len(base.allowed)} of {base.frozen.vocab} allowed")

    def base(self, split: str) -> Base:
        """The model of a split. Raises TaskError without data, Verdict when it is not what was prepared."""
        data = self.prepared()
        for name, expected in read_json(data / "manifest.json")["sha256"].items():
            if not (data / name).is_file() or digest(data / name) != expected:
                raise Verdict("tampered", f"{name} is not what was prepared; run: python prepare.py --force")
        device = pick_device()
        if device.type == "cpu":
            prepare_cpu()
        return bases.load(data, split, device, self.profile.length, self.profile.wanted)

    def drawn(self, base: Base, split: str, label: str, seed: int, number: int) -> tuple[np.ndarray, int]:
        """(target [T], seed of the optimiser's random numbers); `label` tells sets of targets of one key apart."""
        key = (self.prepared() / f"{split}.key").read_bytes()
        told = hmac.digest(key, json.dumps([label, seed, number]).encode(), "sha512")
        return self._from(base, told)

    def by_chance(self, base: Base) -> tuple[np.ndarray, int]:
        return self._from(base, secrets.token_bytes(64))

    def _from(self, base: Base, told: bytes) -> tuple[np.ndarray, int]:
        rng = np.random.default_rng(int.from_bytes(told[:32]))
        return rng.choice(base.allowed, self.profile.wanted), int.from_bytes(told[32:40])


def grade(task: Prompt, folder: Path, split: str) -> dict[str, float]:
    """The metrics of optimizer.py: `harness.grader.grade` of a task whose product is a search. Raises Verdict.

    By hand the targets are other ones, since what the optimiser prints is shown there.
    """
    p, by_hand = task.profile, "AUTORESEARCH_RESULT" not in os.environ
    base = task.base(split)
    label = "by hand" if by_hand else split
    pairs = [task.drawn(base, split, label, run_seed(), number) for number in range(p.targets)]
    pairs += [task.by_chance(base) for _ in range(p.fresh)]
    terms = Terms(task.folder, task.budget.amount, p.own_s, shown=by_hand)
    all_found = list(followed(folder, searches(base, pairs, terms), len(pairs)))
    rng = np.random.default_rng(secrets.randbits(128))
    plain = [base.frozen.losses(rng.choice(base.allowed, (PLAIN, p.length)), target).mean() for target, _ in pairs]
    gains = np.array(plain) - [each.loss for each in all_found]
    check_known(gains[: p.targets], gains[p.targets :])
    found, losses = all_found[: p.targets], np.array([each.loss for each in all_found[: p.targets]])
    again = [base.spelled_loss(each.ids, target) for each, (target, _) in zip(found, pairs, strict=False)]
    return {
        "target_loss": float(losses.mean()),
        "loss_spread": float(losses.std(ddof=1)) if len(losses) > 1 else 0.0,
        "match_rate": float(np.mean([each.match for each in found])),
        "retokenised_loss": float(np.mean(again)),
        "gain": float(gains[: p.targets].mean()),
        **({"fresh_gain": float(gains[p.targets :].mean())} if p.fresh else {}),
        "flops_used": float(np.mean([each.flops for each in found])) / task.budget.amount,
        "requests": float(np.mean([each.requests for each in found])),
        "own_seconds": float(np.max([each.own_s for each in found])),
    }


def searches(base: Base, pairs: list[tuple[np.ndarray, int]], terms: Terms) -> Iterator[Found]:
    """A search for each (target, seed), each by a process of its own. Raises Verdict."""
    for target, seed in pairs:
        yield Search(base.frozen, base.allowed, target, seed, terms).run()


def followed(folder: Path, found: Iterator[Found], count: int) -> Iterator[Found]:
    """What comes, with a line of curve.jsonl for each target, and one of the log now and then: losses, no strings."""
    folder.mkdir(parents=True, exist_ok=True)
    progress, total = Progress("searching"), 0.0
    with (folder / "curve.jsonl").open("w", encoding="utf-8") as curve:
        for number, each in enumerate(found, 1):
            total += each.loss
            line = {"step": number, "progress": number / count, "loss": each.loss, "mean": total / number}
            curve.write(json.dumps(line) + "\n")
            curve.flush()
            progress.update(f"target {number} of {count}  loss {each.loss:.4f}, mean {total / number:.4f}")
            yield each
    progress.done(f"{count} targets, mean {total / count:.4f}")


def check_known(known: np.ndarray, fresh: np.ndarray) -> None:
    """Raise Verdict tampered when a search has gained much more on targets [n] than on those that are new [m]; a gain
    is in nats below the mean loss of strings by chance, without which targets differ too much to tell."""
    if min(len(known), len(fresh)) < 2:
        return
    spread = max(known.std(ddof=1), fresh.std(ddof=1), SPREAD)
    more = float(known.mean() - fresh.mean())
    lead = more / (spread * math.sqrt(1 / len(known) + 1 / len(fresh)))
    if lead > SURE:
        raise Verdict(
            "tampered",
            f"the targets are easier than others by {more:.3g} nats, {lead:.1f} standard errors: they were known",
        )


if __name__ == "__main__":
    main(HERE, Options, Prompt, grade=grade, programs=PROGRAMS)
