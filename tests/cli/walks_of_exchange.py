"""Walks from what exports, bundles, `finalize` and `import` refuse."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pytest
from lab import INIT, TAG, Lab
from walking import BASES, TRY, Ask, Words, append, edit, lose_commits, make_bare, ready, then, walk

from autoresearch.journal import events

# --- bundles ---


@walk("exchange/bundle.py bundle: no session was begun here", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    foreign(lab, COLUMNS, "abc1234\t2.5\t1.0\tkeep\tfirst")
    ready(lab, ("import", "log.tsv", "--direction", "lower"))
    (lab.root / "log.tsv").unlink()
    lab.edit("echo METRIC metric=9\n")
    lab.commit()
    return Ask(("bundle", "-o", "../it.zip"))


@walk("exchange/bundle.py bundle: there is no experiment that could be run again", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("bundle", "-o", "../it.zip"))


@walk("exchange/bundle.py _heads: the repository is shallow", "plain")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    whole = lab.root.parent / "whole"
    make_bare(whole)
    Lab(whole / "lab").git("switch", "-q", "main")
    Lab(whole / "lab").git("commit", "-q", "--allow-empty", "-m", "so that there is something behind it")
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{whole}/lab", lab.root], check=True)
    lab.git("config", "user.name", "A Person")
    lab.git("config", "user.email", "person@example.org")
    ready(lab, INIT, ("baseline",))
    return Ask(("bundle", "-o", "../it.zip"))


@walk("exchange/bundle.py _heads: the commit of the best so far is gone from the repository")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("bundle", "-o", "../it.zip"), fill={"CLONE": lose_commits(lab, 3)})


@walk("exchange/bundle.py _looked_through: {}, and nothing can be taken out of a commit")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("src/key", "AKIA" + "ABCDEFGHIJKLMNOP" + "\n")
    edit(lab)
    ready(lab, TRY)
    return Ask(("bundle", "-o", "../it.zip"), lambda: None)


def bundled(lab: Lab) -> Path:
    ready(lab, ("bundle", "-o", "../it.zip"))
    return lab.root.parent / "it.zip"


@walk("exchange/archive.py open_archive: there is no file {}", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    bundled(lab)
    return Ask(("replay", "it.zip", "../again"), lambda: None, {"FILE": "../it.zip ../again"})


@walk("exchange/archive.py refused: the bundle {} is refused: {}", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    path = bundled(lab)
    whole = path.read_bytes()
    path.write_bytes(whole[:-400])
    words = ("replay", "../it.zip", "--verify-only")
    return Ask(words, then(lambda: path.write_bytes(whole), words))


@walk("exchange/replay.py _check_empty: {} is not empty", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    bundled(lab)
    lab.write("../there/mine", "mine\n")
    return Ask(("replay", "../it.zip", "../there"), lambda: None, {"FOLDER": "../again"})


# --- branches for review ---


def add(lab: Lab, name: str, value: int) -> None:
    """Measure a file beside the others as a change of its own."""
    lab.write(f"src/{name}", f"{value}\n")
    ready(lab, ("try", "-m", f"with {name}"))


def make_apart(folder: Path) -> None:
    """Keep two changes that are a file each: together they are better than either, and `b` alone is worse than none."""
    make_bare(folder)
    lab = Lab(folder / "lab")
    lab.edit("total=100; [ -f src/a ] && total=70; [ -f src/b ] && total=$(( total + 5 ))\n"
             "[ -f src/a ] && [ -f src/b ] && total=55\necho METRIC total_ms=$total\n")  # fmt: skip
    lab.commit()
    ready(lab, ("baseline",))
    add(lab, "a", 1)
    add(lab, "b", 1)
    assert [e.status for e in lab.session.current] == ["keep"] * 3


BASES["kept apart"] = make_apart

APPLY = ("finalize", "--apply")


def found_to_hurt(lab: Lab, *numbers: int) -> None:
    """Write what an `ablate` of the best has found."""
    session = lab.session
    assert session.incumbent is not None
    number, best = len(session.studies) + 1, session.incumbent.number
    changes = [{"without": [n], "verdict": "hurts", "reason": "", "worth": -5.0, "error": 1.0, "seeds": 2}
               for n in numbers]  # fmt: skip
    about = {"incumbent": best, "kept": [], "seeds": [1, 2]}
    append(lab, events.study_line(number, "ablate", about, "search", 1_790_000_000))
    found = {"incumbent": best, "changes": changes, "stack": None, "offered": False}
    append(lab, events.study_end_line(number, "done", found, 1_790_000_001))


@walk(
    "exchange/finalize.py finalize: the stack without {} is not better than the baseline beyond its noise "
    "(95 % interval {} to {})",
    "kept apart",
)
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    found_to_hurt(lab, 2)
    return Ask((*APPLY, "--seeds", "2"), lambda: None)


@walk("exchange/finalize.py planned: without what does not pay nothing is left of the stack", "kept apart")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    found_to_hurt(lab, 2, 3)
    return Ask(APPLY, lambda: None)


@walk("exchange/finalize.py _without: {}: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    found_to_hurt(lab, 2)  # what 3 changed is what 2 had written
    return Ask(APPLY, lambda: None)


@walk("studies/study.py study_of: go on with: {}", "kept apart")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    # The machine fails while the stack without a change is measured.
    well = lab.root.parent / "well"
    well.touch()
    lab.edit(f"[ -e '{well}' ] || kill -9 $$\necho METRIC total_ms=$(( 50 - $(cat src/[ab] | wc -l) ))\n")
    ready(lab, TRY)
    found_to_hurt(lab, 3)
    well.unlink()
    again = "autoresearch finalize --apply --seeds 2"
    return Ask((*APPLY, "--seeds", "2"), lambda: None, {again: f"touch '{well}' && {again}"})


@walk("exchange/finalize.py _kept: no session was begun here", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    foreign(lab, COLUMNS, "abc1234\t2.5\t1.0\tkeep\tfirst")
    ready(lab, ("import", "log.tsv", "--direction", "lower"))
    (lab.root / "log.tsv").unlink()

    def keep_one() -> Words:
        ready(lab, ("baseline",))
        lab.edit("echo METRIC metric=1\n")
        ready(lab, TRY)
        return APPLY

    lab.edit("echo METRIC metric=9\n")
    lab.commit()
    return Ask(APPLY, keep_one)


@walk("exchange/finalize.py _kept: nothing was kept since the baseline", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(APPLY, then(lambda: lab.attempt("echo METRIC total_ms=50\n"), APPLY))


@walk("exchange/finalize.py _kept: the commits of experiments {}{} are gone from the repository")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(APPLY, fill={"CLONE": lose_commits(lab, 3)})


@walk("exchange/finalize.py _folder: {} cannot be part of a branch name")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask((*APPLY, "--name", "a b"), lambda: (*APPLY, "--name", "a-b_2"))


@walk("exchange/finalize.py _refuse_others: the branch {}{} exists, and is not of this stack")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    ready(lab, APPLY)
    first, *_ = lab.git("branch", "--list", "--format=%(refname:short)", "*final*").splitlines()
    lab.git("branch", "-q", "-f", first, "main")
    return Ask(APPLY, lambda: None)


@walk("exchange/finalize.py _refuse_others: the branch {}{} exists, and is not of this stack")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    name = lab.git("branch", "--list", "autoresearch*").strip("* ")
    assert name == f"autoresearch/{TAG}"
    ready(lab, APPLY)
    final = lab.git("branch", "--list", "--format=%(refname:short)", "*final*").splitlines()
    for branch in final:
        lab.git("branch", "-q", "-D", branch)
    lab.git("branch", "-q", final[0].split("/")[0])
    return Ask(APPLY)


# --- tables and trackers ---


@walk("exchange/rows.py whole: the number {} has more than 64 bits")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    append(lab, events.repeat_line(2, 2**63, 80.0, {}, 1))
    return Ask(("export", "--format", "sqlite"), lambda: None)


@walk("cli/targets.py target: {} {}, and is not replaced")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("results.tsv", "the log of another tool\n")
    return Ask(("export",), lambda: ("export", "-o", "mine.tsv"))


@walk("cli/targets.py named: {} is a folder")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("report", "-o", "src"), lambda: ("report", "-o", "src/report.html"))


# --- logs of other tools ---

COLUMNS = "commit\tmetric\tmemory_gb\tstatus\tdescription"


def foreign(lab: Lab, *lines: str) -> None:
    """Write the log of another tool."""
    lab.write("log.tsv", "\n".join(lines) + "\n")


def imports(site: str, lines: tuple[str, ...], *right: str, wrong: tuple[str, ...] = ()) -> None:
    """Walk from a log that is refused to the options that the refusal asks for."""

    @walk(site)
    def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
        foreign(lab, *lines)
        return Ask(("import", "log.tsv", *wrong), lambda: ("import", "log.tsv", *right))


def imports_corrected(site: str, lines: tuple[str, ...], right: tuple[str, ...], *words: str) -> None:
    """Walk from a log that is refused to the same log, corrected as the refusal says."""

    @walk(site)
    def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
        foreign(lab, *lines)
        return Ask(("import", "log.tsv", *words), then(lambda: foreign(lab, *right), ("import", "log.tsv", *words)))


def named(*rows: tuple[str, float]) -> tuple[str, ...]:
    """Return the lines of a log whose rows name their metric."""
    return tuple(json.dumps({"metric_name": name, "metric_value": value, "status": "keep", "description": f"row {n}"})
                 for n, (name, value) in enumerate(rows))  # fmt: skip


PLAIN = (COLUMNS, "abc1234\t2.5\t1.0\tkeep\tfirst", "abc1235\t2.25\t1.0\tkeep\tsecond")

imports(
    "exchange/foreign_columns.py understood: it has several metrics: {}",
    named(("loss", 3), ("loss", 2), ("speed", 5), ("speed", 6)),
    *("--metric", "loss", "--direction", "lower"),
    wrong=("--direction", "lower"),
)
imports(
    "exchange/foreign_columns.py understood: nearly each row names another metric: {}",
    named(("ab", 3), ("cd", 2), ("ef", 5), ("gh", 6)),
    *("--metric", "ab", "--direction", "lower"),
)
imports(
    "exchange/foreign_columns.py understood: {}",
    named(("ab", 3), ("ab", 3), ("cd", 5), ("cd", 5)),
    *("--metric", "ab", "--direction", "lower"),
)
imports_corrected(
    "exchange/foreign_columns.py _read: it does not begin with the columns commit, a metric, memory_gb, status, "
    "description",
    ("commit\tmetric", "abc1234\t2"),
    PLAIN,
)
imports(
    "exchange/foreign_columns.py _metric: choose with: {}",
    ("commit\talpha\tbeta\tstatus\tdescription", "abc1234\t1\t5\tkeep\ta", "abc1235\t2\t6\tkeep\tb"),
    *("--metric", "alpha", "--direction", "lower"),
)
imports(
    "exchange/foreign_columns.py _metric: {} has more than numbers in it",
    (
        "commit\tscore\tother\tstatus\tdescription",
        "abc1234\t1.5 +- 0.2\t5\tkeep\ta",
        "abc1235\t1.4 +- 0.2\t4\tkeep\tb",
    ),
    *("--metric", "other", "--direction", "lower"),
)
imports_corrected(
    "exchange/foreign_columns.py _metric: it has no column of numbers that could be a metric{}",
    ("commit\tstatus\tdescription", "abc1234\tkeep\tfirst"),
    PLAIN,
)
imports("exchange/foreign_columns.py _metric: it has no numbers named {}", PLAIN, wrong=("--metric", "loss"))
imports(
    "exchange/foreign_columns.py _direction: nothing in it says which way of {} is better",
    (COLUMNS, "abc1234\t2.5\t1.0\tkeep\tfirst"),
    *("--direction", "lower"),
)
imports(
    "exchange/foreign_columns.py _direction: {} looks like {} is better, and its kept rows say {}",
    ("commit\tval_loss\tstatus\tdescription", *(f"abc123{n}\t{n}\tkeep\trow {n}" for n in range(8))),
    *("--direction", "higher"),
)
imports_corrected(
    "exchange/foreign_rows.py _guessed: no column of it says keep or discard",
    ("abc1234\t2.5\tfirst", "abc1235\t2.4\tsecond"),
    PLAIN,
)
BAD_ROW = (*PLAIN, "abc1236\tmany\t1.0\tkeep\tthird")
imports("exchange/import_log.py read_log: {} {}", BAD_ROW, wrong=("--strict",))
imports_corrected("exchange/import_log.py read_log: {} {}", BAD_ROW, PLAIN, "--strict")
imports_corrected("exchange/import_log.py read_log: {} has no experiments{}", (COLUMNS,), PLAIN)


@walk("exchange/import_log.py read_log: there is no {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    foreign(lab, *PLAIN)
    return Ask(("import", "results.tsv"), lambda: ("import", "log.tsv"))


def imports_bytes(site: str, content: bytes) -> None:
    """Walk from a file that is no log, whatever its name says, to the log in its place."""

    @walk(site)
    def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
        (lab.root / "log.tsv").write_bytes(content)
        return Ask(("import", "log.tsv"), then(lambda: foreign(lab, *PLAIN), ("import", "log.tsv")))


imports_bytes("exchange/import_log.py read_log: {} is empty", b"")
imports_bytes("exchange/import_log.py read_log: {} is packed with gzip", gzip.compress("\n".join(PLAIN).encode()))
imports_bytes("exchange/import_log.py read_log: {} is no text", "\n".join(PLAIN).encode("utf-16-le"))


@walk("exchange/import_log.py read_log: {} cannot be read: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    foreign(lab, *PLAIN)
    return Ask(("import", "src"), lambda: ("import", "log.tsv"))
