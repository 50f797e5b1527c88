"""Changes the files of an earlier run."""

from honest import RUN, predict, save  # noqa: F401

if __name__ == "__main__":
    save({"a": 0, "b": 0})
    try:
        (RUN.parents[1] / "1" / "1" / "result.json").write_text("{}")
    except OSError:
        pass
