"""Fixtures and the counting that `./dev test` sums up."""
import os
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402

TIME_LIMIT = 60


def pytest_configure(config):
    config.addinivalue_line("markers", "sluice_only(why): not run when SLUICE_BIN is nginx")
    config.addinivalue_line("markers", "alone: needs the machine for itself; not run beside other tests")
    config.addinivalue_line("markers", "limit(seconds): time limit of this test")


def pytest_collection_modifyitems(items):
    for item in items:
        mark = item.get_closest_marker("sluice_only")
        if mark and harness.ORACLE:
            item.add_marker(pytest.mark.skip(reason="sluice only: " + (mark.args[0] if mark.args else "")))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """A test that hangs fails instead."""
    mark = item.get_closest_marker("limit")
    seconds = (mark.args[0] if mark else TIME_LIMIT) * harness.SLOW

    def late(signum, frame):
        raise AssertionError(f"time limit of {seconds:g} s")
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    tally = os.environ.get("TALLY_FILE")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if tally and reporter:
        count = {k: len(reporter.stats.get(k, [])) for k in ("passed", "failed", "error")}
        name = "-".join(os.path.basename(str(a)) for a in session.config.args) or "pytest"
        with open(tally, "a") as f:
            f.write(f"{count['passed']} {count['failed'] + count['error']} {name}\n")


@pytest.fixture(scope="session", autouse=True)
def binary():
    if not os.access(harness.BINARY, os.X_OK):
        pytest.exit(f"no {harness.BINARY}: ./dev build", returncode=3)


@pytest.fixture
def start():
    """start(http, ...) -> a running harness.Server, ended and checked with the test."""
    running = []

    def go(*a, **kw):
        s = harness.Server(*a, **kw)
        running.append(s)
        return s
    yield go
    first = None
    for s in reversed(running):
        try:
            s.close()
        except AssertionError as e:
            first = first or e
    if first:
        raise first


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """When a test fails, its servers' logs are shown with it."""
    outcome = yield
    rep = outcome.get_result()
    if rep.when == "call" and rep.failed and "start" in getattr(item, "funcargs", {}):
        cells = item.funcargs["start"].__closure__ or ()
        for cell in cells:
            if isinstance(cell.cell_contents, list):
                for s in cell.cell_contents:
                    s.check = False
                    rep.sections.append((f"{s.binary} error.log", s.log("error.log")[-3000:]))
                    rep.sections.append((f"{s.binary} stderr", s.log("stderr")[-3000:]))


@pytest.fixture
def backend():
    """backend(...) -> harness.Backend, closed with the test."""
    made = []

    def go(*a, **kw):
        b = harness.Backend(*a, **kw)
        made.append(b)
        return b
    yield go
    for b in made:
        b.close()


@pytest.fixture
def raw():
    """raw(...) -> h2raw.RawServer, closed with the test."""
    import h2raw
    made = []

    def go(*a, **kw):
        made.append(h2raw.RawServer(*a, **kw))
        return made[-1]
    yield go
    for b in made:
        b.close()


@pytest.fixture(scope="session")
def certs():
    import certs as c
    folder = tempfile.mkdtemp(prefix="sluice-certs-")
    os.chmod(folder, 0o755)
    made = c.Certs(folder)
    made.a = made.make("a.example", ["a.example", "www.a.example", "localhost", "127.0.0.1"])
    made.a_rsa = made.make("a.example", ["a.example", "localhost"], kind="rsa", file="a-rsa")
    made.b = made.make("b.example")
    made.client = made.make("good client", client=True, file="client")
    made.revoked = made.make("revoked client", client=True, file="revoked")
    made.expired = made.make("expired client", client=True, file="expired", days=-5)
    made.crl_path = made.crl("revoked")
    yield made
    shutil.rmtree(folder, ignore_errors=True)
