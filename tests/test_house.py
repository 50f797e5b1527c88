"""The rules of the house, checked on the tracked files. Each rule is also shown a bad example that it must catch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "autoresearch"
ROOMS = ("errors", "escaping", "metrics", "statistics", "journal", "system", "workspace", "runs", "workers",
         "experiments", "studies", "search", "models", "reports", "loop", "exchange", "cli")  # fmt: skip
"""A room, which is a folder or a module at the top, imports only itself and what stands before it."""
PURE_ROOMS = {"errors", "escaping", "metrics", "statistics", "journal"}
PURE_MODULES = {
    "experiments.stop",
    "runs.measurement",
    "runs.turn",
    "experiments.pace",
    "experiments.decide",
    "experiments.disturbance",
    "experiments.evidence",
    "experiments.code_fingerprint",
    "experiments.code_review",
    "studies.policy_replay",
    "reports.comparison",
    "search.families",
    "search.history",
    "workspace.metric_names",
}
"""Pure by name, in rooms that are not."""
NOT_PURE = {"autoresearch.journal.file"}
"""The one of a pure room that is not."""
IMPURE = {"os", "time", "random", "subprocess", "pathlib", "datetime", "secrets", "uuid", "socket", "threading"}
"""Files, processes, clock and randomness, except as arguments."""
NUMERICS = {"numpy"}
"""What `statistics` may compute with."""
SHELL_SIDE = {"autoresearch.metrics"} | {
    f"autoresearch.journal.{name}"
    for name in (
        *("statuses", "file", "events", "import_events", "fields", "experiment", "segment", "study"),
        *("loop_events", "loop", "ledger"),
    )
}
"""What the shell helpers run with a bare python3, and what that imports when it reads."""
OPTIONAL = {"orjson"}
"""What they use when it is there; tests/test_scripts.py runs them with a bare python3, where it is not."""
MAX_LINES = 400
MAX_TASK_LINES = {"train": 601, "prepare": 501}
MAX_HARNESS_LINES = 250
"""A task is read in one sitting, so each of its two programs is one file."""


def tracked(pattern: str = "*") -> list[Path]:
    """Return the tracked files; in a copy without git, all files but those of environments and caches."""
    done = subprocess.run(["git", "ls-files", "-z", "--", pattern], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        paths = [ROOT / name for name in done.stdout.split("\0") if name]
    else:
        hidden = {".venv", "__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
        paths = [path for path in ROOT.rglob(pattern) if not hidden & set(path.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file()]


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = {module_of(path) for path in MODULES}


def imports(source: str, module: str) -> Iterator[tuple[int, str, bool]]:
    """Yield (line, imported module, whether at module level) for each import, also by name at run time."""
    tree = ast.parse(source)
    inner = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            base = ".".join(part for part in (base, node.module or "") if part)
            # `from package import module` imports the module, not only the package.
            found = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in NAMES else base for alias in node.names]
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                found = [str(first.value)]
        for name in found:
            yield node.lineno, name, node not in inner


def room_of(module: str) -> str:
    """Return the room of a module; the program itself belongs to the command line."""
    name = module.split(".")[1] if "." in module else ""
    return "cli" if name == "__main__" else name


def is_pure(module: str) -> bool:
    inside = module.removeprefix("autoresearch.")
    return (room_of(module) in PURE_ROOMS and module not in NOT_PURE) or inside in PURE_MODULES


def import_offences(source: str, module: str) -> list[str]:
    """Return what in a module breaks the order of the rooms or the purity of some, one line each."""
    offences = []
    room, pure = room_of(module), is_pure(module)
    allowed = ROOMS[: ROOMS.index(room) + 1] if room in ROOMS else ()
    for line, name, _ in imports(source, module):
        root = name.split(".")[0]
        ours = root == "autoresearch"
        bad = root == "torch"
        bad |= ours and room_of(name) in ROOMS and room_of(name) not in allowed
        if pure:
            third_party = (
                root not in sys.stdlib_module_names and not ours and not (room == "statistics" and root in NUMERICS)
            )
            bad |= root in IMPURE or third_party or (ours and room_of(name) in ROOMS and not is_pure(name))
        if module in SHELL_SIDE:
            bad |= root not in {*sys.stdlib_module_names, *OPTIONAL} and name not in SHELL_SIDE
        if bad:
            offences.append(f"{module} line {line} imports {name}")
    return offences


def test_rooms_import_themselves_and_rooms_above_them() -> None:
    offences = [o for path in MODULES for o in import_offences(path.read_text("utf-8"), module_of(path))]
    assert offences == []


def test_the_shell_helpers_import_only_what_needs_nothing_else() -> None:
    source = (ROOT / "scripts/log_experiment.py").read_text("utf-8")
    ours = {name for _, name, _ in imports(source, "log_experiment") if name.startswith("autoresearch")}
    assert ours and ours <= SHELL_SIDE


def test_every_module_is_in_a_room() -> None:
    assert {module_of(path) for path in MODULES if room_of(module_of(path)) not in ROOMS} == {"autoresearch"}
    assert {f"autoresearch.{name}" for name in PURE_MODULES} | NOT_PURE | SHELL_SIDE <= NAMES


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("autoresearch.statistics.x", "from autoresearch.journal import session"),
        ("autoresearch.metrics", "from autoresearch.journal.session import replay"),
        ("autoresearch.journal.x", "from ..system.git import Git"),
        ("autoresearch.journal.x", "from . import file"),
        ("autoresearch.journal.session", "from autoresearch.journal import file as journal"),
        ("autoresearch.journal.x", "def f():\n    import autoresearch.experiments.decide"),
        ("autoresearch.journal.x", "import os.path"),
        ("autoresearch.journal.x", "def f():\n    from time import time"),
        ("autoresearch.journal.x", "from datetime import date"),
        ("autoresearch.journal.x", "import pydantic"),
        ("autoresearch.journal.x", "import numpy"),
        ("autoresearch.statistics.x", "import scipy"),
        ("autoresearch.statistics.x", "from random import Random"),
        ("autoresearch.experiments.evidence", "from autoresearch.system import git"),
        ("autoresearch.experiments.evidence", "from autoresearch.experiments.attempt import attempt"),
        ("autoresearch.search.history", "import subprocess"),
        ("autoresearch.system.x", "from autoresearch import workspace, metrics"),
        ("autoresearch.system.process", "from autoresearch.runs.isolation.sandbox import Access"),
        ("autoresearch.workspace.init", "from autoresearch.experiments.preflight import check_stop"),
        ("autoresearch.runs.isolation.x", "from autoresearch.experiments import recovery"),
        ("autoresearch.experiments.x", "from autoresearch.studies import study"),
        ("autoresearch.studies.x", "from autoresearch.reports.views import number"),
        ("autoresearch.exchange.x", "from autoresearch.cli import output"),
        ("autoresearch.cli.x", "def f():\n    import torch"),
        ("autoresearch.runs.x", "def f():\n    from torch.nn import Linear"),
        ("autoresearch.runs.x", "import importlib\ndef f():\n    return importlib.import_module('torch')"),
        ("autoresearch.errors", "from autoresearch.journal.statuses import STATUSES"),
        ("autoresearch.journal.file", "import filelock"),
    ],
)
def test_an_import_that_points_up_or_out_is_found(module: str, source: str) -> None:
    assert import_offences(source, module) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("autoresearch.journal.x", "import math\nfrom autoresearch.journal import statuses\nfrom . import segment"),
        ("autoresearch.system.x", "import psutil\nfrom autoresearch.errors import UsageError"),
        ("autoresearch.cli.x", "from autoresearch import __version__\nfrom autoresearch.experiments import decide"),
        ("autoresearch.__main__", "from autoresearch.cli.app import main"),
        ("autoresearch.runs.x", "from importlib.util import find_spec\nfind_spec('torch')"),
        ("autoresearch.experiments.evidence", "from autoresearch.statistics.decision import Rules"),
        ("autoresearch.journal.file", "import json\nfrom autoresearch.journal.statuses import STATUSES"),
    ],
)
def test_an_import_that_points_down_passes(module: str, source: str) -> None:
    assert import_offences(source, module) == []


def too_long(lines: int, path: str) -> bool:
    task = re.fullmatch(r"assets/tasks/[^/]+/(prepare|train)\.py", path)
    if path.startswith("assets/harness/"):
        return lines > MAX_HARNESS_LINES
    return lines >= MAX_TASK_LINES[task[1]] if task else path.startswith("src/") and lines > MAX_LINES


def test_no_module_is_two_modules() -> None:
    assert [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in tracked("*.py")
        if too_long(lines := len(path.read_text("utf-8").splitlines()), path.relative_to(ROOT).as_posix())
    ] == []


def test_a_module_that_is_too_long_is_found() -> None:
    assert too_long(401, "src/autoresearch/journal/x.py") and not too_long(400, "src/autoresearch/journal/x.py")
    assert too_long(501, "assets/tasks/a/prepare.py") and not too_long(500, "assets/tasks/a/prepare.py")
    assert too_long(601, "assets/tasks/a/train.py") and not too_long(600, "assets/tasks/a/train.py")
    assert too_long(251, "assets/harness/x.py") and not too_long(250, "assets/harness/text/x.py")
    assert not too_long(2000, "tests/test_x.py")


MAX_CHART_LINES = 250
"""Of the one module that draws in report and page: it is read in one sitting, and stays ours."""


def page_offences(name: str, text: str) -> list[str]:
    """Return what a script or a style sheet of report and page may not have."""
    lines = text.splitlines()
    long = [f"{name}: {len(lines)} lines"] if name == "chart.js" and len(lines) > MAX_CHART_LINES else []
    wide = [f"{name} line {n} is too long" for n, line in enumerate(lines, 1) if len(line) > 120]
    markup = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|https?://|@import", text
    )
    return [*long, *wide, *(f"{name}: {word}" for word in markup)]


def test_scripts_of_report_and_page_are_short_make_no_markup_and_fetch_nothing_from_elsewhere() -> None:
    scripts = {path.name: path.read_text("utf-8") for path in (PACKAGE / "reports" / "static").iterdir()}
    assert {"audit.js", "chart.js", "sections.js", "page.js", "report.js", "style.css"} == {*scripts}
    assert [offence for name, text in scripts.items() for offence in page_offences(name, text)] == []


def test_a_script_that_may_not_be_is_found() -> None:
    for name, text in (("chart.js", "\n" * 251), ("x.js", "a.innerHTML = b"), ("x.js", "x" * 121),
                       ("x.css", "@import 'y'"), ("x.js", "fetch('https://example.org')")):  # fmt: skip
        assert page_offences(name, text), text
    assert page_offences("page.js", "\n" * 400) == []


METRIC_NAMES = ("peak_vram_mb", "peak_ram_mb", "val_bpb", "num_params_M", "tokens_per_s", "mfu_percent")
MAY_NAME_A_METRIC = {
    "workspace/task_file.py": "the metric of `max_memory_mb`, an old key",
    "exchange/tables.py": "the column memory_gb of the field's table",
    "exchange/foreign_columns.py": "likewise",
}
"""File -> why. What a task measures is the task's to name."""


