"""Sessions of one name in two clones: neither is put over the other, and a default name is none that is known."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from lab import TAG, Repo, new_repo
from test_house import ROOT

from autoresearch.journal.refs import branch_of, fetch_from, mirror_ref
from autoresearch.system.git import Git
from autoresearch.workspace.init import _free_tag


def cloned(server: Repo, name: str) -> Repo:
    clone = Repo(server.root.with_name(name))
    subprocess.run(["git", "clone", "-q", str(server.root), str(clone.root)], check=True)
    return clone


def with_a_session(server: Repo, name: str) -> Repo:
    """Return a clone with what a session leaves in git: two experiments, the branch and the mirror."""
    clone = cloned(server, name)
    for key, value in (("user.name", name), ("user.email", "person@example.org")):
        clone.git("config", key, value)
    clone.git("switch", "-q", "-c", branch_of(TAG))
    for number in (1, 2):
        clone.write("src/run.sh", f"echo METRIC total_ms={number} # {name}\n")
        clone.git("update-ref", f"refs/autoresearch/{TAG}/{number}", clone.commit())
    clone.git("update-ref", mirror_ref(TAG), "HEAD^{tree}")
    return clone


def kept(*repos: Repo) -> list[str]:
    return [repo.git("for-each-ref", "refs/autoresearch") for repo in repos]


def test_what_the_page_says_of_fetch_and_push_moves_no_session_of_the_same_name(tmp_path: Path) -> None:
    (page,) = re.findall(r"```bash\n(git fetch .*?)```", (ROOT / "docs/experiment.md").read_text("utf-8"), re.S)
    fetch, push = (shlex.split(line)[1:] for line in page.splitlines())
    assert fetch == shlex.split(fetch_from("origin"))[1:]
    server = new_repo(tmp_path / "server")
    one, two = (with_a_session(server, name) for name in ("one", "two"))
    one.git(*push)
    before = kept(one, two, server)
    for words in (fetch, push):
        refused = subprocess.run(["git", *words], cwd=two.root, capture_output=True, text=True)
        assert refused.returncode and "non-fast-forward" in refused.stderr, refused
    assert kept(one, two, server) == before
    three = cloned(server, "three")
    three.git(*fetch)
    one.git("update-ref", mirror_ref(TAG), "HEAD~1^{tree}")
    one.git(*push)
    three.git(*fetch)
    assert kept(three) == kept(one)


def test_a_session_has_no_name_by_default_that_another_clone_has_pushed(tmp_path: Path) -> None:
    server = new_repo(tmp_path / "server")
    today = _free_tag(None, 0)
    server.git("branch", branch_of(today))
    assert _free_tag(Git(cloned(server, "clone").root), 0) == f"{today}-2"
