"""Under load: reloads, a binary upgrade, a backend killed and started again, the worker killed.
And the process contract: signals, exit codes, command line."""
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from harness import (BINARY, NGINX, ORACLE, ROOT, SANITIZED, SLOW, Closed, Conn, Process, Server, alive, build_request, children, free_port, poll,
                     request, response)


class Wrk:
    """wrk with 64 connections; .finish() gives the number of requests and the failures."""

    def __init__(self, port, seconds, path="/", conns=64):
        self.p = subprocess.Popen(["wrk", "-t1", f"-c{conns}", f"-d{seconds}s", "--timeout", "10s", f"http://127.0.0.1:{port}{path}"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(self):
        out = self.p.communicate(timeout=120)[0]
        requests = int(re.search(r"(\d+) requests in", out).group(1))
        m = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
        errors = sum(map(int, m.groups())) if m else 0
        m = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        return requests, errors, int(m.group(1)) if m else 0, out


def origin():
    """A fast backend."""
    return Server("access_log off; keepalive_requests 1000000; server { listen 127.0.0.1:@port@ reuseport; location / { return 200 ok; } }",
                  binary=NGINX, log_level="error")


def conf(ports, version=0):
    return ("access_log off; keepalive_requests 1000000000; upstream u { %s keepalive 64; } server { listen 127.0.0.1:@port@;"
            " location /v { return 200 %d; } location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection \"\"; } }"
            % (" ".join(f"server 127.0.0.1:{p};" for p in ports), version))


RELOADS = 100 if not ORACLE else 5


@pytest.mark.alone
@pytest.mark.limit(180)
def test_reloads_under_load(start):
    with origin() as o:
        s = start(conf([o.port()]), log_level="notice")
        load = Wrk(s.port(), 12)
        for i in range(1, RELOADS + 1):
            s.reload(http=conf([o.port()], i), wait=False)
            poll(lambda: s.get("/v").text == str(i), 20, f"reload {i}")
        requests, errors, bad, out = load.finish()
        assert requests > 100
        if not ORACLE:
            assert (errors, bad) == (0, 0), out


@pytest.mark.alone
@pytest.mark.limit(120)
def test_bad_reload_under_load(start):
    with origin() as o:
        s = start(conf([o.port()], 1))
        load = Wrk(s.port(), 3)
        for _ in range(5):
            s.write("conf/nginx.conf", "http { nonsense; }")
            mark = len(s.log("error.log"))
            s.send_signal(signal.SIGHUP)
            poll(lambda: "[emerg]" in s.log("error.log")[mark:], 10, "the reason")
        assert s.get("/v").text == "1"
        requests, errors, bad, out = load.finish()
        assert requests > 100 and (errors, bad) == (0, 0), out
        s.reload(http=conf([o.port()], 7), wait=False)
        poll(lambda: s.get("/v").text == "7", 10, "the next good reload")


@pytest.mark.alone
@pytest.mark.limit(120)
def test_binary_upgrade_under_load(start):
    with origin() as o:
        s = start(conf([o.port()]), daemon=True)
        load = Wrk(s.port(), 6)
        old = s.proc.pid
        s.send_signal(signal.SIGUSR2)
        poll(lambda: os.path.exists(s.path("logs/nginx.pid.oldbin")) and s.log("nginx.pid").strip()
             and s.log("nginx.pid") != s.log("nginx.pid.oldbin"), 15, "the new master")
        new = s.pid
        poll(lambda: children(new), 10, "the new worker")
        os.kill(old, signal.SIGWINCH)
        poll(lambda: not [c for c in s.worker_pids(old) if c != new], 15, "the old worker to finish")
        assert s.get("/v").status == 200
        os.kill(old, signal.SIGQUIT)
        s.proc.wait(20)
        poll(lambda: not os.path.exists(s.path("logs/nginx.pid.oldbin")), 10, "the old pid file to go")
        requests, errors, bad, out = load.finish()
        assert requests > 100
        if not ORACLE:
            assert (errors, bad) == (0, 0), out
        assert s.get("/v").status == 200
        os.kill(new, signal.SIGQUIT)
        poll(lambda: not alive(new), 15, "the new master to end")
        assert not s.complaints() or ORACLE, s.complaints()
        s.proc = None


@pytest.mark.limit(120)
def test_upgrade_and_back(start):
    """The new binary leaves; the old one serves again and the pid file has its name back."""
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 ok; } }", daemon=True)
    s.send_signal(signal.SIGUSR2)
    poll(lambda: os.path.exists(s.path("logs/nginx.pid.oldbin")) and s.log("nginx.pid").strip()
         and s.pid != s.proc.pid, 15, "the new master")
    new = s.pid
    poll(lambda: children(new), 10, "the new worker")
    os.kill(new, signal.SIGQUIT)
    poll(lambda: not alive(new) and not os.path.exists(s.path("logs/nginx.pid.oldbin")), 15, "the new master to leave")
    assert s.pid == s.proc.pid
    assert s.get("/").status == 200


