"""The process contract: command line, pid file, signals, reloads, upgrades, the death of workers."""
import os
import re
import signal
import socket
import subprocess
import threading

import pytest

import harness
from harness import alive, poll

SITE = """
    server { listen 127.0.0.1:@port@; location / { return 200 "%s"; } }
"""


def text_of(s, port="port", path="/"):
    try:
        return s.get(path, port=port).text
    except (OSError, harness.Closed):
        return None


def reload_and_expect(s, text, **conf):
    s.configure(**conf)
    s.send_signal(signal.SIGHUP)
    poll(lambda: text_of(s) == text, 10, f"the answer {text!r} after a reload")


# ---------------------------------------------------------------- command line

def once(*args, **kw):
    return subprocess.run([harness.BINARY, *args], capture_output=True, text=True, timeout=20 * harness.SLOW,
                          stdin=subprocess.DEVNULL, **kw)


def test_versions(tmp_path):
    r = once("-V")
    assert r.returncode == 0 and r.stdout == ""
    assert re.search(r"^nginx version: nginx/[0-9.]+$", r.stderr, re.M)
    assert re.search(r"^built with OpenSSL 3\.", r.stderr, re.M)
    assert "\nTLS SNI support enabled\n" in r.stderr
    assert re.search(r"^configure arguments:.* --with-http_ssl_module", r.stderr, re.M)
    r = once("-v")
    assert r.returncode == 0 and "nginx version: nginx/" in r.stderr and "configure" not in r.stderr
    r = once("-h")
    assert r.returncode == 0 and "-c filename" in r.stderr
    r = once("-c")
    assert r.returncode == 1 and r.stderr == 'nginx: option "-c" requires file name\n'
    r = once("-x")
    assert r.returncode == 1 and r.stderr == 'nginx: invalid option: "x"\n'


def test_configuration_test(start):
    s = start(SITE % "a", start=False)
    conf = s.path("conf/nginx.conf")
    r = s.run("-t")
    assert r.returncode == 0
    assert f"nginx: the configuration file {conf} syntax is ok\n" in r.stderr
    assert f"nginx: configuration file {conf} test is successful\n" in r.stderr
    r = s.run("-tq")
    assert r.returncode == 0 and r.stderr == ""
    r = s.run("-T")
    assert r.returncode == 0
    assert r.stdout.startswith(f"# configuration file {conf}:\n") and 'return 200 "a"' in r.stdout
    assert not s.log("nginx.pid") and (s.oracle or not os.path.exists(s.path("logs/nginx.pid")))


def test_configuration_test_fails(start):
    s = start("\n nonsense on;", start=False)
    conf = s.path("conf/nginx.conf")
    r = s.run("-t")
    assert r.returncode == 1
    m = re.match(rf'nginx: \[emerg\] unknown directive "nonsense" in {re.escape(conf)}:(\d+)\n', r.stderr)
    assert m and s.read("conf/nginx.conf").splitlines()[int(m.group(1)) - 1].strip() == "nonsense on;"
    assert r.stderr.endswith(f"nginx: configuration file {conf} test failed\n")
    assert '[emerg]' in s.log("error.log") and "unknown directive" in s.log("error.log")
    r = s.run("-t", "-g", "daemon on;")
    assert r.returncode == 1 and '"daemon" directive is duplicate' in r.stderr
    r = s.run("-t", "-g", "worker_priority 1")
    assert 'unexpected end of parameter, expecting ";" in command line' in r.stderr


def test_test_beside_a_running_one(start):
    s = start(SITE % "a")
    r = s.run("-t")
    assert r.returncode == 0, r.stderr
    assert text_of(s) == "a"


@pytest.mark.sluice_only("nginx opens everything")
def test_offline(start):
    s = start("server { listen 127.0.0.1:@port@ ssl; server_name x; ssl_certificate none.pem;"
              " ssl_certificate_key none.key; }", start=False)
    r = s.run("-t")
    assert r.returncode == 1
    r = s.run("-t", "--offline")
    assert r.returncode == 0, r.stderr


def test_missing_file(tmp_path):
    r = once("-p", f"{tmp_path}/", "-c", "none.conf", "-e", "e.log")
    assert r.returncode == 1
    assert f'nginx: [emerg] open() "{tmp_path}/none.conf" failed (2: No such file or directory)' in r.stderr
    assert "[emerg]" in (tmp_path / "e.log").read_text()


