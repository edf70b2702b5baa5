"""TLS to servers that speak HTTP/2, when it goes wrong: each case over HTTP/1.1, HTTP/2, `auto` and grpc_pass, which must
tell the same story. HTTP/1.1 and grpc_pass run against nginx, too."""
import concurrent.futures
import contextlib
import shutil
import socket
import ssl
import threading

import pytest

from h2_backend import H2Backend, h2_tls
from harness import ORACLE, SLOW, Backend, Process, free_port, poll, response

NEW = pytest.mark.sluice_only("proxy_http_version 2")
MODES = ["1.1", "grpc", pytest.param("2", marks=NEW), pytest.param("auto", marks=NEW)]
H2_MODES = ["grpc", pytest.param("2", marks=NEW), pytest.param("auto", marks=NEW)]
FORMAT = "log_format t '$status $upstream_status $upstream_addr%s'; " % ("" if ORACLE else " $upstream_error")


@pytest.fixture
def servers():
    made = []

    def go(cls, *a, **kw):
        made.append(cls(*a, **kw))
        return made[-1]
    yield go
    for b in made:
        b.close()


def place(mode, more=""):
    """A location of that mode for the group g; %-directives begin with what the mode's do."""
    if mode == "grpc":
        return "location / { grpc_pass grpcs://g; %s }" % more.replace("%", "grpc_")
    head = "" if mode != "1.1" else 'proxy_set_header Connection ""; '
    return "location / { proxy_pass https://g; proxy_http_version %s; %s%s }" % (mode, head, more.replace("%", "proxy_"))


def conf(mode, *addrs, more="", group="keepalive 8;"):
    return ("%s upstream g { %s %s } server { listen 127.0.0.1:@port@; access_log @PREFIX@/logs/t.log t; %s }"
            % (FORMAT, " ".join(f"server {a};" for a in addrs), group, place(mode, more)))


def speaker(servers, certs, mode, tls=None, **kw):
    """A server that speaks what the mode wants, over TLS."""
    if mode == "1.1":
        return servers(Backend, answer=response(b"ok"), tls=tls or certs.server_context(certs.a), **kw)
    return servers(H2Backend, tls=tls or h2_tls(certs, protocols=("h2", "http/1.1") if mode == "auto" else ("h2",)), **kw)


def established(port):
    """Connections of ours to that port which both sides hold."""
    n = 0
    with open("/proc/net/tcp") as f:
        for line in list(f)[1:]:
            _, _, remote, state = line.split()[:4]
            n += int(remote.split(":")[1], 16) == port and state in ("01", "08")  # ESTABLISHED, CLOSE_WAIT
    return n


def down(b):
    """The server ends, with all its connections: its threads wait on them, so closing alone would end none."""
    b.closing = True
    with contextlib.suppress(OSError):
        b.listener.shutdown(socket.SHUT_RDWR)
    for c in list(b.conns):
        with contextlib.suppress(OSError):
            c.sock.shutdown(socket.SHUT_RDWR)
    b.close()


def nothing_left(b):
    port = b if isinstance(b, int) else b.port
    poll(lambda: established(port) == 0, 10, "no connection is left")


def logged(s, status, upstream, error=None, count=1):
    """The access log's line: status, $upstream_status, and why."""
    s.wait_log("^%s %s \\S.*%s$" % (status, upstream, "" if ORACLE or not error else " " + error), "t.log", count=count)


# ---------------------------------------------------------------- handshakes that fail

def cut_at_once(conn):
    conn.close()


def cut_after_hello(conn):
    conn.sock.recv(65536)
    conn.close()


def reset_after_hello(conn):
    conn.sock.recv(65536)
    conn.reset()


def no_tls(conn):
    conn.sock.recv(65536)
    conn.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def alert(conn):
    """no_application_protocol, as servers of HTTP/1 alone may say to who offers only h2 (RFC 7301 3.2)."""
    conn.sock.recv(65536)
    conn.send(b"\x15\x03\x03\x00\x02\x02\x78")
    conn.sock.recv(65536)


def half_a_hello(conn):
    conn.sock.recv(65536)
    conn.send(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + b"r" * 20)
    conn.close()


