"""Removes the folder it runs in, and the folder of its run."""

import os
import shutil

from honest import RUN, predict, save  # noqa: F401

if __name__ == "__main__":
    save({"a": 0, "b": 0})
    shutil.rmtree(RUN, ignore_errors=True)
    shutil.rmtree(os.getcwd(), ignore_errors=True)
