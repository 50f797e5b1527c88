"""What was measured already is the same tree: contents, modes, links, submodules. A command may measure any of them."""

from __future__ import annotations

import pytest
from lab import INIT, Lab, Maker, new_repo

from autoresearch.errors import PreconditionError
from autoresearch.experiments.candidate import find_candidate
from autoresearch.system.git import Git
from autoresearch.workspace.task_file import load

pytestmark = pytest.mark.slow

COUNTS = "echo METRIC total_ms=$(wc -c < src/run.sh)\n"


@pytest.fixture
def counting(make_lab: Maker) -> Lab:
    """A lab whose metric is the size of the mutable script, which has a comment and blank lines."""
    lab = make_lab()
    lab.edit(f"# a comment\r\n\n\n\n{COUNTS}")
    done = lab.attempt()
    assert "KEEP" in done.out, done
    return lab


def test_fewer_lines_are_measured_and_told(counting: Lab) -> None:
    done = counting.attempt(f"# a comment\n\n{COUNTS}")
    assert done.code == 0 and "KEEP" in done.out and "only in comments or spacing" in done.out, done
    counting.assert_clean()


def test_the_same_bytes_are_refused_and_can_be_measured_again(counting: Lab) -> None:
    worse = f"# a comment\r\n\n\n\n\n{COUNTS}"
    assert "DISCARD" in counting.attempt(worse).out
    refused = counting.attempt(worse)
    assert refused.code == 5 and "autoresearch try --again 3" in refused.err, refused
    assert "DISCARD" in counting.attempt(None, "--same").out
    assert counting.session.experiments[-1].number == 4


def test_a_docstring_may_be_the_prompt_and_a_mode_may_decide(make_lab: Maker) -> None:
    lab = make_lab()
    ask = "echo METRIC total_ms=$(( 90 - $(grep -c please src/p.py) ))\n"
    lab.write("src/p.py", '"""Answer."""\n')
    assert "KEEP" in lab.attempt(ask).out
    lab.write("src/p.py", '"""Answer, please."""\n')
    assert "KEEP" in lab.attempt().out
    lab.write("src/tool", "true\n")
    assert "KEEP" in lab.attempt("src/tool 2>&- && echo METRIC total_ms=7 || echo METRIC total_ms=8\n").out
    (lab.root / "src/tool").chmod(0o755)
    done = lab.attempt()
    assert "KEEP" in done.out and "comments" not in done.out, done
    lab.assert_clean()


def test_with_a_harness_comments_and_spacing_are_no_idea(lab: Lab) -> None:
    lab.edit("echo METRIC total_ms=100\n\n\n")
    task = load(lab.root)
    harnessed = task.model_copy(update={"task": task.task.model_copy(update={"harness": True})})
    git = Git(lab.root)
    with pytest.raises(PreconditionError, match=r"only comments or spacing.*autoresearch try --same"):
        find_candidate(git, lab.session, harnessed, "spacing", same=False)
    assert find_candidate(git, lab.session, harnessed, "spacing", same=True).warnings == ()
    (alike,) = find_candidate(git, lab.session, task, "spacing", same=False).warnings
    assert alike == "differs from experiment 1 only in comments or spacing"


class TestSubmodules:
    @pytest.fixture
    def lib(self, tmp_path_factory: pytest.TempPathFactory) -> Lab:
        """A lab whose metric is in a file of a submodule in the mutable folder."""
        top = tmp_path_factory.mktemp("modules")
        library = new_repo(top / "library")
        library.write("value", "100\n")
        library.commit()
        repo = new_repo(top / "lab")
        repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.root), "src/lib")
        repo.write("src/run.sh", "echo METRIC total_ms=$(cat src/lib/value)\n")
        repo.commit()
        lab = Lab(repo.root)
        inner = Lab(lab.root / "src/lib")
        inner.git("config", "user.name", "A Person")
        inner.git("config", "user.email", "person@example.org")
        assert lab.call(*INIT).code == 0 and lab.call("baseline").code == 0
        return lab

    def test_an_edit_in_it_is_committed_there_first_and_a_bump_is_measured(self, lib: Lab) -> None:
        inner = Lab(lib.root / "src/lib")
        start = inner.git("rev-parse", "HEAD")
        inner.write("value", "300\n")
        refused = lib.attempt()
        assert refused.code == 5 and "src/lib is a submodule" in refused.err and "commit -am" in refused.err
        inner.git("commit", "-qam", "worse")
        worse = inner.git("rev-parse", "HEAD")
        assert "DISCARD" in lib.attempt().out
        lib.assert_clean()
        assert inner.git("rev-parse", "HEAD") == start, "taken back in the submodule, too"
        done = lib.call("try", "--again", "2")
        assert "DISCARD" in done.out, done
        assert inner.git("rev-parse", "HEAD") == start
        inner.git("checkout", "-q", worse)
        assert "experiment 2 was the same code" in lib.attempt().err
        inner.git("checkout", "-q", start)
        inner.write("value", "50\n")
        inner.git("commit", "-qam", "better")
        better = inner.git("rev-parse", "HEAD")
        assert "KEEP" in lib.attempt().out
        lib.assert_clean()
        assert inner.git("rev-parse", "HEAD") == better
