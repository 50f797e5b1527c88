from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sessions import pretrain_families

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.search import ideas
from autoresearch.workspace.workspace import Workspace


def test_ideas_are_added_ticked_off_and_read_back(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert ideas.read(workspace) == []
    ideas.add(workspace, "shorter warmdown")
    ideas.add(workspace, "wider\nMLP \x1b[31m")
    ideas.mark_done(workspace, 1)
    assert [(i.number, i.text, i.done) for i in ideas.read(workspace)] == [
        (1, "shorter warmdown", True),
        (2, "wider MLP", False),
    ]
    assert ideas.open_ideas(workspace) == ["wider MLP"]


def test_a_list_that_a_person_wrote_keeps_its_other_lines(tmp_path: Path) -> None:
    path = tmp_path / ideas.NAME
    path.write_text("# Mine\n\nSome prose.\n* first\n\n## Later\n- [X] second\n", encoding="utf-8")
    workspace = Workspace(tmp_path)
    ideas.mark_done(workspace, 1)
    ideas.add(workspace, "third")
    assert path.read_text(encoding="utf-8") == (
        "# Mine\n\nSome prose.\n- [x] first\n\n## Later\n- [X] second\n- [ ] third\n"
    )


def test_an_idea_that_is_there_and_a_number_that_is_not_are_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    ideas.add(workspace, "Once")
    with pytest.raises(UsageError, match="on the list"):
        ideas.add(workspace, "once")
    with pytest.raises(UsageError, match="no idea 7"):
        ideas.mark_done(workspace, 7)


def test_an_idea_that_says_the_same_in_other_words_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    ideas.add(workspace, "halve the learning rate", "learning rate")
    with pytest.raises(UsageError, match="idea 1 says the same"):
        ideas.add(workspace, "Halve LR")
    ideas.add(workspace, "halve the LR of the head")
    assert [i.family for i in ideas.read(workspace, pretrain_families())] == ["learning rate", "learning rate"]
    assert [i.family for i in ideas.read(workspace)] == ["learning rate", "other"]


def test_an_idea_is_claimed_by_one_agent_only(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    ideas.add(workspace, "shorter warmdown", "schedule")
    ideas.claim(workspace, 1, "ada")
    ideas.claim(workspace, 1, "ada")
    with pytest.raises(PreconditionError, match="claimed by ada"):
        ideas.claim(workspace, 1, "bob")
    assert (tmp_path / ideas.NAME).read_text().endswith("- [ ] shorter warmdown #schedule @ada\n")
    ideas.mark_done(workspace, 1)
    with pytest.raises(PreconditionError, match="is done"):
        ideas.claim(workspace, 1, "ada")
    assert [(i.text, i.by, i.done) for i in ideas.read(workspace)] == [("shorter warmdown", "ada", True)]


def test_agents_that_claim_at_the_same_time_get_different_ideas(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for n in range(4):
        ideas.add(workspace, f"idea number {n}")

    def claim(who: int) -> int:
        for idea in ideas.read(workspace):
            try:
                ideas.claim(workspace, idea.number, f"agent-{who}")
                return idea.number
            except PreconditionError:
                continue
        raise AssertionError("none was left")

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(claim, range(4))) == [1, 2, 3, 4]


def test_a_word_that_looks_like_a_tag_is_part_of_the_idea(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    ideas.add(workspace, "larger batch, try @512")
    ideas.add(workspace, "no bias, as in issue #42", "size")
    first, second = ideas.read(workspace)
    assert (first.text, first.by) == ("larger batch, try `@512`", "")
    assert (second.text, second.family, second.by) == ("no bias, as in issue `#42`", "size", "")
