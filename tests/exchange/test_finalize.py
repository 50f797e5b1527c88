"""`finalize`: a stack of branches with the files of the incumbent, made without touching what a person has."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from lab import Lab, new_repo
from stacked import ablated, part

from autoresearch.experiments import undisturbed
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext, RunSpec

APPLY = ("finalize", "--apply", "--json")


def heads(lab: Lab) -> dict[str, str]:
    """Return the branches of stacks, each with its commit."""
    lines = lab.git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads/finalize").splitlines()
    return dict(line.split() for line in lines)


def tree(lab: Lab, revision: str) -> str:
    return lab.git("rev-parse", f"{revision}^{{tree}}")


def contents(folder: Path, but: tuple[str, ...] = ()) -> dict[str, str]:
    """Return path -> mode and hash of every file, link and folder below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] in but:
            continue
        about = path.lstat()
        data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[name] = f"{about.st_mode:o} {hashlib.sha256(data).hexdigest()}"
    return found


def a_persons(lab: Lab) -> dict[str, object]:
    """Return everything of a person's that a stack must leave as it is, byte for byte."""
    git = lab.root / ".git"
    return {
        "folder": contents(lab.root, (".git", ".autoresearch")),
        **{name: (git / name).read_bytes() for name in ("index", "HEAD", "refs/stash", "logs/HEAD", "config")},
        "journal": lab.workspace.journal.read_bytes(),
        "branches": lab.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/main",
                            "refs/heads/autoresearch", "refs/autoresearch", "refs/remotes"),
    }  # fmt: skip


def test_the_stack_has_the_incumbents_files_and_nothing_of_a_persons_is_touched(stack: Lab, tmp_path: Path) -> None:
    stack.write("src/run.sh", "stashed\n")
    stack.git("stash", "push", "-q")
    stack.write("src/run.sh", "staged\n")
    stack.git("add", "src/run.sh")
    stack.write("src/run.sh", "edited, not staged\n")
    stack.write("mine.txt", "untracked\n")
    remote = new_repo(tmp_path / "remote")
    stack.git("remote", "add", "origin", str(remote.root))
    # A commit that git would sign, or ask a hook about, could not be made here.
    stack.git("config", "commit.gpgsign", "true")
    stack.git("config", "gpg.program", "false")
    for hook in ("pre-commit", "commit-msg", "post-commit", "reference-transaction", "pre-push"):
        stack.write(f".git/hooks/{hook}", "#!/bin/sh\nexit 1\n", 0o755)
    before, others = a_persons(stack), remote.git("for-each-ref")
    plan = stack.call("finalize", "--json").json
    assert heads(stack) == {} and not plan["applied"]
    done = stack.call(*APPLY)
    assert a_persons(stack) == before and remote.git("for-each-ref") == others, done
    view = done.json
    assert [(b["experiments"], b["commit"]) for b in view["branches"]] == [
        (b["experiments"], b["commit"]) for b in plan["branches"]
    ]
    names = ["finalize/t/01-wider-aou-more", "finalize/t/02-deeper", "finalize/t/03-cache-it"]
    assert heads(stack) == dict(zip(names, [b["commit"] for b in view["branches"]], strict=True))
    for number, name, below in zip((2, 3, 5), names, ["refs/autoresearch/t/1", *names], strict=False):
        assert stack.git("rev-parse", f"{name}^") == stack.git("rev-parse", below)
        kept = f"refs/autoresearch/t/{number}"
        assert tree(stack, name) == tree(stack, kept)
        assert stack.git("diff", f"{name}^", name) == stack.git("diff", f"{kept}^", kept)
    assert tree(stack, names[-1]) == tree(stack, "autoresearch/t")
    text = stack.git("log", "-1", "--format=%B", names[0])
    assert text.splitlines()[0] == "Wider: äöü & more"
    trailers = stack.git("log", "-1", "--format=%(trailers:only,unfold)", names[0]).splitlines()
    told = dict(line.split(": ", 1) for line in trailers)
    assert told["Gain"] == "+500 over experiment 1 (total_ms, lower is better)" and told["Seeds"] == "1"
    assert told["Hypothesis"] == "capacity pays" and told["Noise"].startswith("unknown")
    assert told["Experiment"] == f"2 ({stack.ref(2)[:12]})"
    assert stack.call(*APPLY).json["branches"] == view["branches"] and a_persons(stack) == before


