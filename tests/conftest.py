"""Settings of the whole suite: Hypothesis' profile, and what a skipped test means where."""

from __future__ import annotations

from collections.abc import Generator

import hypothesis
import pytest
import torch

# Same examples on every run: a red test is red for everyone. Time limits belong to CI, not to
# single examples on a busy machine.
hypothesis.settings.register_profile(
    "scalingar", derandomize=True, deadline=None, max_examples=50, database=None
)
hypothesis.settings.load_profile("scalingar")

# Tests compute on small tensors, where handing work to threads costs more than the work.
torch.set_num_threads(1)

SKIPPED = "scalingar/skipped"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("scalingar")
    group.addoption(
        "--no-skips",
        action="store_true",
        help="a skipped test fails (for a machine with every extra); tests marked 'gpu' may skip",
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
    config.addinivalue_line("markers", "gpu: needs an accelerator, so it may skip anywhere")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--skipped-before"):
        return
    wanted = config.cache.get(SKIPPED, [])
    # A file that skips itself while it is collected is known by its path alone.
    kept = [i for i in items if i.nodeid in wanted or i.nodeid.split("::")[0] in wanted]
    config.hook.pytest_deselected(items=[i for i in items if i not in kept])
    items[:] = kept


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
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
        item.config.stash.setdefault(_SKIPPED_NOW, []).append(item.nodeid)
        if item.config.getoption("--no-skips"):
            _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        collector.config.stash.setdefault(_SKIPPED_NOW, []).append(collector.nodeid)
        if collector.config.getoption("--no-skips"):
            _fail(report)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    cache = getattr(session.config, "cache", None)  # -p no:cacheprovider leaves none
    if cache is not None and not session.config.getoption("--collect-only"):
        cache.set(SKIPPED, session.config.stash.get(_SKIPPED_NOW, []))


_SKIPPED_NOW = pytest.StashKey[list[str]]()
