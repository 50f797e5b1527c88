"""A class by its path: of the package, and of a module in the current folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autoresearch.errors import UsageError
from autoresearch.search.strategies import Balanced, load
from autoresearch.system.named_class import class_at


def test_a_module_of_the_current_folder_is_found_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    assert class_at("autoresearch.search.strategies:Balanced") is Balanced
    assert str(tmp_path) not in sys.path, "names of our own look for nothing there"
    (tmp_path / "strategy_of_my_own.py").write_text("class Mine:\n    def propose(self, session, rng): ...\n")
    (tmp_path / "csv.py").write_text("class Mine: ...\n")
    assert class_at("strategy_of_my_own:Mine").__name__ == "Mine"
    monkeypatch.delitem(sys.modules, "csv", raising=False)
    with pytest.raises(AttributeError):
        class_at("csv:Mine")


@pytest.mark.parametrize("path", ["nobody", "no_such_module:Mine"])
def test_what_is_not_there_is_an_import_error_of_that_name(path: str) -> None:
    with pytest.raises(ImportError) as caught:
        class_at(path)
    assert caught.value.name == path.partition(":")[0]


def test_a_module_of_ones_own_that_breaks_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strategy_that_breaks.py").write_text("1 / 0\n")
    with pytest.raises(UsageError, match=r"strategy_that_breaks:Mine' \(ZeroDivisionError: division by zero\)"):
        load("strategy_that_breaks:Mine")
    with pytest.raises(UsageError, match="there is no strategy 'nobody:Mine'; choose"):
        load("nobody:Mine")
