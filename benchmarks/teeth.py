"""Does the suite bite? Breaks the code in one line at a time and runs the test that should notice.

    uv run python benchmarks/teeth.py [--only TEXT] [--out FILE] [--markdown]
    uv run python benchmarks/teeth.py --find TEXT      which tests notice these breakages, by the whole quick suite

Each breakage is made in a copy of the tracked files, one after another, and must turn its test red; without it the
same test must be green. A test may be cut or merged only if all of them still bite. With --out each result is a line
of that file as soon as it is there, and what is in it is not run again.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_name("teeth.toml")


@dataclass(frozen=True)
class Tooth:
    """A breakage of one line, and the test that bites it."""

    breaks: str
    """What no longer holds, in words."""
    file: str
    old: str
    """The text of the line, which stands once in the file."""
    new: str
    test: str
    """What pytest is given, of which something must fail: files, folders or nodes."""
    every: bool = False
    """Whether it bites for certain only where all is tried, and not the sample of a commit."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="only breakages whose words or file hold this")
    parser.add_argument("--find", help="run the quick suite on breakages whose words hold this, and name what fails")
    parser.add_argument("--out", type=Path, help="JSON lines, one a breakage; what is in it is not run again")
    parser.add_argument("--markdown", action="store_true", help="print the table that is committed")
    args = parser.parse_args()
    wanted = args.find if args.find is not None else args.only
    known = {row["breaks"]: row for row in map(json.loads, args.out.read_text().splitlines())} if _is(args.out) else {}
    rows = []
    with tempfile.TemporaryDirectory(prefix="autoresearch-teeth-") as temporary:
        copy = copied(Path(temporary) / "checkout")
        for tooth in teeth():
            if wanted.lower() not in f"{tooth.breaks} {tooth.file}".lower():
                continue
            row = known.get(tooth.breaks) or tried(copy, tooth, find=args.find is not None)
            rows.append(row)
            print(f"{'bites' if row['bites'] else 'NO BITE':<8} {row['breaks']}  [{row['by']}]", flush=True)
            if args.out and tooth.breaks not in known:
                with args.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    if args.markdown:
        print("\n".join(table(rows)))
    sys.exit(not all(row["bites"] for row in rows))


def _is(path: Path | None) -> bool:
    return path is not None and path.exists()


def teeth() -> list[Tooth]:
    """Return the breakages of `teeth.toml`; raise `SystemExit` for one whose line does not stand once in its file."""
    import tomllib

    found = [Tooth(**row) for row in tomllib.loads(TABLE.read_text(encoding="utf-8"))["tooth"]]
    for tooth in found:
        count = (ROOT / tooth.file).read_text(encoding="utf-8").count(tooth.old)
        if count != 1:
            raise SystemExit(f"teeth: {tooth.old!r} stands {count} times in {tooth.file}; correct {TABLE.name}")
    return found


def copied(folder: Path) -> Path:
    """Copy the tracked files as they are in the folder, and give the copy a commit of its own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    git = ("git", "-c", "user.name=teeth", "-c", "user.email=teeth@example.org")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "copy")):
        subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True)
    return folder


def tried(copy: Path, tooth: Tooth, *, find: bool) -> dict[str, Any]:
    """Break the copy, run, and mend it; the row says whether something failed, and what."""
    path = copy / tooth.file
    whole = path.read_text(encoding="utf-8")
    began = time.monotonic()
    green = None if find else passed(copy, tooth.test, tooth.every)
    try:
        path.write_text(whole.replace(tooth.old, tooth.new), encoding="utf-8")
        done = pytest(copy, ["-m", "not slow"] if find else ["-x", *tooth.test.split()], every=tooth.every)
    finally:
        path.write_text(whole, encoding="utf-8")
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", done.stdout, re.M)
    # 2 is how pytest ends when it stops at the first failure of several workers.
    bites = done.returncode in (1, 2) and bool(failed) and green is not False
    by = ", ".join(failed[:8]) or tooth.test
    return {"breaks": tooth.breaks, "file": tooth.file, "old": tooth.old, "new": tooth.new, "by": by, "bites": bites,
            "green_without": green, "seconds": round(time.monotonic() - began, 1)}  # fmt: skip


@functools.cache
def passed(copy: Path, test: str, every: bool) -> bool:
    """Whether these tests pass as the code is; asked once for the breakages that share them."""
    done = pytest(copy, test.split(), every=every)
    # And not by the exit status: that is also of the CPU seconds, which say nothing where other work is beside it.
    return " passed" in done.stdout and not re.search(r"^(?:FAILED|ERROR) ", done.stdout, re.M)


def pytest(copy: Path, words: list[str], *, every: bool) -> subprocess.CompletedProcess[str]:
    # The copy's package comes before the installed one, in every process that a test starts, too.
    env = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    env |= {"AUTORESEARCH_EVERY": "1"} if every else {}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True)


def table(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| what is broken | where | the line becomes | bites | the test that does |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (row["breaks"], f"`{row['file'].removeprefix('src/autoresearch/')}`", _code(row["new"]),
                 "yes" if row["bites"] else "**no**", f"`{row['by']}`")  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _code(text: str) -> str:
    return "`" + " ".join(text.split()).replace("|", "\\|")[:90] + "`" if text.strip() else "(left out)"


if __name__ == "__main__":
    main()
