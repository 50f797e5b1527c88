"""The task of docs/tasks.md and of the skill: built from the page, run by the engine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lab import Repo, cli

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "skills" / "autoresearch-task" / "example"
FILES = ("prepare.py", "train.py", "autoresearch.toml", "program.md")


def page() -> dict[str, str]:
    """The files as the page shows them."""
    text = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\w+\n(.*?)```", text[text.index("## A task that trains a model") :], re.DOTALL)
    return dict(zip(FILES, blocks, strict=True))


def test_the_page_and_the_skill_show_the_same_short_files() -> None:
    for name, text in page().items():
        assert text == (EXAMPLE / name).read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 75
    assert sorted(path.name for path in EXAMPLE.iterdir()) == sorted(FILES)


@pytest.mark.slow
@pytest.mark.sampled(0.2, "end to end")
def test_the_task_of_the_page_runs_and_keeps_a_better_model(
    tmp_path: Path, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    for name, text in page().items():
        repo.write(name, text + "\n[keep]\npolicy = 'greedy'\n" * (name == "autoresearch.toml"))
    repo.commit("a task")
    assert cli("init", ".", "--task", "command", cwd=repo.root).code == 0
    assert (repo.root / "harness" / "grader.py").is_file()
    first = cli("baseline", "--seeds", "1", "--json", cwd=repo.root)
    assert first.code == 0, first.err
    repo.write("train.py", page()["train.py"].replace("WIDTH = 16 ", "WIDTH = 128 "))
    quick = cli("smoke", "--json", cwd=repo.root)
    assert quick.code == 0, quick
    assert (quick.json["steps"], quick.json["metrics"]["num_steps"]) == (3, 3), "trained and graded, a little of both"
    assert not [name for name in quick.json["metrics"] if name.startswith("val_")] and "metric" not in quick.json
    second = cli("try", "-m", "wider", "--json", cwd=repo.root)
    assert second.code == 0, second.err
    assert second.json["status"] == "keep"
    assert 0 < second.json["metric"] < first.json["metric"] < 0.6
    run = repo.root / ".autoresearch" / "runs" / "2" / "1"
    assert len((run / "curve.jsonl").read_text().splitlines()) == 300
    assert json.loads((run / "result.json").read_text())["metrics"]["num_steps"] == 300
