"""The skills and hooks in a person's own folders, for the coding agents of the machine; and taken away again.

What is written is planned first, so that it can be shown. A record of it, with what was there before, is kept until it
is taken away: then the folders are as they were, to the byte, but for what the person has changed since.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.system.files import write_atomic
from autoresearch.workspace.assets import bundle_folder

SKILLS, HOOK = ".agents/skills", ".agents/hooks/autoresearch_hook.py"

AGENTS = ("claude", "codex", "gemini", "agents")
"""Claude Code, Codex, Gemini CLI, and any other that reads `~/.agents/skills`."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is made, replaced or taken away."""

    path: Path
    before: bytes | None
    after: bytes | None
    """None: there is no such file."""

    @property
    def what(self) -> str:
        return "remove" if self.after is None else "write" if self.before is None else "change"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, and what is left as it is, with the reason."""

    changes: tuple[Change, ...]
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Home:
    """A person's folders."""

    root: Path
    claude: Path
    codex: Path
    state: Path

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Home:
        """Return those that the environment names, as the agents themselves look them up."""
        root = Path(env.get("HOME") or Path.home())
        state = Path(env.get("XDG_STATE_HOME") or root / ".local/state") / "autoresearch" / "agents.json"
        claude, codex = (Path(env.get(name) or root / usual) for name, usual in (
            ("CLAUDE_CONFIG_DIR", ".claude"), ("CODEX_HOME", ".codex")))  # fmt: skip
        return cls(root, claude, codex, state)


def found(home: Home) -> list[str]:
    """Return the agents that are on this machine: their program, or a folder of theirs."""
    places = {
        "claude": home.claude,
        "codex": home.codex,
        "gemini": home.root / ".gemini",
        "agents": home.root / ".agents",
    }
    return [name for name in AGENTS if shutil.which(name) or places[name].is_dir()]


def plan_install(home: Home, agents: Iterable[str]) -> Plan:
    """Return what gives these agents the skills, and Claude Code and Codex the hooks.

    Raises `UsageError` for an agent that nobody knows, and `PreconditionError` for settings that cannot be read.
    """
    chosen = [*dict.fromkeys(agents)]
    unknown = [name for name in chosen if name not in AGENTS]
    if unknown:
        raise UsageError(f"there is no agent {unknown[0]!r}", f"choose from: {', '.join(AGENTS)}")
    bundle, ours = bundle_folder(), _record(home)
    skills = {p.relative_to(bundle / "skills").as_posix(): p.read_bytes()
              for p in sorted((bundle / "skills").rglob("*")) if p.is_file()}  # fmt: skip
    wanted: dict[Path, bytes] = {}
    if {"codex", "gemini", "agents"} & {*chosen}:
        wanted |= {home.root / SKILLS / name: content for name, content in skills.items()}
    if "claude" in chosen:
        wanted |= {home.claude / "skills" / name: content for name, content in skills.items()}
    shared = {"claude": home.claude / "settings.json", "codex": home.codex / "hooks.json"}
    settings = [path for agent, path in shared.items() if agent in chosen]
    if settings:
        wanted[home.root / HOOK] = (bundle / "hooks" / "autoresearch_hook.py").read_bytes()
    changes, left = [], []
    for path, content in wanted.items():
        before = _read(path)
        if before == content:
            continue
        if before is not None and ours.get(str(path), {}).get("after") != before:
            left.append(f"{path} is there already, and not from here")
            continue
        changes.append(Change(path, before, content))
    hooks = json.loads((bundle / "hooks" / "hooks.json").read_text("utf-8"))["hooks"]
    changes += [change for path in settings if (change := _with_hooks(home, path, hooks)) is not None]
    return Plan(tuple(changes), tuple(left))


def apply(home: Home, plan: Plan) -> None:
    """Do what was planned, and remember what was there before."""
    record = _record(home)
    made: list[str] = []
    for change in plan.changes:
        known = record.get(str(change.path))
        # What a person has made of it since is what was there before, now.
        before = known["before"] if known and known["after"] == change.before else change.before
        made += _folders(change.path.parent, made)
        assert change.after is not None
        _write(change.path, change.after)
        record[str(change.path)] = {"before": before, "after": change.after}
    made += _folders(home.state.parent, made)
    known_folders = _stored(home).get("folders", [])
    content = {
        "folders": [*known_folders, *(folder for folder in made if folder not in known_folders)],
        "files": {path: {key: _text(entry[key]) for key in ("before", "after")} for path, entry in record.items()},
    }
    write_atomic(home.state, json.dumps(content, indent=1) + "\n", mode=0o600)  # settings may have a key in them


