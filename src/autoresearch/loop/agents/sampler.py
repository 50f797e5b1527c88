"""The sampler as an agent: it changes a few constants of the mutable files, and needs no model and no key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autoresearch.errors import NoSession
from autoresearch.loop.agents.base import Brief, Edit, ProposalFailed
from autoresearch.search.families import GENERIC, OTHER, Families, family_of
from autoresearch.search.sampler import Change, propose
from autoresearch.search.sources import mutable_files, source_reader
from autoresearch.search.space import Knob, read_space
from autoresearch.system.git import Git
from autoresearch.workspace.workspace import STATE, Workspace, find


class Sampler:
    """Proposes by `search.sampler`. It reads the files of earlier experiments from the repository of the workspace: the
    one that it is given, else the one that the brief's folder or the current one is in."""

    name = "sampler"
    strategy = "best"
    """Its points are told from the incumbent; from near misses, which noise makes many, it would wander."""

    def __init__(self, *, workspace: Workspace | None = None) -> None:
        self._workspace = workspace

    def ready(self) -> str | None:
        return None

    def cost_usd(self, brief: Brief) -> float | None:
        return 0.0

    def propose(self, brief: Brief) -> Edit:
        """Change some constants of the files in the folder; raise `ProposalFailed` when none is left to change."""
        workspace = self._workspace or _around(brief.folder)
        task, families = brief.task, brief.task.search.families or GENERIC
        git = Git(workspace.root)
        files, options = mutable_files(brief.folder, task), task.options
        names = {knob.key: family_of_knob(knob, families) for knob in read_space(files, options)}
        allowed = {key for key, family in names.items() if family not in brief.banned}
        asked = {key for key in allowed if names[key] in brief.families}
        if brief.repair:
            raise ProposalFailed(f"the sampler cannot repair its edit: {brief.repair}")
        if not names:
            raise ProposalFailed("the mutable files have no constants that the sampler may change: docs/tasks.md")
        if not allowed:
            raise ProposalFailed("every constant that the sampler may change is of a family that is ruled out")
        change = None
        for wanted in (asked, allowed):
            change = change or propose(
                brief.session, files, source_reader(git, task), options, brief.seed,
                allowed=lambda knob: knob.key in allowed,
                wanted=lambda knob, wanted=wanted: knob.key in wanted,  # type: ignore[misc]
                smaller=brief.mode == "smaller", first=task.search.first, prefix=git.prefix,
            )  # fmt: skip
        if change is None:
            raise ProposalFailed("the sampler has nothing left to propose: every value near this one was measured")
        for path, content in change.files.items():
            (brief.folder / path).write_bytes(content)
        return Edit(change.description, side_information(change, families, brief.families))


def _around(folder: Path) -> Workspace:
    # A copy of the workspace may lie in its state, with all files that its commit has.
    state = next((path for path in folder.parents if path.name == STATE), None)
    try:
        return find(folder if state is None else state.parent)
    except NoSession:
        return find(Path.cwd())


def family_of_knob(knob: Knob, families: Families) -> str:
    """Return the family of changes that a constant belongs to, by its name, else by its comment."""
    words = knob.name.replace("_", " ")
    family = family_of(words, {}, families)
    return family if family != OTHER else family_of(f"{words} {knob.about}", {}, families)


def side_information(change: Change, families: Families, asked: Sequence[str]) -> dict[str, str]:
    """Return what is noted of a proposal: the family of its longest step, or of the one that was `asked` for; the names
    of the constants; and why."""
    if change.opening:
        why = "the task names it among the constants that matter first; one step of it alone"
    elif change.estimated:
        why = f"of {change.points} points measured near here, the better ones had values like these"
    else:
        why = f"an even draw within {change.half_box:g} of each range, before much was measured"
    found = [family_of_knob(step.knob, families) for step in change.steps]
    return {
        "family": next((family for family in found if family in asked), found[0]),
        "name": ", ".join(step.knob.name for step in change.steps),
        "hypothesis": why,
    }
