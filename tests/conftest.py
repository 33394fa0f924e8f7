"""What every test run shares: the simulated cuda device, the ``gpu`` marker, and a summary that hides no skip."""

import importlib.util
import os
from collections import Counter

import hypothesis
import pytest

hypothesis.settings.register_profile("naiad", deadline=None)  # two workers on two cores make any deadline a lottery
hypothesis.settings.load_profile("naiad")


def _on_real_gpu(config: pytest.Config) -> bool:
    return "gpu" in (config.option.markexpr or "").replace("not gpu", "")


def pytest_configure(config: pytest.Config) -> None:
    """Simulate the cuda device unless the run is for a real one (``-m gpu``) or the caller chose."""
    if not _on_real_gpu(config) and importlib.util.find_spec("triton") is not None:
        os.environ.setdefault("NAIAD_CUDA", "interpret")
        if os.environ["NAIAD_CUDA"] == "interpret":
            os.environ["TRITON_INTERPRET"] = "1"  # triton reads it once, when it is first imported
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # threads of two libraries wait for each other's cores
    if _on_real_gpu(config):
        import naiad

        naiad.backends.cudnn.allow_tf32 = False  # convolutions are compared with float64
        if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
            config.pluginmanager.register(LostContext(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    real = _on_real_gpu(config)
    reason = "takes a GPU's context along: for the simulated device" if real else "needs a real GPU: make test-gpu"
    for item in items:
        if ("traps" if real else "gpu") in item.keywords:
            item.add_marker(pytest.mark.skip(reason=reason))


class LostContext:
    """Ends a process whose GPU context a test has lost: all tests after that would fail, and say nothing.

    A worker of xdist dies, and xdist starts another one; without xdist the run ends.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.is_worker, self.failed = hasattr(config, "workerinput"), False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or report.failed

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if self.failed and not self.lives():
            if self.is_worker:
                os._exit(70)
            pytest.exit(f"the GPU's context was lost in {nodeid}, or before", returncode=70)
        self.failed = False

    @staticmethod
    def lives() -> bool:
        """Whether the GPU still adds."""
        import naiad

        try:
            return (naiad.ones(1, device="cuda") + 1).tolist() == [2]
        except RuntimeError:
            return False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run and why, grouped by reason; nothing is skipped silently."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        where, _, why = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, str(report.longrepr))
        why = why.removeprefix("Skipped: ")
        whole_file = f" (all of {os.path.relpath(where)})" if isinstance(report, pytest.CollectReport) else ""
        reasons[why + whole_file] += 1
    for report in terminalreporter.stats.get("xfailed", []):
        reasons[f"known failure: {report.wasxfail or report.nodeid}"] += 1
    if reasons:
        terminalreporter.section("not run, and why")
        for why, count in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])):
            terminalreporter.line(f"{count:5d}  {why}")