def test_address_in_use(start):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        s = start("server { listen 127.0.0.1:@busy@; }", values={"busy": port}, start=False)
        r = s.run("-g", "")
        assert r.returncode == 1
        assert f"bind() to 127.0.0.1:{port} failed (98: Address already in use)" in r.stderr
        assert not os.path.exists(s.path("logs/nginx.pid"))
        assert s.run("-t").returncode == 0


# ---------------------------------------------------------------- start and end

def test_start_and_stop(start):
    s = start(SITE % "a")
    assert s.pid == s.proc.pid
    assert s.read("logs/nginx.pid") == f"{s.proc.pid}\n"
    assert text_of(s) == "a"
    s.stop(signal.SIGTERM)
    assert s.proc.returncode == 0
    assert not os.path.exists(s.path("logs/nginx.pid"))


def test_quit_waits_for_requests(start):
    s = start(SITE % "a")
    c = s.connect()
    c.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    poll(lambda: s.worker_pids(), 5)
    workers = s.worker_pids()
    s.send_signal(signal.SIGQUIT)
    poll(lambda: text_of(s) is None, 10, "no more accepting")
    assert all(alive(p) for p in workers)
    c.send(b"Connection: close\r\n\r\n")
    assert c.read_response().text == "a"
    s.proc.wait(10 * harness.SLOW)
    assert s.proc.returncode == 0


def test_signals_by_command_line(start):
    s = start(SITE % "a")
    s.configure(http=SITE % "b")
    assert s.run("-s", "reload").returncode == 0
    poll(lambda: text_of(s) == "b", 10, "reload")
    os.rename(s.path("logs/access.log"), s.path("logs/old.log"))
    assert s.run("-s", "reopen").returncode == 0
    poll(lambda: os.path.exists(s.path("logs/access.log")), 10, "reopen")
    assert s.run("-s", "quit").returncode == 0
    s.proc.wait(10 * harness.SLOW)
    r = s.run("-s", "stop")
    assert r.returncode == 1 and "nginx.pid" in r.stderr
    s.write("logs/nginx.pid", "")
    r = s.run("-s", "stop")
    assert r.returncode == 1 and 'invalid PID number "" in "' in r.stderr
    os.unlink(s.path("logs/nginx.pid"))


def test_daemon(start):
    s = start(SITE % "a", daemon=True)
    assert s.pid == s.proc.pid and os.getsid(s.pid) == s.pid
    assert text_of(s) == "a"
    assert s.run("-s", "stop").returncode == 0
    poll(lambda: not alive(s.proc.pid), 10, "the daemon's end")
    assert not os.path.exists(s.path("logs/nginx.pid"))


@pytest.mark.sluice_only("nginx tells the shell before it serves")
def test_daemon_that_cannot(start):
    s = start(SITE % "a", main="pid /nonexistent/x.pid;", raw=None, start=False, daemon=True)
    s.write("conf/nginx.conf", f"pid {s.prefix}/none/x.pid; error_log {s.prefix}/logs/error.log; events {{}}")
    r = s.run()
    assert r.returncode == 1
    assert "open() " in s.log("error.log")


@pytest.mark.sluice_only("a reload breaks it there")
def test_single_process(start):
    s = start(SITE % "a", main="master_process off;", start=False)
    s.start(wait=False)
    poll(lambda: text_of(s) == "a" and s.log("nginx.pid"), 10, "an answer and the pid file")
    assert s.pid == s.proc.pid and not harness.children(s.pid)
    reload_and_expect(s, "b", http=SITE % "b")
    s.configure(http="nonsense;")
    s.send_signal(signal.SIGHUP)
    s.wait_log(r"\[emerg\].*nonsense", "error.log")
    assert text_of(s) == "b"
    os.rename(s.path("logs/error.log"), s.path("logs/old.log"))
    s.send_signal(signal.SIGUSR1)
    poll(lambda: os.path.exists(s.path("logs/error.log")), 10, "the log")
    s.stop(signal.SIGQUIT)


def test_closed_descriptors(start):
    s = start(SITE % "a", start=False)

    def close_all():
        for fd in (0, 1, 2):
            os.close(fd)
    s.stderr = open(os.devnull, "ab")
    s.proc = subprocess.Popen(s.command(), env=s.environment(), preexec_fn=close_all)
    s.wait_ready()
    assert text_of(s) == "a"


