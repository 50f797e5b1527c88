"""Walks from what sandboxes, ideas, strategies and studies refuse."""

from __future__ import annotations

import pytest
from lab import Lab
from walking import TRY, Ask, Words, edit, lose_commits, ready, then, walk

# --- the sandbox ---


@walk("runs/isolation/choice.py choose: {}={} is no sandbox; there are {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    env.setenv("AUTORESEARCH_SANDBOX", "cage")
    edit(lab)
    return Ask(TRY, then(lambda: env.delenv("AUTORESEARCH_SANDBOX"), TRY))


@walk("runs/isolation/policy.py sandbox_for: this task requires a sandbox; {}", "requires a sandbox")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    env.setenv("AUTORESEARCH_SANDBOX", "off")
    return Ask(("baseline",), then(lambda: env.delenv("AUTORESEARCH_SANDBOX"), ("check",)))


# --- ideas and strategies ---


IDEAS: dict[str, tuple[Words, Words]] = {
    "search/ideas.py add: that idea is on the list already": (("--add", "a shorter warmdown"), ()),
    "search/ideas.py add: idea {} says the same: {}": (
        ("--add", "try a shorter warmdown of the rate now"), ("--add", "shorter rows, so that more of them fit")),
    "search/ideas.py claim: idea {} is done": (("--claim", "2"), ("--claim", "1")),
    "search/ideas.py claim: idea {} is claimed by {}": (("--claim", "3", "--by", "me"), ("--claim", "1", "--by", "me")),
    "search/ideas.py _find: there is no idea {}": (("--done", "9"), ("--done", "1")),
}  # fmt: skip
"""Place -> what is refused of `ideas`, and what is asked for after a look at the list."""


@walk("search/strategies.py load: there is no strategy {}{}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("next", "--strategy", "nope"), lambda: ("next",))


# --- studies ---


def another_task(lab: Lab) -> None:
    """Begin a segment with another policy."""
    toml = (lab.root / "autoresearch.toml").read_text()
    lab.write("autoresearch.toml", toml.replace('policy = "greedy"', 'policy = "confirm"'))
    lab.git("commit", "-qam", "another policy")
    ready(lab, ("segment",))


@walk("studies/ablate.py ablate: nothing was kept since the baseline", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("ablate",), then(lambda: lab.attempt("echo METRIC total_ms=50\n"), ("ablate", "--seeds", "1")))


@walk("studies/confirm.py confirm: nothing was kept since the baseline", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("confirm",), then(lambda: lab.attempt("echo METRIC total_ms=50\n"), ("confirm", "--seeds", "2")))


@walk("studies/confirm.py confirm: the task has no evaluator, so no locked split")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("confirm", "--split", "locked", "--seeds", "2"), lambda: ("confirm", "--seeds", "2"))


@walk("studies/replicate.py replicate: there is no experiment {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("replicate", "99"), lambda: ("replicate", "4"))


@walk("studies/replicate.py replicate: experiment {} is of another segment, which measured something else")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    another_task(lab)
    ready(lab, ("baseline",))
    return Ask(("replicate", "4"), lambda: ("replicate", "5"))


@walk("studies/replicate.py replicate: the commit of experiment {} is not in this repository")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("replicate", "4"), fill={"CLONE": lose_commits(lab, 4)})


@walk("studies/study.py fail: its output is in {}", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    gate = lab.write("../gate", "")
    lab.edit(f"[ -e '{lab.root.parent}/gate' ] || exit 1\necho METRIC total_ms=100\n")
    lab.commit()
    ready(lab, ("baseline",))
    gate.unlink()
    return Ask(("replicate", "1", "--seed", "7"), then(gate.touch, ("replicate", "1", "--seed", "7")))


def fail(lab: Lab, command: str) -> dict[str, str]:
    """Let a machine fail each run from now on, and return how a person mends it before typing a command again."""
    well = lab.root.parent / "well"
    well.touch()
    lab.write("src/run.sh", f"[ -e '{well}' ] || kill -9 $$\necho METRIC total_ms=$(( $(cat src/kept) + 1 ))\n")
    ready(lab, TRY)
    well.unlink()
    return {f"autoresearch {command}": f"touch '{well}' && autoresearch {command}"}


@walk("studies/study.py study_of: go on with: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("confirm", "--seeds", "2"), lambda: None, fail(lab, "confirm --seeds 2"))


@walk("studies/study.py study_of: go on with: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("ablate", "--seeds", "1"), lambda: None, fail(lab, "ablate --seeds 1"))


@walk("studies/study.py study_of: go on with: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("replicate", "5", "--seed", "7"), lambda: None, fail(lab, "replicate 5 --seed 7"))


@walk("studies/selftest.py selftest: a run of the unchanged code failed ({})", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    well = lab.root.parent / "well"
    well.touch()
    lab.edit(f"[ -e '{well}' ] || exit 1\necho METRIC total_ms=100\n")
    lab.commit()
    ready(lab, ("selftest", "--experiments", "1"))
    well.unlink()
    return Ask(("selftest", "--experiments", "2"), then(well.touch, ("selftest", "--experiments", "2")))


@walk("studies/selftest.py _of_the_laboratory: in the laboratory: {}", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    well = lab.root.parent / "well"
    lab.edit(f"[ -e '{well}' ] || exit 1\necho METRIC total_ms=100\n")
    lab.commit()
    again = "autoresearch selftest -n 1 --fresh"
    return Ask(("selftest", "-n", "1"), lambda: None, {again: f"touch '{well}' && {again}"})


@walk("studies/selftest.py selftest: the laboratory has {} changes under another {}", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    ready(lab, ("selftest", "-n", "1"))
    another_task(lab)
    return Ask(("selftest", "-n", "1"), lambda: None)
