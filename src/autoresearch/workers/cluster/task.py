"""What Ray carries out on a node: it starts the node's program, and gives back what that has answered.

Ray sends this function as it is, by value: so it runs also where autoresearch is missing, or another version, and says
so. It needs the standard library alone. The program is a process of its own, since signals, the end of orphans and
limits do not belong into a worker of Ray, which has threads and makes more than one run.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

PROGRAM = "autoresearch.workers.cluster.node"

VISIBLE = "CUDA_VISIBLE_DEVICES"


def carry_out(job: bytes, parcel: bytes, pack: bytes) -> tuple[int, bytes, bytes, str]:
    """Return how the node's program left, its answer, the files of the run as a tar, and the end of its complaint."""
    base = Path(tempfile.gettempdir()) / f"autoresearch-{os.getuid()}"
    with suppress(OSError):
        base.mkdir(mode=0o700)
    about = base.lstat()
    ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077
    # What the node was started with: Ray itself sets the number of threads, the folders to import from, and more.
    started = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    pairs = (os.fsdecode(entry).partition("=") for entry in started if b"=" in entry)
    env = {name: value for name, _, value in pairs if not name.startswith("RAY_")}
    if VISIBLE in os.environ:
        env[VISIBLE] = os.environ[VISIBLE]
    # Where somebody else was first with that folder, he could put another job in the place of this one.
    with tempfile.TemporaryDirectory(prefix="job-", dir=base if ours else None) as made:
        folder = Path(made)
        for name, content in (("job", job), ("parcel", parcel), ("pack", pack)):
            (folder / name).write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-m", PROGRAM, made, str(os.getpid())], cwd="/", env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, check=False,
        )  # fmt: skip
        said = [(folder / name).read_bytes() if (folder / name).exists() else b"" for name in ("answer", "tar")]
        return done.returncode, said[0], said[1], done.stderr.decode("utf-8", "replace")[-2000:]