def test_unix_socket(start):
    s = start("server { listen unix:@PREFIX@/x.sock; location / { return 200 u; } }")
    path = s.path("x.sock")
    assert os.stat(path).st_mode & 0o777 == 0o666

    def ask():
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(path)
            c.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data = b""
            while True:
                piece = c.recv(4096)
                if not piece:
                    return data
                data += piece
    assert ask().endswith(b"\r\n\r\nu")
    s.stop()
    assert not os.path.exists(path)


@pytest.mark.sluice_only("nginx refuses to start")
def test_stale_unix_socket(start):
    s = start("server { listen unix:@PREFIX@/x.sock; }", start=False)
    with socket.socket(socket.AF_UNIX) as c:
        c.bind(s.path("x.sock"))
    s.start()


# ---------------------------------------------------------------- HUP

def test_reload(start):
    s = start(SITE % "a")
    worker = s.worker_pids()
    for i in range(5):
        reload_and_expect(s, f"v{i}", http=SITE % f"v{i}")
    if not s.oracle:
        assert s.worker_pids() == worker
    assert s.pid == s.proc.pid


def test_bad_reload(start):
    s = start(SITE % "a")
    s.configure(http=SITE % "b" + "nonsense;")
    s.send_signal(signal.SIGHUP)
    s.wait_log(r'\[emerg\] .*unknown directive "nonsense" in .*nginx\.conf:\d+', "error.log")
    assert text_of(s) == "a"
    reload_and_expect(s, "c", http=SITE % "c")


def test_reload_keeps_connections(start):
    s = start(SITE % "a")
    c = s.connect()
    assert c.request("/").text == "a"
    reload_and_expect(s, "b", http=SITE % "b")
    if not s.oracle:
        assert c.request("/").text == "b"


def test_reload_listeners(start):
    """Sockets come and go; those that stay refuse nobody."""
    s = start(SITE % "a")
    stop, failed = threading.Event(), []

    def hammer():
        while not stop.is_set():
            try:
                s.get("/")
            except OSError as e:
                failed.append(e)
    t = threading.Thread(target=hammer)
    t.start()
    try:
        other = 'server { listen 127.0.0.1:@port2@; location / { return 200 "two"; } }'
        for _ in range(3):
            s.configure(http=SITE % "a" + other)
            s.send_signal(signal.SIGHUP)
            poll(lambda: text_of(s, "port2") == "two", 10, "the second port")
            s.configure(http=SITE % "a")
            s.send_signal(signal.SIGHUP)
            poll(lambda: text_of(s, "port2") is None, 10, "the second port to close")
    finally:
        stop.set()
        t.join()
    assert not failed


@pytest.mark.sluice_only("a worker there is a generation")
def test_reload_of_process_settings(start):
    """What a running process cannot change takes another one."""
    s = start(SITE % "a")
    before = s.worker_pids()
    s.configure(http=SITE % "b", main="worker_processes 3;")
    s.send_signal(signal.SIGHUP)
    poll(lambda: text_of(s) == "b", 10, "the new configuration")
    poll(lambda: s.worker_pids() and s.worker_pids() != before and len(s.worker_pids()) == 1, 10, "one new worker")


def test_reload_in_a_row(start):
    s = start(SITE % "a")
    fds = harness.open_fds(s.pid)
    for i in range(10):
        s.configure(http=SITE % f"r{i}")
        s.send_signal(signal.SIGHUP)
    poll(lambda: text_of(s) == "r9", 10, "the last one")
    if not s.oracle:
        poll(lambda: harness.open_fds(s.pid) == fds, 10, "no descriptors more in the master")


# ---------------------------------------------------------------- USR1

def test_reopen(start):
    s = start(SITE % "a")
    s.get("/before")
    s.wait_log("/before")
    os.rename(s.path("logs/access.log"), s.path("logs/access.old"))
    os.rename(s.path("logs/error.log"), s.path("logs/error.old"))
    s.send_signal(signal.SIGUSR1)
    poll(lambda: os.path.exists(s.path("logs/access.log")) and os.path.exists(s.path("logs/error.log")), 10, "logs")

    def arrives():
        s.get("/after")
        return "/after" in s.log("access.log")
    poll(arrives, 10, "a line in the new file")
    if not s.oracle:
        assert s.log("access.old").count("/before") == 1
    targets = [t for p in s.all_pids() for t in harness.fd_targets(p)]
    poll(lambda: not [t for p in s.all_pids() for t in harness.fd_targets(p) if t.endswith(".old")], 10,
         f"the old files to be let go: {targets}")


