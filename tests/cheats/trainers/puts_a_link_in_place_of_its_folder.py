"""Makes the folder of its run a link to that of an earlier one."""

import shutil

from honest import RUN, predict, save  # noqa: F401

if __name__ == "__main__":
    save({"a": 0, "b": 0})
    try:
        shutil.rmtree(RUN)
        RUN.symlink_to(RUN.parents[1] / "1" / "1")
    except OSError:
        pass