@pytest.mark.alone
@pytest.mark.limit(120)
def test_backend_killed_under_load(start):
    """Two gunicorns; one is killed hard and started again: no request fails, but for those whose server dies between its
    head and its body (gunicorn writes them one after the other): when the head has left, the client can only be told."""
    app = os.path.join(ROOT, "tests", "apps")
    ports = [free_port(), free_port()]

    def run(port):
        return Process(["/usr/bin/python3", "-m", "gunicorn", "-w", "1", "-k", "gthread", "--threads", "8", "--keep-alive", "30",
                        "-b", f"127.0.0.1:{port}", "wsgi:app"], port, cwd=app)
    backends = [run(p) for p in ports]
    try:
        s = start(conf(ports) if not ORACLE else conf(ports))
        load = Wrk(s.port(), 6, "/hello", conns=16)
        for _ in range(2):
            time.sleep(0.8)  # let load run on both before the next blow
            backends[0].kill()
            time.sleep(0.8)
            backends[0].start()
        requests, errors, bad, out = load.finish()
        assert requests > 50
        cut = re.findall(r"(?:prematurely closed connection|recv\(\) failed \(\d+: [^)]*\)) while reading upstream,", s.log("error.log"))
        assert len(cut) <= 2 * 8  # as many as a gunicorn has threads, for each blow
        if not ORACLE:
            assert bad == 0 and errors <= len(cut), (out, cut)
    finally:
        for b in backends:
            b.close()


@pytest.mark.alone
@pytest.mark.limit(120)
def test_worker_killed_under_load(start):
    """Only the connections of the dead worker fail; a new one serves at once; nobody is refused."""
    with origin() as o:
        s = start(conf([o.port()]))
        s.check = False  # "[alert] worker process ... exited on signal 9" is right here
        load = Wrk(s.port(), 5)
        time.sleep(1)
        victim = s.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        poll(lambda: s.worker_pids() and victim not in s.worker_pids(), 10, "a new worker")
        poll(lambda: s.get("/v").status == 200, 10, "an answer")
        requests, errors, bad, out = load.finish()
        assert requests > 100 and bad == 0 and errors <= 64 * 2, out
        s.wait_log(r"exited on signal 9", "error.log")


# ---------------------------------------------------------------- signals without load

def slow_backend(backend):
    hold, entered = threading.Event(), threading.Event()

    def answer(r):
        entered.set()
        hold.wait(20)
        return response(b"late")
    return backend(answer=answer), hold, entered


def test_quit_finishes_requests(start, backend):
    b, hold, entered = slow_backend(backend)
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://%s; } location /ok { return 200 ok; } }" % b.addr)
    idle = s.connect()
    assert idle.request("/ok").status == 200
    with s.connect() as c:
        c.send(build_request("/"))
        assert entered.wait(10)
        s.send_signal(signal.SIGQUIT)
        assert idle.closed(10)

        def refused():
            try:
                s.connect().close()
            except ConnectionRefusedError:
                return True
        poll(refused, 10, "the listening socket to close")
        hold.set()
        assert c.read_response().body == b"late"
        assert c.closed(10)
    s.proc.wait(15 * SLOW)
    assert s.proc.returncode == 0
    assert not os.path.exists(s.path("logs/nginx.pid"))


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_term_is_at_once(start, backend, sig):
    b, hold, entered = slow_backend(backend)
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://%s; } }" % b.addr)
    with s.connect() as c:
        c.send(build_request("/"))
        assert entered.wait(10)
        s.send_signal(sig)
        s.proc.wait(10 * SLOW)
        assert s.proc.returncode == 0
        assert c.read_all() == b""
    hold.set()


def test_worker_shutdown_timeout(start, backend):
    b, hold, entered = slow_backend(backend)
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://%s; } }" % b.addr, main="worker_shutdown_timeout 1s;")
    with s.connect() as c:
        c.send(build_request("/"))
        assert entered.wait(10)
        begin = time.monotonic()
        s.send_signal(signal.SIGQUIT)
        s.proc.wait(15 * SLOW)
        assert time.monotonic() - begin < 8 * SLOW
    hold.set()