CUTS = [cut_at_once, cut_after_hello, reset_after_hello, no_tls, alert, half_a_hello]
WORDS = {cut_at_once: "peer closed connection in SSL handshake|SSL_do_handshake\\(\\) failed" +
         ("|upstream prematurely closed connection" if ORACLE else ""),
         cut_after_hello: "peer closed connection in SSL handshake|SSL_do_handshake\\(\\) failed",
         reset_after_hello: "(peer closed connection in SSL handshake|SSL_do_handshake\\(\\) failed).*104|104.*reset by peer",
         no_tls: "SSL_do_handshake\\(\\) failed \\(SSL:.*wrong version number",
         alert: "SSL_do_handshake\\(\\) failed \\(SSL:.*no application protocol",
         half_a_hello: "peer closed connection in SSL handshake|SSL_do_handshake\\(\\) failed"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cut", CUTS, ids=lambda c: c.__name__)
def test_handshake_is_cut(start, servers, mode, cut):
    b = servers(Backend, cut)
    s = start(conf(mode, b.addr), workers=1)
    for n in range(1, 4):
        assert s.get("/").status == 502
        logged(s, 502, 502, "upstream_tls", n)
        phase = "SSL handshaking to upstream" if not ORACLE else ".* upstream"
        line = s.wait_log(r"\[\w+\].*(%s).* while %s, client: .*" % (WORDS[cut], phase), "error.log", count=n)
        assert 'upstream: "' in line.group(0) and "(SSL: )" not in line.group(0)
    nothing_left(b)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cut", [cut_after_hello, no_tls, alert], ids=lambda c: c.__name__)
def test_handshake_is_cut_for_many(start, servers, mode, cut):
    """Requests that wait for the same connection learn as much as the one that makes it."""
    gate = threading.Event()

    def handler(conn):
        gate.wait(20 * SLOW)
        cut(conn)
    b = servers(Backend, handler)
    s = start(conf(mode, b.addr), workers=1)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        all_ = [pool.submit(s.get, "/") for _ in range(10)]
        poll(lambda: b.accepted >= (10 if mode == "1.1" or ORACLE else 1))
        gate.set()
        assert [f.result().status for f in all_] == [502] * 10
    logged(s, 502, 502, "upstream_tls", 10)
    s.wait_log(r"(%s).* while SSL handshaking to upstream, client: " % WORDS[cut], "error.log", count=10)
    nothing_left(b)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("when", ["at once", "after half a hello"])
def test_handshake_hangs(start, servers, mode, when):
    hold = threading.Event()

    def handler(conn):
        if when != "at once":
            conn.sock.recv(65536)
            conn.send(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + b"r" * 20)
        hold.wait(30 * SLOW)
    b = servers(Backend, handler)
    s = start(conf(mode, b.addr, more="%connect_timeout 1s;"), workers=1)
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        assert [r.status for r in pool.map(lambda _: s.get("/"), range(5))] == [504] * 5
    logged(s, 504, 504, "upstream_connect_timeout", 5)
    s.wait_log(r"upstream timed out \(110: Connection timed out\) while SSL handshaking to upstream", "error.log", count=5)
    nothing_left(b)  # the server still holds its ends
    hold.set()


@pytest.mark.parametrize("mode", MODES)
def test_client_leaves_a_handshake_that_hangs(start, servers, mode):
    hold = threading.Event()
    b = servers(Backend, lambda conn: hold.wait(30 * SLOW))
    s = start(conf(mode, b.addr), workers=1)
    with s.connect() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        poll(lambda: b.accepted == 1)
        poll(lambda: b.conns)
    logged(s, 499, "(-|499)")
    nothing_left(b)
    hold.set()


# ---------------------------------------------------------------- certificates

def bad_certificate(certs, name):
    """(certificate, what proxy_ssl_* say besides, words of the error log)"""
    ok = f"%ssl_trusted_certificate {certs.ca_path};"
    return {"unknown authority": (certs.a, f"%ssl_trusted_certificate {certs.b[0]}; %ssl_name a.example;",
                                  "upstream SSL certificate verify error: \\(.*(unable to get local issuer|unable to verify the first)"),
            "expired": (certs.make("old.example", days=-1), ok + "%ssl_name old.example;",
                        "upstream SSL certificate verify error: \\(10:certificate has expired\\)"),
            "another name": (certs.a, ok + "%ssl_name wrong.example;",
                             'upstream SSL certificate does not match "wrong.example"')}[name]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["unknown authority", "expired", "another name"])
def test_certificate_is_wrong(start, servers, certs, mode, name):
    pair, more, words = bad_certificate(certs, name)
    protocols = {"1.1": ("http/1.1",), "auto": ("h2", "http/1.1")}.get(mode, ("h2",))
    b = speaker(servers, certs, mode, h2_tls(certs, pair, protocols))
    s = start(conf(mode, b.addr, more="%ssl_verify on; " + more), workers=1)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert [r.status for r in pool.map(lambda _: s.get("/"), range(4))] == [502] * 4
    logged(s, 502, 502, "upstream_verify", 4)
    s.wait_log(words + ".* while SSL handshaking to upstream", "error.log", count=4)
    assert not b.requests
    nothing_left(b)
    if ORACLE:
        return
    s.reload(conf(mode, b.addr, more="%ssl_verify off;"))  # no connection or session that was not looked at serves the other
    assert s.get("/").status == 200
    s.reload(conf(mode, b.addr, more="%ssl_verify on; " + more))
    assert s.get("/").status == 502 and len(b.requests) == 1


