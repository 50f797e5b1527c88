"""Fetching: files of a dataset of the Hugging Face hub, and files at a URL whose hash is known."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from harness.errors import TaskError
from harness.files import Progress

BLOCK, TIMEOUT_S = 2**20, 60.0


def fetch_from_hub(
    repository: str, paths: list[Path], folder: Path, workers: int, whole: Callable[[Path], bool], instead: str
) -> None:
    """Download what of `paths`, files of a dataset that belong into `folder`, is not there and `whole`.

    By huggingface_hub, which honours HF_ENDPOINT, resumes, and compares sizes. Raises TaskError unless all arrive,
    ending with `instead`, what to do without them.
    """
    missing = [path for path in paths if not whole(path)]
    if not missing:
        return
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    def download(path: Path) -> str:
        """Why it failed, or nothing. The second try begins anew, in case what is there is damaged."""
        reason = ""
        for anew in (False, True):
            try:
                path.unlink(missing_ok=True)
                name = path.relative_to(folder).as_posix()
                hf_hub_download(repository, name, repo_type="dataset", local_dir=folder, force_download=anew)
                if whole(path):
                    return ""
                reason = "what arrived is not a whole file of its kind"
            except Exception as error:  # for the user, every error of hub and network is the same
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        return reason

    disable_progress_bars()
    progress, failures = Progress("download"), {}
    with ThreadPoolExecutor(workers) as pool:
        for number, reason in enumerate(pool.map(download, missing), 1):
            if reason:
                failures[missing[number - 1].name] = reason
            progress.update(f"{number} of {len(missing)} files, {len(failures)} failed")
    if failures:
        name = min(failures)
        raise TaskError(
            f"{len(failures)} of {len(paths)} files did not arrive, first {name} ({failures[name]}); "
            f"run the same command again for the rest, or {instead}"
        )
    progress.done(f"{len(missing)} files to {folder}")


def whole_parquet(path: Path) -> bool:
    """Whether the file is there with a footer that can be read; a truncated download has none."""
    import pyarrow.parquet as pq

    with suppress(OSError, ValueError):  # pyarrow's errors are ValueErrors
        return bool(pq.read_metadata(path).num_rows)
    return False


def fetch_url(url: str, sha256: str, path: Path, instead: str) -> Path:
    """Download `url` to `path` unless it is there; goes on where an earlier call was cut off. Returns `path`.

    Raises TaskError, ending with `instead`, when it does not arrive or is not what the hash says.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part, progress, reason = path.with_name(f"{path.name}.part"), Progress("download"), ""
    for _ in range(2):  # what an earlier call left may be of another file: then once more, from the start
        try:
            _download(url, part, progress)
            with part.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found == sha256:
                part.replace(path)
                progress.done(f"{path.stat().st_size / 1e6:.1f} MB to {path}")
                return path
            reason = f"its SHA-256 is {found}, not {sha256}"
            part.unlink()
        except (OSError, urllib.error.URLError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
    raise TaskError(f"{url} did not arrive ({reason}); run the same command again, or {instead}")


def _download(url: str, part: Path, progress: Progress) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is left to send
            raise
        return
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        length = answer.headers.get("Content-Length")
        while block := answer.read(BLOCK):
            file.write(block)
            progress.update(f"{file.tell() / 1e6:.1f} MB")
        if length is not None and file.tell() - (have if answer.status == 206 else 0) != int(length):
            raise OSError("the connection ended early")