@pytest.mark.parametrize("loc", ["proxy_pass http://@b@; proxy_request_buffering off;", "proxy_pass http://@b@;", "limit_rate 1; root html;"],
                         ids=["streamed", "buffered", "answer"])
def test_worker_shutdown_timeout_lingers_with_nobody(start, backend, loc):
    """Whatever a request waits for, and however much of its body is still to come."""
    hold = threading.Event()

    def handler(conn):
        conn.read_head()
        hold.wait(60)
    b = backend(handler)
    s = start("lingering_time 60s; lingering_timeout 60s; server { listen 127.0.0.1:@port@; location / { %s } location /s { stub_status; } }" % loc,
              values={"b": b.addr}, main="worker_shutdown_timeout 300ms;", files={"html/f": "x" * 100})
    with s.connect() as c:
        c.send(b"%s /f HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc" % (b"GET" if "root" in loc else b"POST"))
        poll(lambda: "Writing: 2" in s.get("/s").text, 10, "the request to be served")
        s.send_signal(signal.SIGQUIT)
        s.proc.wait(15 * SLOW)
        assert s.proc.returncode == 0
    hold.set()


def test_reload_keeps_requests_and_idle_connections(start, backend):
    b, hold, entered = slow_backend(backend)
    one = "server { listen 127.0.0.1:@port@; location / { proxy_pass http://%s; } location /v { return 200 one; } }" % b.addr
    s = start(one)
    idle = s.connect()
    assert idle.request("/v").text == "one"
    with s.connect() as c:
        c.send(build_request("/"))
        assert entered.wait(10)
        s.reload(http=one.replace("one", "two"), wait=False)
        poll(lambda: s.get("/v").text == "two", 10, "the new configuration")
        if not ORACLE:  # N01: idle connections live on and see the new configuration
            assert idle.request("/v").text == "two"
        hold.set()
        assert c.read_response().body == b"late"


def test_reload_adds_and_removes_listeners(start):
    s = start("server { listen 127.0.0.1:@port@; listen 127.0.0.1:@port2@; location / { return 200 a; } }")
    assert s.get("/", port="port2").text == "a"
    s.reload(http="server { listen 127.0.0.1:@port@; listen 127.0.0.1:@port3@; location / { return 200 b; } }", wait=False)
    poll(lambda: s.get("/").text == "b", 10, "the new configuration")
    assert s.get("/", port="port3").text == "b"

    def gone():
        try:
            s.connect("port2").close()
        except ConnectionRefusedError:
            return True
    poll(gone, 10, "the old listener to close")


def test_failed_bind_on_reload_keeps_the_old(start):
    other = start("server { listen 127.0.0.1:@port@; location / { return 200 other; } }")
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 a; } }")
    s.check = False
    mark = len(s.log("error.log"))
    s.reload(http="server { listen 127.0.0.1:@port@; listen 127.0.0.1:%d; location / { return 200 b; } }" % other.port(), wait=False)
    poll(lambda: re.search(r"\[emerg\].*bind\(\) to 127.0.0.1:\d+ failed \(98", s.log("error.log")[mark:]), 20, "the reason")
    assert s.get("/").text == "a"


# ---------------------------------------------------------------- the command line

def test_t(start):
    s = start("server { listen 127.0.0.1:@port@; }", start=False)
    p = s.run("-t")
    f = s.path("conf/nginx.conf")
    assert p.returncode == 0
    assert p.stderr == f"nginx: the configuration file {f} syntax is ok\nnginx: configuration file {f} test is successful\n"
    p = s.run("-t", "-q")
    assert p.returncode == 0 and p.stderr == "" and p.stdout == ""
    p = s.run("-t", "-g", "nonsense on;")
    assert p.returncode == 1 and 'unknown directive "nonsense" in command line' in p.stderr


