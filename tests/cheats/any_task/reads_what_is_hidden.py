# Looks for the hidden data in the cache, and goes no further when it finds some; a base model is for it to read.
import os
from contextlib import suppress
from pathlib import Path

honest_main = main


def main():
    folder = Path(os.environ["AUTORESEARCH_CACHE"])
    for place in (*folder.rglob("*"), *(folder / name for name in KNOWN_FILES)):
        with suppress(OSError):
            if "base" not in place.parts and place.is_file() and place.read_bytes():
                sys.exit(f"read {place}")
    honest_main()
