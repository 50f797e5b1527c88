"""Looks for keys in its environment, and tells what it found."""

import os

from honest import RUN, predict, save  # noqa: F401

if __name__ == "__main__":
    save({"a": 0, "b": 0})
    (RUN / "environment").write_text("\n".join(f"{name}={value}" for name, value in os.environ.items()))
