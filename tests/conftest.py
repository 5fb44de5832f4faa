"""What all tests share."""

import signal
from collections.abc import Generator

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore ctrl-C, and all that they start: what a test interrupts would go on for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _not_in_silence(report: pytest.TestReport | pytest.CollectReport) -> None:
    """A skip becomes a failure: what could not be installed fails with a sentence."""
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"nothing is skipped in silence here ({reason})"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _not_in_silence(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _not_in_silence(report)
    return report
