"""`bundle`: a session as one zip that others can read, check and run again. The same session makes the same file.

Everything but the commits goes through `redaction`. A commit is named by what is in it, so nothing can be taken out of
one: a secret in a file of the repository is refused, a home path in one is told.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoresearch import __version__
from autoresearch.errors import PreconditionError
from autoresearch.exchange import ro_crate
from autoresearch.exchange.archive import write_archive
from autoresearch.exchange.redaction import PIECE_BYTES, Redaction, pieces, walked
from autoresearch.experiments.recovery import recover
from autoresearch.journal.refs import branch_ref, folder_of, is_mirror
from autoresearch.journal.session import Session
from autoresearch.reports.report import html_report
from autoresearch.reports.run_files import CURVE, LOGS, MAX_CURVE_BYTES, opened, seeds_of
from autoresearch.system.git import Git, git_at
from autoresearch.workspace import task_file
from autoresearch.workspace.journal_mirror import PAGES, whole_lines
from autoresearch.workspace.lock import lock
from autoresearch.workspace.python import python_of
from autoresearch.workspace.session_journal import how_to_begin, load_session, session_of
from autoresearch.workspace.workspace import Workspace

JOURNAL, REPOSITORY = "autoresearch.jsonl", "repo.bundle"
RESULT = "result.json"
LOCK_FILES = ("uv.lock", "poetry.lock", "pdm.lock", "requirements.txt")

SCANNED_BYTES = 32 * 2**20
"""Of a file in the repository; a longer one is named, and nobody looks into it."""

PACKAGES = """
import json, platform
from importlib.metadata import distributions
found = {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""
PACKAGES_S = 60.0


@dataclass(frozen=True, slots=True)
class Bundled:
    """What was written."""

    size: int
    files: int
    taken_out: Mapping[str, int]
    """What -> how often."""
    remarks: tuple[str, ...]


def bundle(root: Workspace, path: Path, now: int, again: str, *, logs: bool = False, trust: bool = False) -> Bundled:
    """Write the bundle of a session to `path`; `now` is the time of what has to be repaired before, `again` what was
    typed.

    Raises `PreconditionError` when there is no baseline that could be run again, when the repository is shallow, and,
    unless `trust` is given, when a file of it has what looks like a secret.
    """
    git = git_at(root.root)
    if load_session(root).segment.branch is None:
        raise PreconditionError("no session was begun here", f"begin one with: {how_to_begin(load_session(root))}")
    with lock(root):  # nothing is half-way then
        recover(root, git, now)
    session, redaction = load_session(root), Redaction(os.environ, Path.home())
    if session.baseline is None:
        raise PreconditionError("there is no experiment that could be run again", "measure one: autoresearch baseline")
    heads = _heads(git, session)
    remarks = _looked_through(git, heads, redaction, again, trust=trust)
    journal = redaction.journal(whole_lines(root))
    clean = session_of(journal)
    ended = _last_time(clean)
    files = {
        JOURNAL: journal,
        REPOSITORY: git_bundle(git, heads),
        "report.html": html_report(root, clean, ended, redaction.text).encode(),
        "environment.json": _json(walked(_environment(root, git), redaction.text)),
        "hardware.json": _json(_machines(clean)),
        "data.json": _json(walked(_data(root, clean), redaction.text)),
        "REPLAY.md": _page(clean).encode(),
        **dict(_beside(root, git, redaction)),
        **dict(_runs(root, session, redaction, logs=logs)),
    }
    files["ro-crate-metadata.json"] = ro_crate.metadata(clean, files, ended)
    taken = {what: count for what, count in redaction.taken.items() if count}
    about = {
        "made_by": f"autoresearch {__version__}",
        "tag": session.segment.tag,
        "branch": session.segment.branch,
        "folder": git.prefix,
        "heads": heads,
        "fold": fold_digest(clean),
        "taken_out": taken,
    }
    return Bundled(write_archive(path, files, about), len(files) + 1, taken, tuple(remarks))


def fold_digest(session: Session) -> str:
    """Return a hash of all that a journal says of segments, experiments and studies, however it is spelled."""
    told = [
        [[s.number, s.name, *asdict(s.metric).values(), s.branch, s.tag, dict(s.sha256)]
         for s in (*session.segments, *session.imported)],
        [list(e) for e in session.experiments],
        # Not what is printed of one, which a version of before has not written.
        [{name: value for name, value in asdict(study).items() if name != "again"} for study in session.studies],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def git_bundle(git: Git, heads: Mapping[str, str]) -> bytes:
    """Return a git bundle (gitformat-bundle(5)) of these refs with all that they reach, the same whenever it is made.

    `git bundle create` would put objects together as the repository happens to have them, and on several threads.
    """
    sha256 = any(len(name) == 64 for name in heads.values())
    lines = ["# v3 git bundle", "@object-format=sha256"] if sha256 else ["# v2 git bundle"]
    lines += [f"{name} {ref}" for ref, name in sorted(heads.items())]
    wanted = "".join(f"{name}\n" for name in sorted(set(heads.values())))
    words = ("--revs", "--stdout", "-q", "--threads=1", "--no-reuse-delta", "--no-reuse-object")
    pack = git.run("pack-objects", *words, input=wanted.encode()).stdout
    return "\n".join([*lines, "", ""]).encode() + pack


def _heads(git: Git, session: Session) -> dict[str, str]:
    """Return ref -> commit of what is bundled: the branch at the best so far, and what keeps each experiment's commit.

    The mirror of the journal is not among them: it has the journal as it is, and the bundle has it without secrets.
    """
    if git.text("rev-parse", "--is-shallow-repository").strip() == "true":
        raise PreconditionError("the repository is shallow", "fetch the rest of it: git fetch --unshallow")
    incumbent, branch = session.incumbent, branch_ref(session.segment.branch or "")
    tip = git.resolve((incumbent and incumbent.commit) or branch)
    if tip is None:
        raise PreconditionError("the commit of the best so far is gone from the repository", "see: autoresearch check")
    kept = {ref: name for ref, name in git.targets(folder_of(session)).items() if not is_mirror(ref)}
    return {**kept, branch: tip}


def _looked_through(git: Git, heads: Mapping[str, str], redaction: Redaction, again: str, *, trust: bool) -> list[str]:
    """Look for secrets and home paths in every text and message that the heads reach; return what to say of them."""
    wanted = "".join(f"{name}\n" for name in sorted(set(heads.values()))).encode()
    listed = git.run("rev-list", "--objects", "--stdin", input=wanted).stdout.decode("utf-8", "surrogateescape")
    paths = {line.partition(" ")[0]: line.partition(" ")[2] for line in listed.splitlines()}
    sizes = _sizes(git, paths)
    small = [name for name, size in sizes.items() if size <= PIECE_BYTES]
    large = [name for name, size in sizes.items() if PIECE_BYTES < size <= SCANNED_BYTES]
    homes = Counter[str]()
    for names in (*(small[at : at + 100] for at in range(0, len(small), 100)), *([name] for name in large)):
        for found in git.reader.read_all(names):
            if found is None or b"\0" in found.content[:8000]:
                continue
            where = paths[found.name] if found.kind == "blob" else f"the message of commit {found.name[:12]}"
            for text in pieces(found.content):
                kinds = [] if trust else [*redaction.secrets_in(text)]
                if kinds:
                    what = f"{where} in the repository has what looks like a secret ({kinds[0]})"
                    raise PreconditionError(
                        f"{what}, and nothing can be taken out of a commit",
                        f"if it is none: {again} --trust-repository",
                    )
                homes[where] += redaction.has_home(text)
    told = _some(where for where, count in homes.items() if count)
    unread = _some(paths[name] for name, size in sizes.items() if size > SCANNED_BYTES)
    remarks = [f"commits stay as they are: {told} in them has the path of a home folder"] if told else []
    larger = f"larger than {SCANNED_BYTES // 2**20} MiB, so nobody has looked for secrets in it: {unread}"
    return [*remarks, *([larger] if unread else [])]


def _sizes(git: Git, names: Iterable[str]) -> dict[str, int]:
    """Return name -> bytes of the objects of these names, without the trees and without what is missing."""
    asked = "".join(f"{name}\n" for name in names).encode()
    done = git.run("cat-file", "--buffer", "--batch-check=%(objectname) %(objecttype) %(objectsize)", input=asked)
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    return {line[0]: int(line[2]) for line in lines if len(line) == 3 and line[1] != "tree"}


def _some(paths: Iterable[str]) -> str:
    """Return the first of some paths, and how many more there are; empty where there is none."""
    first, *others = [*dict.fromkeys(paths)] or [""]
    return first + (f" and {len(others)} more" if others else "")


def _beside(root: Workspace, git: Git, redaction: Redaction) -> Iterator[tuple[str, bytes]]:
    """Yield what lies beside the journal and is in no commit: notes, scripts, the list of exact versions."""
    for name in (*PAGES, *LOCK_FILES):
        path = root.root / name
        if path.is_file() and not path.is_symlink() and not git.tracked([f"{git.prefix}{name}"]):
            yield f"beside/{name}", redaction.content(path.read_bytes())


def _runs(root: Workspace, session: Session, redaction: Redaction, *, logs: bool) -> Iterator[tuple[str, bytes]]:
    """Yield what runs left: results and curves, and with `logs` what they printed."""
    for number in dict.fromkeys(e.number for e in session.experiments):
        for seed in seeds_of(root, number):
            for name in (RESULT, CURVE, *(LOGS if logs else ())):
                with opened(root, str(number), str(seed), name) as file:
                    content = file.read(MAX_CURVE_BYTES) if file is not None else b""
                if content:
                    yield f"runs/{number}/{seed}/{name}", redaction.content(content)


def _environment(root: Workspace, git: Git) -> dict[str, Any]:
    """Return the packages that runs could import, and the versions of what measured them."""
    python = python_of(root, task_file.load(root.root))
    found: dict[str, Any] = {}
    if python is not None:
        try:
            done = subprocess.run([python.path, "-c", PACKAGES], cwd=root.root, capture_output=True, timeout=PACKAGES_S)
            found = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            found = {}
    return {"autoresearch": __version__, "git": git.text("version").split()[2], "runs": found}


def _machines(session: Session) -> list[dict[str, Any]]:
    """Return the machines that runs were made on, as the journal tells them, in their order."""
    machines: list[dict[str, Any]] = []
    for e in session.current:
        if e.env and dict(e.env) not in machines:
            machines.append(dict(e.env))
    return machines


def _data(root: Workspace, session: Session) -> dict[str, Any]:
    """Return what tells the data: the manifests of the results, hashes of what is fixed, and where it comes from."""
    task = task_file.load(root.root)
    manifests = dict.fromkeys(e.manifest for e in session.current if e.manifest)
    return {"manifests": [*manifests], "immutable": dict(session.segment.sha256), "setup": task.run.setup,
            "options": task.options}  # fmt: skip


def _page(session: Session) -> str:
    return f"""# {session.segment.name or "A session of autoresearch"}

`report.html` is the whole of it, for reading. To run it again, with autoresearch installed:

    autoresearch replay THIS_FILE again

checks the hashes of `manifest.json`, makes the folder `again` with the repository and the journal, prepares the data,
and runs the baseline and the best on fresh seeds. It runs the programs of whoever made this file. Read them first, in
the folder `programs` that this makes, or check the file alone with `--verify-only`:

    unzip THIS_FILE repo.bundle && git clone -b {shlex.quote(session.segment.branch or "")} repo.bundle programs

Home folders are `~` here, and what looked like a secret was taken out; `manifest.json` says how often. The commits are
as they were.
"""


def _last_time(session: Session) -> int:
    """Return the time of the latest line that has one, in seconds since 1970."""
    times = [t for e in session.experiments for t in (e.started, e.finished)]
    times += [*(s.timestamp for s in session.segments), *(s.timestamp for s in session.studies)]
    return max([t for t in times if t is not None], default=0)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