# ---------------------------------------------------------------- who speaks what

@pytest.mark.parametrize("mode", H2_MODES)
def test_h2_without_alpn(start, servers, certs, mode):
    """Who is told to speak HTTP/2 does; `auto` takes silence for HTTP/1.1 (RFC 9113 3.2)."""
    b = servers(H2Backend, tls=certs.server_context(certs.a))
    s = start(conf(mode, b.addr), workers=1)
    want = 502 if mode == "auto" else 200
    for _ in range(3):
        assert s.get("/").status == want
    logged(s, want, want, None, 3)
    if want == 502:
        nothing_left(b)
    else:
        assert b.accepted == 1 or ORACLE


@pytest.mark.parametrize("mode", H2_MODES)
@pytest.mark.parametrize("alpn", [None, "http/1.1"])
def test_http1_server(start, servers, certs, mode, alpn):
    """Asked for HTTP/2 it answers in HTTP/1.1, or closes: no HTTP/2."""
    ctx = h2_tls(certs, protocols=(alpn,)) if alpn else certs.server_context(certs.a)
    b = servers(Backend, answer=response(b"one"), tls=ctx)
    s = start(conf(mode, b.addr), workers=1)
    want = 200 if mode == "auto" else 502
    for _ in range(3):
        assert s.get("/").status == want
    logged(s, want, want, None if want == 200 else "upstream_(h2|closed|reset)", 3)
    if want == 502:
        nothing_left(b)
    else:
        assert b.accepted == 1


@contextlib.contextmanager
def nginx_server(tmp_path, certs, http2):
    """nginx as the server: it sends an alert to who offers nothing that it has."""
    port = free_port()
    (tmp_path / "logs").mkdir(exist_ok=True)
    (tmp_path / "n.conf").write_text(
        f"daemon off; master_process off; error_log {tmp_path}/logs/error.log info; pid {tmp_path}/pid; events {{ }} http {{ access_log off; "
        f"server {{ listen 127.0.0.1:{port} ssl{' http2' if http2 else ''}; ssl_certificate {certs.a[0]}; "
        f"ssl_certificate_key {certs.a[1]}; return 200 $server_protocol; }} }}")
    with Process([shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(tmp_path), "-c", str(tmp_path / "n.conf"), "-e",
                  str(tmp_path / "logs/error.log")], port) as p:
        yield p


@pytest.mark.parametrize("mode", H2_MODES)
def test_nginx_without_h2(start, certs, mode, tmp_path):
    with nginx_server(tmp_path, certs, False) as n:
        s = start(conf(mode, n.addr), workers=1)
        want = 200 if mode == "auto" else 502
        for _ in range(3):
            r = s.get("/")
            assert r.status == want and (want == 502 or r.body == b"HTTP/1.1")
        logged(s, want, want, None if want == 200 else "upstream_tls", 3)
        if want == 502:
            s.wait_log("no application protocol.* while SSL handshaking to upstream", "error.log", count=3)


@pytest.mark.parametrize("mode", H2_MODES)
def test_nginx_with_h2(start, certs, mode, tmp_path):
    with nginx_server(tmp_path, certs, True) as n:
        s = start(conf(mode, n.addr), workers=1)
        for _ in range(3):
            r = s.get("/")
            assert r.status == 200 and r.body == b"HTTP/2.0"


@NEW
def test_auto_follows_a_server_that_changes(start, certs, tmp_path):
    """From HTTP/2 to HTTP/1.1 and back: the server is another one each time, at the same address."""
    port = free_port()

    def serve(h2):
        if h2:
            return H2Backend(tls=h2_tls(certs, protocols=("h2", "http/1.1")), port=port, answer=lambda r: {"body": b"two"})
        return Backend(answer=response(b"one"), tls=h2_tls(certs, protocols=("http/1.1",)), port=port)
    s = start(conf("auto", f"127.0.0.1:{port}"), workers=1)
    for h2 in (True, False, True, False, True):
        b = serve(h2)
        try:
            poll(lambda: established(port) == 0)
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                got = [(r.status, r.body) for r in pool.map(lambda _: s.get("/"), range(40))]
            assert got == [(200, b"two" if h2 else b"one")] * 40
            if h2:
                assert b.accepted <= 8  # those that were under way when it was found out
                before = b.accepted
                assert [s.get("/").body for _ in range(5)] == [b"two"] * 5 and b.accepted == before
        finally:
            down(b)
    poll(lambda: established(port) == 0)


