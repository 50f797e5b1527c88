"""What `prepare.py` does beside making data."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.command_line import write_bytecode


def test_bytecode_of_a_package_is_written_once_also_where_python_is_told_to_write_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "large_package"
    package.mkdir()
    (package / "__init__.py").write_text("from large_package import part\n")
    (package / "part.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    monkeypatch.setattr("sys.pycache_prefix", None)
    write_bytecode("large_package")
    assert sorted(path.name.split(".")[0] for path in (package / "__pycache__").iterdir()) == ["__init__", "part"]
    assert "large_package is written once" in capsys.readouterr().out
    write_bytecode("large_package")
    write_bytecode("no_such_package")
    assert not capsys.readouterr().out
