"""Whether a Ray cluster can measure for a workspace: what each of its machines lacks, and who may use it."""

from __future__ import annotations

from pathlib import Path

from autoresearch.errors import AutoresearchError, UsageError
from autoresearch.reports.doctor import Check
from autoresearch.runs.spec import RunContext
from autoresearch.system.git import git_at
from autoresearch.workers.choice import slots_of
from autoresearch.workers.cluster.connection import asks_for_token, ended, survey
from autoresearch.workers.cluster.nodes import Node, chosen
from autoresearch.workspace.python import python_of
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import find

TOKEN = "before Ray starts, on all machines: export RAY_AUTH_MODE=token, with one token: ray get-auth-token --generate"


def examine_cluster(folder: Path, workers: str) -> list[Check]:
    """Return a check of the cluster that `--workers` names, of each of its machines, and of its token.

    Raises `UsageError` where it names no cluster, and as `find` and `load` do.
    """
    address = slots_of(workers)
    if isinstance(address, int):
        raise UsageError(
            "this looks at clusters", "give the address of one: autoresearch doctor --workers ray://HOST:6379"
        )
    workspace = find(folder)
    task = load(workspace.root)
    context = RunContext(workspace, git_at(workspace.root), task, python=python_of(workspace, task))
    try:
        found = survey(context, address)
    except AutoresearchError as error:
        return [Check("cluster", False, error.message, error.fix)]
    ended(found.bridge.process)
    incumbent = load_session(workspace).incumbent
    usable = [node for node in found.nodes if node.refusal(found.python, found.data) is None]
    places = chosen(usable, incumbent.hardware if incumbent is not None else None) if usable else []
    told = f"{len(places)} slots, each {places[0].node.hardware}" if places else "no machine can be used"
    checks = [Check("cluster", bool(places), f"{told}; machines: {len(found.nodes)}")]
    checks += [
        _machine(node, found.python, found.data, any(place.node == node for place in places)) for node in found.nodes
    ]
    try:
        safe = asks_for_token(context, address)
    except AutoresearchError as error:
        return [*checks, Check("token", False, error.message, error.fix, needed=False)]
    what = "who has no token is refused" if safe else "without a token: whoever reaches its port can run programs there"
    return [*checks, Check("token", safe, what, "" if safe else TOKEN, needed=False)]


def _machine(node: Node, python: str | None, data: str | None, used: bool) -> Check:
    refused = node.refusal(python, data)
    if refused is not None:
        return Check("machine", False, refused.message, refused.fix)
    prepared = f", data {node.data[:12]}" if node.data else ""
    left = "" if used else "; another class of hardware than the slots, and left alone"
    return Check("machine", True, f"{node.name}: {node.hardware}, autoresearch {node.version}{prepared}{left}")
