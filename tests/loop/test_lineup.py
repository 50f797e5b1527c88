"""Several candidates at once, in real slots: the keeps of one after the other, and what a kill leaves."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import TAG, Lab, new_repo, task_file
from loop_lab import GREEDY, Scripted, loop, proposals, replay_file
from made_once import made_once
from waiting import wait_for

from autoresearch.journal.loop import LoopProposal
from autoresearch.journal.session import Session
from autoresearch.loop.agents.base import Brief, Edit
from autoresearch.loop.lineup import LineUp
from autoresearch.runs.isolation.choice import missing
from autoresearch.runs.spec import RunContext
from autoresearch.system.clock import Clock
from autoresearch.workspace.lock import current_runs

pytestmark = [pytest.mark.slow, pytest.mark.sampled(0.3)]

SUM = """total=0
for part in src/part?; do total=$((total + $(cat $part))); done
echo METRIC total_ms=$total
"""
"""The metric is the sum of four parts, each a file."""


@pytest.fixture
def parts(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Lab]:
    """Return a function that makes a lab whose baseline of 100 was measured in a slot."""
    if why := missing():
        pytest.skip(why)

    def make(folder: Path) -> None:
        repo = new_repo(folder / "lab")
        repo.write("src/run.sh", SUM)
        for number in range(1, 5):
            repo.write(f"src/part{number}", "25\n")
        repo.write("autoresearch.toml", task_file(keep=GREEDY))
        repo.commit("parts")
        for words in (("init", ".", "--task", "command", "--tag", TAG), ("baseline", "--workers", "local:2")):
            done = repo.call(*words)
            assert done.code == 0, done

    def copy(name: str) -> Lab:
        subprocess.run(["cp", "-a", made_once(tmp_path_factory, "parts", make) / "lab", tmp_path / name], check=True)
        lab = Lab(tmp_path / name)
        lab.git("status")
        return lab

    return copy


def part(number: int, value: int) -> Callable[[Brief], Edit]:
    def step(brief: Brief) -> Edit:
        (brief.folder / f"src/part{number}").write_text(f"{value}\n")
        return Edit(f"part {number} is {value}", {})

    return step


def told(lab: Lab) -> list[tuple[int, str | None, float | None, str]]:
    return [(e.number, e.status, e.metric, e.description) for e in lab.session.current]


def test_two_candidates_at_once_end_in_the_keeps_of_one_after_the_other(parts: Callable[[str], Lab]) -> None:
    steps = (part(1, 20), part(2, 30), part(3, 10), part(4, 24))
    one, two, said = parts("one"), parts("two"), list[str]()
    loop(one, Scripted(*steps), max_experiments=4)
    agent = Scripted(*steps, part(4, 1))
    loop(two, agent, max_experiments=4, workers="local:2", said=said)
    kept = [(each[1], each[2], each[3]) for each in told(two)]
    assert kept == [("keep", 100, "baseline"), ("keep", 95, "part 1 is 20"), ("discard", 100, "part 2 is 30"),
                    ("keep", 80, "part 3 is 10"), ("keep", 79, "part 4 is 24")]  # fmt: skip
    assert told(one) == told(two)
    assert len(agent.briefs) == 4, "nothing was proposed that could not be measured"
    assert [each.session.find(2) is None for each in agent.briefs[:2]] == [True, True], "the second before a verdict"
    assert sum("applied to experiment" in line for line in said) == 2
    parents = [e.parent for e in two.session.current[1:]]
    commits = [e.commit for e in two.session.current]
    assert parents == [commits[0], commits[1], commits[1], commits[3]], "each against the incumbent of its moment"
    two.assert_clean()
    assert len(two.session.ledger.entries) >= 4 and all(entry.settled for entry in two.session.ledger.entries)


def test_whether_what_waits_fits_the_incumbent_is_asked_when_it_is_begun_and_when_it_is_measured_and_not_in_between(
    parts: Callable[[str], Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, asked, real = parts("lab"), list[str | None](), LineUp.bring

    def counted(lineup: LineUp, context: RunContext, session: Session, proposal: LoopProposal, clock: Clock) -> bool:
        asked.append(proposal.commit)
        return real(lineup, context, session, proposal, clock)

    monkeypatch.setattr(LineUp, "bring", counted)
    loop(lab, Scripted(part(1, 30), part(2, 30), part(3, 30)), max_experiments=3, workers="local:2")
    assert [each[1] for each in told(lab)[1:]] == ["discard"] * 3
    assert sorted(Counter(asked).values()) == [2, 2, 2]


def test_what_waits_is_not_proposed_again_and_not_measured_where_it_cannot_be_applied(
    parts: Callable[[str], Lab],
) -> None:
    lab = parts("lab")
    agent = Scripted(part(1, 20), part(1, 20), part(1, 15), part(2, 24))
    loop(lab, agent, max_experiments=2, workers="local:2")
    assert told(lab)[1:] == [(2, "keep", 95, "part 1 is 20"), (3, "keep", 94, "part 2 is 24")]
    same, apart = [reason for outcome, reason in proposals(lab) if outcome == "refused"]
    assert same == "this code waits to be measured already (part 1 is 20); change something else"
    assert apart.startswith("experiment 2 was kept meanwhile, and it cannot be applied to that")
    lab.assert_clean()


def test_a_loop_that_was_killed_with_two_candidates_in_its_slots_goes_on(
    parts: Callable[[str], Lab], tmp_path: Path
) -> None:
    lab = parts("lab")
    wait = f"touch begun\nuntil [ -e ../../../GO ]; do sleep 0.1; done\n{SUM}"
    first = {"description": "first", "files": {"src/run.sh": wait, "src/part1": "20\n"}}
    second = {"description": "second", "files": {"src/run.sh": wait, "src/part2": "30\n"}}
    third = {"description": "third", "files": {"src/part3": "24\n"}}
    edits = replay_file(tmp_path / "edits.jsonl", first, second, third)
    words = ("run", "--agent", f"replay:{edits}", "--workers", "local:2", "--max-experiments", "3")
    process = subprocess.Popen([sys.executable, "-m", "autoresearch", *words], cwd=lab.root, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    begun = [lab.workspace.at(slot).slot / "train/begun" for slot in (1, 2)]
    wait_for(lambda: all(path.exists() for path in begun), "two candidates at once")
    assert {run["experiment"] for run in current_runs(lab.workspace)} == {2, 3}
    refused = lab.call("baseline", "--seeds", "4", "--workers", "local:2", "--json")
    assert refused.code == 5, "nobody else gets these slots"
    process.kill()
    process.communicate()
    lab.write(".autoresearch/GO", "")
    done = lab.call(*words, "--json")
    assert done.code == 0, done
    ended = [(e.description, e.status, e.metric) for e in lab.session.current[1:] if e.outcome != "killed"]
    assert ended == [("first", "keep", 95), ("second", "discard", 100), ("third", "keep", 94)]
    lab.assert_clean()
    assert lab.processes() == [] and not [*lab.workspace.state.glob("running*")]
