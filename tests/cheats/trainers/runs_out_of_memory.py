"""Holds more than the run may."""

import time

from honest import predict, save  # noqa: F401

if __name__ == "__main__":
    held = bytearray(800 * 2**20)
    time.sleep(30)
    save({"a": 0, "b": 0})
