"""Who works in a workspace: what is known of this process itself needs no file."""

from __future__ import annotations

import os

import pytest
from lab import Lab

from autoresearch.workspace.lock import in_use, is_locked, leaves, lock, takes


def test_a_slot_in_which_this_process_has_a_worker_is_in_use(lab: Lab) -> None:
    first, second = lab.workspace.at(1), lab.workspace.at(2)
    assert not in_use(first)
    takes(first)
    assert in_use(first) and not in_use(second) and not in_use(lab.workspace)
    leaves(first)
    assert not in_use(first)


def test_who_holds_the_workspace_is_told_and_not_forced_to_the_disk(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("it is of a process that lives"))
    with lock(lab.workspace):
        assert is_locked(lab.workspace)
    assert not is_locked(lab.workspace)
