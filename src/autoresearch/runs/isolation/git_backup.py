"""The git objects of a commit, held in memory: to see that they are what their names say, and to put them back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autoresearch.system.git import Git
from autoresearch.system.git_plumbing import object_name, object_names, read_objects, write_object


@dataclass(frozen=True, slots=True)
class Held:
    """One object."""

    kind: str
    content: bytes

    def name(self, like: str) -> str:
        """Return the name that git gives this content, by the algorithm of the name `like`."""
        return object_name(self.kind, self.content, like)


def hold(git: Git, commits: Iterable[str], paths: Sequence[str]) -> dict[str, Held]:
    """Return name -> object for each commit, and for all of its trees and files under `paths` (from the top)."""
    names: dict[str, None] = {}
    for commit in commits:
        names |= dict.fromkeys([commit, *object_names(git, commit, paths)])
    return {found.name: Held(found.kind, found.content) for found in git.reader.read_all([*names]) if found}


def damaged(git: Git, expected: Mapping[str, Held]) -> list[str]:
    """Return the names of the objects that are gone or hold something else now.

    A new process reads them: one that has run for a while may remember what they were.
    """
    found = read_objects(git, [*expected])
    return [name for name, held in expected.items() if found.get(name) != (held.kind, held.content)]


def false(objects: Mapping[str, Held]) -> list[str]:
    """Return the names of objects whose content is not what their name says."""
    return [name for name, held in objects.items() if held.name(name) != name]


def put_back(git: Git, name: str, held: Held) -> None:
    """Write an object again in place of what is there under its name."""
    git.path_of(f"objects/{name[:2]}/{name[2:]}").unlink(missing_ok=True)
    write_object(git, held.kind, held.content)
