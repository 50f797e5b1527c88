"""Fills the disk with its weights."""

from honest import RUN, predict, save  # noqa: F401

if __name__ == "__main__":
    with (RUN / "weights.json").open("wb") as file:
        for _ in range(40):
            file.write(bytes(2**20))
    save({"a": 0, "b": 0})
