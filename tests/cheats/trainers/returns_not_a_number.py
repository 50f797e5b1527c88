"""Diverged."""

from honest import predict, save  # noqa: F401

if __name__ == "__main__":
    save({"a": float("nan"), "b": 0})