# ---------------------------------------------------------------- WINCH, USR2

def test_winch(start):
    s = start(SITE % "a", daemon=True)
    s.send_signal(signal.SIGWINCH)
    poll(lambda: not s.worker_pids(), 10, "the worker's end")
    assert alive(s.pid)
    reload_and_expect(s, "b", http=SITE % "b")


def new_pid(s, old):
    def look():
        got = s.log("nginx.pid").strip()
        return int(got) if got and int(got) != old else None
    return poll(look, 15, "the new binary's pid file")


def test_upgrade(start):
    s = start(SITE % "a", daemon=True)
    old = s.pid
    s.configure(http=SITE % "new")
    s.send_signal(signal.SIGUSR2)
    new = new_pid(s, old)
    s.extra_pids.append(new)
    assert s.log("nginx.pid.oldbin").strip() == str(old)
    os.kill(old, signal.SIGQUIT)
    poll(lambda: not alive(old), 10, "the old one's end")
    assert not os.path.exists(s.path("logs/nginx.pid.oldbin"))
    assert s.pid == new and text_of(s) == "new"
    s.proc = harness.Daemon(new)


def test_upgrade_rolled_back(start):
    s = start(SITE % "a", daemon=True)
    old = s.pid
    s.configure(http=SITE % "new")
    s.send_signal(signal.SIGUSR2)
    new = new_pid(s, old)
    os.kill(old, signal.SIGWINCH)
    poll(lambda: not [p for p in s.worker_pids(old) if p != new], 10, "the old workers' end")
    poll(lambda: text_of(s) == "new", 10, "the new one's answer")
    os.kill(new, signal.SIGTERM)
    poll(lambda: s.log("nginx.pid").strip() == str(old), 10, "the name to go back")
    assert not os.path.exists(s.path("logs/nginx.pid.oldbin"))
    poll(lambda: text_of(s) in ("a", "new"), 10, "the old one's answer")


def test_upgrade_that_fails(start):
    s = start(SITE % "a", daemon=True)
    old = s.pid
    s.configure(http="nonsense;")
    s.send_signal(signal.SIGUSR2)
    s.wait_log("nonsense", "error.log")
    poll(lambda: s.log("nginx.pid").strip() == str(old), 10, "the name to go back")
    assert text_of(s) == "a"


# ---------------------------------------------------------------- death

def test_killed_worker_is_replaced(start):
    s = start(SITE % "a", check=False)
    for sig in (signal.SIGKILL, signal.SIGABRT):
        before = s.worker_pids()
        os.kill(before[0], sig)
        s.wait_log(rf"\[alert\] .*worker process {before[0]} exited on signal {int(sig)}", "error.log")
        poll(lambda: s.worker_pids() and before[0] not in s.worker_pids(), 10, "another worker")
        assert text_of(s) == "a"


def test_worker_that_dies_again_and_again(start):
    """It is started again ever more slowly, the master does not spin, and at last the service is back."""
    s = start(SITE % "a", check=False)
    killed = set()
    for _ in range(5):
        pid = poll(lambda: [p for p in s.worker_pids() if p not in killed], 20, "another worker")[0]
        killed.add(pid)
        os.kill(pid, signal.SIGKILL)
    if not s.oracle:
        s.wait_log(r"the next starts in (\d+)ms", "error.log", count=4)
        delays = [int(d) for d in re.findall(r"the next starts in (\d+)ms", s.log("error.log"))]
        assert delays == [100, 200, 400, 800]
        with open(f"/proc/{s.proc.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        assert (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") < 1 * harness.SLOW
    poll(lambda: text_of(s) == "a", 20, "the service")
    if not s.oracle:
        reload_and_expect(s, "b", http=SITE % "b")


