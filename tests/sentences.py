"""Progress that says what is tested: a line for each test that ends, instead of a dot."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import PurePosixPath

import pytest
from _pytest.terminal import TerminalReporter

_WIDTH = 9
"""Characters that the longest outcome takes."""


def sentence_of(nodeid: str) -> str:
    """`e2e, log tail: it shows what is booked [seed 1]` for a test's id."""
    path, _, name = nodeid.partition("::")
    name, _, parameters = name.partition("[")
    file = PurePosixPath(path)
    topic = file.stem.removeprefix("test_").replace("_", " ")
    # A group that xdist keeps together is named after the id.
    spoken = name.partition("@")[0].removeprefix("test_").replace("_", " ")
    parameters = f" [{parameters.partition(']@')[0].removesuffix(']')}]" if parameters else ""
    return f"{file.parent.name}, {topic}: {spoken}{parameters}"


class Sentences:
    """Writes the lines, where the tests run in this process and where in workers of xdist."""

    def __init__(self, terminal: TerminalReporter) -> None:
        self._terminal = terminal
        self._reports: dict[str, list[pytest.TestReport]] = {}
        self._ended = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self) -> Generator[None, tuple[str, str, object], tuple[str, str, object]]:
        """The usual category and word, and no letter."""
        category, _, word = yield
        return category, "", word

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember it until the test has ended: setting up, the test, and cleaning up report apart."""
        self._reports.setdefault(report.nodeid, []).append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Write the line of the test that ended."""
        reports = self._reports.pop(nodeid, [])
        self._ended += 1
        outcome = next((each.outcome for each in reports if each.outcome != "passed"), "passed")
        session = self._terminal._session
        share = 100 * self._ended // max(session.testscollected if session else 0, self._ended, 1)
        seconds = sum(each.duration for each in reports)
        word = "" if outcome == "passed" else outcome.upper()
        self._terminal.write_line(f"[{share:3}%] {seconds:6.1f} s {word:{_WIDTH}}{sentence_of(nodeid)}".rstrip())


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--sentences` says what is tested as each test ends."""
    parser.addoption("--sentences", action="store_true", help="write a sentence for each test instead of a dot")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Sentences are written by the process that has the terminal, which no worker of xdist has."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if config.getoption("sentences") and isinstance(terminal, TerminalReporter):
        config.pluginmanager.register(Sentences(terminal))
