#!/usr/bin/env bash
# Does the working tree still hold the immutable files of a commit? bash, git and python3 >= 3.11 are all it needs.
set -eu

usage='usage: check-immutable.sh REV

Run inside a workspace, in any folder of it. Reads [files] immutable of autoresearch.toml as it was at REV, and
compares each of those files (all files of a folder) at REV with the working tree and with what is staged: content,
executable bit, kind. The bytes are compared, so no git setting or attribute can hide a change.

exit 0 nothing changed; 4 something did: one line a file; 5 it cannot be told (no repository, no such commit, no
autoresearch.toml at it); 2 usage

example:  scripts/check-immutable.sh HEAD~3'

if [ "${1-}" = --help ] || [ "${1-}" = -h ]; then
  printf '%s\n' "$usage"
  exit 0
fi
if [ $# -ne 1 ] || [ -z "$1" ]; then
  printf 'check-immutable: give one commit; write check-immutable.sh REV\n' >&2
  exit 2
fi
for tool in git python3; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    printf 'check-immutable: %s is not on the PATH; install it\n' "$tool" >&2
    exit 5
  fi
done

# In single quotes, so the program below has no apostrophe.
# shellcheck disable=SC2016
program='
import os
import stat
import subprocess
import sys
from pathlib import Path, PurePosixPath

TOML = "autoresearch.toml"


class CannotTell(Exception):
    pass


def git(*words, ok=(0,)):
    """Return what git prints, as bytes; None when it fails in a way that `ok` does not expect."""
    done = subprocess.run(["git", "--no-replace-objects", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout if done.returncode in ok else None


def line(output):
    return os.fsdecode(output[:-1] if output.endswith(b"\n") else output)


def workspace(rev, prefix):
    """Return the nearest folder upwards that had the task file at `rev`, relative to the top, and that file."""
    folder = PurePosixPath(prefix)
    for at in (folder, *folder.parents):
        content = git("cat-file", "blob", f"{rev}:{at / TOML}")
        if content is not None:
            return at, content
    raise CannotTell(f"no {TOML} at {rev[:12]}; give a commit of a workspace, or run this inside one")


def immutable(content):
    try:
        import tomllib
    except ImportError:
        raise CannotTell("python3 is older than 3.11 and cannot read TOML; put a newer python3 on the PATH") from None
    try:
        paths = tomllib.loads(content.decode("utf-8")).get("files", {}).get("immutable", [])
    except (ValueError, AttributeError, RecursionError) as error:
        raise CannotTell(f"{TOML} at that commit cannot be read ({error}); give another commit") from None
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        raise CannotTell(f"[files] immutable in {TOML} at that commit is not a list of paths; give another commit")
    return paths


def entries(output):
    """Return path -> (mode, hash) of `ls-tree -z` or `ls-files -s -z`."""
    found = {}
    for record in output.split(b"\0"):
        if record:
            meta, _, path = record.partition(b"\t")
            words = meta.decode().split()
            found[os.fsdecode(path)] = (words[0], words[2] if words[1] in ("blob", "commit", "tree") else words[1])
    return found


def difference(top, path, mode, digest, modes_count):
    """Return how the file in the working tree differs from the committed one, or None."""
    file = top / path
    for folder in PurePosixPath(path).parents:
        if (top / folder).is_symlink():
            return f"{folder} is a link now"
    try:
        now = os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return "deleted"
    if mode == "160000":
        return None if stat.S_ISDIR(now.st_mode) else "not a submodule any more"
    if mode == "120000":
        if not stat.S_ISLNK(now.st_mode):
            return "not a link any more"
        content = os.fsencode(os.readlink(file))
    elif stat.S_ISLNK(now.st_mode):
        return "a link now"
    elif not stat.S_ISREG(now.st_mode):
        return "not a file any more"
    else:
        content = file.read_bytes()
    if content != git("cat-file", "blob", digest):
        return "content changed"
    if modes_count and mode != "120000" and bool(now.st_mode & stat.S_IXUSR) != (mode == "100755"):
        return "executable bit changed"
    return None


def check(rev):
    top = git("rev-parse", "--show-toplevel")
    if top is None:
        raise CannotTell("this is not inside a git working tree; go to the workspace")
    prefix = line(git("rev-parse", "--show-prefix"))
    top = Path(line(top))
    commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", rev + "^{commit}")
    if commit is None:
        raise CannotTell(f"no commit {rev!r}; look for one with: git log --oneline")
    commit = line(commit)
    at, content = workspace(commit, prefix)
    os.chdir(top)
    modes_count = line(git("config", "--type=bool", "core.fileMode", ok=(0, 1))) != "false"
    changed, count = {}, 0
    for name in immutable(content):
        path = os.path.normpath(at / name)
        pathspec = ":(top,literal)" + path
        before = entries(git("ls-tree", "-r", "-z", "--full-tree", commit, "--", *([path] if path != "." else [])) or b"")
        staged = entries(git("ls-files", "-s", "-z", "--", pathspec) or b"")
        loose = git("ls-files", "-o", "-z", "--exclude-standard", "--", pathspec) or b""
        count += len(before)
        for path, (mode, digest) in before.items():
            found = difference(top, path, mode, digest, modes_count)
            if found is None and path not in staged:
                found = "staged as deleted"
            if found is None and staged[path] != (mode, digest):
                found = "another version is staged"
            if found is not None:
                changed[path] = found
        for path in [*staged, *map(os.fsdecode, filter(None, loose.split(b"\0")))]:
            if path not in before:
                changed[path] = "not in that commit"
    return changed, count, commit


def main(rev):
    try:
        changed, count, commit = check(rev)
    except CannotTell as error:
        print(shown("check-immutable: " + " ".join(str(error).split())), file=sys.stderr)
        return 5
    except OSError as error:
        print(shown(f"check-immutable: {error.filename}: {error.strerror}; make it readable"), file=sys.stderr)
        return 5
    for path, what in sorted(changed.items()):
        print(shown(f"{path}: {what}"))
    if changed:
        print(f"check-immutable: {len(changed)} immutable file(s) differ from {commit[:12]}", file=sys.stderr)
        return 4
    print(f"{count} immutable file(s) are as in {commit[:12]}")
    return 0


def shown(text):
    """Return a line that a terminal can show: bytes that are not UTF-8 and control characters are spelled out."""
    text = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


sys.exit(main(sys.argv[1]))
'

exec python3 -I -B -X utf8 -c "$program" "$1"
