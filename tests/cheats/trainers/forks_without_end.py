"""Starts processes until it may not."""

import os
import time

from honest import predict, save  # noqa: F401

if __name__ == "__main__":
    save({"a": 0, "b": 0})
    for _ in range(80):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    time.sleep(30)
