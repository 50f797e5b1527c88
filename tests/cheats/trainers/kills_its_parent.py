"""Kills the shell that runs it, and with it the run."""

import os
import signal

from honest import predict, save  # noqa: F401

if __name__ == "__main__":
    save({"a": 0, "b": 0})
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
