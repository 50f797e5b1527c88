"""What a person does beside the loop: messages, hooks around experiments, a new segment, a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawn import drawn
from lab import INIT, Lab, Repo

from autoresearch.experiments import user_hooks

pytestmark = pytest.mark.slow


def hook(lab: Lab, when: str, script: str) -> Path:
    return lab.write(f"autoresearch.hooks/{when}.sh", f"#!/bin/sh\n{script}\n", mode=0o755)


class TestMessages:
    def test_the_next_command_shows_it_once_and_the_journal_keeps_it(self, lab: Lab) -> None:
        assert lab.call("tell", "no more\nlearning rates").code == 0
        first = lab.call("status")
        assert first.out.startswith("message from the person: no more learning rates\n")
        assert "message" not in lab.call("status").out and lab.call("resume", "--json").json["messages"] == []
        assert [e["text"] for e in lab.events("message")] == ["no more\nlearning rates"]

    @pytest.mark.parametrize("command", [("status",), ("resume",), ("try", "-m", "x"), ("wait", "1")])
    def test_any_command_of_the_loop_brings_it(self, lab: Lab, command: tuple[str, ...]) -> None:
        lab.call("tell", "stop at ten")
        lab.prints(300)
        view = lab.call(*command, "--json").json
        assert view["messages"] == ["stop at ten"]

    def test_a_report_with_messages_has_fifteen_lines_still(self, lab: Lab) -> None:
        for n in range(4):
            lab.call("tell", f"message {n}")
        out = lab.attempt("seq 20; exit 1\n").out.splitlines()
        assert len(out) <= 15 and out[3].endswith("message 3") and out[-1].startswith("next")

    def test_one_that_comes_during_a_run_is_no_tampering(self, lab: Lab, sandboxed: bool) -> None:
        from autoresearch.experiments.attempt import attempt
        from autoresearch.system.clock import wall_clock

        lab.edit("sleep 0.5; echo METRIC total_ms=200\n")
        done = []

        def tick(_what: str, _seconds: float) -> None:
            done or done.append(lab.call("tell", "hello").code)

        report = attempt(lab.workspace, "x", {}, wall_clock, tick=tick)
        assert report.experiment.outcome == "ok" and done == [0]
        assert [m.text for m in lab.session.mailbox.waiting] == ["hello"]

    def test_control_characters_and_nothing_are_not_passed_on(self, lab: Lab) -> None:
        assert lab.call("tell", "  ").code == 2
        assert lab.call("tell", "x" * 3000).code == 2
        lab.call("tell", "red \x1b[31m alert \x07")
        assert "red alert \\x07" in lab.call("status").out


class TestHooks:
    def test_both_get_json_and_reach_the_agent_as_data(self, lab: Lab) -> None:
        hook(lab, "before", 'cat > seen-before; echo "remember the \x1b[31mbudget"')
        hook(lab, "after", "cat > seen-after; seq 1 100")
        lab.prints(50)
        done = lab.call("try", "-m", "quicker", "--asi", "why=less", "--json").json
        assert done["hooks"]["before"] == ["remember the budget"]
        assert done["hooks"]["after"] == [str(n) for n in range(93, 101)]
        before = json.loads((lab.root / "seen-before").read_text())
        after = json.loads((lab.root / "seen-after").read_text())
        assert before["event"] == "before" and before["experiment"]["experiment"] == 2
        assert before["experiment"]["asi"] == {"why": "less"} and before["session"]["best"]["value"] == 100
        assert after["experiment"]["status"] == "keep" and after["session"]["best"]["value"] == 50
        assert lab.git("status", "--porcelain").split() == ["??", "seen-after", "??", "seen-before"]

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize(
        ("script", "says"),
        drawn(
            [
                ("exit 3", "exited with 3"),
                ("sleep 600", "was ended after"),
                ("kill -9 $$", "exited"),
            ],
            0.34,
            "hooks that fail",
        ),
    )
    def test_one_that_fails_is_named_and_loses_nothing(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch, when: str, script: str, says: str
    ) -> None:
        monkeypatch.setattr(user_hooks, "LIMIT_S", 0.5)
        hook(lab, when, script)
        lab.prints(50)
        done = lab.call("try", "-m", "quicker")
        assert done.code == 0 and f"{when} hook" in done.out and says in done.out and "KEEP" in done.out
        assert lab.processes() == []
        assert lab.session.best and lab.session.best.number == 2

    def test_one_that_goes_to_another_branch_has_nothing_committed_there(self, lab: Lab) -> None:
        before, main = hook(lab, "before", "git switch -q main"), lab.git("rev-parse", "main")
        ours = lab.git("rev-parse", "HEAD")
        lab.prints(50)
        done = lab.call("try", "-m", "quicker")
        assert done.code == 5 and "the branch is main, the session's is autoresearch/t" in done.err, done
        assert lab.git("rev-parse", "main", "autoresearch/t").split() == [main, ours]
        assert not lab.events("start")[1:] and "=50" in (lab.root / "src/run.sh").read_text()
        before.unlink()
        lab.git("switch", "-q", "autoresearch/t")
        assert "KEEP" in lab.call("try", "-m", "quicker").out

    def test_one_that_is_not_executable_is_told(self, lab: Lab) -> None:
        hook(lab, "before", "echo hi").chmod(0o644)
        assert "chmod +x" in lab.attempt("echo METRIC total_ms=50\n").out


class TestStaged:
    """What a person has staged is in no commit of ours."""

    def test_a_task_file_edited_before_the_baseline_is_committed_alone(self, repo: Repo) -> None:
        lab = Lab(repo.root)
        assert lab.call(*INIT).code == 0
        before, toml = lab.git("rev-parse", "HEAD"), lab.root / "autoresearch.toml"
        toml.write_text(f"{toml.read_text()}# edited\n")
        lab.write("README.md", "mine\n")
        lab.git("add", "README.md")
        assert lab.call("baseline").code == 5
        assert lab.git("diff", "--name-only", before, "HEAD") == "autoresearch.toml"
        assert lab.git("status", "--porcelain") == "M  README.md"

    def test_a_merge_that_is_resolved_and_not_concluded_is_left_to_the_person(self, repo: Repo) -> None:
        lab = Lab(repo.root)
        lab.git("switch", "-q", "-c", "side")
        lab.write("README.md", "side\n")
        lab.commit("side")
        lab.git("switch", "-q", "main")
        assert lab.call(*INIT).code == 0
        lab.git("merge", "--no-commit", "--no-ff", "-q", "side")
        before, toml = lab.git("rev-parse", "HEAD"), lab.root / "autoresearch.toml"
        toml.write_text(f"{toml.read_text()}# edited\n")
        done = lab.call("baseline")
        assert done.code == 5 and "a git merge is not finished here" in done.err
        assert lab.git("rev-parse", "HEAD") == before and (lab.root / ".git/MERGE_HEAD").exists()
        assert lab.git("status", "--porcelain").splitlines() == ["M  README.md", " M autoresearch.toml"]

    def test_notes_that_are_staged_are_in_no_experiment_and_outlive_a_discard(self, lab: Lab) -> None:
        notes = (lab.root / "autoresearch.md").read_text()
        lab.git("add", "-f", "autoresearch.md")
        for value, verdict in ((200, "DISCARD"), (50, "KEEP")):
            lab.prints(value)
            assert verdict in lab.call("try", "-m", "a change").out
            assert lab.git("status", "--porcelain") == "A  autoresearch.md"
            commit = lab.session.experiments[-1].commit or ""
            assert lab.git("show", "--format=", "--name-only", commit) == "src/run.sh"
        assert (lab.root / "autoresearch.md").read_text() == notes


class TestSegments:
    def test_another_metric_begins_with_a_baseline_of_its_own(self, lab: Lab) -> None:
        lab.prints(50)
        assert lab.call("try", "-m", "quicker").code == 0
        assert lab.call("segment").code == 5
        toml = lab.root / "autoresearch.toml"
        toml.write_text(toml.read_text().replace('"total_ms"', '"bytes"').replace('"lower"', '"higher"'))
        lab.write("src/run.sh", "echo METRIC bytes=7\n")
        assert lab.call("segment").code == 5
        lab.git("commit", "-qam", "another metric")
        assert lab.call("segment", "--json").json["metric"] == "bytes"
        assert lab.call("baseline").code == 0
        assert lab.attempt("echo METRIC bytes=9\n").code == 0
        last = lab.events("run")[-1]
        assert (last["run"], last["segment"], last["status"], last["metric"]) == (4, 1, "keep", 9)
        session = lab.session
        assert session.baseline and session.baseline.number == 3 and len(session.experiments) == 4
        assert lab.call("show", "2").code == 0 and lab.call("check").code == 0
        lab.assert_clean()
