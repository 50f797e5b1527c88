"""Loops."""

import signal

from honest import predict  # noqa: F401

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        pass