def plan_removal(home: Home) -> Plan:
    """Return what takes everything away again; raise `PreconditionError` when nothing was installed."""
    if not home.state.exists():
        raise PreconditionError(
            "nothing was installed by this command", "see what it would do: autoresearch install-skill"
        )
    changes, left = [], []
    for name, entry in _record(home).items():
        path = Path(name)
        now = _read(path)
        if now == entry["after"]:
            changes.append(Change(path, now, entry["before"]))
        elif now is not None and (without := _without_hooks(now)) != now:
            changes.append(Change(path, now, without))
            left.append(f"{path} was changed since: only the hooks are taken out")
        elif now is not None:
            left.append(f"{path} was changed since, and stays")
    return Plan(tuple(changes), tuple(left))


def remove(home: Home, plan: Plan) -> None:
    """Take away what was planned, the folders that were made for it and are empty, and the record."""
    folders = [Path(name) for name in _stored(home).get("folders", [])]
    for change in plan.changes:
        if change.after is None:
            change.path.unlink(missing_ok=True)
        else:
            _write(change.path, change.after)
    home.state.unlink()
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):  # the person has put something there
            folder.rmdir()


def _with_hooks(home: Home, path: Path, hooks: Mapping[str, list[Any]]) -> Change | None:
    """Return the change that adds the hooks to settings; None when they are there."""
    before = _read(path)
    try:
        settings = json.loads(before) if before else {}
        if not isinstance(settings, dict) or not isinstance(settings.get("hooks", {}), dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise PreconditionError(f"{path} cannot be read: {error}", f"correct it, or look at it: cat {path}") from None
    script = home.root / HOOK
    quoted = f'"{script}"'
    command = f"[ -f {quoted} ] && command -v python3 >/dev/null 2>&1 && python3 -I -S {quoted} plugin || true"
    merged = {event: [*settings.get("hooks", {}).get(event, [])] for event in {**settings.get("hooks", {}), **hooks}}
    if any(_is_ours(group) for groups in merged.values() for group in groups):
        return None
    for event, groups in hooks.items():
        own = [{**group, "hooks": [{**hook, "command": command} for hook in group["hooks"]]} for group in groups]
        merged[event] += own
    after = (json.dumps({**settings, "hooks": merged}, indent=2, ensure_ascii=False) + "\n").encode()
    return Change(path, before, after)


def _without_hooks(content: bytes) -> bytes:
    """Return settings without our hooks; as they are where they cannot be read."""
    try:
        settings = json.loads(content)
        hooks = {
            event: [group for group in groups if not _is_ours(group)] for event, groups in settings["hooks"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return content
    if hooks == settings["hooks"]:
        return content
    settings["hooks"] = {event: groups for event, groups in hooks.items() if groups}
    return (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()


def _is_ours(group: object) -> bool:
    return HOOK.rpartition("/")[2] in json.dumps(group)


def _record(home: Home) -> dict[str, dict[str, bytes | None]]:
    """Return path -> what was there before, and what was written."""
    files = _stored(home).get("files", {})
    return {name: {key: _bytes(entry[key]) for key in ("before", "after")} for name, entry in files.items()}


def _stored(home: Home) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads(home.state.read_text("utf-8"))
        return stored
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise PreconditionError(
            f"{home.state} cannot be read: {error}", f"correct it, or remove it: rm {home.state}"
        ) from None


def _folders(folder: Path, made: list[str]) -> list[str]:
    """Make a folder and those above it; return the ones that were not there."""
    missing = [str(path) for path in (folder, *folder.parents) if not path.exists() and str(path) not in made]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PreconditionError(f"{path} cannot be read: {error.strerror}", f"look at it: ls -ld {path}") from None


def _write(path: Path, content: bytes) -> None:
    """Write a file of a person's: what a link leads to, with the rights that it has."""
    target = path.resolve()
    write_atomic(target, content, mode=stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o644)


def _text(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def home_of_the_person() -> Home:
    return Home.of(os.environ)