def metric_names(text: str) -> list[str]:
    return [name for name in METRIC_NAMES if re.search(rf"\b{name}\b", text)]


def test_the_package_names_no_metric() -> None:
    found = {path.relative_to(PACKAGE).as_posix(): metric_names(path.read_text("utf-8")) for path in MODULES}
    assert {path: names for path, names in found.items() if names and path not in MAY_NAME_A_METRIC} == {}
    assert metric_names("e.metrics.get('peak_vram_mb')") and not metric_names("peak_vram_mbs")


# Spelled with brackets and pieces, so that this file does not contain what it forbids.
HOSTS = "|".join(
    name.replace("/", r"\.")
    for name in ("pypi/org", "pythonhosted/org", "npmjs/org", "npmjs/com", "anaconda/org", "crates/io", "rubygems/org")
)
REGISTRY = re.compile(rf"(?<![\w-])(?:[\w-]+\.)*(?:{HOSTS})(?![\w-])")
BUILD_MACHINE = re.compile(r"(?<![\w.~$}{\])*/-])/(?:[w]ork|[r]oot|[h]ome/\w+|[U]sers/\w+|[t]mp/wt|[b]uilds?)/\w")


def place_offences(text: str) -> list[str]:
    return [match[0] for pattern in (REGISTRY, BUILD_MACHINE) for match in pattern.finditer(text)]


