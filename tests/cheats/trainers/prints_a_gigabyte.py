"""Prints 1 GB, and then its false metric."""

import os

from honest import predict, save  # noqa: F401

if __name__ == "__main__":
    save({"a": 0, "b": 0})
    block = (b"x" * 99 + b"\n") * 10_000
    for _ in range(1000):
        left = block
        while left:
            left = left[os.write(1, left) :]
    print("METRIC loss=0")
