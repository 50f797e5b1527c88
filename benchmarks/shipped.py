"""Which contents each file had that `init` has ever put into a workspace: assets/shipped.json, for `upgrade`.

    python benchmarks/shipped.py

By it `autoresearch upgrade` tells a file that an earlier version has written from one that a person has changed. To be
called before a release, in a clone with the whole history; the present contents need not be in it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "assets" / "shipped.json"
PLACES = ("skills/", "hooks/autoresearch_hook.py", "program.md", "assets/harness/", "assets/tasks/")
DIGITS = 16
"""Of each hash: enough that no file has another's by chance."""


def git(*words: str, given: str = "") -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, input=given.encode(), capture_output=True, check=True).stdout


def shipped() -> dict[str, list[str]]:
    """Return path in the repository -> the hashes of its contents in any commit, newest first."""
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for commit in git("log", "--full-history", "--format=%H", "--", *PLACES).decode().split():
        for line in git("ls-tree", "-r", commit, "--", *PLACES).decode().splitlines():
            about, path = line.split("\t")
            written_by_init = path.startswith("assets/tasks/") and path.endswith("autoresearch.toml")
            if about.split()[1] == "blob" and not written_by_init:
                names[path][about.split()[2]] = None
    blobs = {blob: "" for own in names.values() for blob in own}
    for blob in blobs:
        blobs[blob] = hashlib.sha256(git("cat-file", "blob", blob)).hexdigest()[:DIGITS]
    return {path: [blobs[blob] for blob in own] for path, own in sorted(names.items())}


def main() -> int:
    found = shipped()
    rows = ",\n".join(f" {json.dumps(path)}: {json.dumps(hashes)}" for path, hashes in found.items())
    TABLE.write_text("{\n" + rows + "\n}\n", encoding="utf-8")
    print(f"{len(found)} files, {sum(map(len, found.values()))} contents in {TABLE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
