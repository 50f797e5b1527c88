"""What git ignores and a run needs, linked into a snapshot, so that what is measured is the commit.

Package managers link a package that lies in the repository into the installed ones (`node_modules/pack` ->
`../packages/pack`). One link to the whole folder would lead from there into the workspace, for a program that resolves
links takes the place that it ends at. Such a folder is made anew in the snapshot, entry by entry; those that lead into
the repository lead into the snapshot of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGES = "node_modules"
"""Where Node's package managers install. A link to anything else stays one: what is written there is to stay there."""


@dataclass(frozen=True, slots=True)
class Linking:
    """Where links go from, and where to."""

    top: Path
    """The repository."""
    snapshot: Path
    """The folder that has it as a commit has it."""

    def link(self, source: Path, target: Path) -> None:
        """Let `target` in the snapshot be what `source` is. Links into the repository that the commit has nothing for
        stay as they are: what they lead to is made, not committed."""
        target.parent.mkdir(parents=True, exist_ok=True)
        inward = self._inward(source) if source.name == PACKAGES and source.is_dir() else {}
        if inward:
            self._anew(source, target, inward)
        else:
            target.symlink_to(source, target_is_directory=source.is_dir())

    def _anew(self, source: Path, target: Path, inward: Mapping[str, Path | None]) -> None:
        target.mkdir()
        for entry in os.scandir(source):
            if entry.name not in inward:
                (target / entry.name).symlink_to(entry.path)
            elif (place := inward[entry.name]) is not None:
                (target / entry.name).symlink_to(place)
            else:
                self._anew(Path(entry.path), target / entry.name, self._inward(Path(entry.path)))

    def _inward(self, source: Path) -> Mapping[str, Path | None]:
        """Return the entries of a folder that lead into the repository, each with its place in the snapshot; None for
        a folder that has such entries: a scope (`@ours`), or the programs of packages (`.bin`)."""
        found: dict[str, Path | None] = {}
        whole = Path(os.path.realpath(source if source.name[:1] not in ".@" else source.parent))
        for entry in os.scandir(source):
            if entry.is_symlink():
                place = self._place(entry.path, whole)
                found |= {entry.name: place} if place is not None else {}
            elif entry.name[:1] in ".@" and entry.is_dir() and self._inward(Path(entry.path)):
                found[entry.name] = None
        return found

    def _place(self, link: str, whole: Path) -> Path | None:
        """Return where in the snapshot a link leads that ends in the repository, beside the installed packages."""
        real, top = Path(os.path.realpath(link)), Path(os.path.realpath(self.top))
        if not real.is_relative_to(top) or real.is_relative_to(whole):
            return None
        place = self.snapshot / real.relative_to(top)
        return place if place.exists() else None