def test_quit_during_a_reload(start):
    """The master ends cleanly whatever is under way; no file of a socket stays."""
    for sig in (signal.SIGQUIT, signal.SIGTERM):
        s = start("server { listen unix:@PREFIX@/a.sock; } server { listen 127.0.0.1:@port@; }")
        s.configure("server { listen unix:@PREFIX@/a.sock; } server { listen unix:@PREFIX@/b.sock; } server { listen 127.0.0.1:@port@; }",
                    main="worker_rlimit_nofile 3000;")
        s.send_signal(signal.SIGHUP)
        s.send_signal(sig)
        s.proc.wait(10 * harness.SLOW)
        assert s.proc.returncode == 0
        assert not [f for f in os.listdir(s.prefix) if f.endswith(".sock")], sig
        assert not os.path.exists(s.path("logs/nginx.pid"))


def test_terminated_worker_is_replaced(start):
    """$pid is a process that may be ended without ending the service."""
    s = start('server { listen 127.0.0.1:@port@; location / { return 200 "$pid"; } }')
    pid = int(text_of(s))
    assert pid in s.worker_pids()
    os.kill(pid, signal.SIGTERM)
    poll(lambda: (text_of(s) or str(pid)) != str(pid), 10, "another worker")


def test_reload_after_death(start):
    s = start(SITE % "a", check=False)
    reload_and_expect(s, "b", http=SITE % "b")
    os.kill(s.worker_pids()[0], signal.SIGKILL)
    poll(lambda: text_of(s) == "b", 10, "the configuration in use, not the first one")


@pytest.mark.sluice_only("nginx leaves its workers behind")
def test_killed_master_takes_the_worker_with_it(start):
    s = start(SITE % "a", check=False)
    workers = s.worker_pids()
    s.proc.kill()
    s.proc.wait()
    poll(lambda: not any(alive(p) for p in workers), 10, "the worker's end")


# ---------------------------------------------------------------- systemd

@pytest.mark.sluice_only("nginx does not know the protocol")
def test_notify(start):
    name = f"sluice-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n:
        n.bind("\0" + name)
        n.settimeout(15 * harness.SLOW)
        s = start(SITE % "a", env={"NOTIFY_SOCKET": "@" + name})
        assert n.recv(4096) == f"READY=1\nMAINPID={s.pid}".encode()
        s.send_signal(signal.SIGHUP)
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", n.recv(4096))
        assert n.recv(4096).startswith(b"READY=1")
        s.stop()
        assert n.recv(4096) == b"STOPPING=1"


@pytest.mark.sluice_only("nginx does not know the protocol")
def test_socket_activation(start):
    s = start(SITE % "a", start=False)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", s.port("port")))
    listener.listen()
    inode = os.fstat(listener.fileno()).st_ino

    def activate():
        os.dup2(listener.fileno(), 3)
        for name, value in {**s.environment(), "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}.items():
            os.putenv(name, value)
    s.stderr = open(os.devnull, "ab")
    s.proc = subprocess.Popen(s.command(), preexec_fn=activate, close_fds=False, stderr=s.stderr)
    s.wait_ready()
    assert f"socket:[{inode}]" in harness.fd_targets(s.pid)
    listener.close()
    assert text_of(s) == "a"


def confined(pid):
    with open(f"/proc/{pid}/status") as f:
        text = f.read()
    return tuple(int(re.search(rf"^{k}:\s*(\d+)", text, re.M).group(1)) for k in ("NoNewPrivs", "Seccomp"))


@pytest.mark.sluice_only("sandbox")
def test_sandbox(start):
    """The worker is confined, the master is not; a reload that turns it off starts another worker."""
    http = "server { listen 127.0.0.1:@port@; location / { return 200 ok; } }"
    s = start(http)
    assert s.get("/").status == 200  # a worker that has just begun is not there yet
    worker = s.worker_pids()[0]
    outside = confined(os.getpid())
    if "no system call filter here" in s.log("error.log"):
        pytest.skip("no seccomp")
    assert confined(worker) == (1, 2)
    assert confined(s.proc.pid) == outside
    for task in os.listdir(f"/proc/{worker}/task"):
        assert confined(task) == (1, 2)
    s.reload(main="sandbox off;")
    poll(lambda: s.worker_pids() and worker not in s.worker_pids(), 10, "another worker")
    assert s.get("/").status == 200
    assert confined(s.worker_pids()[0]) == (1, outside[1])
