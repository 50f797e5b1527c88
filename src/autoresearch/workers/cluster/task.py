"""What Ray carries out on a node: it starts the node's program, and gives back what that has answered.

Ray sends this function as it is, by value: so it runs also where autoresearch is missing, or another version, and says
so. It needs the standard library alone. The program is a process of its own, since signals, the end of orphans and
limits do not belong into a worker of Ray, which has threads and makes more than one run.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = "autoresearch.workers.cluster.node"

VISIBLE = "CUDA_VISIBLE_DEVICES"

IN_USE = "in_use"
"""A file in the folder of a job, locked by this process and by the node's program while one of them lives: the last one
to end is often killed, and cannot remove the folder. What nobody holds the next job removes (`replica.remove_old`)."""


def carry_out(job: bytes, parcel: bytes, pack: bytes) -> tuple[int, bytes, bytes, str]:
    """Return how the node's program left, its answer, the files of the run as a tar, and the end of its complaint."""
    base = Path(tempfile.gettempdir()) / f"autoresearch-node-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.is_symlink() or base.lstat().st_uid != os.getuid():
        return 1, b"", b"", f"{base} belongs to somebody else: let TMPDIR name another folder"
    base.chmod(0o700)
    # What the node was started with: Ray itself sets the number of threads, the folders to import from, and more.
    started = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    pairs = (os.fsdecode(entry).partition("=") for entry in started if b"=" in entry)
    env = {name: value for name, _, value in pairs if not name.startswith("RAY_")}
    if VISIBLE in os.environ:
        env[VISIBLE] = os.environ[VISIBLE]
    with tempfile.TemporaryDirectory(prefix="job-", dir=base) as made, Path(made, IN_USE).open("wb") as held:
        folder = Path(made)
        fcntl.flock(held, fcntl.LOCK_EX)
        for name, content in (("job", job), ("parcel", parcel), ("pack", pack)):
            (folder / name).write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-m", PROGRAM, made, str(os.getpid())], cwd="/", env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, check=False,
            pass_fds=[held.fileno()],
        )  # fmt: skip
        said = [(folder / name).read_bytes() if (folder / name).exists() else b"" for name in ("answer", "tar")]
        return done.returncode, said[0], said[1], done.stderr.decode("utf-8", "replace")[-2000:]