def test_version():
    p = subprocess.run([BINARY, "-v"], capture_output=True, text=True)
    assert p.returncode == 0 and re.search(r"nginx version: nginx/[\d.]+", p.stderr)
    p = subprocess.run([BINARY, "-V"], capture_output=True, text=True)
    for pattern in (r"nginx version: nginx/[\d.]+", r"built with OpenSSL 3", "TLS SNI support enabled", r"configure arguments:.*--with-http_ssl_module"):
        assert re.search(pattern, p.stderr), pattern
    for flag in ("-h", "-?"):
        p = subprocess.run([BINARY, flag], capture_output=True, text=True)
        assert p.returncode == 0 and "-s signal" in p.stderr and "-t" in p.stderr
    p = subprocess.run([BINARY, "-z"], capture_output=True, text=True)
    assert p.returncode == 1 and 'invalid option: "z"' in p.stderr


def test_s_signals(start):
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 a; } }")
    s.configure(http="server { listen 127.0.0.1:@port@; location / { return 200 b; } }")
    assert s.run("-s", "reload").returncode == 0
    poll(lambda: s.get("/").text == "b", 10, "the reload")
    os.rename(s.path("logs/access.log"), s.path("logs/moved"))
    assert s.run("-s", "reopen").returncode == 0
    poll(lambda: os.path.exists(s.path("logs/access.log")), 10, "the reopened log")
    p = s.run("-s", "nonsense")
    assert p.returncode == 1 and 'invalid option: "-s nonsense"' in p.stderr
    assert s.run("-s", "quit").returncode == 0
    s.proc.wait(15 * SLOW)
    assert s.proc.returncode == 0
    p = s.run("-s", "stop")
    assert p.returncode == 1 and re.search(r'invalid PID number "" in|open\(\) ".*nginx.pid" failed', p.stderr)


def test_daemon(start):
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 a; } }", daemon=True)
    assert s.get("/").text == "a"
    assert os.getsid(s.proc.pid) != os.getsid(0)
    s.stop(signal.SIGQUIT)
    assert not os.path.exists(s.path("logs/nginx.pid"))


def test_no_master_process(start):
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 a; } }", main="master_process off;", start=False)
    s.start(wait=False)
    poll(lambda: s.log("nginx.pid").strip(), 10, "the pid file")
    assert s.get("/").text == "a"
    assert not s.worker_pids()


def test_started_with_closed_descriptors(start):
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 a; } }", start=False)
    p = subprocess.Popen(["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *s.command()], env=s.environment())
    s.proc, s.stderr = p, open(os.devnull)
    s.wait_ready()
    assert s.get("/").text == "a"


def test_address_in_use(start):
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 a; } }")
    t = start("server { listen 127.0.0.1:%d; location / { return 200 a; } }" % s.port(), start=False)
    p = t.run(timeout=15)
    assert p.returncode == 1 and re.search(r"nginx: \[emerg\] bind\(\) to 127\.0\.0\.1:\d+ failed \(98: Address already in use\)", p.stderr)
    assert s.get("/").text == "a"


def test_user_drop(start):
    if os.getuid() != 0:
        pytest.skip("needs root")
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 a; } }", main="user nobody nogroup;")
    for pid in s.worker_pids():
        with open(f"/proc/{pid}/status") as f:
            uid = re.search(r"^Uid:\s+(\d+)\s+(\d+)\s+(\d+)", f.read(), re.M)
        assert uid.groups() == ("65534",) * 3


def test_env_and_pid_variable(start):
    s = start('server { listen 127.0.0.1:@port@; location / { return 200 "$pid $hostname $nginx_version"; } }', main="env FOO=bar;")
    pid = int(s.get("/").text.split()[0])
    assert pid in s.all_pids()


def test_load_module(start):
    name = "ngx_http_echo_module.so"
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 a; } }",
              main=f"load_module {'/usr/lib/nginx/' if ORACLE else ''}modules/{name};")
    assert s.get("/").text == "a"
    t = start("server { listen 127.0.0.1:@port@; }", main="load_module modules/nonsense.so;", start=False)
    assert t.run("-t").returncode == 1


@pytest.mark.sluice_only("systemd")
def test_sd_notify(start):
    import socket
    import tempfile
    folder = tempfile.mkdtemp(prefix="sluice-n-")
    os.chmod(folder, 0o777)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(folder + "/n")
    os.chmod(folder + "/n", 0o777)
    sock.settimeout(10 * SLOW)
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 a; } }", env={"NOTIFY_SOCKET": folder + "/n"})
    assert "READY=1" in sock.recv(4096).decode()
    s.send_signal(signal.SIGHUP)
    assert "RELOADING=1" in sock.recv(4096).decode()
    assert "READY=1" in sock.recv(4096).decode()
    s.stop(signal.SIGQUIT)
    assert "STOPPING=1" in sock.recv(4096).decode()
