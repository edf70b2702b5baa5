"""What the end-to-end and differential tests stand on: servers on a temporary prefix, an HTTP client that
controls every byte, and backends that do exactly what a test says.

Nothing here sleeps to wait for something: everything polls with a deadline (`poll`)."""
import contextlib
import ctypes
import os
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NGINX = "/usr/sbin/nginx"
BINARY = os.environ.get("SLUICE_BIN") or os.path.join(ROOT, "build", "sluice")
ORACLE = os.path.basename(BINARY) == "nginx"
# Deadlines are multiplied by this under sanitizers.
SLOW = float(os.environ.get("SLUICE_SLOW", "1"))
SANITIZED = any(w in BINARY for w in ("asan", "tsan"))


# ---------------------------------------------------------------- waiting

def poll(fn, timeout=10, what=None, every=0.01):
    """Calls fn until it returns something true, and returns that."""
    deadline = time.monotonic() + timeout * SLOW
    while True:
        got = fn()
        if got:
            return got
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout * SLOW:g} s for {what or fn.__name__}")
        time.sleep(every)


_ports = set()
# Workers of pytest that run side by side take their ports from ranges of their own.
_PORTS = 20000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_FIRST = 10000 + _PORTS * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])


def free_port(kind=socket.SOCK_STREAM):
    """A loopback port that nobody listens on and that was not given out before in this run. Below the
    range from which the kernel takes the ports of outgoing connections."""
    for i in range(_PORTS):
        port = _FIRST + (os.getpid() * 97 + i) % _PORTS
        if port in _ports:
            continue
        with socket.socket(socket.AF_INET, kind) as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        _ports.add(port)
        return port
    raise RuntimeError("no free port")


# ---------------------------------------------------------------- processes

