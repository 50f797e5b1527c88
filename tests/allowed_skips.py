"""Every skip that is allowed, and why. A skip for any other reason fails the run: it would hide what is not tested.

Where the programs of the table's second half are installed, as .ci/run does, AUTORESEARCH_INSTALLED names them
(`bubblewrap claude codex gemini`), and a skip for the want of one of them is a failure, too.
"""

from __future__ import annotations

import os
import re
from collections import Counter

import pytest

ALWAYS = {
    "needs a CUDA device": "no machine of the project has one",
    "needs a Hopper GPU": "likewise",
    "needs a kernel from the hub": "tests have no network",
    "the registry of packages cannot be reached": "a machine without network builds and installs nothing",
    "needs macOS": "likewise",
    "needs the seals of Linux": "macOS has none",
    "needs Linux": "elsewhere nothing ends a process with its parent",
    "no Landlock": "kernels before 5.13 have none, and no test may bring another",
    "Landlock is turned off": "likewise",
    "Landlock does not work here": "a container may refuse its calls",
    "Landlock is for Linux": "likewise",
    "root reads every folder": "root is refused nothing; the suite runs as root in containers",
    "root may write anywhere": "likewise",
    "needs root to become another user": "nobody else may",
    "only root may mount a small disk": "likewise",
    "mounting is not permitted here": "in most containers even root may not",
}
"""Part of the reason -> why nothing can be done about it."""

INSTALLABLE = {
    "bubblewrap is not installed": "bubblewrap",
    "bubblewrap does not work here": "bubblewrap",
    "Claude Code is not installed": "claude",
    "Codex is not installed": "codex",
    "Gemini CLI is not installed": "gemini",
    "uv is not installed": "uv",
    "Chromium is not installed": "chromium",
    "playwright is not installed": "chromium",
    "tensorboard is not installed": "trackers",
    "tensorboardX is not installed": "trackers",
    "wandb is not installed": "trackers",
    "mlflow is not installed": "trackers",
    "trackio is not installed": "trackers",
    "ray is not installed": "ray",
    "transformers is not installed": "transformers",
}
"""Part of the reason -> what .ci/run installs where it may; tests themselves install nothing."""

INSTALLED = set(os.environ.get("AUTORESEARCH_INSTALLED", "").split())
"""Read now: the tests get an environment without our variables."""


def allowed(reason: str, installed: set[str]) -> bool:
    """Whether a test may be skipped for this reason where these programs are installed."""
    if any(known in reason for known in ALWAYS):
        return True
    return any(known in reason and program not in installed for known, program in INSTALLABLE.items())


class Skips:
    """Counts the skips of one run by reason; in the process that reports."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple) and not hasattr(report, "wasxfail"):
            self.reasons[re.sub(r"^Skipped: ", "", report.longrepr[2])] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self.reasons[re.sub(r"^Skipped: ", "", report.longrepr[2])] += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.refused() and not hasattr(session.config, "workerinput"):
            session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)

    def refused(self) -> list[str]:
        return [reason for reason in self.reasons if not allowed(reason, INSTALLED)]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.reasons:
            terminalreporter.write_line("")
            terminalreporter.write_line("skipped, by reason")
        for reason, count in self.reasons.most_common():
            bad = reason in self.refused()
            note = "  not in the table of tests/allowed_skips.py, or it is said to be installed" if bad else ""
            terminalreporter.write_line(f"{count:>5}  {reason}{note}", red=bad)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Skips(), "allowed-skips")
