"""`audit --replay`: the doubtful changes of a log run again, from commits of a real repository, within a time."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from lab import INIT, Called, Lab, new_repo

from autoresearch.exchange.audit import audit_files
from autoresearch.exchange.audit_replay import FIRST_SEED, Comparison, compared, remeasure, settled
from autoresearch.journal import events
from autoresearch.system import clock
from autoresearch.system.git import Git

SCRIPTS = (
    "echo METRIC total_ms=$(( 1000 + AUTORESEARCH_SEED * 37 % 11 ))\n",
    "echo METRIC total_ms=$(( 1000 + AUTORESEARCH_SEED * 53 % 11 ))\n",
    "echo METRIC total_ms=$(( 989 + AUTORESEARCH_SEED * 53 % 11 + AUTORESEARCH_SEED % 2 ))\n",
)
"""A baseline, a change of nothing whose noise is another, and a gain of about ten."""
KEPT = {0: 1004, 2: 996, 4: 988, 6: 983}
"""Row -> value of the kept ones; the last one has a commit that nobody has."""
AGAIN = ("audit", "results.tsv", "--noise", "3.3", "--direction", "lower", "--replay")


class Night:
    """A repository with a branch of kept changes, a log of them, and a workspace in the same repository."""

    def __init__(self, root: Path) -> None:
        repo = new_repo(root)
        repo.git("switch", "-q", "-c", "night")
        self.commits = []
        for n, script in enumerate(SCRIPTS):
            repo.write("src/run.sh", script)
            self.commits.append(repo.commit(f"change {n}"))
        repo.git("switch", "-q", "main")
        self.lab = Lab(root)
        assert self.lab.call(*INIT, "--policy", "greedy").code == 0
        self.write_log([*self.commits, "f" * 40])

    def write_log(self, commits: list[str], metric: str = "total_ms") -> None:
        rows = [f"commit\t{metric}\tmemory_gb\tstatus\tdescription"]
        named = dict(zip(KEPT, commits, strict=True))
        for n in range(9):
            value = KEPT.get(n, (1008 if n < 4 else 998) + n * 5 % 7)
            commit, status = named.get(n, f"{n:040x}")[:7], "keep" if n in KEPT else "discard"
            rows.append(f"{commit}\t{value}\t0.0\t{status}\tchange {n}")
        self.lab.write("results.tsv", "\n".join(rows) + "\n")

    def replay(self, *words: str) -> Called:
        return self.lab.call(*AGAIN, *words)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    made = Night(tmp_path / "lab")
    assert made.lab.call("baseline", "--seeds", "1").code == 0
    return made


def test_doubtful_changes_are_run_again_in_pairs_the_cheapest_first(night: Night) -> None:
    before, experiments = night.lab.git("rev-parse", "HEAD"), len(night.lab.session.experiments)
    view = night.replay("--json").json
    assert [(c["experiment"], c["against"], c["pairs"]) for c in view["comparisons"]] == [
        (5, 3, 2),
        (3, 1, 3),
        (7, 5, 7),
    ]
    gain, none, missing = view["comparisons"]
    assert gain["verdict"] == "gain" and gain["gains"] == [10, 11] and gain["low"] > 0
    assert none["verdict"] == "unclear" and none["gains"] == [0, -5, 1]
    assert missing["verdict"] == "not measured" and "fffffff of experiment 7 is not in this" in missing["reason"]
    runs = [(e["commit"], e["seed"]) for e in night.lab.events("study_run")]
    assert len(runs) == len(set(runs)) == 8 == view["runs"], "a run of 3 serves its comparisons with both neighbours"
    assert {seed for _, seed in runs} == {FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2}
    assert runs[0] == (night.commits[1], FIRST_SEED), "what 5 was kept over, beside it"
    assert not view["stopped"] and view["noise"]["dof"] == 5
    assert night.lab.git("rev-parse", "HEAD") == before and len(night.lab.session.experiments) == experiments
    assert night.lab.session.studies[-1].outcome == "done"
    night.lab.assert_clean()


@pytest.mark.slow
def test_when_the_time_is_up_the_same_command_goes_on_with_what_was_run(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    (log,), _ = audit_files(night.lab.root / "results.tsv", 3.3, None, "lower")
    ticks = itertools.count(1_790_000_000, 60)  # each look at the clock is a minute after the one before
    again = " ".join(("autoresearch", *AGAIN))
    cut, session = remeasure(night.lab.workspace, log, again, 0.2, lambda: next(ticks))
    assert cut.stopped and 0 < cut.runs < 8 and session.studies[-1].outcome == "interrupted"
    assert cut.comparisons[0].gains and cut.comparisons[1].verdict == "not measured"
    assert "time was up after" in cut.comparisons[1].reason
    done = night.replay()
    assert done.code == 0 and "5        3      2/2" in done.out and "next" not in done.out
    last = night.lab.session.studies[-1]
    assert last.continues == session.studies[-1].number and last.outcome == "done"
    assert len(night.lab.events("study_run")) == 8, "nothing was run a second time"
    monkeypatch.setattr(clock, "wall_clock", lambda: next(ticks))
    said = night.replay("--max-hours", "0.0001")
    assert said.code == 0 and f"next        {again}" in said.out


@pytest.mark.slow
def test_a_killed_replay_is_named_by_what_was_typed(night: Night) -> None:
    again = " ".join(("autoresearch", *AGAIN))
    with night.lab.workspace.journal.open("a") as file:
        line = events.study_line(1, "audit", {"again": again, "pairs": []}, "search", 1_790_000_000)
        file.write(json.dumps(line) + "\n")
    assert f"Go on with: {again}" in night.lab.call("resume").out


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    night = Night(tmp_path / "lab")
    unmeasured = night.replay()
    assert unmeasured.code == 5 and "autoresearch baseline" in unmeasured.err
    assert night.lab.call("baseline", "--seeds", "1").code == 0
    night.write_log([*night.commits, "f" * 40], metric="val_bpb")
    other = night.replay()
    assert other.code == 5 and "the log is about val_bpb (lower is better), this session measures total_ms" in other.err
    night.write_log(["a" * 40, "b" * 40, "c" * 40, "d" * 40])
    nowhere = night.replay("--json").json["error"]
    assert "no doubtful change of this log can be run again: commit" in nowhere["message"]
    assert night.lab.call(*nowhere["fix"].partition("autoresearch ")[2].split()).code == 0
    assert night.replay("--max-hours", "0").code == 2
    night.lab.write("results.tsv", (night.lab.root / "results.tsv").read_text() + "1234567\t990\t0.0\tkeep\tbaseline\n")
    assert "2 sessions" in night.replay().err
    assert night.lab.events("study") == []


@pytest.mark.slow
def test_two_commits_that_are_measured_by_other_means_are_not_compared(night: Night) -> None:
    lab = night.lab
    branch = lab.git("branch", "--show-current")
    lab.git("switch", "-q", "night")
    lab.write("bench.sh", "echo METRIC total_ms=1\n")
    changed = lab.commit("the benchmark is another")
    lab.git("switch", "-q", branch)
    night.write_log([night.commits[0], night.commits[1], changed, night.commits[2]])
    found = {c["experiment"]: c for c in night.replay("--json").json["comparisons"]}
    assert found[5]["reason"] == found[7]["reason"] == "what measures them differs: bench.sh"
    assert found[3]["verdict"] == "unclear" and len(lab.events("study_run")) == 6


@pytest.mark.slow
def test_a_commit_that_gives_no_value_costs_only_its_own_comparisons(night: Night) -> None:
    lab = night.lab
    branch = lab.git("branch", "--show-current")
    lab.git("switch", "-q", "night")
    lab.edit("exit 3\n")
    broken = lab.commit("broken")
    lab.git("switch", "-q", branch)
    night.write_log([night.commits[0], night.commits[1], broken, night.commits[2]])
    found = {c["experiment"]: c for c in night.replay("--json").json["comparisons"]}
    assert "experiment 5 has no value (crash)" in found[5]["reason"] == found[7]["reason"]
    assert found[3]["verdict"] == "unclear" and found[3]["gains"] == [0, -5, 1]


def test_what_is_another_commit_today_names_none(tmp_path: Path) -> None:
    night = Night(tmp_path / "lab")
    night.lab.git("branch", "beef", "night")
    night.write_log([night.commits[0], "HEAD", "night~1", "beef"])
    (log,), _ = audit_files(night.lab.root / "results.tsv", 3.3, None, "lower")
    found = {each.experiment: each for each in compared(Git(night.lab.root), (), log)}
    assert {number: each.reason for number, each in found.items()} == {
        3: "HEAD of experiment 3 names no commit",
        5: "night~1 of experiment 5 names no commit",
        7: "commit beef of experiment 7 is not in this repository",
    }
    assert (found[3].base, found[3].commit) == (night.commits[0], "")


PLANNED = Comparison(5, 3, "c", "b", 4)


@pytest.mark.parametrize(
    ("gains", "verdict", "reason"),
    [
        ((10, 11, 10, 12), "gain", ""),
        ((-10, -11, -10, -12), "none", ""),
        ((3, -2, 1, 0), "unclear", ""),
        ((4, 4), "gain", "same with every seed"),
        ((0, 0), "none", "same with every seed"),
        ((9,), "not measured", "fewer than two"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(gains: tuple[float, ...], verdict: str, reason: str) -> None:
    found = settled(PLANNED, gains)
    assert found.verdict == verdict and reason in found.reason and bool(reason) == bool(found.reason)
    assert found.low is None or found.mean is None or found.high is None or found.low <= found.mean <= found.high
