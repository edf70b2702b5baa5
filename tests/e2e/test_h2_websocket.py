"""WebSocket over HTTP/2 (RFC 8441): extended CONNECT becomes an upgrade to an HTTP/1 server, and its 101 a 200."""
import base64
import hashlib
import threading

import pytest

from h2raw import CONNECT_PROTOCOL, H2, INITIAL_WINDOW, NO_ERROR, PROTOCOL_ERROR, WINDOW_UPDATE
from harness import SANITIZED, SLOW, poll, response, rss_kb

pytestmark = pytest.mark.sluice_only("nginx has no extended CONNECT yet")

HTTP = """log_format t '$request|$status|$bytes_sent'; access_log logs/t.log t; keepalive_requests 100000;
map $http_upgrade $connection_upgrade { default upgrade; '' close; }
server { listen 127.0.0.1:@port@; http2 on; http2_extended_connect on; http2_max_concurrent_streams 2000; %s
    location / { proxy_pass http://@b@; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade; %s }
    location /plain { proxy_pass http://@b@; proxy_http_version 1.1; }
    location /file { root html; } location /say { return 200 ok; } }"""
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def switch(r):
    accept = base64.b64encode(hashlib.sha1(r.get("Sec-WebSocket-Key").encode() + GUID).digest()).decode()
    return (f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n").encode()


def shout(conn):
    """Switches, then sends back what comes, upper case, and the end."""
    r = conn.read_request()
    if r is None:
        return
    conn.send(switch(r))
    while True:
        data = conn.c.read_some()
        if not data:
            conn.sock.shutdown(1)
            return
        conn.send(data.upper())


@pytest.fixture
def go(start, backend):
    def run(handler=shout, server="", location="", **kw):
        b = backend(handler)
        s = start(HTTP % (server, location), values={"b": b.addr}, files={"html/file": b"x"}, **kw)
        s.b = b
        return s
    return run


def connect(c, path="/chat", protocol="websocket", end=False, more=()):
    return c.open([(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":authority", "a.test"),
                   (":path", path), ("sec-websocket-version", "13"), *more], end=end)


def test_announced(go, start):
    s = go()
    with H2(s.port()) as c:
        c.until(lambda: c.settings)
        assert c.settings[CONNECT_PROTOCOL] == 1
    s = start(
        "server { listen 127.0.0.1:@port@; http2 on; return 200; }")
    with H2(s.port()) as c:
        c.until(lambda: c.settings)
        assert CONNECT_PROTOCOL not in c.settings
        assert c.response(connect(c)).reset == PROTOCOL_ERROR


def test_switch_and_bytes(go):
    s = go()
    with H2(s.port()) as c:
        n = connect(c, more=[("sec-websocket-protocol", "chat"), ("origin", "http://a.test")])
        r = c.head(n)
        assert r.status == 200 and r.get("sec-websocket-protocol") == "chat"
        assert r.get("sec-websocket-accept") is None and r.get("upgrade") is None and r.get("content-length") is None
        seen = s.b.last
        assert (seen.method, seen.target, seen.get("Upgrade"), seen.get("Connection")) == \
            ("GET", "/chat", "websocket", "upgrade")
        assert len(base64.b64decode(seen.get("Sec-WebSocket-Key"))) == 16
        assert seen.get("Content-Length") is None and seen.get("Transfer-Encoding") is None
        for i in range(50):
            before = len(r.body)
            c.data(n, b"hello%d" % i)
            c.until(lambda: len(r.body) == before + len(b"hello%d" % i))
            assert r.body.endswith(b"HELLO%d" % i)
        c.data(n, b"bye", end=True)
        assert c.response(n).body.endswith(b"BYE") and r.ended and r.reset in (None, NO_ERROR)
        assert c.get("/say").status == 200
    s.wait_log(r"GET /chat HTTP/2.0\|200\||CONNECT /chat HTTP/2.0\|200\|", "t.log")


def test_keys_differ(go):
    s = go()
    with H2(s.port()) as c:
        for _ in range(5):
            c.head(connect(c))
    assert len({r.get("Sec-WebSocket-Key") for r in s.b.requests}) == 5


def test_bytes_sent_before_the_answer(go):
    hold = threading.Event()

    def late(conn):
        r = conn.read_request()
        hold.wait(10 * SLOW)
        conn.send(switch(r) + b"early")
        conn.send(conn.c.read_exact(5))
    s = go(late)
    with H2(s.port()) as c:
        n = connect(c)
        c.data(n, b"first")
        c.ping()
        hold.set()
        c.until(lambda: c.stream(n).body == b"earlyfirst")


def test_much_in_both_directions(go):
    s = go()
    with H2(s.port(), settings={INITIAL_WINDOW: 20_000}) as c:
        n = connect(c)
        r = c.head(n)
        given = [65535]

        def note(kind, flags, stream, payload, was=c._note):
            was(kind, flags, stream, payload)
            if kind == 8 and stream == n:
                given[0] += int.from_bytes(payload, "big")
        c._note = note
        sent = 0
        while sent < 1_000_000:
            k = min(10_000, given[0] - sent)
            if k < 1000:
                c.recv()
                continue
            c.data(n, b"abcdefghij" * (k // 10))
            sent += k // 10 * 10
        c.data(n, b"", end=True)
        assert c.response(n).body == b"ABCDEFGHIJ" * (sent // 10)


def test_the_server_ends_first(go):
    def once(conn):
        conn.send(switch(conn.read_request()) + b"that was it")
        conn.close()
    s = go(once)
    with H2(s.port()) as c:
        n = connect(c)
        c.until(lambda: c.stream(n).ended or c.stream(n).reset is not None)
        assert c.stream(n).body == b"that was it"
        c.data(n, b"", end=True)
        assert c.get("/say").status == 200


def test_the_client_resets(go):
    gone = threading.Event()

    def wait(conn):
        conn.send(switch(conn.read_request()))
        if conn.wait_eof(10):
            gone.set()
    s = go(wait)
    with H2(s.port()) as c:
        n = connect(c)
        c.head(n)
        c.reset(n)
        assert gone.wait(10 * SLOW)
        assert c.get("/say").status == 200
    s.wait_log("/chat", "t.log")


def test_the_connection_closes(go):
    gone = []

    def wait(conn):
        conn.send(switch(conn.read_request()))
        if conn.wait_eof(10):
            gone.append(1)
    s = go(wait)
    with H2(s.port()) as c:
        for _ in range(10):
            c.head(connect(c))
    poll(lambda: len(gone) == 10, 10, "ten closed servers")


def test_a_client_that_does_not_read_stops_the_server(go):
    sent = [0]

    def pour(conn):
        conn.send(switch(conn.read_request()))
        conn.sock.settimeout(1)
        try:
            while True:
                sent[0] += conn.sock.send(bytes(65536))
        except OSError:
            pass
    s = go(pour)
    with H2(s.port(), updates=False) as c:
        n = connect(c)
        c.until(lambda: len(c.stream(n).body) == 65535)
        last = [-1]

        def rest():
            same, last[0] = sent[0] == last[0], sent[0]
            return same
        poll(rest, 10, "the server to be stopped", every=0.3)
        assert sent[0] < 20_000_000


def test_refusals(go):
    """An answer that is no switch is passed on, but never as a success."""
    answers = {"/200": response(b"hello"), "/403": response(b"no", status=403, reason="Forbidden"),
               "/302": response(b"", status=302, headers={"Location": "/x"})}

    def handler(conn):
        while True:
            r = conn.read_request()
            if r is None:
                return
            conn.send(answers[r.target])
    s = go(handler)
    with H2(s.port()) as c:
        assert c.response(connect(c, "/200")).status == 501
        r = c.response(connect(c, "/403"))
        assert r.status == 403 and r.body == b"no"
        assert c.response(connect(c, "/302")).status == 302
        assert c.response(connect(c, "/file")).status in (404, 501)
        assert c.response(connect(c, "/say")).status == 501


@pytest.mark.parametrize("wrong", [("Accept: ", "Accept: x"), ("Sec-WebSocket-Accept", "X-Accept"), ("Upgrade: websocket\r\n", ""),
                                   ("Upgrade: websocket", "Upgrade: other"), ("Connection: Upgrade", "Connection: keep-alive")])
def test_handshake_is_checked(go, wrong):
    """RFC 6455 4.1: the key is ours, so nobody else can."""
    def handler(conn):
        r = conn.read_request()
        if r:
            conn.send(switch(r).decode().replace(*wrong).encode())
            conn.wait_eof()
    s = go(handler)
    with H2(s.port()) as c:
        assert c.response(connect(c)).status == 502
    assert "upstream sent an invalid WebSocket handshake" in s.log("error.log")


def test_only_when_configured(go):
    """Without the two proxy_set_header lines, and for other protocols, nothing is upgraded."""
    def handler(conn):
        while True:
            r = conn.read_request()
            if r is None:
                return
            conn.send(response(b"plain"))
    s = go(handler)
    with H2(s.port()) as c:
        assert c.response(connect(c, "/plain")).status == 501
        assert c.response(connect(c, "/x", protocol="h2c")).status == 501
    assert all(r.get("Upgrade") is None for r in s.b.requests)


def test_idle_timeout(go):
    def wait(conn):
        conn.send(switch(conn.read_request()))
        conn.wait_eof(10)
    s = go(wait, location="proxy_read_timeout 500ms;")
    with H2(s.port()) as c:
        n = connect(c)
        c.head(n)
        c.until(lambda: c.stream(n).ended or c.stream(n).reset is not None)
        assert c.get("/say").status == 200


def test_survives_reload(go):
    s = go()
    with H2(s.port()) as c:
        n = connect(c)
        c.head(n)
        s.reload()
        c.data(n, b"still")
        c.until(lambda: c.stream(n).body == b"STILL")


def test_idle_tunnels_are_small(go):
    """A parked struct and its request: no coroutine, no buffers."""
    s = go()
    n = 300
    with H2(s.port(), window=1 << 24) as c:
        ids = [connect(c) for _ in range(50)]
        for i in ids:
            c.head(i)
        m0 = sum(rss_kb(p) for p in s.worker_pids())
        ids = [connect(c) for _ in range(n)]
        for i in ids:
            c.head(i)
            c.data(i, b"x" * 2000)
        for i in ids:
            c.until(lambda: len(c.stream(i).body) == 2000)
        c.ping()
        grown = sum(rss_kb(p) for p in s.worker_pids()) - m0
    assert grown / n < (200 if SANITIZED else 16), f"{grown / n:.1f} KB for a tunnel"


@pytest.mark.parametrize("size", [0, 1])
def test_window_before_anybody_reads(go, size):
    """http2_body_preread_size is for bodies that nobody reads yet; a tunnel is read."""
    s = go(server=f"http2_body_preread_size {size};")
    with H2(s.port()) as c:
        n, room = connect(c), 0
        while room < 65536:
            kind, _, stream, payload = c.recv()
            if kind == WINDOW_UPDATE and stream == n:
                room += int.from_bytes(payload, "big")
        c.data(n, b"hello")
        c.until(lambda: c.stream(n).body == b"HELLO")
