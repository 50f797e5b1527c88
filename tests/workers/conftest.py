"""One cluster for all tests that need it."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests on a cluster come first: the worker that begins with them keeps them, so one cluster is started,
    and it is gone before the rest."""
    items.sort(key=lambda item: "cluster" not in getattr(item, "fixturenames", ()))
