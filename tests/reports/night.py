"""A workspace after a night in which everything has happened that a journal can tell, and some of it was hostile."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from lab import Repo, new_repo, task_file

from autoresearch.journal import events, import_events, message_events, refused_events
from autoresearch.journal.experiment import Speed
from autoresearch.metrics import Metric
from autoresearch.workspace.workspace import Workspace

EVIL = (
    "</script><img src=x onerror=alert(1)><!-- \x1b[31mred\x1b[0m \u202egnp.exe \u2066x\u2069 \x00 &amp; 'quoted\" `x`"
)
"""What a description, a note, a log line or a diff may be."""

SECRET = "the-secret-of-another-folder"

BEGAN = 1_790_000_000
ENV = {"cpu": "a cpu", "cores": 4, "isolation": "landlock"}
TRACE = bytes(range(1, 32))
"""Control characters, none of which may reach a page."""


def lines(commits: list[str]) -> list[dict[str, Any]]:
    """Return the journal: a segment of another tool, an earlier one, and the one in force with every kind of line."""
    first, second, third = commits
    metric = Metric("loss", "lower", "nats")
    found: list[dict[str, Any]] = [
        import_events.import_line(0, "old", Metric("acc", "higher", ""), BEGAN, "abc", "results.tsv"),
        import_events.imported_line(events.run_line(1, "aaaaaaa", 0.5, {}, "keep", "imported", 0, {}, None)),
        events.config_line(1, "earlier", metric, BEGAN, {"tag": "t", "branch": "autoresearch/t"}),
        events.run_line(2, "bbbbbbb", 9.0, {}, "keep", "baseline", 1, {}, BEGAN, details={"values": [9.0]}),
        events.config_line(2, f"night {EVIL}", metric, BEGAN, {"tag": "t", "branch": "autoresearch/t",
                                                               "sha256": {"bench.sh": "0" * 64}}),
    ]  # fmt: skip

    def experiment(
        n: int, commit: str, parent: str | None, status: str, values: list[float], text: str, **more: Any
    ) -> None:
        asi = more.pop("asi", {"family": "size", "hypothesis": f"why {n}"})
        seeds = [1, *range(10 * n + 1, 10 * n + len(values))]
        at = BEGAN + 100 * n
        found.append(
            events.start_line(n, commit, parent, 1, text, asi, f"f{n}", at, warnings=more.pop("warnings", None))
        )
        screened = parent is not None and len(values) > 1
        kept = values[1:] if screened else values
        details: Any = {"outcome": "ok", "values": values, "seeds": seeds, "screened": screened, "parent": parent,
                        "env": ENV, "reason": f"because of {n}", "alpha": 0.001, **more}  # fmt: skip
        if parent is None:
            details["speeds"] = [Speed(12.5, 1.0, 10.0)] * len(values)
        mean = sum(kept) / len(kept) if kept else None
        memory = {"memory": 100.0 + n}
        found.append(events.run_line(n, commit[:7], mean, memory, status, text, 2, asi, at + 60, details=details))

    experiment(3, first, None, "keep", [5.01, 5.0, 4.99], "baseline", asi={})
    experiment(4, second, first, "keep", [4.0, 4.02, 4.01], EVIL, asi={"hypothesis": EVIL, EVIL: "note"})
    experiment(5, "c" * 40, second, "discard", [4.5], "not it", asi={"family": "schedule"})
    experiment(6, "d" * 40, second, "crash", [], "too big", outcome="oom", reason=f"out of memory {EVIL}")
    experiment(7, "e" * 40, second, "checks_failed", [3.0], "cheap", outcome="checks_failed", reason="a check failed")
    experiment(8, "f" * 40, second, "crash", [], "reads the split", outcome="tampered", reason="changed bench.sh",
               warnings=[f"literal seed {EVIL}"])  # fmt: skip
    experiment(9, third, second, "keep", [3.49, 3.5, 3.52, 3.51], "wider")
    experiment(10, "1" * 40, third, "discard", [3.495, 3.505], "a near miss")
    experiment(11, "2" * 40, third, "discard", [1e308], "exploded")
    found += [
        events.repeat_line(9, 77, 3.5, ENV, BEGAN + 2000, speed=Speed(12.0, 0.9)),
        events.repeat_line(9, 1, 3.49, ENV, BEGAN + 2001),
        events.disturbed_line(10, 5, 3.9, "a load", Speed(1.0, 0.1), BEGAN + 2002),
        events.note_line(5, {"result": EVIL}, BEGAN + 2003),
        message_events.message_line(EVIL, BEGAN + 2004),
        message_events.message_shown_line(1, BEGAN + 2005),
        events.study_line(1, "confirm", {"baseline": 3, "best": 9, "seeds": [90, 91]}, "locked", BEGAN + 2006),
        events.study_run_line(1, third, 90, 3.6, BEGAN + 2007),
        events.study_end_line(1, "done", {"claimed": 1.49, "gain": 1.4, "interval": [1.3, 1.5], "level": 0.95,
                                          "shrinkage": 0.06, "holds": True, "seeds": [90, 91], "baseline": 5.0,
                                          "best": 3.6}, BEGAN + 2008),
        events.study_line(2, "ablate", {"incumbent": 9, "kept": [4, 9], "seeds": [1]}, "search", BEGAN + 2009),
        events.study_end_line(2, "done", {"incumbent": 9, "offered": False, "stack": None, "changes": [
            {"without": [4], "verdict": "pays", "reason": EVIL, "worth": 0.9, "error": 0.02, "seeds": 2},
            {"without": [9], "verdict": "needed", "reason": "no run", "worth": None, "error": None, "seeds": 1},
        ]}, BEGAN + 2010),
        refused_events.refused_line(5, BEGAN + 2011),
        refused_events.refused_line(2, BEGAN + 2012),
        {"type": "line of another tool", "text": EVIL},
        events.start_line(12, "3" * 40, third, 1, "running when the machine stopped", {}, "f12", BEGAN + 2100),
    ]  # fmt: skip
    return found


def make(folder: Path) -> Workspace:
    """Make the workspace in a repository whose second commit has a hostile change, with hostile files of its runs."""
    repo: Repo = new_repo(folder)
    repo.write("autoresearch.toml", task_file(
        metric={"name": "loss", "unit": "nats", "secondary": ["memory"]}, stop={"max_experiments": 10},
        guard={"memory": {"max": 1000.0}},
    ))  # fmt: skip
    commits = [repo.commit("the task")]
    for text in (f"# {EVIL}\n".replace("\0", ""), "echo wider\n"):
        repo.write("src/run.sh", text)
        commits.append(repo.commit("a change"))
    workspace = Workspace(folder)
    repo.write("autoresearch.jsonl", "".join(json.dumps(line) + "\n" for line in lines(commits)))
    repo.write("autoresearch.ideas.md", f"- [ ] {EVIL.replace(chr(0), '')} #size\n- [x] done\n- [ ] another #data\n")
    run_files(workspace)
    laboratory = [events.config_line(0, "selftest", Metric("loss", "lower"), BEGAN)]
    for n, status in ((1, "keep"), (2, "discard"), (3, "keep"), (4, "discard")):
        details: Any = {"values": [1.0], "parent": f"c{n - 1}" if n > 1 else None}
        laboratory.append(events.run_line(n, f"c{n}", 1.0, {}, status, "nothing", 0, {}, BEGAN, details=details))
    repo.write(".autoresearch/selftest/autoresearch.toml", (folder / "autoresearch.toml").read_text("utf-8"))
    repo.write(".autoresearch/selftest/autoresearch.jsonl", "".join(json.dumps(line) + "\n" for line in laboratory))
    return workspace


def run_files(workspace: Workspace) -> None:
    """Write what runs left: logs and curves, a link, a FIFO, something endless, and a link in place of a folder."""
    for n, seed in ((3, 1), (4, 1), (9, 1), (9, 91)):
        place = workspace.run_dir(n, seed)
        place.mkdir(parents=True)
        steps = [{"step": s, "train": 1 / (s + n), "name": EVIL, "no": None} for s in range(0, 100, 5)]
        text = "".join(json.dumps(step) + "\n" for step in steps)
        (place / "curve.jsonl").write_text(f'{text}no json\n[1, 2]\n{{"step": NaN}}\n{{"step": 1, "train": 1e999}}\n')
        (place / "run.log").write_text("x" * 100_000 + f"\n{EVIL}\nthe last line\n")
    outside = workspace.root.parent / "outside"
    (outside / "9").mkdir(parents=True)
    (outside / "run.log").write_text(SECRET)
    (outside / "curve.jsonl").write_text(f'{{"step": 1, "{SECRET}": 2}}\n')
    for name in ("run.log", "curve.jsonl"):
        (outside / "9" / name).write_text((outside / name).read_text())
    linked = workspace.run_dir(5, 1)
    linked.mkdir(parents=True)
    (linked / "run.log").symlink_to(outside / "run.log")
    os.mkfifo(linked / "curve.jsonl")
    workspace.run_dir(6, 1).parent.mkdir(parents=True)
    workspace.run_dir(6, 1).symlink_to(outside)
    workspace.run_dir(8, 1).parent.symlink_to(outside)
    if sys.platform == "linux":
        endless = workspace.run_dir(7, 1)
        endless.mkdir(parents=True)
        (endless / "run.log").symlink_to("/dev/zero")
        (endless / "curve.jsonl").mkdir()