def test_no_tracked_file_names_a_registry_or_a_place_of_the_build_machine() -> None:
    found = {
        str(path.relative_to(ROOT)): place_offences(path.read_bytes().decode("utf-8", "replace")) for path in tracked()
    }
    assert {path: offences for path, offences in found.items() if offences} == {}


@pytest.mark.parametrize("host", ["pypi/org", "files/pythonhosted/org", "registry/npmjs/org", "conda/anaconda/org"])
@pytest.mark.parametrize("before", ["", '"', "https://", "index-url = https://", "https://user@"])
def test_a_registry_is_found(before: str, host: str) -> None:
    assert place_offences(f"a\n{before}{host.replace('/', '.')}/simple") != []


@pytest.mark.parametrize("folder", ["work", "root", "home me", "Users me", "tmp wt"])
@pytest.mark.parametrize("before", ["", " ", '"', "=", "(", "`", "cwd: "])
def test_a_place_of_a_machine_is_found(before: str, folder: str) -> None:
    assert place_offences("\n" + before + "/".join(["", *folder.split(), "x.py"])) != []


def test_other_paths_and_hosts_pass() -> None:
    folder = "work"
    fine = f"https://example.org/{folder}/x src/root/x ~/{folder}/x $HOME/{folder}/x /{folder}space/x ./{folder}/x"
    assert place_offences(f"{fine} happypy{'pi.org'}anic a/home/me/x") == []


