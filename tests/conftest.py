# SPDX-License-Identifier: Apache-2.0
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import lighter  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of its daemon's log."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for value in item.funcargs.values():
            if isinstance(value, lighter.Daemon):
                report.sections.append(("lighterd", value.log()[-6000:]))


@pytest.fixture
def daemon():
    """A lighterd of the test's own."""
    d = lighter.Daemon()
    try:
        yield d.start()
        assert d.process.poll() is not None or d.stop() == 0
    finally:
        d.cleanup()


@pytest.fixture(scope="module")
def shared_daemon():
    """One lighterd for all tests of a file that leave it as they found it."""
    d = lighter.Daemon()
    try:
        yield d.start()
        assert d.process.poll() is not None or d.stop() == 0
    finally:
        d.cleanup()


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory):
    return lighter.busybox_rootfs(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture(scope="session")
def image():
    return lighter.busybox_archive()