def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(x) for x in f.read().split()]
    except OSError:
        return []


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def open_fds(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def fd_targets(pid):
    out = []
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                out.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return out


def rss_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


SANITIZER = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|runtime error:|MemorySanitizer")

class Daemon:
    """A process that is not our child, with the face of a Popen. Its exit code cannot be known."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    def poll(self):
        if self.returncode is None and not alive(self.pid):
            self.returncode = 0
        return self.returncode

    def wait(self, timeout=10):
        try:
            poll(lambda: self.poll() is not None, timeout / SLOW, "the daemon to end")
        except AssertionError:
            raise subprocess.TimeoutExpired("daemon", timeout) from None

    def send_signal(self, sig):
        os.kill(self.pid, sig)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


TEMPS = ["client_body", "proxy"]
ORACLE_TEMPS = ["fastcgi", "uwsgi", "scgi"]


class Server:
    """One running sluice (or the oracle) on its own prefix.

    http: what stands inside http { }. In every text @NAME@ is replaced: names that begin with `port` are
    free ports (s.port("port"), s.port("port2")), @PREFIX@ is the prefix, others come from `values`.
    files: {relative path: text or bytes} written below the prefix first."""

    def __init__(self, http="", main="", events="worker_connections 4096;", files=None, values=None,
                 binary=None, workers=None, args=(), raw=None, start=True, log_level="info", env=None,
                 check=True, temps=True, daemon=False):
        self.binary = binary or BINARY
        self.oracle = os.path.basename(self.binary) == "nginx"
        self.prefix = tempfile.mkdtemp(prefix="sluice-test-")
        os.chmod(self.prefix, 0o777)
        self.values = dict(values or {})
        self.values["PREFIX"] = self.prefix
        self.ports = {}
        self.args = list(args)
        self.env = env or {}
        self.check, self.daemon = check, daemon
        self.log_level = log_level
        self.proc = None
        self.extra_pids = []
        if workers is None:
            workers = 1 if self.oracle else 2
        self.workers = workers
        self.http, self.main, self.events, self.raw, self.temps = http, main, events, raw, temps
        for d in ("logs", "temp", "conf", "html"):
            os.makedirs(os.path.join(self.prefix, d), exist_ok=True)
            os.chmod(os.path.join(self.prefix, d), 0o777)
        for name, text in (files or {}).items():
            self.write(name, text)
        self.configure()
        if start:
            try:
                self.start()
            except BaseException:
                shutil.rmtree(self.prefix, ignore_errors=True)
                raise

    # --- configuration
    def port(self, name="port"):
        if name not in self.ports:
            self.ports[name] = free_port()
        return self.ports[name]

    def fill(self, text):
        def value(m):
            name = m.group(1)
            if name in self.values:
                return str(self.values[name])
            if name.startswith("port"):
                return str(self.port(name))
            raise KeyError(name)
        return re.sub(r"@([A-Za-z][A-Za-z0-9_]*)@", value, text)

    def configure(self, http=None, main=None):
        """Writes nginx.conf (again)."""
        if http is not None:
            self.http = http
        if main is not None:
            self.main = main
        if self.raw is not None:
            text = self.raw
        else:
            temps = ""
            if self.temps:
                for t in TEMPS + (ORACLE_TEMPS if self.oracle else []):
                    temps += f"    {t}_temp_path {self.prefix}/temp/{t};\n"
            workers = "" if "worker_processes" in self.main else f"worker_processes {self.workers};\n"
            text = (f"daemon {'on' if self.daemon else 'off'};\npid {self.prefix}/logs/nginx.pid;\n{workers}"
                    f"error_log {self.prefix}/logs/error.log {self.log_level};\n"
                    f"{self.main}\nevents {{ {self.events} }}\nhttp {{\n{temps}")
            if "access_log" not in self.http:
                text += f"    access_log {self.prefix}/logs/access.log;\n"
            text += self.http + "\n}\n"
        self.write("conf/nginx.conf", text)

    def write(self, name, text, mode=None):
        path = os.path.join(self.prefix, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if isinstance(text, str):
            text = self.fill(text).encode("utf-8", "surrogateescape")
        with open(path, "wb") as f:
            f.write(text)
        if mode is not None:
            os.chmod(path, mode)
        return path

    def path(self, name):
        return os.path.join(self.prefix, name)

    def read(self, name, binary=False):
        try:
            with open(self.path(name), "rb") as f:
                data = f.read()
        except FileNotFoundError:
            data = b""
        return data if binary else data.decode("utf-8", "surrogateescape")

    def log(self, name="access.log"):
        return self.read("logs/" + name)

    def wait_log(self, pattern, name="access.log", timeout=10, count=1):
        """Waits until the log has `count` matches of the pattern; returns the last."""
        def look():
            found = list(re.finditer(pattern, self.log(name), re.M))
            return found[-1] if len(found) >= count else None
        try:
            return poll(look, timeout, "log")
        except AssertionError:
            raise AssertionError(f"no {pattern!r} x{count} in {name}:\n{self.log(name)[-3000:]}") from None

    # --- life
    def command(self, *more):
        return [self.binary, "-p", self.prefix + "/", "-c", "conf/nginx.conf",
                "-e", self.prefix + "/logs/error.log", *self.args, *more]

    def environment(self):
        env = dict(os.environ)
        for key in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            kind = key.split("_")[0].lower()
            env[key] = env.get(key, "") + f":log_path={self.prefix}/logs/sanitizer.{kind}"
        env.update(self.env)
        return env

    def run(self, *more, timeout=20):
        """Runs the binary once (-t, -V, -s ...) and returns the CompletedProcess (text)."""
        return subprocess.run(self.command(*more), env=self.environment(), capture_output=True, text=True,
                              errors="surrogateescape", timeout=timeout * SLOW, stdin=subprocess.DEVNULL)

    def start(self, wait=True):
        self.stderr = open(self.path("logs/stderr"), "ab")
        self.proc = subprocess.Popen(self.command(), env=self.environment(), stdin=subprocess.DEVNULL,
                                     stdout=self.stderr, stderr=self.stderr)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=15):
        if self.daemon:
            self.proc.wait(timeout * SLOW)
            if self.proc.returncode == 0:
                self.proc = Daemon(int(poll(lambda: self.log("nginx.pid").strip(), timeout, "the pid file")))

        def ready():
            if self.proc.poll() is not None:
                raise AssertionError(f"{self.binary} ended with {self.proc.returncode}:\n"
                                     f"{self.log('stderr')}\n{self.log('error.log')[-3000:]}")
            return self.log("nginx.pid").strip() and self.worker_pids()
        poll(ready, timeout, "the pid file and a worker")

    @property
    def pid(self):
        return int(self.log("nginx.pid"))

    def worker_pids(self, master=None):
        return [p for p in children(master or self.proc.pid) if alive(p)]

    def all_pids(self):
        return [self.proc.pid] + self.worker_pids()

    def send_signal(self, sig):
        os.kill(self.proc.pid, sig)

    def reload(self, http=None, main=None, wait=True):
        """HUP; waits until the new configuration answers (a worker generation, or the log line)."""
        if http is not None or main is not None:
            self.configure(http, main)
        before = set(self.worker_pids())
        mark = len(self.log("error.log"))
        self.send_signal(signal.SIGHUP)
        if not wait:
            return
        if self.oracle:
            poll(lambda: set(self.worker_pids()) - before, 10, "new workers")
        else:
            poll(lambda: re.search(r"reconfigur(ed|ation (done|failed))|\[emerg\]", self.log("error.log")[mark:]),
                 10, "the log line after a reload")

    def stop(self, sig=signal.SIGTERM, timeout=15):
        if self.proc is None:
            return
        problems = []
        try:
            if self.proc.poll() is None:
                self.proc.send_signal(sig)
            try:
                self.proc.wait(timeout * SLOW)
            except subprocess.TimeoutExpired:
                problems.append(f"did not end within {timeout * SLOW:g} s of signal {sig}")
                for p in children(self.proc.pid):
                    with contextlib.suppress(OSError):
                        os.kill(p, signal.SIGKILL)
                self.proc.kill()
                self.proc.wait()
            if self.proc.returncode != 0 and not problems:
                problems.append(f"exit code {self.proc.returncode}")
        finally:
            self.stderr.close()
        problems += self.complaints()
        if problems and self.check and not self.oracle:
            raise AssertionError("; ".join(problems)[:6000])

    def complaints(self):
        """What must never be in a log: sanitizer reports, alerts, bugs."""
        found = []
        for name in sorted(os.listdir(self.path("logs"))):
            if name.startswith("sanitizer."):
                found.append(f"{name}: {self.log(name)[:3000]}")
        for name in ("stderr", "error.log"):
            text = self.log(name)
            m = SANITIZER.search(text)
            if m:
                found.append(f"{name}: {text[max(0, m.start() - 200):m.start() + 3000]}")
            for line in text.splitlines():
                if "[alert]" in line or "BUG_ON" in line:
                    found.append(f"{name}: {line}")
        return found

    def close(self):
        try:
            self.stop()
        finally:
            self.proc = None
            shutil.rmtree(self.prefix, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if kind is not None:  # the test failed: show the logs, do not hide its error
            sys.stderr.write(f"--- {self.prefix} error.log\n{self.log('error.log')[-4000:]}"
                             f"--- stderr\n{self.log('stderr')[-4000:]}\n")
            self.check = False
        self.close()

    # --- clients
    def connect(self, port="port", **kw):
        return Conn(("127.0.0.1", self.port(port) if isinstance(port, str) else port), **kw)

    def get(self, path="/", port="port", **kw):
        return request(self.port(port) if isinstance(port, str) else port, path, **kw)


# ---------------------------------------------------------------- the client

class Resp:
    """A response as it came: version, status, reason, headers (list of pairs), body, trailers."""

    def __init__(self):
        self.version = self.reason = ""
        self.status = 0
        self.headers, self.trailers = [], []
        self.body, self.raw_head = b"", b""
        self.interim = []      # 1xx responses before it
        self.chunks = None     # list of chunk sizes when chunked
        self.complete = True   # False: the connection ended before the framing did

    def get(self, name, default=None):
        for k, v in self.headers:
            if k.lower() == name.lower():
                return v
        return default

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    @property
    def text(self):
        return self.body.decode("utf-8", "surrogateescape")

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


class Closed(Exception):
    """The peer closed (or reset) where more was expected."""


def parse_head(head):
    lines = head.decode("latin-1").split("\r\n")
    m = re.fullmatch(r"(HTTP/\d\.\d) (\d{3})(?: (.*))?", lines[0])
    assert m, f"bad status line {lines[0]!r}"
    headers = []
    for line in lines[1:]:
        name, sep, value = line.partition(":")
        assert sep and name and name == name.strip(), f"bad header line {line!r}"
        headers.append((name, value.strip(" \t")))
    return m.group(1), int(m.group(2)), m.group(3) or "", headers


class Conn:
    """A client connection with control over every byte. tls: an ssl.SSLContext; proxy: bytes of a PROXY
    protocol header sent first (before TLS)."""

    def __init__(self, addr, tls=None, sni=None, timeout=10, source=None, proxy=None, rcvbuf=None):
        self.timeout = timeout * SLOW
        if isinstance(addr, int):
            addr = ("127.0.0.1", addr)
        if isinstance(addr, str):
            s = socket.socket(socket.AF_UNIX)
        else:
            s = socket.socket(socket.AF_INET6 if ":" in addr[0] else socket.AF_INET)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source:
            s.bind(source)
        s.settimeout(self.timeout)
        try:
            s.connect(addr)
            if proxy:
                s.sendall(proxy)
            if tls:
                s = tls.wrap_socket(s, server_hostname=sni)
        except BaseException:
            s.close()
            raise
        self.sock = s
        self.buf = b""
        self.eof = False

    def send(self, data):
        if isinstance(data, str):
            data = data.encode("latin-1")
        self.sock.sendall(data)
        return self

    def _more(self):
        if self.eof:
            return False
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
            self.was_reset = True
        except socket.timeout:
            raise AssertionError(f"nothing came within {self.timeout:g} s; had {self.buf[:500]!r}") from None
        if not data:
            self.eof = True
            return False
        self.buf += data
        return True

    was_reset = False

    def read_until(self, marker):
        while marker not in self.buf:
            if not self._more():
                raise Closed(self.buf)
        head, self.buf = self.buf.split(marker, 1)
        return head

    def read_exact(self, n):
        while len(self.buf) < n:
            if not self._more():
                raise Closed(self.buf)
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def read_some(self):
        """What has come, at least one byte; b"" at the end."""
        if not self.buf:
            self._more()
        data, self.buf = self.buf, b""
        return data

    def read_all(self):
        while self._more():
            pass
        data, self.buf = self.buf, b""
        return data

    def quiet(self, seconds=0.2):
        """True when nothing (no byte, no end) comes for that long."""
        if self.buf or self.eof:
            return False
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return False
        return not select.select([self.sock], [], [], seconds)[0]

    def closed(self, timeout=None):
        """Waits for the peer to close; True when it did with nothing more sent."""
        old = self.timeout
        if timeout:
            self.sock.settimeout(timeout * SLOW)
        try:
            while not self.buf:
                if not self._more():
                    return True
            return False
        finally:
            self.sock.settimeout(old)

    def read_response(self, method="GET", interim=False):
        """The next final response (1xx are collected in .interim; with interim=True returned alone)."""
        interims = []
        while True:
            r = Resp()
            r.raw_head = self.read_until(b"\r\n\r\n")
            r.version, r.status, r.reason, r.headers = parse_head(r.raw_head)
            if 100 <= r.status < 200 and r.status != 101:
                if interim:
                    return r
                interims.append(r)
                continue
            break
        r.interim = interims
        if method == "HEAD" or r.status in (101, 204, 304):
            return r
        coding = ",".join(r.all("Transfer-Encoding")).lower()
        try:
            if coding:
                assert coding == "chunked", coding
                assert r.get("Content-Length") is None, "both framings"
                self._read_chunked(r)
            elif r.get("Content-Length") is not None:
                lengths = r.all("Content-Length")
                assert len(lengths) == 1 and lengths[0].isdigit(), lengths
                r.body = self.read_exact(int(lengths[0]))
            else:
                r.body = self.read_all()
        except Closed as e:
            r.body += e.args[0] if not coding else b""
            r.complete = False
        return r

    def _read_chunked(self, r):
        r.chunks = []
        while True:
            line = self.read_until(b"\r\n")
            assert re.fullmatch(rb"[0-9a-fA-F]+", line), f"bad chunk size {line!r}"
            n = int(line, 16)
            r.chunks.append(n)
            if n == 0:
                break
            data = b""
            while len(data) < n:
                if not self.buf and not self._more():
                    r.body += data
                    raise Closed(b"")
                take = self.buf[:n - len(data)]
                self.buf = self.buf[len(take):]
                data += take
            r.body += data
            assert self.read_exact(2) == b"\r\n"
        while True:
            line = self.read_until(b"\r\n").decode("latin-1")
            if not line:
                return
            name, _, value = line.partition(":")
            r.trailers.append((name, value.strip()))

    def request(self, path="/", method="GET", headers=None, body=None, host="localhost", version="1.1"):
        self.send(build_request(path, method, headers, body, host, version))
        return self.read_response(method)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Closes with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.sock.close()


def build_request(path="/", method="GET", headers=None, body=None, host="localhost", version="1.1"):
    lines = [f"{method} {path} HTTP/{version}"]
    items = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    names = [k.lower() for k, _ in items]
    if host is not None and "host" not in names:
        lines.append(f"Host: {host}")
    if isinstance(body, str):
        body = body.encode()
    if body is not None and "content-length" not in names and "transfer-encoding" not in names:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{k}: {v}" for k, v in items]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def request(port, path="/", method="GET", headers=None, body=None, host="localhost", version="1.1", tls=None,
            sni=None, source=None, proxy=None, timeout=10):
    """One request on its own connection (Connection: close)."""
    items = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    if not any(k.lower() == "connection" for k, _ in items):
        items.append(("Connection", "close"))
    with Conn(port, tls=tls, sni=sni, source=source, proxy=proxy, timeout=timeout) as c:
        return c.request(path, method, items, body, host, version)


def proxy_v1(src="192.0.2.7", dst="192.0.2.1", sport=5555, dport=80, family="TCP4"):
    return f"PROXY {family} {src} {dst} {sport} {dport}\r\n".encode()


def proxy_v2(src="192.0.2.7", dst="192.0.2.1", sport=5555, dport=80, command=1, tlvs=b""):
    six = ":" in src
    fam = socket.AF_INET6 if six else socket.AF_INET
    addr = socket.inet_pton(fam, src) + socket.inet_pton(fam, dst) + struct.pack(">HH", sport, dport) + tlvs
    return (b"\r\n\r\n\x00\r\nQUIT\n" + bytes([0x20 | command, 0x21 if six else 0x11])
            + struct.pack(">H", len(addr)) + addr)


# ---------------------------------------------------------------- backends

class Req:
    """A request as a backend received it."""

    def __init__(self, raw_head):
        self.raw_head = raw_head
        lines = raw_head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.method, self.target, self.version = lines[0].split(" ")
        self.headers = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers.append((name, value.strip()))
        self.body = b""
        self.chunked = False
        self.trailers = []
        self.conn = 0  # number of the connection it came on

    get, all = Resp.get, Resp.all


class BackendConn:
    """One accepted connection of a Backend; a handler drives it."""

    def __init__(self, backend, sock, number):
        self.backend, self.sock, self.number = backend, sock, number
        self.c = Conn.__new__(Conn)
        self.c.sock, self.c.buf, self.c.eof, self.c.timeout = sock, b"", False, sock.gettimeout()

    def read_head(self):
        """The next request's head (Req without body), or None at the end."""
        try:
            head = self.c.read_until(b"\r\n\r\n")
        except Closed:
            return None
        r = Req(head)
        r.conn = self.number
        return r

    def read_body(self, r):
        if "chunked" in (r.get("Transfer-Encoding") or "").lower():
            r.chunked = True
            resp = Resp()
            self.c._read_chunked(resp)
            r.body, r.trailers = resp.body, resp.trailers
        elif r.get("Content-Length"):
            r.body = self.c.read_exact(int(r.get("Content-Length")))
        return r.body

    def read_request(self):
        r = self.read_head()
        if r is None:
            return None
        try:
            self.read_body(r)
        except Closed as e:
            r.body, r.cut = e.args[0], True
            self.backend.note(r)
            return None
        self.backend.note(r)
        return r

    def send(self, data):
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def vanish(self):
        """As if the machine had lost its power: a filter drops all that arrives before TCP sees it."""
        code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # BPF_RET | BPF_K, 0
        self.sock.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", 1, ctypes.addressof(code)))

    def wait_eof(self, timeout=10):
        """True when the peer closes within the time."""
        self.sock.settimeout(timeout * SLOW)
        try:
            while self.sock.recv(65536):
                pass
        except socket.timeout:
            return False
        except OSError:
            pass
        return True


def response(body=b"", status=200, headers=(), reason="OK", length=True, version="HTTP/1.1"):
    if isinstance(body, str):
        body = body.encode()
    lines = [f"{version} {status} {reason}"]
    items = list(headers.items()) if isinstance(headers, dict) else list(headers)
    lines += [f"{k}: {v}" for k, v in items]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def chunked(*parts, trailers=()):
    out = b""
    for p in parts:
        p = p.encode() if isinstance(p, str) else p
        out += b"%x\r\n%s\r\n" % (len(p), p)
    out += b"0\r\n"
    for k, v in trailers:
        out += f"{k}: {v}\r\n".encode()
    return out + b"\r\n"


class Backend:
    """A listening socket and a thread per connection. `handler(conn)` drives a connection; with `answer`
    (a function Req -> bytes, or bytes) it is a plain keep-alive server."""

    def __init__(self, handler=None, answer=None, tls=None, path=None, port=None, backlog=512, listen=True):
        self.requests, self.errors, self.conns = [], [], []
        self.accepted = 0
        self.lock = threading.Lock()
        self.tls = tls
        if handler is None:
            answer = response(b"ok") if answer is None else answer
            make = answer if callable(answer) else (lambda r: answer)

            def handler(conn):
                while True:
                    r = conn.read_request()
                    if r is None:
                        return
                    out = make(r)
                    if out is None:
                        return
                    conn.send(out)
                    if (r.get("Connection") or "").lower() == "close" or (
                            r.version == "HTTP/1.0" and (r.get("Connection") or "").lower() != "keep-alive"):
                        return
        self.handler = handler
        self.path = path
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            os.chmod(path, 0o777)
        else:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.port = port or free_port()
            self.listener.bind(("127.0.0.1", self.port))
            self.addr = f"127.0.0.1:{self.port}"
        self.closing = False
        if listen:
            self.listener.listen(backlog)
            self.thread = threading.Thread(target=self._accept, daemon=True)
            self.thread.start()

    def note(self, r):
        with self.lock:
            self.requests.append(r)

    @property
    def last(self):
        return self.requests[-1]

    def wait_requests(self, n, timeout=10):
        poll(lambda: len(self.requests) >= n, timeout, f"{n} requests at the backend (has {len(self.requests)})")
        return self.requests

    def _accept(self):
        while not self.closing:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(s, self.accepted), daemon=True).start()

    def _serve(self, s, number):
        s.settimeout(30 * SLOW)
        try:
            if self.tls:
                s = self.tls.wrap_socket(s, server_side=True)
            else:
                if not self.path:
                    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            conn = BackendConn(self, s, number)
            with self.lock:
                self.conns.append(conn)
            self.handler(conn)
        except (OSError, ssl.SSLError, Closed) as e:
            self.errors.append(e)
        except Exception as e:  # a test reads .errors when it cares
            self.errors.append(e)
        finally:
            with contextlib.suppress(OSError):
                s.close()

    def close(self):
        self.closing = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for c in list(self.conns):
            with contextlib.suppress(OSError):
                c.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()


def echo_lines(r):
    """An answer that shows the request: line, headers, body."""
    text = r.line + "\n" + "".join(f"{k}: {v}\n" for k, v in r.headers) + "\n"
    return response(text.encode("latin-1") + r.body, headers=[("Content-Type", "text/plain")])


class Process:
    """A real backend program. Waits until its port accepts connections."""

    def __init__(self, argv, port, cwd=None, env=None):
        self.port, self.addr = port, f"127.0.0.1:{port}"
        self.argv, self.cwd = argv, cwd
        self.env = dict(os.environ, **(env or {}))
        self.start()

    def start(self):
        self.proc = subprocess.Popen(self.argv, cwd=self.cwd, env=self.env, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

        def up():
            assert self.proc.poll() is None, f"{self.argv[0]} ended with {self.proc.returncode}"
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.port)) == 0
        poll(up, 20, f"{self.argv[0]} to listen")

    def kill(self, sig=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.proc.pid, sig)  # its own session, made above
        self.proc.wait()

    def close(self):
        if self.proc.poll() is None:
            self.kill(signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()
