"""A branch that was set back, or rewritten, is told from one that is ahead: no printed fix takes a kept change back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lab import Lab

pytestmark = pytest.mark.slow

HOOK = Path(__file__).resolve().parents[2] / "hooks/autoresearch_hook.py"


@pytest.fixture
def two(lab: Lab) -> Lab:
    """A lab whose metric is the sum of two files, and a kept change in one of them."""
    lab.write("src/a", "40\n")
    lab.write("src/b", "40\n")
    done = lab.attempt("echo METRIC total_ms=$(( $(cat src/a) + $(cat src/b) ))\n")
    assert "KEEP" in done.out, done
    lab.write("src/a", "30\n")
    assert "KEEP" in lab.attempt().out
    return lab


def follow(lab: Lab, line: str) -> None:
    """Do what a message says at its end."""
    subprocess.run(["bash", "-ec", line.strip().rsplit(": ", 1)[1]], cwd=lab.root, check=True, capture_output=True)


def set_back(lab: Lab) -> None:
    lab.git("reset", "-q", "--hard", "HEAD~1")


def set_back_and_edited(lab: Lab) -> None:
    set_back(lab)
    lab.write("src/b", "20\n")


def set_back_and_committed(lab: Lab) -> None:
    set_back_and_edited(lab)
    lab.git("commit", "-qam", "less of b")


def amended(lab: Lab) -> None:
    lab.write("src/b", "20\n")
    lab.git("commit", "-qa", "--amend", "-m", "both")


def ahead(lab: Lab) -> None:
    for value in (35, 20):
        lab.write("src/b", f"{value}\n")
        lab.git("commit", "-qam", str(value))


@pytest.mark.parametrize("state", [set_back, set_back_and_edited, set_back_and_committed, amended, ahead])
def test_following_what_is_printed_loses_nothing_that_was_kept(two: Lab, state: object) -> None:
    best = two.git("rev-parse", "HEAD")
    state(two)  # type: ignore[operator]
    seen = two.git("stash", "create") or two.git("rev-parse", "HEAD")
    refused = two.call("try", "-m", "less of b")
    assert refused.code in (4, 5), refused
    behind = state is not ahead
    assert ("git reset --keep" in refused.err) == behind and ("--soft" in refused.err) != behind, refused
    if behind:
        check = two.call("check")
        assert check.code == 4 and refused.err.splitlines()[-1] in check.err
        for command in ("status", "resume"):
            told = two.call(command, "--json").json
            assert "does not contain the best" in told["wrong"] and told["next"] in refused.err
    follow(two, refused.err)
    assert (two.root / "src/a").read_text() == "30\n"
    two.write("src/b", "20\n")
    done = two.call("try", "-m", "less of b")
    assert "KEEP" in done.out and two.session.best and two.session.best.metric == 50, done
    assert two.git("show", "HEAD:src/a") == "30" and two.git("rev-parse", "HEAD~1") == best
    assert two.git("cat-file", "-t", seen) == "commit"
    assert two.call("check").code == 0
    assert "wrong" not in two.call("status").out


def test_edits_that_are_in_the_way_are_put_aside_first(two: Lab) -> None:
    set_back(two)
    two.write("src/a", "39\n")
    refused = two.call("try", "-m", "x")
    assert refused.code == 4 and "git stash push -u -- src/a && git reset --keep" in refused.err
    follow(two, refused.err)
    assert (two.root / "src/a").read_text() == "30\n" and two.git("show", "stash@{0}:src/a") == "39"


def test_the_hook_tells_it_at_the_start(two: Lab) -> None:
    event = json.dumps({"hook_event_name": "SessionStart", "cwd": str(two.root)})

    def says() -> str:
        return subprocess.run([sys.executable, HOOK], input=event, capture_output=True, text=True).stdout

    two.call("status")
    assert "does not contain" not in says()
    set_back(two)
    assert "does not contain the best experiment" in says()