@NEW
def test_auto_changes_under_load(start, certs):
    """While requests run all the time: none fails that the server has not lost itself."""
    port = free_port()
    s = start(conf("auto", f"127.0.0.1:{port}", more="%next_upstream off;"), workers=1)
    stop, bad, done = threading.Event(), [], []

    def load():
        with s.connect() as c:
            while not stop.is_set():
                r = c.request("/")
                (done if r.body in (b"one", b"two") else bad).append(r)
    a = H2Backend(tls=h2_tls(certs, protocols=("h2", "http/1.1")), port=port, answer=lambda r: {"body": b"two"})
    threads = [threading.Thread(target=load) for _ in range(6)]
    for t in threads:
        t.start()
    try:
        poll(lambda: len(done) > 50)
        # The address passes on: the old listener closes first, its connections are left to end by GOAWAY.
        a.closing = True
        a.listener.shutdown(socket.SHUT_RDWR)
        a.listener.close()
        b = Backend(answer=response(b"one"), tls=h2_tls(certs, protocols=("http/1.1",)), port=port)
        for c in a.h2conns:
            with contextlib.suppress(OSError):
                c.goaway(2 ** 31 - 1)
        poll(lambda: any(r.body == b"one" for r in done[-5:]))
        n = len(done)
        poll(lambda: len(done) > n + 50)
    finally:
        stop.set()
        for t in threads:
            t.join()
        a.close()
    assert not bad, bad[:3]
    b.close()


# ---------------------------------------------------------------- restarts and sessions

@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_session_reuse(start, servers, certs, mode, version):
    """Each connection serves one request; the next handshake is a short one."""
    seen = []
    protocols = {"1.1": ("http/1.1",), "auto": ("h2", "http/1.1")}.get(mode, ("h2",))
    b = speaker(servers, certs, mode, h2_tls(certs, protocols=protocols, high=version))
    inner = b.handler

    def handler(conn):
        seen.append(conn.sock.session_reused)
        inner(conn)
    b.handler = handler
    for reuse in ("on", "off"):
        s = start(conf(mode, b.addr, more=f"%ssl_session_reuse {reuse};", group="keepalive 1; keepalive_requests 1;"), workers=1)
        del seen[:]
        for n in range(1, 5):
            assert s.get("/").status == 200
            poll(lambda: established(b.port) == 0)
        assert seen == ([False, True, True, True] if reuse == "on" else [False] * 4)


@pytest.mark.parametrize("mode", MODES)
def test_server_restarts(start, servers, certs, mode):
    """Other keys for tickets, another certificate: what was remembered of it is of no use, and does no harm."""
    port = free_port()
    other = certs.make("a.example", file="again")
    s = start(conf(mode, f"127.0.0.1:{port}", more=f"%ssl_verify on; %ssl_trusted_certificate {certs.ca_path}; %ssl_name a.example;"),
              workers=1)
    for pair in (certs.a, other, certs.a):
        protocols = {"1.1": ("http/1.1",), "auto": ("h2", "http/1.1")}.get(mode, ("h2",))
        b = speaker(servers, certs, mode, h2_tls(certs, pair, protocols), port=port)
        for _ in range(5):
            assert s.get("/").status == 200
        assert b.accepted == 1 or ORACLE
        down(b)
        poll(lambda: established(port) == 0)
        assert s.get("/").status == 502
        logged(s, 502, 502, "upstream_connect")
        s.wait_log(r"connect\(\) failed \(111: Connection refused\) while connecting to upstream", "error.log")


@pytest.mark.parametrize("mode", MODES)
def test_closed_in_silence(start, servers, certs, mode):
    """Cut below TLS, without close_notify or GOAWAY, while a request that waits may be repeated."""
    got = []

    def on_request(c, r):
        got.append(r)
        if len(got) == 2:
            c.conn.reset()
            c.gone = True
        else:
            c.respond(r.stream, body=b"ok")

    def answer(r):
        got.append(r)
        return None if len(got) == 2 else response(b"ok")
    if mode == "1.1":
        b = servers(Backend, answer=answer, tls=certs.server_context(certs.a))
    else:
        b = servers(H2Backend, on_request=on_request, tls=h2_tls(certs, protocols=("h2", "http/1.1")))
    s = start(conf(mode, b.addr), workers=1)
    with s.connect() as c:
        got_all = [c.request("/").status for _ in range(3)]
    assert got_all == [200, 200, 200] or (ORACLE and got_all == [200, 502, 200])
    assert ORACLE or (len(got) == 4 and b.accepted == 2)


