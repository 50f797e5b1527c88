"""Data and scoring rule of the shakespeare task; the trainer may not change this file. Its commands:
harness/command_line.py.

A language model of bytes, scored in bits per byte of held-out text, with all that pretrain has: splits by the hash of a
document, rows without padding, a second process that sees only beginnings (docs/pretrain.md). Three texts: Shakespeare
(downloaded, checked by its hash), the text of the Python installation, or files of your own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from harness.command_line import main
from harness.errors import TaskError
from harness.fetch import fetch_url
from harness.files import cache_dir
from harness.task import Allowances, Budget, read_task_file
from harness.text import documents
from harness.text.task import Profile, TextTask

HERE = Path(__file__).resolve().parent
URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
OFFLINE = "use --source python, which needs no network, or --source FILE"

# Shakespeare has 1.1 MB, of which a tenth is held out twice: 80,000 bytes of each are scored at most.
PROFILES = {
    "full": Profile(512, 260, 80_000, 64, 2048, 32 * 10**6, 0, 0, True, Allowances(60, 300, 2**31, 120)),
    "small": Profile(256, 260, 80_000, 64, 2048, 32 * 10**6, 0, 0, True, Allowances(30, 180, 2**30, 120)),
    "tiny": Profile(128, 260, 2**16, 64, 1024, 32 * 10**6, 0, 0, True, Allowances(15, 60, 2**26, 60)),
}


@dataclass(frozen=True, slots=True)
class Options:
    """[options] of autoresearch.toml."""

    tokenizer: ClassVar[str] = "byte"

    profile: str = field(default="tiny", metadata={"choices": tuple(PROFILES), "help": "the scale of the task"})
    source: str = field(default="python", metadata={"help": "shakespeare, python, or the path of text"})
    column: str = field(default="text", metadata={"help": "column or key of the text in parquet and jsonl files"})
    seq_len: int = field(default=0, metadata={"help": "bytes of a row, instead of the profile's"})
    locked: int = field(default=0, metadata={"help": "which fresh locked split; 0 is the one held out at first"})

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise TaskError(f"no profile is called {self.profile!r}; choose from: {', '.join(PROFILES)}")
        if not 0 <= self.seq_len <= 2**20 or not 0 <= self.locked <= 1000:
            raise TaskError("[options] takes seq_len = 0 to 1048576, locked = 0 to 1000")


class Shakespeare(TextTask):
    """The shakespeare task: `harness.task.Task`."""

    name, named = "shakespeare", ("shakespeare", "python")

    def __init__(self, folder: Path, options: Options, budget: Budget) -> None:
        super().__init__(folder, options, budget, PROFILES[options.profile])

    def source_files(self, workers: int = 4) -> dict[Path, int]:
        if self.options.source != "shakespeare":
            return super().source_files(workers)
        path = fetch_url(URL, SHA256, cache_dir() / "shakespeare" / "input.txt", OFFLINE)
        return documents.limited([path], self.profile.text_bytes)


try:
    TASK = Shakespeare(HERE, *read_task_file(HERE, Options))
except TaskError as error:
    raise SystemExit(f"error: {error}") from None
PROFILE, SEQ_LEN, VOCAB_SIZE = TASK.options.profile, TASK.profile.seq_len, TASK.profile.vocab_size

if __name__ == "__main__":
    main(HERE, Options, Shakespeare)
