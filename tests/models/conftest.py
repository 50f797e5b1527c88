"""A folder and a server for the commands that ask models."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_server import Desk, desk_of


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return desk_of(tmp_path / "desk", monkeypatch)
