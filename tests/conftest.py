"""Settings of the whole suite: Hypothesis' profile, threads, parallel runs, skipped tests.

The suite runs in one process (`pytest`), in several (`pytest -n auto`, pytest-xdist) and in any
order (pytest-randomly). Each process has its own temporary folders, its own session fixtures and
one thread for tensors; tests share nothing else, so none may leave anything behind: working
directory, environment and modules are changed through `monkeypatch` alone.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from typing import Any

# Tests compute on small tensors, where handing work to threads costs more than the work. Libraries
# read these once, so they come before every other import; processes that tests start inherit them.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
# No test asks the real hub; those that fetch ask one on the loopback address.
os.environ["HF_HUB_OFFLINE"] = "1"

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# Same examples on every run: a red test is red for everyone. Time limits belong to CI, not to
# single examples on a busy machine.
hypothesis.settings.register_profile(
    "scalingar", derandomize=True, deadline=None, max_examples=50, database=None
)
hypothesis.settings.load_profile("scalingar")

#: Where pytest's cache keeps what the last run skipped.
SKIPPED = "scalingar/skipped"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("scalingar")
    group.addoption(
        "--no-skips",
        action="store_true",
        help="a skipped test fails (for a machine with every extra); tests marked 'gpu' may skip",
    )
    group.addoption(
        "--fuzz-inputs",
        type=int,
        default=2000,
        metavar="N",
        help="inputs that tests/fuzz makes up (2000)",
    )
    group.addoption(
        "--fuzz-keep", action="store_true", help="what fails in tests/fuzz goes into its corpus"
    )
    group.addoption(
        "--golden", metavar="DIR", help="tests/parity reads official outputs from this folder"
    )
    group.addoption(
        "--skipped-before",
        action="store_true",
        help="run only the tests that the last run skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell that starts something in the background makes it deaf to Ctrl-C, and Python then
        # leaves it so; some tests are about Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "gpu: needs an accelerator, so it may skip anywhere")
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist only reports
        config.pluginmanager.register(Skips(config), "scalingar-skips")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--skipped-before"):
        return
    wanted = config.cache.get(SKIPPED, [])
    # A file that skips itself while it is collected is known by its path alone.
    kept = [i for i in items if i.nodeid in wanted or i.nodeid.split("::")[0] in wanted]
    config.hook.pytest_deselected(items=[i for i in items if i not in kept])
    items[:] = kept


#: Pytest's own, and what torch's compiler sets once, whenever something imports it (autocast and
#: the optimisers do, at a moment that depends on what ran before).
_NOT_A_TESTS = {"PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR", "GOMP_SPINCOUNT"}


def _surroundings() -> dict[str, object]:
    """What every test of a process sees, and may change for itself alone."""
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_A_TESTS}
    found = {"cwd": os.getcwd(), "path": tuple(sys.path), "environment": environment}
    if (torch := sys.modules.get("torch")) is not None:
        found["threads of torch"] = torch.get_num_threads()
        found["type of torch"] = torch.get_default_dtype()
        found["gradients of torch"] = torch.is_grad_enabled()
    if (numpy := sys.modules.get("numpy")) is not None:
        found["errors of numpy"] = numpy.geterr()
    return found


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Generator[None, None, None]:
    """A test that changes the environment, the working directory, or settings of a library for
    the tests after it fails itself, instead of one that comes later in some orders."""
    before = _surroundings()
    yield
    after = _surroundings()
    changed = {k: (v, after[k]) for k, v in before.items() if after[k] != v}
    assert not changed, f"left behind, before and after: {changed}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Neighbours go to one worker, which then makes their session fixtures once; a worker that is
    done takes tests from another. An explicit `--dist` is followed."""
    if config.getoption("dist") != "load":  # what `-n` alone chooses
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


def _note(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    """Marks a report as skipped, which survives its way from a worker, and fails it where nothing
    may be skipped."""
    report.scalingar_skipped = True  # type: ignore[union-attr]
    if config.getoption("--no-skips"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\n(--no-skips: nothing may be skipped here)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    free = hasattr(report, "wasxfail") or item.get_closest_marker("gpu") is not None
    if report.skipped and not free:
        _note(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _note(report, collector.config)
    return report


class Skips:
    """Keeps the names of skipped tests, and of files that skip themselves, for the next run's
    `--skipped-before`. In a parallel run it is the controller's: workers report to it."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.names: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._hear(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._hear(report)

    def _hear(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if hasattr(report, "scalingar_skipped"):
            self.names.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        cache = getattr(self.config, "cache", None)  # -p no:cacheprovider leaves none
        if cache is not None and not self.config.getoption("--collect-only"):
            cache.set(SKIPPED, sorted(self.names))


#: The test whose cases are components that are wrong on purpose (tests/testing/test_mutants.py).
_MUTANTS = "test_the_check_meant_for_a_mistake_catches_it"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The conformance kit's mutation score, wherever its tests were among those that ran."""
    verdicts = {
        outcome: sum(_MUTANTS in report.nodeid for report in terminalreporter.getreports(outcome))
        for outcome in ("passed", "failed")
    }
    if total := sum(verdicts.values()):
        caught = verdicts["passed"]
        terminalreporter.write_line(
            f"mutation score of the conformance kit: {caught} of {total} wrong components caught "
            f"({caught / total:.0%})"
        )
