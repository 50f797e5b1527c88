"""Every refusal leads on: doing what it prints brings what was asked for, and loses nothing kept or edited.

A walk brings a workspace into the state that leads to a refusal, does what the refusal says in a real shell, asks
again, and goes on with the next refusal until it works. A place of the package that refuses without a walk is in
NOT_WALKED with a reason, or `test_every_refusal_is_walked_or_listed` fails.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import walks_of_cli
import walks_of_exchange
import walks_of_experiments
import walks_of_loop
import walks_of_studies
import walks_of_workspace
from drawn import drawn
from lab import INIT, Lab
from made_once import made_once
from not_walked import NOT_WALKED
from refusals import ERRORS, WITHIN, Follower, Recorder, Site, kinds, sites, sites_in
from walking import BASES, WALKS, Ask, Walk, then
from walks_of_studies import IDEAS
from walks_of_workspace import BROKEN, MISSING_WORDS, WRONG_WORDS

from autoresearch.errors import AutoresearchError

FILES = (walks_of_cli, walks_of_exchange, walks_of_experiments, walks_of_loop, walks_of_studies, walks_of_workspace)
"""What fills WALKS."""


@pytest.fixture
def at(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Lab]:
    def copy(base: str) -> Lab:
        root = tmp_path / "a lab"
        shutil.copytree(made_once(tmp_path_factory, f"walk {base}", BASES[base]) / "lab", root, symlinks=True)
        lab = Lab(root)
        lab.git("status", check=False)  # the copy's files have other inodes than the index knows
        return lab

    return copy


def go(lab: Lab, site: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Walk from a refusal until what was asked for works, and assert that nothing was lost on the way."""
    recorder = Recorder(monkeypatch)
    follower = Follower(lab, recorder, ask.fill, ask.cwd, ask.discards)
    follower.obtain(ask.words, ask.by_hand)
    assert follower.sites and follower.sites[0] == site, follower.sites
    follower.standing.assert_holds()


@pytest.mark.slow
@pytest.mark.parametrize("way", drawn(WALKS, 0.04, "walks"),
                         ids=lambda way: f"{way.base}: {way.site}")  # fmt: skip
def test_a_refusal_leads_on(at: Callable[[str], Lab], way: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = at(way.base)
    go(lab, way.site, way.state(lab, monkeypatch), monkeypatch)


@pytest.mark.parametrize("site", IDEAS)
def test_what_is_refused_of_an_idea_is_right_after_a_look_at_the_list(
    at: Callable[[str], Lab], site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = at("bare")
    lab.write("autoresearch.ideas.md", "- [ ] a shorter warmdown\n- [x] more heads\n- [ ] fewer layers @ada\n")
    if "says the same" in site:
        lab.write("autoresearch.ideas.md", "- [ ] try a shorter warmdown of the rate\n")
    refused, right = IDEAS[site]
    go(lab, site, Ask(("ideas", *refused), lambda: ("ideas", *right)), monkeypatch)


@pytest.mark.parametrize("site", BROKEN)
def test_a_task_file_that_is_broken_is_put_right(
    at: Callable[[str], Lab], site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = at("kept")
    path = lab.root / "autoresearch.toml"
    right = path.read_text()
    path.write_bytes(BROKEN[site])
    # Corrected in another way than it was before: then it is an immutable file that has changed.
    go(lab, site, Ask(("check",), then(lambda: path.write_text(f"{right}# corrected\n"), ("check",))), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("site", [*WRONG_WORDS, *MISSING_WORDS])
def test_words_of_init_that_are_wrong_are_put_right(
    at: Callable[[str], Lab], site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = at("repo" if site in WRONG_WORDS or site.endswith("missing") or "no file" in site else "plain")
    wrong, right = MISSING_WORDS.get(site) or [(*INIT, *words) for words in WRONG_WORDS[site]]
    go(lab, site, Ask(wrong, lambda: right), monkeypatch)


def test_every_refusal_is_walked_or_listed() -> None:
    walked = {*(way.site for way in WALKS), *IDEAS, *BROKEN, *WRONG_WORDS, *MISSING_WORDS}
    known = {site.name for site in sites()}
    assert known - walked - {*NOT_WALKED} == set(), "a refusal that nobody walks: add a walk, or a reason"
    assert (walked | {*NOT_WALKED}) - known == set(), "a walk to a place that is not there any more"
    assert walked & {*NOT_WALKED} == set()
    assert len(known) == len(sites()), "two places in a function that say the same"


def test_every_kind_of_error_is_looked_for() -> None:
    assert kinds() == ERRORS | WITHIN


def test_a_fix_that_ends_with_a_command_ends_with_nothing_else() -> None:
    for site in sites():
        command = AutoresearchError(site.message, site.fix).command or ""
        assert not re.search(r"; |, or | or: |, then", command), f"what is typed would not be a command: {site.fix}"


REFUSES = """
def a(x):
    raise PreconditionError(f"{x} is wrong", "correct it")
def b():
    error = UsageError("what")
    return error
"""


def test_each_place_that_makes_an_error_is_found() -> None:
    found = [*sites_in(REFUSES, "m.py")]
    assert [site.name for site in found] == ["m.py a: {} is wrong", "m.py b: what"]
    assert found[0] == Site("m.py a", "{} is wrong", "correct it", 0, 0)
