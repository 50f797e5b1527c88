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

script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do
  folder=$(cd -P -- "$(dirname -- "$script")" && pwd)
  script=$(readlink -- "$script")
  case $script in /*) ;; *) script=$folder/$script ;; esac
done
folder=$(cd -P -- "$(dirname -- "$script")" && pwd)

# -I: neither the environment nor the folder of the run may change what is imported.
exec python3 -I -B -X utf8 "$folder/check_immutable.py" "$1"