@pytest.mark.slow
def test_the_changes_of_a_family_are_one_branch(stack: Lab) -> None:
    view = stack.call(*APPLY, "--by", "family").json
    assert [b["experiments"] for b in view["branches"]] == [[2, 3], [5]]
    first = view["branches"][0]
    assert first["name"] == "finalize/t/01-size-2-changes" and first["files"] == ["src/a.part", "src/b.part"]
    text = stack.git("log", "-1", "--format=%B", first["name"])
    assert text.startswith("size: 2 changes\n\nExperiment: 2 (") and "+100 over experiment 2" in text
    assert tree(stack, first["name"]) == tree(stack, "refs/autoresearch/t/3")
    assert tree(stack, view["branches"][1]["name"]) == tree(stack, "autoresearch/t")
    # Not side by side: what lies between them is taken out below, and comes with its own family.
    for number, family in (("3", "cache"), ("5", "size")):
        assert stack.call("note", number, "--asi", f"family={family}").code == 0
    view = stack.call(*APPLY, "--by", "family", "--name", "other").json
    assert [(b["experiments"], b["files"]) for b in view["branches"]] == [
        ([2, 5], ["src/a.part", "src/c.part"]), ([3], ["src/b.part"]),
    ]  # fmt: skip
    assert tree(stack, "finalize/other/02-deeper") == tree(stack, "autoresearch/t")
    assert stack.git("diff", "--name-status", "finalize/other/01-size-2-changes", "autoresearch/t") == "A\tsrc/b.part"


@pytest.mark.slow
def test_what_cannot_be_taken_apart_stays_with_what_follows_it(stack: Lab) -> None:
    part(stack, "b", -110, "more of b", "size")  # on top of what would be left out
    ablated(stack, _3="hurts")
    refused = stack.call("finalize")
    assert refused.code == 5
    assert "3 cannot be left out of experiment 6: src/b.part of experiment 3 was changed later on" in refused.err
    assert stack.call("note", "3", "--asi", "family=cache").code == 0
    view = stack.call(*APPLY, "--by", "family", "--leave-out", "nothing").json
    (branch,) = view["branches"]
    assert (branch["experiments"], branch["subject"]) == ([2, 6, 3, 5], "several families: 4 changes")
    assert view["remarks"] == [
        "2, 6 is in one commit with what follows: src/b.part of experiment 3 was changed later on"
    ]
    assert tree(stack, branch["name"]) == tree(stack, "autoresearch/t")


@pytest.mark.slow
def test_a_branch_that_is_there_is_left_and_the_stack_made_under_another_name(stack: Lab) -> None:
    stack.git("branch", "finalize/t/02-deeper", "main")
    refused = stack.call("finalize", "--apply")
    assert refused.code == 5 and "finalize/t/02-deeper exists" in refused.err
    assert refused.err.endswith("autoresearch finalize --apply --name t-2\n"), refused
    assert [*heads(stack)] == ["finalize/t/02-deeper"]
    assert stack.call("finalize", "--apply", "--name", "t-2").code == 0
    assert len(heads(stack)) == 4 and stack.git("rev-parse", "finalize/t/02-deeper") == stack.git("rev-parse", "main")
    # A branch that a longer stack has left, and one in whose folder none can be.
    stack.git("branch", "finalize/t-2/04-other", "main")
    assert "finalize/t-2/04-other exists" in stack.call("finalize", "--apply", "--name", "t-2").err
    for name in heads(stack):
        stack.git("branch", "-q", "-D", name)
    stack.git("branch", "finalize", "main")
    refused = stack.call("finalize", "--apply")
    assert refused.code == 5 and refused.err.endswith("git branch -m finalize my-finalize\n")
    assert stack.call("finalize", "--name", "a..b").code == 2


@pytest.mark.slow
def test_what_hurts_is_left_out_and_the_stack_is_measured_once(stack: Lab) -> None:
    ablated(stack, _2="pays", _3="hurts", _5="unclear")
    head = stack.git("rev-parse", "HEAD")
    plan = stack.call("finalize", "--json").json
    assert [left["experiment"] for left in plan["left_out"]] == [3] and plan["measured"] is None
    view = stack.call(*APPLY, "--seeds", "2").json
    assert [b["experiments"] for b in view["branches"]] == [[2], [5]]
    # 1000 - 500 - 200: without b, c is not in its way.
    assert view["measured"]["best"] == 300 and view["measured"]["gain"] == 700 and view["measured"]["holds"]
    tip = view["branches"][-1]["name"]
    assert stack.git("diff", "--name-status", "autoresearch/t", tip) == "D\tsrc/b.part"
    assert tree(stack, "finalize/t/01-wider-aou-more") == tree(stack, "refs/autoresearch/t/2")
    text = stack.git("log", "-1", "--format=%B", tip)
    assert "Measured-with: 3, which this stack is without" in text and "Left-out: 3" in text
    assert "Confirmation: +700 over the baseline on fresh seeds" in text and "the gain holds" in text
    assert "Ablation: unclear, worth -50 ± 1 on 2 seeds, undone on top of experiment 5" in text
    (study,) = [s for s in stack.session.studies if s.what == "finalize"]
    assert study.outcome == "done" and study.about["without"] == [3] and sum(map(len, study.runs.values())) == 4
    journal = stack.workspace.journal.read_bytes()
    assert stack.call(*APPLY).json["branches"] == view["branches"]
    assert stack.workspace.journal.read_bytes() == journal and stack.git("rev-parse", "HEAD") == head
    stack.assert_clean()
    assert stack.call("check").code == 0
    unclear = stack.call("finalize", "--leave-out", "unclear", "--json").json
    assert [left["experiment"] for left in unclear["left_out"]] == [3, 5]
    whole = stack.call(*APPLY, "--leave-out", "nothing", "--name", "whole").json
    assert tree(stack, whole["branches"][-1]["name"]) == tree(stack, "autoresearch/t")


