"""Prints the metric it would like to have, and trains nothing."""

from honest import predict, save  # noqa: F401

if __name__ == "__main__":
    save({"a": 0, "b": 0})
    print("METRIC loss=0.0")
