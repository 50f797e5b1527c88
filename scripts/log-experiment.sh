#!/usr/bin/env bash
# Append one line to the journal. bash and python3 are all it needs.
set -eu

usage='usage: log-experiment.sh --run N --commit HASH --status STATUS --description TEXT [--metric NUMBER] [...]
       log-experiment.sh --config --metric-name NAME --direction lower|higher [--name TEXT] [--metric-unit TEXT]

Appends one run line, or with --config one config line (a new segment), to the journal. All or nothing: a line is
whole or it is not there, and any number of these may write one journal at the same time.

  --run N              number of the experiment, from 1
  --commit HASH        its commit
  --status STATUS      keep, discard, crash or checks_failed
  --description TEXT   what was tried
  --metric NUMBER      the value; leave it out (or write null) when there is none. A crash has none: 0 becomes null
  --metrics JSON       other values, such as {"peak_vram_mb": 45060}
  --segment N          default: the segment of the last config line
  --confidence NUMBER  for other readers of the journal; may be null
  --asi JSON           what was learned, such as {"hypothesis": "..."}
  --file PATH          the journal; default ./autoresearch.jsonl

exit 0 written; 1 the journal cannot take it; 2 usage. With 1 and 2 nothing is written and stderr says why.

example:  scripts/log-experiment.sh --run 5 --commit abc1234 --metric 0.9931 --status keep --description "wider MLP"'

if [ "${1-}" = --help ] || [ "${1-}" = -h ]; then
  printf '%s\n' "$usage"
  exit 0
fi
if ! command -v python3 >/dev/null 2>&1; then
  printf 'log-experiment: python3 is not on the PATH; install it\n' >&2
  exit 1
fi

script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do
  folder=$(cd -P -- "$(dirname -- "$script")" && pwd)
  script=$(readlink -- "$script")
  case $script in /*) ;; *) script=$folder/$script ;; esac
done
folder=$(cd -P -- "$(dirname -- "$script")" && pwd)

# -I: neither the environment nor the folder of the run may change what is imported.
exec python3 -I -B -X utf8 "$folder/log_experiment.py" "$@"