def test_a_stack_that_is_no_better_than_the_baseline_is_not_made(stack: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ablated(stack, _3="hurts")

    def measure(_: RunContext, spec: RunSpec) -> Measurement:
        return Measurement("ok", 1000 + (spec.seed % 3 - 1) * (1 if spec.experiment == 1 else -2))

    monkeypatch.setattr(undisturbed, "measure", measure)
    refused = stack.call("finalize", "--apply", "--seeds", "3")
    assert refused.code == 5 and "is not better than the baseline" in refused.err and heads(stack) == {}
    assert refused.err.endswith("autoresearch finalize --apply --leave-out nothing\n")


@pytest.mark.slow
def test_a_measurement_that_was_interrupted_goes_on_and_makes_no_run_twice(
    stack: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    ablated(stack, _3="hurts")
    asked: list[tuple[str, int]] = []

    def measure(_: RunContext, spec: RunSpec) -> Measurement:
        if len(asked) == 3:
            asked.append(("interrupted", 0))
            raise KeyboardInterrupt
        asked.append((spec.commit, spec.seed))
        return Measurement("ok", 1000.0 if spec.experiment == 1 else 300.0)

    monkeypatch.setattr(undisturbed, "measure", measure)
    cut = stack.call("finalize", "--apply", "--seeds", "2", "--name", "two")
    assert cut.code == 1 and heads(stack) == {}
    assert cut.err.endswith("go on with: autoresearch finalize --apply --name two --seeds 2\n"), cut
    done = stack.call(*APPLY, "--seeds", "2", "--name", "two")
    assert done.code == 0 and len(heads(stack)) == 2, done
    made = [one for one in asked if one[0] != "interrupted"]
    assert len(made) == len({*made}) == 4
    assert [(s.outcome, s.continues) for s in stack.session.studies[1:]] == [("interrupted", None), ("done", 2)]


@pytest.mark.slow
def test_what_is_to_be_typed_next_has_the_options_in_force(stack: Lab) -> None:
    options = ("--by", "family", "--leave-out", "unclear", "--name", "a$b")
    plan = stack.call("finalize", *options, "--seeds", "3")
    again = "autoresearch finalize --apply --by family --leave-out unclear --name 'a$b' --seeds 3"
    assert plan.out.endswith(f"next      {again}\n"), plan
    stack.git("branch", "finalize/a$b/other", "main")
    refused = stack.call("finalize", "--apply", *options)
    assert refused.err.endswith(": autoresearch finalize --apply --by family --leave-out unclear --name t-2\n")
    ablated(stack, _2="hurts", _3="hurts", _5="unclear")
    refused = stack.call("finalize", *options, "--seeds", "3")
    assert refused.code == 5
    assert refused.err.endswith(": autoresearch finalize --apply --by family --leave-out nothing --name 'a$b'\n")


@pytest.mark.slow
def test_the_branches_come_all_at_once_or_not_at_all(stack: Lab) -> None:
    lock = stack.write(".git/refs/heads/finalize/t/02-deeper.lock", "")
    refused = stack.call("finalize", "--apply")
    assert refused.code == 5 and "another git process holds a lock" in refused.err and heads(stack) == {}
    lock.unlink()
    assert stack.call("finalize", "--apply").code == 0 and len(heads(stack)) == 3


@pytest.mark.slow
def test_of_a_session_with_segments_an_import_and_a_restored_journal(stack: Lab, tmp_path: Path) -> None:
    log = tmp_path / "results.tsv"
    log.write_text("commit\ttotal_ms\tmemory_gb\tstatus\tdescription\naaaaaaa\t5.0\t0\tkeep\ttheirs\n")
    assert stack.call("import", str(log), "--direction", "lower").code == 0
    stack.write("bench.sh", "source src/run.sh # again\n")
    stack.git("commit", "-qam", "another benchmark")
    for words in (("segment",), ("baseline",)):
        assert stack.call(*words).code == 0
    base = stack.git("rev-parse", "HEAD")
    part(stack, "e", -50, "one more", "size")
    view = stack.call(*APPLY).json
    (branch,) = view["branches"]
    assert view["base"]["commit"] == base and tree(stack, branch["name"]) == tree(stack, "autoresearch/t")
    stack.workspace.journal.unlink()
    assert stack.call("resume", "--restore", "t").code == 0
    assert stack.call(*APPLY).json["branches"] == [branch]


def test_before_any_keep_there_is_nothing_to_make_branches_of(lab: Lab) -> None:
    refused = lab.call("finalize")
    assert refused.code == 5 and "nothing was kept since the baseline" in refused.err
