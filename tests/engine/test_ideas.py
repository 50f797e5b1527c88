from __future__ import annotations

from pathlib import Path

import pytest

from autoresearch.core.errors import UsageError
from autoresearch.engine import ideas
from autoresearch.io.workspace import Workspace


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
