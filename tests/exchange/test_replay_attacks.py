"""Bundles that a stranger has made: tricks with paths, links, sizes, hashes and refs are refused in one sentence."""

from __future__ import annotations

import json
import shutil
import stat
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import stacked
from lab import Called, Lab, call
from made_once import made_once

from autoresearch.exchange import archive, replay
from autoresearch.exchange.archive import write_archive
from autoresearch.exchange.bundle import fold_digest, git_bundle
from autoresearch.system.git import Git
from autoresearch.workspace.session_journal import session_of

Entry = tuple[zipfile.ZipInfo, bytes]
Change = Callable[[list[Entry]], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a session, `lab`, and its bundle, `good.zip`; for reading."""
    session = made_once(tmp_path_factory, "stacked", stacked.make) / "lab"

    def make(folder: Path) -> None:
        shutil.copytree(session, folder / "lab", symlinks=True)
        done = Lab(folder / "lab").call("bundle", "-o", str(folder / "good.zip"))
        assert done.code == 0, done

    return made_once(tmp_path_factory, "bundled", make)


def verified(path: Path) -> Called:
    return call("replay", str(path), "--verify-only", cwd=path.parent)


def assert_refused(done: Called, why: str) -> None:
    assert done.code == 4 and done.out == "" and done.err.count("\n") == 1, done
    assert "is refused: " in done.err and why in done.err, done


def rezipped(good: Path, to: Path, change: Change) -> Path:
    """Write the entries of a zip anew, as they are changed."""
    with zipfile.ZipFile(good) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    change(entries)
    with zipfile.ZipFile(to, "w") as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return to


def named(name: str, kind: int = stat.S_IFREG) -> Change:
    def change(entries: list[Entry]) -> None:
        info = zipfile.ZipInfo("x")
        info.filename, info.external_attr = name, (kind | 0o644) << 16
        entries.append((info, b"/etc/passwd"))

    return change


def replaced(name: str, content: bytes) -> Change:
    def change(entries: list[Entry]) -> None:
        at = next(at for at, (info, _) in enumerate(entries) if info.filename == name)
        entries[at] = (entries[at][0], content)

    return change


def without(name: str) -> Change:
    def change(entries: list[Entry]) -> None:
        entries[:] = [entry for entry in entries if entry[0].filename != name]

    return change


def stored_twice(entries: list[Entry]) -> None:
    entries.append((zipfile.ZipInfo("Report.HTML"), b"other"))


def packed_otherwise(entries: list[Entry]) -> None:
    entries[1][0].compress_type = zipfile.ZIP_BZIP2


TRICKS: dict[str, tuple[Change, str]] = {
    **{
        f"name {name!r}": (named(name), "is no name of a file in a bundle")
        for name in ("../evil", "/etc/evil", "a/../../evil", "a\\evil", "C:evil", ".git/hooks/post-checkout", "a//b",
                     "runs/../x", "x/", "a\nb", "ｅvil", "a/b/c/d/e/f/g")
    },
    "a link": (named("link", stat.S_IFLNK), "is a link"),
    "a device": (named("device", stat.S_IFCHR), "is a link, or no file at all"),
    "a file more": (named("more.txt"), "names other files than it has"),
    "a file twice": (stored_twice, "is in it twice"),
    "a file less": (without("report.html"), "names other files than it has"),
    "no manifest": (without("manifest.json"), "it has no manifest.json"),
    "another content": (replaced("REPLAY.md", b"x"), "REPLAY.md is not what its manifest says"),
    "a manifest that is no JSON": (replaced("manifest.json", b"{"), "cannot be read"),
    "a manifest that is too deep": (replaced("manifest.json", b"[" * 100_000), "cannot be read"),
    "a manifest of another kind": (replaced("manifest.json", b"[1]"), "is none of a bundle"),
    "a manifest of tomorrow": (replaced("manifest.json", b'{"format": 2}'), "made by a newer autoresearch"),
    "files that are no table": (replaced("manifest.json", b'{"format": 1, "files": 3}'), "names other files"),
    "another compression": (packed_otherwise, "is packed in a way that no bundle is"),
}  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_with_the_zip_is_refused(made: Path, tmp_path: Path, trick: str) -> None:
    change, why = TRICKS[trick]
    assert_refused(verified(rezipped(made / "good.zip", tmp_path / "bad.zip", change)), why)


def test_a_content_of_the_same_size_with_another_hash_is_refused(made: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(made / "good.zip") as archive:
        page = archive.read("REPLAY.md")
    bad = rezipped(made / "good.zip", tmp_path / "bad.zip", replaced("REPLAY.md", page[:-1] + b"?"))
    assert_refused(verified(bad), "REPLAY.md is not what its manifest says")


def test_a_bomb_is_refused_before_it_is_unpacked(made: Path, tmp_path: Path) -> None:
    content = bytearray((made / "good.zip").read_bytes())
    # The size in the entry of the last file in the central directory: 22 bytes in, four long.
    at = content.rfind(b"PK\x01\x02")
    content[at + 24 : at + 28] = (2**32 - 2).to_bytes(4, "little")
    (tmp_path / "bomb.zip").write_bytes(content)
    assert_refused(verified(tmp_path / "bomb.zip"), "claims to unpack to 4294967294 bytes")


def test_a_file_that_holds_more_than_it_says_is_refused(made: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(made / "good.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    manifest["files"]["REPLAY.md"]["bytes"] = 10
    bad = rezipped(made / "good.zip", tmp_path / "b.zip", replaced("manifest.json", json.dumps(manifest).encode()))
    assert_refused(verified(bad), "REPLAY.md is not what its manifest says")


@pytest.mark.slow
def test_a_torn_or_damaged_file_is_refused_and_never_a_traceback(made: Path, tmp_path: Path) -> None:
    content, rng, path = (made / "good.zip").read_bytes(), Random(5), tmp_path / "torn.zip"
    for size in (0, 1, 100, len(content) // 2, len(content) - 30, len(content) - 1):
        path.write_bytes(content[:size])
        assert_refused(verified(path), "")
    passed = 0
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 4])):
            damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        done = verified(path)
        passed += done.code == 0
        assert done.code == 0 or (done.code == 4 and done.err.count("\n") == 1), done
    assert passed < 30  # only what nobody reads may differ: times, and the names before the files


def test_what_is_no_bundle_is_told(tmp_path: Path) -> None:
    assert call("replay", "nothing.zip", "--verify-only", cwd=tmp_path).code == 2
    (tmp_path / "text.zip").write_text("not a zip")
    assert_refused(verified(tmp_path / "text.zip"), "it is no whole zip file")


# --- what has right hashes, and lies ---


def forged(good: Path, to: Path, about: dict[str, Any], files: dict[str, bytes]) -> Path:
    """Write a bundle with other files and another manifest, all hashes right."""
    with zipfile.ZipFile(good) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        content = {name: archive.read(name) for name in manifest.pop("files")}
    manifest.pop("format")
    write_archive(to, {**content, **files}, {**manifest, **about})
    return to


def test_a_journal_that_was_changed_is_refused_though_its_hash_is_right(made: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(made / "good.zip") as archive:
        journal = archive.read("autoresearch.jsonl")
    better = journal.replace(b'"metric":350.0', b'"metric":35.0')
    assert better != journal
    deep = b'{"type":"note","experiment":2,"asi":{"a":' + b"[" * 900 + b"]" * 900 + b"}}\n"
    for content, why in (
        *((better, "folds to another session"), (b"{}\nx\n", "is not JSON"), (b"", "folds to another")),
        (journal + deep, "its journal "),
    ):
        bad = forged(made / "good.zip", tmp_path / "bad.zip", {}, {"autoresearch.jsonl": content})
        assert_refused(verified(bad), why)


def test_a_metric_whose_name_begins_another_line_is_refused(made: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(made / "good.zip") as good:
        journal = good.read("autoresearch.jsonl")
    other = journal.replace(b'"metricName":"total_ms"', b'"metricName":"total_ms\\nall is well"')
    assert other != journal
    about = {"fold": fold_digest(session_of(other))}
    bad = forged(made / "good.zip", tmp_path / "bad.zip", about, {"autoresearch.jsonl": other})
    assert_refused(verified(bad), "its metric has a name or a unit with control characters")


@pytest.mark.parametrize("folder", ["../out/", "/", "a/../../out/", ".git/x/", "a/.GIT/", 7, None])
def test_a_workspace_outside_of_its_repository_is_refused(made: Path, tmp_path: Path, folder: object) -> None:
    forged(made / "good.zip", tmp_path / "bad.zip", {"folder": folder}, {})
    assert_refused(call("replay", "bad.zip", "place", cwd=tmp_path), "its workspace is outside of its repository")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.zip"]


def test_refs_of_others_and_commits_that_are_not_there_are_refused(made: Path, tmp_path: Path) -> None:
    git = Git(made / "lab")
    heads = {ref: name for ref, name in git.targets("refs/heads/autoresearch", "refs/autoresearch/t").items()
             if "journal" not in ref}  # fmt: skip
    main = git.resolve("refs/heads/main") or ""
    cases = [
        ({**heads, "refs/heads/main": main}, True, "a ref that is not of its session"),
        ({**heads, "refs/autoresearch/other/1": main}, True, "a ref that is not of its session"),
        ({**heads, "refs/heads/autoresearch/t": main}, False, "is not that of its session"),
    ]
    for wrong, told, why in cases:
        about = {"heads": wrong} if told else {}
        forged(made / "good.zip", tmp_path / "bad.zip", about, {"repo.bundle": git_bundle(git, wrong)})
        assert_refused(call("replay", "bad.zip", "place", cwd=tmp_path), why)
    for content in (b"", b"# v2 git bundle\n", git_bundle(git, heads)[:-40]):
        forged(made / "good.zip", tmp_path / "bad.zip", {}, {"repo.bundle": content})
        assert_refused(call("replay", "bad.zip", "place", cwd=tmp_path), "repo.bundle ")
    forged(made / "good.zip", tmp_path / "bad.zip", {"heads": ["x"]}, {})
    assert_refused(call("replay", "bad.zip", "place", cwd=tmp_path), "its manifest names no commits")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.zip"]


def test_what_its_commits_unpack_to_is_bounded(
    stack: Lab, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = Git(stack.root)
    heads = {ref: name for ref, name in git.targets("refs/autoresearch/t").items() if "journal" not in ref}
    tip = git.resolve("refs/heads/autoresearch/t") or ""
    zeros = git.run("hash-object", "-w", "--stdin", input=bytes(2**22)).stdout.decode().strip()
    tree = git.run("mktree", input=f"100644 blob {zeros}\tzeros\n".encode()).stdout.decode().strip()
    empty = git.run("mktree", input=b"").stdout.decode().strip()
    for _ in range(2):  # ten in each of ten: seven more times, and no disk would have room
        tens = ("".join(f"040000 tree {of}\t{n}\n" for n in range(10)) for of in (empty, tree))
        empty, tree = (git.run("mktree", input=ten.encode()).stdout.decode().strip() for ten in tens)
    for of, limit, most, why in (
        (tree, "MOST_BYTES", 2**28, "a commit of repo.bundle unpacks to more than 0 GiB"),
        (empty, "MOST_FILES", 100, "a commit of repo.bundle unpacks to more than 100 files"),
        (tree, "MOST_OBJECT", 2**21, "repo.bundle cannot be read by git"),
    ):
        commit = git.text("commit-tree", "-p", tip, "-m", "a bomb", of).strip()
        told = {**heads, "refs/heads/autoresearch/t": commit}
        forged(made / "good.zip", tmp_path / "bad.zip", {"heads": told}, {"repo.bundle": git_bundle(git, told)})
        with monkeypatch.context() as patch:
            patch.setattr(replay, limit, most)
            assert_refused(call("replay", "bad.zip", "place", cwd=tmp_path), why)
        assert not (tmp_path / "place").exists()


def test_what_is_read_into_memory_is_bounded_whatever_the_zip_says(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged(made / "good.zip", tmp_path / "large.zip", {}, {"autoresearch.jsonl": b"\n" * 2**16})
    with monkeypatch.context() as patch:
        patch.setattr(archive, "MOST_READ", 2**15)
        assert_refused(verified(tmp_path / "large.zip"), "autoresearch.jsonl has more than 0 GiB")
    zeros = rezipped(made / "good.zip", tmp_path / "b.zip", replaced("manifest.json", bytes(2**26)))
    content = bytearray(zeros.read_bytes())
    at = content.find(b"manifest.json", content.find(b"PK\x01\x02")) - 46  # its entry in the central directory
    content[at + 24 : at + 28] = (100).to_bytes(4, "little")
    (tmp_path / "b.zip").write_bytes(content)
    tracemalloc.start()
    try:
        assert_refused(verified(tmp_path / "b.zip"), "its manifest.json cannot be read")
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "link", [".claude", *(pytest.param(name, marks=pytest.mark.slow) for name in (".autoresearch", "src/out", "x.md"))]
)
def test_a_link_of_the_repository_that_leads_out_is_refused_and_nothing_is_written_there(
    stack: Lab, made: Path, tmp_path: Path, link: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    up = "../" * link.count("/")
    for target in (str(outside), f"{up}../outside", f"{up}../it/src", f"{up}../place/src", f"{up}.git/hooks"):
        stack.git("switch", "-q", "--detach", "autoresearch/t")
        place = stack.root / link
        aside = tmp_path / "aside"
        if place.exists():
            place.rename(aside)
        place.symlink_to(target)
        stack.git("add", "-f", link)
        stack.git("commit", "-qm", "a link")
        git = Git(stack.root)
        heads = {ref: name for ref, name in git.targets("refs/autoresearch/t").items() if "journal" not in ref}
        heads["refs/heads/autoresearch/t"] = git.head() or ""
        files = {"repo.bundle": git_bundle(git, heads)}
        place.unlink()
        stack.git("reset", "-q", "autoresearch/t")
        if aside.exists():
            aside.rename(place)
        forged(made / "good.zip", tmp_path / "bad.zip", {"heads": heads}, files)
        assert_refused(call("replay", "bad.zip", "place", cwd=tmp_path), "has a link that leads out of it")
        assert [*outside.iterdir()] == [] and not (tmp_path / "place").exists()
