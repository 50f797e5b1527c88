"""A change of any path: gone, renamed, ignored and tracked, of another type, with any name. The folder decides."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from drawn import drawn
from lab import INIT, Lab, Maker, Repo

pytestmark = pytest.mark.slow

ODD = "src/a new\nline/-n"


@pytest.fixture
def paths(make_lab: Maker) -> Lab:
    """A lab with odd paths in the mutable folder, all of them tracked."""
    lab = make_lab()
    for name in ("src/c", "src/-dash", "src/build/t", ODD):
        lab.write(name, "one\n")
    lab.write("src/.gitignore", "build/\n")
    lab.prints(90)
    lab.git("add", "-f", "src")
    lab.git("commit", "-qm", "odd paths")
    done = lab.attempt()
    assert "KEEP" in done.out, done
    return lab


CHANGES = {
    "git rm": "git rm -q src/c",
    "git rm of a dash": "git rm -q -- src/-dash",
    "git mv": "git mv src/c src/d",
    "git mv of the case": "git mv src/c src/C",
    "git mv to a new folder": "git mv -f src/other.txt src/c && mkdir src/n && git mv src/-dash src/n/--x",
    "an ignored folder": "echo two > src/build/t",
    "git rm in an ignored folder": "git rm -q src/build/t",
    "a newline": f"git rm -q -- {shlex.quote(ODD)}",
    "a file that becomes a folder": "rm src/c; mkdir src/c; echo 1 > src/c/x",
    "a folder that becomes a link": "rm -r src/build; ln -s . src/build",
    "a file that becomes a link": "rm src/c; ln -s other.txt src/c",
    "moved by hand": "mv src/c src/d; rm -r src/build",
}


@pytest.mark.parametrize("change", drawn(CHANGES, 0.34, "paths"))
def test_it_is_measured_and_taken_back(paths: Lab, change: str) -> None:
    commands = CHANGES[change]
    before = paths.git("ls-files", "-s")
    for value, verdict in ((300, "discard"), (50, "keep")):
        paths.prints(value)
        _shell(paths, commands)
        done = paths.attempt()
        assert done.code == 0 and f": {verdict.upper()}" in done.out, done
        paths.assert_clean()
        assert (paths.git("ls-files", "-s") == before) == (verdict == "discard")
    named = paths.git("show", "--no-renames", "--name-status", "-z", "--format=", "HEAD").split("\0")
    assert len(named) > 3, "more than the script was changed"


def _shell(lab: Repo, commands: str) -> None:
    subprocess.run(["bash", "-ec", commands], cwd=lab.root, check=True)


def test_what_is_put_aside_elsewhere_is_put_aside_as_it_says(lab: Lab) -> None:
    changes = ("git rm -q README.md", "git mv README.md b", "echo x > 'a b'; git add .", "echo x > README.md")
    for value, change in enumerate(changes):
        lab.prints(50 - value)
        _shell(lab, change)
        refused = lab.call("try", "-m", "x")
        assert refused.code == 5, refused
        while refused.code == 5:
            assert "not a file that experiments may change" in refused.err, refused
            _shell(lab, refused.err.strip().rsplit(": ", 1)[1])
            refused = lab.call("try", "-m", "x", "--json")
        assert refused.code == 0, refused
        lab.git("stash", "clear")


def test_an_ignored_mutable_path_can_be_added_as_init_says(repo: Repo) -> None:
    repo.write(".gitignore", "made\n")
    repo.commit("ignore")
    repo.write("made/x y", "1\n")
    refused = repo.call(*INIT, "--mutable", "made")
    assert refused.code == 5 and "made is not tracked" in refused.err
    _shell(repo, refused.err.strip().rsplit(": ", 1)[1])
    assert repo.call(*INIT, "--mutable", "made").code == 0


def test_a_mutable_file_that_a_change_deletes_is_deleted_again(make_lab: Maker) -> None:
    lab = make_lab(files={"mutable": ["src/run.sh", "src/other.txt"]})
    (lab.root / "src/other.txt").unlink()
    assert lab.attempt("echo METRIC total_ms=150\n").code == 0
    again = lab.call("try", "--again", "2", "--json")
    assert again.code == 0, again
    changed = lab.git("show", "--name-status", "--format=", lab.ref(3)).split()
    assert changed == ["D", "src/other.txt", "M", "src/run.sh"]
    lab.assert_clean()


def test_once_a_mutable_file_is_deleted_for_good_what_is_printed_can_be_typed(make_lab: Maker) -> None:
    lab = make_lab(files={"mutable": ["src/run.sh", "src/other.txt"]})
    (lab.root / "src/other.txt").unlink()
    assert lab.attempt("echo METRIC total_ms=50\n", "--json").json["status"] == "keep"
    lab.edit("echo METRIC total_ms=40 # an edit\n")
    refused = lab.call("try", "--again", "1")
    assert refused.code == 5, refused
    command = re.search(r"git stash push .*", refused.err)
    assert command is not None, refused.err
    subprocess.run(shlex.split(command[0]), cwd=lab.root, check=True, capture_output=True)
    assert lab.git("status", "--porcelain") == ""
