"""Sessions as earlier states of this program wrote them: the test data of tests/test_old_sessions.py.

    python benchmarks/old_sessions.py SCRATCH [NAME ...]

For each state the commit of this repository is unpacked into SCRATCH, and its own code begins a session in a small
repository and types the same commands, as far as it knows them. What it left is put into `tests/data/sessions/NAME`:
journal and task file as they are, and the rest of the workspace, without snapshots, in `rest.tar.gz`.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SESSIONS = ROOT / "tests" / "data" / "sessions"
JOURNAL, TASK = "autoresearch.jsonl", "autoresearch.toml"

STATES = {
    "01-engine": ("0f65dc2", "config, start, run, repeat and note lines"),
    "02-hardware": ("074e5b1", "the machine of each repeat; looks that share alpha"),
    "03-studies": ("e75f04e", "study, study_run and study_end lines; runs are confined"),
    "04-messages": ("5d34ab4", "messages of a person, segments"),
    "05-guards": ("4cded1f", "[guard], [search.families], secondary metrics"),
    "06-pairs": ("9d7cf0e", "what alpha was spent, the speed of runs, disturbed lines"),
    "07-loop": ("21320d0", "reserve, settle and proposal lines; the journal is mirrored; the Python of runs"),
    "08-imported": ("65c32d9", "what was read from other tools is in lines of its own"),
    "09-refused": ("5c6e26b", "refused changes, the seconds of each run"),
    "10-any-output": ("c95a482", "[metric] pattern, [stop] target, edited task files before a baseline"),
}
"""Name -> the last commit of a state of the format, and what was new in it."""

ENTRIES = ("autoresearch.cli.app", "autoresearch.commands.cli")
"""Where `main` was."""

BENCH = """noise=(0 3 -2 1 -3 2 0 -1 2 -1 1 0 -2 3)
read -r value rest < src/value
[ "$value" = breaks ] && exit 3
echo "step 1: took $((value * 10 + 50)).0 ms"
echo "step 2: took $((value * 10 + ${noise[$AUTORESEARCH_SEED]})).5 ms"
echo "METRIC total_ms=$((value * 10 + ${noise[$AUTORESEARCH_SEED]}))"
echo "METRIC peak_vram_mb=$((50 + value))"
"""

LOG = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\naaaaaaa\t0.9979\t44.0\tkeep\tbaseline\n"
LOG += "bbbbbbb\t0.9932\t44.2\tkeep\tbigger batch\nccccccc\t0.000000\t0.0\tcrash\ttoo big\n"

EDITS = '{"description": "fewer still", "edits": [{"file": "src/value", "old": "89 more", "new": "80"}]}\n'

BEGIN = ["init", ".", "--task", "command", "--command", "bash bench.sh", "--metric", "total_ms", "--direction",
         "lower", "--mutable", "src", "--tag", "t"]  # fmt: skip
PATTERN = ["--pattern", r"took (\S+) ms"]


class State:
    """One state of the program, and the repository that it works in."""

    def __init__(self, name: str, scratch: Path) -> None:
        self.name, self.code, self.root = name, scratch / name / "code", scratch / name / "ws"
        shutil.rmtree(scratch / name, ignore_errors=True)
        self.code.mkdir(parents=True)
        kept = subprocess.run(["git", "archive", STATES[name][0]], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(kept)) as archive:
            archive.extractall(self.code, filter="data")
        entry = next(e for e in ENTRIES if (self.code / "src" / (e.replace(".", "/") + ".py")).exists())
        self.command = [str(scratch / "python/bin/python"), "-c", f"from {entry} import main; main()"]
        neutral = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": str(scratch),
                   "PATH": os.pathsep.join([str(scratch / "python/bin"), os.defpath])}  # fmt: skip
        packages = os.pathsep.join([str(self.code / "src"), sysconfig.get_path("purelib")])
        self.env = {**os.environ, **neutral, "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.root, env=self.env, check=True, capture_output=True)

    def types(self, *words: str, must: bool = True) -> None:
        """Type a command; one that is not known yet is passed over."""
        done = subprocess.run(
            [*self.command, *words], cwd=self.root, env=self.env, capture_output=True, text=True, timeout=300
        )
        told = (done.stdout + done.stderr).strip().splitlines()
        print(f"{self.name}: {' '.join(words)[:60]} -> {done.returncode} {told[0] if told else ''}", flush=True)
        if must and done.returncode:
            raise SystemExit(done.stdout + done.stderr)

    def begins(self) -> None:
        self.root.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "A Person")
        self.git("config", "user.email", "person@example.org")
        for path, text in (("bench.sh", BENCH), ("src/value", "100\n"), ("log.tsv", LOG), ("edits.jsonl", EDITS)):
            file = self.root / path
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "start")
        newest = self.name >= "10"
        self.types(*BEGIN, *(["--no-probe", *PATTERN] if newest else []))
        self.types("baseline")

    def tries(self, value: str, what: str, *more: str) -> None:
        (self.root / "src/value").write_text(f"{value}\n")
        self.types("try", "-m", what, *more)

    def works(self) -> None:
        """Type what a session consists of."""
        self.begins()
        self.tries("90", "fewer passes", "--asi", "hypothesis=each pass costs ten")
        self.tries("95", "another order")
        self.tries("breaks", "a pass of its own")
        self.tries("89 more", "a near miss")
        self.types("note", "3", "--asi", "result=slower, as expected")
        self.types("tell", "look at the second pass", must=False)
        (self.root / "src/value").write_text("95\n")
        self.types("try", "-m", "the same again", must=False)  # refused, and told in a line from some state on
        self.git("checkout", "-q", "--", "src")
        self.types("replicate", "2", must=False)
        self.types("confirm", "--seeds", "2", must=False)
        self.types("run", "--agent", "replay:edits.jsonl", "--max-experiments", "1", must=False)
        self.types("import", "log.tsv", must=False)
        task = self.root / TASK
        task.write_text(task.read_text().replace("seeds = ", "minimum_gain = 1\nseeds = ", 1))
        self.git("commit", "-q", "-am", "another rule")
        if self.name >= "04":
            self.types("segment")
            self.types("baseline")
            self.tries("70", "a shorter path")
        else:  # a changed task could not be gone on with yet
            self.git("reset", "-q", "--hard", "HEAD^")
            self.tries("70", "a shorter path")

    def keeps(self) -> None:
        """Put what is there into the test data."""
        self.git("gc", "-q", "--prune=now")
        shutil.rmtree(self.root / ".git/hooks", ignore_errors=True)
        folder = SESSIONS / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in (JOURNAL, TASK):
            shutil.copy(self.root / name, folder / name)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for path in self._rest():
                archive.add(path, path.relative_to(self.root), recursive=False, filter=_plain)
        (folder / "rest.tar.gz").write_bytes(gzip.compress(content.getvalue(), mtime=0))

    def _rest(self) -> Iterator[Path]:
        """Yield the files of the repository, of its history and of its runs."""
        listed = subprocess.run(["git", "ls-files"], cwd=self.root, env=self.env, capture_output=True, text=True)
        yield from (self.root / name for name in listed.stdout.split() if name != TASK)
        for folder in (".git", ".autoresearch/runs", ".autoresearch/studies"):
            # The empty folders, too: without one for refs it is no repository.
            yield from sorted((self.root / folder).rglob("*"))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def main(words: list[str]) -> int:
    if not words:
        print(__doc__, file=sys.stderr)
        return 2
    scratch = Path(words[0]).resolve()
    venv.create(scratch / "python", symlinks=True)  # its path is in the journal, and says nothing of this machine
    for name in words[1:] or STATES:
        state = State(name, scratch)
        state.works()
        state.keeps()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
