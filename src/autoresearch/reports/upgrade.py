"""What `upgrade` says: which files it replaces, which stay and why, and what to type next."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from autoresearch import __version__
from autoresearch.experiments.upgrade import FOLDER, Upgraded
from autoresearch.workspace import task_file
from autoresearch.workspace.upgrade_plan import Item
from autoresearch.workspace.workspace import Workspace

MOST_LINES = 400
"""Of the differences of one file."""


def upgrade_view(upgraded: Upgraded, has: str | None, again: str, *, done_now: bool) -> dict[str, Any]:
    """Return what an upgrade did or would do; `has` is the version that wrote the workspace's files, `again` the
    command without --yes."""
    items = upgraded.items
    more = any(not item.kept for item in items) or any(setting.noted for setting in upgraded.settings)
    follows = f"{again} --yes" if more and not done_now else "autoresearch baseline" if upgraded.begun else None
    return {
        "done": done_now,
        "has": has,
        "package": __version__,
        "settings": [{"key": s.key, "what": s.what, "was": s.was, "now": s.now} for s in upgraded.settings],
        "items": [{"path": i.path, "part": i.part, "what": i.what, "why": i.kept or None} for i in items],
        "begins_segment": upgraded.begun is not None or (not done_now and any(i.fixed and not i.kept for i in items)),
        "segment": upgraded.session.segment.number,
        "next": follows,
    }


def upgrade_lines(view: dict[str, Any], upgraded: Upgraded, workspace: Workspace, *, with_diff: bool) -> list[str]:
    """Return the same for reading, with what differs line by line where that is asked for."""
    has = view["has"] or "what an earlier version wrote"
    lines = [f"here {has}, installed {view['package']}"]
    for item in upgraded.items:
        lines.append(f"{item.what:<7} {item.path}" + (f": {item.kept}" if item.kept else ""))
        lines += _differences(item) if with_diff else ()
    lines += _settings(upgraded)
    if not upgraded.items:
        lines.append("everything is as this version has it")
    kept = [item for item in upgraded.items if item.kept and item.ours is not None]
    if kept and view["done"]:
        lines.append(f"the files of this version for what stayed are in {workspace.state.name}/{FOLDER}/ours")
    elif kept:
        lines.append(f"to replace one that stays: {'autoresearch upgrade --take'} {kept[0].path}")
    if upgraded.begun is not None:
        lines.append(f"segment {upgraded.begun} has begun: the best so far is to be measured again")
    elif view["begins_segment"]:
        lines.append("this begins a segment, in which the best so far is measured again")
    return [*lines, *([f"next    {view['next']}"] if view["next"] else [])]


def _settings(upgraded: Upgraded) -> Iterator[str]:
    """Yield what this version reads otherwise of the task file, which is never written here."""
    if upgraded.settings:
        yield f"stays   {task_file.NAME}; of its keys this version has otherwise:"
    for setting in upgraded.settings:
        table, key = setting.key.split(".", 1)
        now = _toml(setting.now)
        if setting.what == "new":
            yield f"new     [{table}] {key}: {now} where it is not set"
        elif setting.what == "default":
            was = _toml(setting.was)
            keeps = f"; `{key} = {was}` keeps it" if setting.was is not None else ""
            yield f"default [{table}] {key}: {now} where it is not set, as here; it was {was}{keeps}"
        else:
            here = "it is not set" if setting.was is None else f"it is {_toml(setting.was)}"
            yield f"task    [{table}] {key}: {now} in the task's own file; here {here}"


def _toml(value: object) -> str:
    """Return a value as a task file has it, in at most 80 characters."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _differences(item: Item) -> Iterator[str]:
    before, after = ((content or b"").decode("utf-8", "replace").splitlines() for content in (item.now, item.ours))
    found = [*difflib.unified_diff(before, after, "here", "installed", lineterm="")]
    yield from (f"    {line}" for line in found[:MOST_LINES])
    if len(found) > MOST_LINES:
        yield f"    and {len(found) - MOST_LINES} lines more"
