"""CPU seconds of the suite, children included, by folder: printed after every run, and a run past its share fails.

Seconds of the wall say how busy a machine was; CPU seconds say what the tests cost. A process that was started in a
test counts when somebody has waited for it, which every test does. The table says what each folder may cost; whoever
needs more takes it from another, for the sum is fixed. Tests of which each commit draws others (drawn.py), and what the
first of several tests makes for all of them (made_once.py), have a row of their own, or a folder's seconds would depend
on the draw and on who was first. A run of all tests (AUTORESEARCH_EVERY) has no bound.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import made_once
import pytest
from cpu_seconds import seconds
from drawn import EVERY

ALL = 900
QUICK = 250
"""CPU seconds that the whole suite may take, and what `-m "not slow"` may."""

START = "start and collection"
DRAWN = "drawn, and made once for several"
SHARES = {
    START: (37, 27),
    DRAWN: (232, 21),
    "tests": (34, 26),
    "tests/agents": (25, 13),
    "tests/cheats": (6, 3),
    "tests/cli": (86, 46),
    "tests/exchange": (41, 16),
    "tests/experiments": (74, 14),
    "tests/harness": (24, 3),
    "tests/journal": (9, 6),
    "tests/loop": (40, 1),
    "tests/loop/agents": (25, 7),
    "tests/models": (21, 3),
    "tests/pretrain": (28, 9),
    "tests/reports": (33, 8),
    "tests/runs": (47, 13),
    "tests/search": (5, 4),
    "tests/statistics": (15, 6),
    "tests/studies": (27, 1),
    "tests/system": (4, 3),
    "tests/tasks": (34, 10),
    "tests/workers": (21, 2),
    "tests/workspace": (32, 8),
}
"""Folder or row -> CPU seconds for all of its tests, and for those that are not marked `slow`."""


class Meter:
    """Adds up what the tests of one run cost; in a worker process, what that one ran."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.spent: Counter[str] = Counter()
        self.own = 0.0
        self._made = 0.0
        self.slowest: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        # One phase of a test ends here; whatever was spent since the phase before belongs to it.
        now = seconds()
        report = yield
        report.made_once = made_once.spent - self._made
        report.cpu_seconds = now - self._last - report.made_once
        report.is_drawn = item.get_closest_marker("sampled") is not None
        self.own += now - self._last
        self._last, self._made = now, made_once.spent
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        self._last = seconds()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not hasattr(self.config, "workerinput"):
            folder = Path(report.nodeid.partition("::")[0]).parent.as_posix()
            self.spent[DRAWN if report.is_drawn else folder] += report.cpu_seconds
            self.spent[DRAWN] += report.made_once
            self.slowest[report.nodeid] += report.duration

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        self.spent[START] += getattr(node, "workeroutput", {}).get("cpu_seconds", 0.0)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        rest = seconds() - self.own
        if hasattr(self.config, "workerinput"):
            self.config.workeroutput["cpu_seconds"] = rest  # type: ignore[attr-defined]
            return
        with_workers = self.config.pluginmanager.hasplugin("dsession")  # whose seconds they have told themselves
        self.spent[START] += sum(os.times()[:2]) if with_workers else rest
        if self.over() and not EVERY:
            session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)

    def over(self) -> list[str]:
        """Return the folders that are past their share, and `all` when the sum is past what is allowed."""
        past = [folder for folder, spent in self.spent.items() if spent > self._share(folder)]
        return past + ["all"] * (sum(self.spent.values()) > (QUICK if self._quick() else ALL))

    def _share(self, folder: str) -> float:
        return SHARES.get(folder, (0, 0))[self._quick()]

    def _quick(self) -> bool:
        return "not slow" in self.config.getoption("markexpr")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        write, over = terminalreporter.write_line, self.over()
        write("")
        write(f"{'CPU seconds, children included':<34}{'spent':>8}{'share':>8}")
        for folder in sorted(self.spent):
            note = "  past its share" if folder in over else ""
            write(f"{folder:<34}{self.spent[folder]:>8.1f}{self._share(folder):>8.0f}{note}", red=bool(note))
        note, bound = "  past it" if "all" in over else "", QUICK if self._quick() else ALL
        write(f"{'all':<34}{sum(self.spent.values()):>8.1f}{bound:>8}{note}", red=bool(note))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Meter(config), "cpu-budget")
