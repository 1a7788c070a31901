"""What holds for every test: in CI nothing may be skipped."""

import os
import signal
from collections.abc import Generator

import hypothesis  # noqa: F401 - its plugin would import it at the very end, where a late warning breaks the import
import pytest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

_skipped = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_skipped] = {}
    # A shell that starts something in the background has it ignore Ctrl-C, and so would all that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _note(item.config, report.nodeid, report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _note(collector.config, report.nodeid, report.longrepr)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if IN_CI and session.config.stash[_skipped] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = config.stash[_skipped]
    if IN_CI and skipped:
        terminalreporter.section("skipped, which is a failure with CI=true", red=True)
        for test, reason in skipped.items():
            terminalreporter.line(f"{test}: {reason}", red=True)


def _note(config: pytest.Config, test: str, where: object) -> None:
    reason = where[2] if isinstance(where, tuple) else where
    config.stash[_skipped][test] = str(reason).removeprefix("Skipped: ")