# ---------------------------------------------------------------- the next server, limits

@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cut", CUTS + ["certificate", "refused"], ids=lambda c: c if isinstance(c, str) else c.__name__)
def test_next_server(start, servers, certs, mode, cut):
    more = "%ssl_name a.example;"
    if cut == "refused":
        bad = f"127.0.0.1:{free_port()}"
    elif cut == "certificate":
        bad = speaker(servers, certs, mode, h2_tls(certs, certs.b, ("h2", "http/1.1") if mode != "1.1" else ("http/1.1",))).addr
        more += f"%ssl_verify on; %ssl_trusted_certificate {certs.ca_path};"
    else:
        bad = servers(Backend, cut).addr
    good = speaker(servers, certs, mode)
    s = start(conf(mode, bad + " max_fails=0", good.addr, more=more), workers=1)
    for _ in range(6):
        assert s.get("/").status == 200
    s.wait_log("^200 502, 200 %s, %s" % (bad, good.addr), "t.log", count=2)
    if not isinstance(cut, str):
        nothing_left(int(bad.split(":")[1]))


@pytest.mark.parametrize("mode", ["grpc", pytest.param("2", marks=NEW)])
@NEW
def test_next_server_when_the_first_has_no_h2(start, servers, certs, mode, tmp_path):
    with nginx_server(tmp_path, certs, False) as n:
        good = speaker(servers, certs, mode)
        s = start(conf(mode, n.addr + " max_fails=0", good.addr), workers=1)
        for _ in range(4):
            assert s.get("/").status == 200
        s.wait_log("^200 502, 200 ", "t.log", count=2)


@pytest.mark.parametrize("mode", MODES)
def test_handshake_that_hangs_goes_to_the_next(start, servers, certs, mode):
    hold = threading.Event()
    bad = servers(Backend, lambda conn: hold.wait(30 * SLOW))
    good = speaker(servers, certs, mode)
    s = start(conf(mode, bad.addr + " max_fails=0", good.addr, more="%connect_timeout 1s;"), workers=1)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert [r.status for r in pool.map(lambda _: s.get("/"), range(4))] == [200] * 4
    s.wait_log("^200 504, 200 %s, %s" % (bad.addr, good.addr), "t.log")
    nothing_left(bad)
    hold.set()


@pytest.mark.parametrize("mode", H2_MODES)
@NEW
def test_max_conns_and_the_servers_limit(start, certs, servers, mode):
    """max_conns counts requests; that the server takes two at a time on a connection makes more connections."""
    held = []
    b = servers(H2Backend, on_request=lambda c, r: held.append((c, r)), settings={3: 2}, tls=h2_tls(certs, protocols=("h2", "http/1.1")))
    s = start(conf(mode, b.addr + " max_conns=5"), workers=1)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = pool.submit(s.get, "/")
        poll(lambda: len(held) == 1 and held[0][0].acked)  # what came before that would be within the limit of 100
        four = [pool.submit(s.get, "/") for _ in range(4)]
        poll(lambda: len(held) == 5)
        for _ in range(3):
            assert s.get("/").status == 502
        logged(s, 502, 502, "upstream_busy", 3)
        assert b.accepted == 3
        for c, r in list(held):
            c.respond(r.stream)
        assert [f.result().status for f in [first, *four]] == [200] * 5
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        again = [pool.submit(s.get, "/") for _ in range(5)]
        poll(lambda: len(held) == 10)
        for c, r in held[5:]:
            c.respond(r.stream)
        assert [f.result().status for f in again] == [200] * 5
    assert b.accepted == 3


@pytest.mark.parametrize("mode", H2_MODES)
@NEW
def test_max_conns_while_the_handshake_hangs(start, servers, certs, mode):
    """Those that wait for a connection count, too, and no longer when it came to nothing."""
    gate = threading.Event()

    def handler(conn):
        gate.wait(30 * SLOW)
        conn.close()
    b = servers(Backend, handler)
    s = start(conf(mode, b.addr + " max_conns=3"), workers=1)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        many = [pool.submit(s.get, "/") for _ in range(8)]
        logged(s, 502, 502, "upstream_busy", 5)
        gate.set()
        assert [f.result().status for f in many] == [502] * 8
    logged(s, 502, 502, "upstream_tls", 3)
    nothing_left(b)
