#!/usr/bin/env bash
# Filter the output of a run for its METRIC lines. bash and python3 are all it needs.
set -eu

usage='usage: parse-metrics.sh [NAME | --pattern REGEX [--unit UNIT]] < output

Reads the output of a run on standard input and prints its METRIC lines as name=value, one a line; a repeated name
keeps its last value. With NAME, prints that value alone. With a regular expression that has one group, prints the
number of its last match, as [metric] pattern does.

exit 0 found, 1 no such metric or a malformed number (said on stderr), 2 usage

example:  python train.py 2>&1 | scripts/parse-metrics.sh val_bpb'

if [ "${1-}" = --help ] || [ "${1-}" = -h ]; then
  printf '%s\n' "$usage"
  exit 0
fi
if ! command -v python3 >/dev/null 2>&1; then
  printf 'parse-metrics: python3 is not on the PATH; install it\n' >&2
  exit 1
fi

script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do
  folder=$(cd -P -- "$(dirname -- "$script")" && pwd)
  script=$(readlink -- "$script")
  case $script in /*) ;; *) script=$folder/$script ;; esac
done
root=$(cd -P -- "$(dirname -- "$script")/.." && pwd)

# -I: neither the environment nor the folder of the run may change what is imported.
exec python3 -I -B -X utf8 "$root/src/autoresearch/metrics.py" "$@"