def test_the_lock_file_is_not_tracked() -> None:
    # It would pin the registry of the machine that made it.
    assert [path.name for path in tracked() if path.name == "uv.lock" and (ROOT / ".git").exists()] == []


INLINE = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)", re.M)


def prose(markdown: str) -> str:
    """Return markdown without its code, in which brackets mean something else."""
    markdown = re.sub(r"^( *)(```+|~~~+)[^\n]*\n.*?^ *\2[`~]* *$", "", markdown, flags=re.M | re.S)
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", markdown)


def slugs(markdown: str) -> set[str]:
    """Return the anchors that the headings of a page have on GitHub."""
    headings = re.findall(r"^#+\s+(.+?)\s*#*$", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(markdown: str, folder: Path) -> list[str]:
    """Return the relative links of a page in `folder` that lead nowhere."""
    dead = []
    text = prose(markdown)
    for target in INLINE.findall(text) + REFERENCE.findall(text):
        if re.match(r"[a-z][a-z0-9+.-]*:|//", target, flags=re.I):
            continue
        file, _, anchor = target.partition("#")
        page = folder / file if file else None
        if page is not None and not page.exists():
            dead.append(target)
            continue
        text_there = markdown if page is None else page.read_text("utf-8") if page.suffix == ".md" else ""
        if anchor and text_there and anchor.lower() not in slugs(text_there):
            dead.append(target)
    return dead


def test_every_relative_link_in_a_tracked_page_leads_somewhere() -> None:
    found = {str(page.relative_to(ROOT)): dead_links(page.read_text("utf-8"), page.parent) for page in tracked("*.md")}
    assert {page: links for page, links in found.items() if links} == {}


def test_the_ten_questions_of_a_newcomer_lead_to_what_is_there() -> None:
    page = (ROOT / "CLAUDE.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+\?) \| (.+) \|$", page.partition("## Ten questions")[2].partition("\n## ")[0], re.M)
    assert len(rows) == 10
    for question, answer in rows:
        path, *names = re.findall(r"`([^`]+)`", answer)
        assert (ROOT / path).exists(), question
        if path.endswith(".py") and names:  # what it says is in there
            assert re.search(rf"\b{names[0].rpartition('.')[2]}\b", (ROOT / path).read_text("utf-8")), question
    notions = page.partition("## Ten notions")[2].partition("\n## ")[0]
    assert len(re.findall(r"^- ", notions, re.M)) == 10


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "here.md").write_text("# A Title: of it\n")
    page = """# Top
[a](gone.md) ![b](gone.png "title") [c](here.md) [d](here.md#a-title-of-it) [e](here.md#other) [f](#top) [g](#gone)
[![badge](gone.svg)](here.md) [h](https://example.org/x) [i](mailto:a@b) `[j](code.md)` [k][ref] <https://x.org>

```sh
[l](fenced.md)
```

[ref]: gone-reference.md
"""
    assert sorted(dead_links(page, tmp_path)) == sorted(
        ["gone.md", "gone.png", "here.md#other", "#gone", "gone.svg", "gone-reference.md"]
    )
