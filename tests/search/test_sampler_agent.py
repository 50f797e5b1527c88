"""The sampler in a real workspace: what it proposes is measured, and it reads what was measured from the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import TAG, Lab
from made_once import made_once

from autoresearch.loop.agents.base import Brief, Edit, ProposalFailed
from autoresearch.loop.agents.sampler import Sampler
from autoresearch.system.files import remove_tree
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace

PROGRAM = """\
import sys
PROFILE = "tiny"
MATRIX_LR = 0.02  # é; [0.002, 0.2] log
WARMDOWN = 0.6  # [0.1, 0.9]
DEPTH = 4  # layers; [2, 8]
CAP = {"full": 3.0, "tiny": 5.0}[PROFILE]  # [1, 10]
if DEPTH > 7:
    sys.exit("too deep")
print("METRIC loss=%.9f" % (DEPTH - 10 * MATRIX_LR + WARMDOWN + CAP))
"""


TASK = """\
[task]
name = "lab"
[metric]
name = "loss"
direction = "lower"
exact = true
[run]
command = "python3 train.py"
[files]
mutable = ["train.py"]
immutable = ["autoresearch.toml"]
[options]
profile = "tiny"
[search.families]
schedule = ["warm*"]
"learning rate" = ["lr"]
size = ["layer*"]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A workspace inside of a repository, with a baseline and four experiments that the sampler has proposed."""

    def make(folder: Path) -> None:
        lab = Lab(folder / "repo" / "inside")
        lab.write("train.py", PROGRAM)
        lab.write("autoresearch.toml", TASK)
        lab.git("init", "-q", "-b", "main", "..")
        lab.git("config", "user.name", "A Person")
        lab.git("config", "user.email", "person@example.org")
        lab.commit("the task")
        for words in (("init", ".", "--task", "command", "--tag", TAG), ("baseline", "--seeds", "1")):
            done = lab.call(*words)
            assert done.code == 0, done
        for _ in range(4):
            edit = Sampler(workspace=Workspace(lab.root)).propose(brief(lab, lab.root))
            done = lab.call("try", "-m", edit.description, *(f"--asi={k}={v}" for k, v in edit.asi.items()))
            assert done.code == 0, done

    return Lab(made_once(tmp_path_factory, "a session of the sampler", make) / "repo" / "inside")


def brief(lab: Lab, folder: Path, parent: int = 0, **more: object) -> Brief:
    session = lab.session
    assert session.incumbent is not None
    return Brief(folder, session, load(lab.root), parent or session.incumbent.number, "improve", "", **more)  # type: ignore[arg-type]


def unpacked(lab: Lab, folder: Path, number: int) -> Path:
    """Return a folder with the mutable file of an experiment."""
    folder.mkdir()
    (folder / "train.py").write_text(lab.git("show", f"refs/autoresearch/{TAG}/{number}:./train.py") + "\n")
    return folder


def names(edit: Edit) -> set[str]:
    return {part.split()[0] for part in edit.description.split(", ")}


def test_what_it_proposes_is_measured(lab: Lab) -> None:
    tried = lab.session.current[1:]
    assert len(tried) == 4 and {e.outcome for e in tried} <= {"ok", "crash"} and any(e.status == "keep" for e in tried)
    for e in tried:
        changes = lab.git("diff", "--unified=0", e.parent or "", e.commit or "").splitlines()
        lines = [line[1:] for line in changes if line.startswith("+") and not line.startswith("+++")]
        told = [part.split(" -> ") for part in e.description.split(", ")]
        assert {line.split()[0] for line in lines} == {change.split()[0] for change, _ in told}
        for change, value in told:  # `NAME old -> new`
            [line] = [line for line in lines if line.startswith(change.split()[0])]
            assert value in line
        assert e.asi["family"] in ("schedule", "learning rate", "size", "other") and e.asi["hypothesis"]


def test_the_folder_is_edited_and_the_repository_is_read(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incumbent = lab.session.incumbent
    assert incumbent is not None
    monkeypatch.chdir(lab.root)  # as the loop runs, so that it needs not be told where the workspace is
    edits = []
    for name in ("one", "two"):
        folder = unpacked(lab, tmp_path / name, incumbent.number)
        before = (folder / "train.py").read_text()
        edits.append(Sampler().propose(brief(lab, folder)))
        assert (folder / "train.py").read_text() != before
    assert edits[0] == edits[1] and edits[0].usage.usd == 0.0
    assert lab.git("status", "--porcelain") == ""
    (tmp_path / "one" / "train.py").write_text(PROGRAM.replace("# layers", "# fixed; layers").replace("log", "log ; x"))
    edit = Sampler().propose(brief(lab, tmp_path / "one"))
    assert edit.description not in {e.description for e in lab.session.current}


def test_it_starts_from_the_experiment_that_it_is_told_to(lab: Lab, tmp_path: Path) -> None:
    worse = next(e for e in lab.session.current if e.status != "keep")
    folder = unpacked(lab, tmp_path / "parent", worse.number)
    before = (folder / "train.py").read_text()
    edit = Sampler(workspace=Workspace(lab.root)).propose(brief(lab, folder, worse.number))
    for part in edit.description.split(", "):
        name, old = part.split()[:2]
        [line] = [line for line in before.splitlines() if line.startswith(name)]
        assert old in line


def test_families_are_asked_for_and_ruled_out(lab: Lab, tmp_path: Path) -> None:
    folder, sampler = unpacked(lab, tmp_path / "families", 1), Sampler(workspace=Workspace(lab.root))
    for seed in range(6):
        edit = sampler.propose(brief(lab, folder, families=("schedule",), seed=seed))
        assert "WARMDOWN" in names(edit) and edit.asi["family"] == "schedule"
        edit = sampler.propose(brief(lab, folder, banned=("schedule", "size", "other"), seed=seed))
        assert (names(edit), edit.asi["family"]) == ({"MATRIX_LR"}, "learning rate")
        edit = sampler.propose(brief(lab, folder, families=("attention",), banned=("size",), seed=seed))
        assert "DEPTH" not in names(edit)
    with pytest.raises(ProposalFailed, match="ruled out"):
        sampler.propose(brief(lab, folder, banned=("schedule", "size", "other", "learning rate")))


def test_it_says_when_it_has_nothing_to_propose(lab: Lab, tmp_path: Path) -> None:
    folder, sampler = unpacked(lab, tmp_path / "nothing", 1), Sampler(workspace=Workspace(lab.root))
    with pytest.raises(ProposalFailed, match="cannot repair"):
        sampler.propose(brief(lab, folder, repair="it does not parse"))
    (folder / "train.py").write_text("RATE = 1\n")
    with pytest.raises(ProposalFailed, match="no constants"):
        sampler.propose(brief(lab, folder))


def test_next_knobs_shows_the_space_what_was_tried_and_a_point(lab: Lab) -> None:
    view = lab.call("next", "--knobs", "--json").json
    incumbent = lab.session.incumbent
    assert incumbent is not None
    assert [knob["name"] for knob in view["knobs"]] == ["MATRIX_LR", "WARMDOWN", "DEPTH", "CAP"]
    assert view["measured"] == 5 and view["problems"] == []
    assert sum(knob["tried"] for knob in view["knobs"]) == sum(e.description.count("->") for e in lab.session.current)
    source = (lab.root / "train.py").read_text()
    for knob in view["knobs"]:
        assert knob["file"] == "train.py" and str(knob["value"]) in source and knob["range"][0] in "[{"
    assert any(knob["gain"] is not None and knob["gain"] > 0 for knob in view["knobs"])
    steps = {step["name"]: step["to"] for step in view["proposal"]}
    text = lab.call("next", "--knobs").out
    assert steps and all(f"{name} " in text for name in steps)
    assert text.splitlines()[0].split() == ["constant", "value", "range", "tried", "best", "try"]


def test_a_journal_in_the_copy_that_it_edits_does_not_make_it_the_workspace(lab: Lab) -> None:
    incumbent = lab.session.incumbent
    assert incumbent is not None
    (lab.workspace.state / "proposal").mkdir()
    folder = unpacked(lab, lab.workspace.state / "proposal/files", incumbent.number)
    (folder / "autoresearch.jsonl").write_text("of another tool\n")
    (folder.parent / ".git").write_text("gitdir: /dev/null\n")
    assert Sampler().propose(brief(lab, folder)).description
    remove_tree(folder.parent)
