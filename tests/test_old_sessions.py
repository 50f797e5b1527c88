"""Sessions that earlier states of this program wrote are read, shown and gone on with as they were then.

`data/finished.tar.gz` and `data/interrupted.tar.gz` are whole workspaces, repository and `.autoresearch` included, as
commit 76b06bb left them, before the package was cut into rooms: eleven experiments in two segments and an imported log
(kept, discarded, crashed, a near miss), repeats, `confirm`, `ablate`, a note, a message; in the second an experiment
whose engine was killed. What that state said of them stands below.

`data/sessions` has a folder for each state of journal and task file, made by `benchmarks/old_sessions.py` with that
state's own code: what its lines say is what this state shows, and a session of it goes on.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from drawn import drawn
from lab import Lab

DATA = Path(__file__).parent / "data"

LOG = [
    (1, 0, "keep", 1004.8333333333334), (2, 0, "keep", 906.2222222222222), (3, 0, "discard", 1002.0),
    (4, 0, "crash", None), (5, 0, "discard", 901.0), (6, 0, "keep", 710.0),
    (7, 1, "keep", 0.9979), (8, 1, "keep", 0.9932), (9, 1, "crash", None),
    (10, 2, "keep", 704.8333333333334), (11, 2, "keep", 655.0),
]  # fmt: skip


STATES = sorted(path.name for path in (DATA / "sessions").iterdir())


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[str], Lab]:
    def unpack(name: str) -> Lab:
        with tarfile.open(DATA / f"{name}.tar.gz") as archive:
            archive.extractall(tmp_path, filter="tar")
        lab = Lab(tmp_path / "ws")
        lab.git("status")
        return lab

    return unpack


def test_every_number_is_what_it_was(unpacked: Callable[[str], Lab]) -> None:
    lab = unpacked("finished")
    log = lab.call("log", "--json").json
    assert [(e["experiment"], e["segment"], e["status"], e["value"]) for e in log["experiments"]] == LOG
    status = lab.call("status", "--json").json
    assert (status["segment"], status["counts"]["keep"]) == (2, 2)
    assert (status["best"]["experiment"], status["best"]["value"]) == (11, 655.0)
    assert (status["noise"]["sd"], status["noise"]["dof"]) == (3.1885210782848317, 5)
    shown = lab.call("show", "6", "--json").json
    assert shown["reason"] == "better by 195.8 ms over 1 fresh seed (noise 3.1, needed 13)"
    assert shown["metrics"] == {"peak_vram_mb": 100.0}
    assert lab.call("show", "3", "--json").json["asi"] == {"result": "slower, as expected"}
    assert lab.call("check").code == 0
    assert [s.what for s in lab.session.studies] == ["replicate", "confirm", "ablate"]


def test_a_session_goes_on_and_no_line_of_it_changes(unpacked: Callable[[str], Lab]) -> None:
    lab = unpacked("finished")
    before = lab.workspace.journal.read_bytes()
    lab.edit("echo METRIC ms=600\n")
    done = lab.call("try", "-m", "goes on", "--json")
    assert done.code == 0, done
    assert (done.json["experiment"], done.json["status"]) == (12, "keep")
    assert lab.workspace.journal.read_bytes().startswith(before)
    assert lab.call("plot").code == 0 and lab.call("export", "--format", "csv").code == 0
    assert lab.call("confirm", "--seeds", "2", "--json").json["holds"] is True


def test_an_experiment_that_was_interrupted_then_is_repaired_now(unpacked: Callable[[str], Lab]) -> None:
    lab = unpacked("interrupted")
    resumed = lab.call("resume", "--json").json
    assert "experiment 12 was interrupted" in " ".join(resumed["repaired"])
    run = lab.events("run")[-1]
    assert (run["run"], run["outcome"], run["metric"]) == (12, "killed", None)
    assert lab.git("rev-parse", "HEAD") == lab.session.incumbent.commit  # type: ignore[union-attr]
    assert lab.git("status", "--porcelain") == ""
    assert json.loads(lab.call("resume", "--json").out)["repaired"] == []


@pytest.fixture
def begun(tmp_path: Path) -> Callable[[str], Lab]:
    """Return a function that puts a state's workspace together."""

    def begin(state: str) -> Lab:
        folder, lab = DATA / "sessions" / state, Lab(tmp_path / state)
        with tarfile.open(folder / "rest.tar.gz") as archive:
            archive.extractall(lab.root, filter="tar")
        for name in ("autoresearch.jsonl", "autoresearch.toml"):
            shutil.copy(folder / name, lab.root)
        lab.git("status")
        return lab

    return begin


@pytest.mark.slow
def test_what_each_state_wrote_is_shown_as_it_was_decided(begun: Callable[[str], Lab]) -> None:
    assert len(STATES) >= 10
    for state in STATES:
        lab = begun(state)
        before = lab.workspace.journal.read_bytes()
        verdicts = lab.events("run")
        log = {e["experiment"]: e for e in lab.call("log", "--json").json["experiments"]}
        assert len(verdicts) >= 6, state
        for verdict in verdicts:
            row = log[verdict["run"]]
            wanted = (verdict["status"], verdict["outcome"], verdict["metric"])
            assert (row["status"], row["outcome"], row["metric"]) == wanted, (state, row)
        status = lab.call("status", "--json").json
        kept = [v for v in verdicts if v["status"] == "keep" and v.get("segment", 0) == status["segment"]]
        assert status["best"]["experiment"] == kept[-1]["run"] and status["noise"]["dof"] >= 2, (state, status)
        shown = lab.call("show", str(kept[-1]["run"]), "--json").json
        memory = 50 + round(kept[-1]["metric"] / 10)
        assert (shown["reason"], shown["metrics"]) == (kept[-1]["reason"], {"peak_vram_mb": memory}), (state, shown)
        assert lab.call("show", "3", "--json").json["asi"]["result"] == "slower, as expected"
        brief = lab.call("resume", "--brief")
        assert brief.code == 0 and "autoresearch try" in brief.out, (state, brief)
        checked = lab.call("check")
        assert checked.code == 0, (state, checked)
        assert lab.workspace.journal.read_bytes().startswith(before), state


def test_a_journal_that_is_lost_comes_back_from_what_an_earlier_state_mirrored(begun: Callable[[str], Lab]) -> None:
    lab = begun("07-loop")
    before = lab.workspace.journal.read_bytes()
    lab.workspace.journal.unlink()
    lost = lab.call("status")
    assert lost.code == 3 and lost.err.strip().endswith("bring it back: autoresearch resume --restore t"), lost
    assert lab.call("resume", "--restore", "t").code == 0
    assert lab.workspace.journal.read_bytes().startswith(before)


@pytest.mark.slow
@pytest.mark.sampled(1)
def test_a_session_of_each_state_goes_on(begun: Callable[[str], Lab]) -> None:
    for state in drawn(STATES, 0.25, "old sessions"):
        lab = begun(state)
        before = lab.workspace.journal.read_bytes()
        number = lab.session.next_number
        lab.write("src/value", "50\n")
        done = lab.call("try", "-m", "goes on", "--json")
        assert done.code == 0 and (done.json["experiment"], done.json["status"]) == (number, "keep"), (state, done)
        assert lab.workspace.journal.read_bytes().startswith(before), state
        lab.assert_clean()
