"""HTTP/2 to clients: ordinary behaviour. Most of it holds for the oracle too (`listen ... http2`)."""
import os
import shutil
import signal
import struct
import subprocess
import threading
import time

import pytest

from h2raw import (DATA, H2, HEADERS, INITIAL_WINDOW, MAX_STREAMS, NO_ERROR, NO_RFC7540,
                   PRIORITY_UPDATE, RST_STREAM, frame)
from harness import ORACLE, SLOW, poll, response

sluice_only = pytest.mark.sluice_only
LISTEN = "listen 127.0.0.1:@port@ http2; listen 127.0.0.1:@port_s@ ssl http2;" if ORACLE else \
    "listen 127.0.0.1:@port@; listen 127.0.0.1:@port_s@ ssl; http2 on;"
HTTP = """log_format h2 '$request|$status|$http2|$server_protocol|$connection_requests|$body_bytes_sent|$request_length|$uri';
access_log logs/h2.log h2;
server { %s server_name one.test; ssl_certificate @crt@; ssl_certificate_key @key@; client_max_body_size 100m;
    %s
    location / { root html; }
    location /say { return 200 "$server_protocol,$http2,$scheme,$host,$http_host,$request_uri,$args,$http_cookie"; }
    location /b/ { proxy_pass http://@b@/; proxy_http_version 1.1; proxy_set_header Connection ""; %s }
    location /raw/ { proxy_pass http://@b@/; proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_request_buffering off; proxy_buffering off; } }
"""
BIG = os.urandom(3_000_000)


@pytest.fixture
def go(start, backend, certs):
    def run(answer=None, handler=None, server="", location="", files=None, main=""):
        b = backend(handler) if handler else backend(answer=answer or response(b"from b"))
        crt, key = certs.a
        s = start(HTTP % (LISTEN, server, location), values={"b": b.addr, "crt": crt, "key": key}, main=main,
                  files={"html/small": b"small", "html/big": BIG, **(files or {})})
        s.b = b
        return s
    return run


def h2(s, tls=False, **kw):
    return H2(s.port("port_s" if tls else "port"), tls=tls, **kw)


def echo(r):
    return response(r.body or b"", headers={"X-Method": r.method, "X-Coding": r.get("Transfer-Encoding") or "none"})


# ---------------------------------------------------------------- requests and answers

@pytest.mark.parametrize("tls", [False, True])
def test_get(go, tls):
    s = go()
    with h2(s, tls) as c:
        r = c.get("/say/x?a=1", authority="one.test:81", scheme="https" if tls else "http")
        assert r.status == 200 and r.ended
        scheme = "https,one.test" if tls else "http,one.test"
        assert r.body.decode() == f"HTTP/2.0,{'h2' if tls else 'h2c'},{scheme},one.test:81,/say/x?a=1,a=1,"
        assert r.get("connection") is None and r.get("transfer-encoding") is None
        assert c.settings[MAX_STREAMS] == 128


def test_many_streams_and_files(go):
    s = go()
    with h2(s, settings={INITIAL_WINDOW: 1 << 24}, window=1 << 24) as c:
        ids = [c.open(c.fields("/big" if i % 5 == 0 else "/small")) for i in range(20)]
        for i, n in enumerate(ids):
            r = c.response(n)
            assert r.status == 200 and r.body == (BIG if i % 5 == 0 else b"small")


def test_small_windows(go):
    """A stream's window of 1,000 bytes, opened as data comes."""
    s = go()
    with h2(s, settings={INITIAL_WINDOW: 1000}) as c:
        r = c.get("/big")
        assert r.body == BIG and max(r.data_frames) <= 8192


def test_window_opened_by_settings(go):
    """RFC 9113 6.9.2: a new SETTINGS_INITIAL_WINDOW_SIZE counts for open streams, up and down."""
    s = go()
    with h2(s, settings={INITIAL_WINDOW: 0}, updates=False) as c:
        n = c.open(c.fields("/small"))
        c.head(n)
        c.ping()
        assert c.stream(n).body == b""
        c.frame(4, 0, 0, struct.pack(">HI", INITIAL_WINDOW, 3))
        c.until(lambda: len(c.stream(n).body) == 3)
        c.frame(4, 0, 0, struct.pack(">HI", INITIAL_WINDOW, 100))
        assert c.response(n).body == b"small"


def test_head_and_bodiless(go):
    s = go(server="location = /204 { return 204; }")
    with h2(s) as c:
        r = c.get("/small", method="HEAD")
        assert r.status == 200 and r.get("content-length") == "5" and r.body == b"" and not r.data_frames
        r = c.get("/204")
        assert r.status == 204 and r.get("content-length") is None and not r.data_frames
        etag = c.get("/small").get("etag")
        r = c.response(c.open(c.fields("/small", more=[("if-none-match", etag)])))
        assert r.status == 304 and not r.data_frames
        r = c.response(c.open(c.fields("/small", more=[("range", "bytes=1-2")])))
        assert r.status == 206 and r.body == b"ma"


def test_cookie_crumbs(go):
    s = go(answer=lambda r: response((r.get("Cookie") or "").encode()))
    with h2(s) as c:
        more = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]
        assert c.response(c.open(c.fields("/say", more=more))).body.endswith(b",a=1; b=2")
        assert c.response(c.open(c.fields("/b/", more=more))).body == b"a=1; b=2"
    assert [n.lower() for n, _ in s.b.last.headers].count("cookie") == 1


def test_upstream_request_is_plain_http1(go):
    s = go()
    with h2(s) as c:
        c.response(c.open(c.fields("/b/p?q", method="DELETE", more=[("te", "trailers"), ("x-one", "1")])))
    r = s.b.last
    assert (r.method, r.target, r.version, r.get("X-One")) == ("DELETE", "/p?q", "HTTP/1.1", "1")
    assert not [n for n, _ in r.headers if n.startswith(":") or n.lower() in ("te", "upgrade", "http2-settings")]


@pytest.mark.parametrize("where", ["/b/", "/raw/"])
@pytest.mark.parametrize("size", [0, 10, 70_000, 3_000_000])
@pytest.mark.parametrize("length", [True, False])
def test_uploads(go, where, size, length):
    s = go(answer=echo)
    body = BIG[:size]
    with h2(s, settings={INITIAL_WINDOW: 1 << 24}, window=1 << 24) as c:
        more = [("content-length", str(size))] if length else []
        n = c.open(c.fields(where, method="POST", more=more), end=False)
        upload(c, n, body)
        r = c.response(n)
        assert r.status == 200 and r.body == body and r.get("x-method") == "POST"
        assert r.reset in (None, NO_ERROR)


def upload(c, n, body, chunk=16384):
    """Within the windows that the server opens."""
    left = {0: 65535, n: None}

    def note(kind, flags, stream, payload, was=c._note):
        was(kind, flags, stream, payload)
        if kind == 8 and stream in left:
            left[stream] = (left[stream] or 0) + int.from_bytes(payload, "big")
    c._note = note
    c.until(lambda: c.settings is not None)
    left[n] = (left[n] or 0) + c.settings.get(INITIAL_WINDOW, 65535)
    at = 0
    while at < len(body):
        k = min(chunk, left[0], left[n], len(body) - at)
        if k <= 0:
            c.recv()
            continue
        left[0] -= k
        left[n] -= k
        c.data(n, body[at:at + k])
        at += k
    c.data(n, b"", end=True)


def test_padding(go):
    """Padding counts against the window and is not body."""
    s = go(answer=echo)
    with h2(s) as c:
        n = c.open(c.fields("/b/", method="POST"), end=False)
        for _ in range(400):
            c.frame(DATA, 8, n, bytes([200]) + b"ab" + bytes(200))
            c.ping() if _ % 100 == 0 else None
        c.data(n, b"", end=True)
        assert c.response(n).body == b"ab" * 400


@sluice_only
def test_trailers_of_a_request_are_dropped_or_kept_quietly(go):
    s = go(answer=echo)
    with h2(s) as c:
        n = c.open(c.fields("/b/", method="POST"), end=False)
        c.data(n, b"abc")
        c.open([("x-sum", "1")], end=True, stream=n)
        assert c.response(n).body == b"abc"


@sluice_only
def test_trailers_of_an_answer(go):
    text = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n")
    s = go(answer=lambda r: text, location="proxy_pass_trailers on;")
    with h2(s) as c:
        r = c.get("/b/")
        assert r.body == b"abc" and r.ended
        assert ("x-sum", "7") in r.trailers


def test_added_trailer(go):
    if ORACLE:
        pytest.skip("the oracle is older than this")
    s = go(location='add_trailer X-T "v";')
    with h2(s) as c:
        assert c.get("/b/").trailers == [("x-t", "v")]


def test_expect_continue(go):
    s = go(answer=echo)
    with h2(s) as c:
        n = c.open(c.fields("/b/", method="POST", more=[("expect", "100-continue"), ("content-length", "3")]), end=False)
        if not ORACLE:
            c.until(lambda: c.stream(n).interims)
            assert c.stream(n).interims == [[(":status", "100")]]
        c.data(n, b"abc", end=True)
        assert c.response(n).body == b"abc"


@sluice_only
def test_no_continue_when_the_body_is_there(go):
    s = go(answer=echo)
    with h2(s) as c:
        n, head = c.make_open(c.fields("/b/", method="POST", more=[("expect", "100-continue")]), end=False)
        c.send(head + frame(DATA, 1, n, b"abc"))
        r = c.response(n)
        assert r.body == b"abc" and not r.interims


def test_connection_specific_fields_of_the_server_stay_behind(go):
    text = b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-A: B\r\nContent-Length: 2\r\n\r\nok"
    s = go(answer=lambda r: text)
    with h2(s) as c:
        r = c.get("/b/")
        names = [n for n, _ in r.headers]
        assert r.get("x-a") == "B" and names == [n.lower() for n in names]
        assert not {"connection", "keep-alive", "transfer-encoding", "proxy-connection"} & set(names)


def test_body_limits(go):
    s = go(answer=echo, location="client_max_body_size 1000;")
    with h2(s) as c:
        r = c.response(c.open(c.fields("/b/", method="POST", more=[("content-length", "1001")]), end=False))
        assert r.status == 413
        n = c.open(c.fields("/b/", method="POST"), end=False)
        c.data(n, bytes(2000))
        assert c.response(n).status == 413
        assert c.get("/say").status == 200


def test_answer_before_the_upload_ends(go):
    """The answer is whole, then the upload is stopped with NO_ERROR, and the connection goes on."""
    s = go(server="location = /no { return 403 no; }")
    with h2(s) as c:
        n = c.open(c.fields("/no", method="POST", more=[("content-length", "100000")]), end=False)
        c.data(n, bytes(1000))
        c.until(lambda: c.stream(n).ended)
        c.until(lambda: c.stream(n).reset is not None)
        assert c.stream(n).status == 403 and c.stream(n).body == b"no" and c.stream(n).reset == NO_ERROR
        assert c.get("/say").status == 200


# ---------------------------------------------------------------- flow control

@pytest.mark.parametrize("buffering", ["off", "on"])
def test_a_client_that_does_not_read_stops_its_server(go, buffering):
    sent, stop = [0], threading.Event()

    def endless(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        conn.sock.settimeout(0.5)
        try:
            while not stop.is_set():
                sent[0] += conn.sock.send(bytes(65536))
        except OSError:
            pass
        stop.set()
    s = go(handler=endless, location=f"proxy_buffering {buffering}; proxy_max_temp_file_size 1m;")
    with h2(s, updates=False) as c:
        n = c.open(c.fields("/b/"))
        c.until(lambda: len(c.stream(n).body) == 65535)
        assert stop.wait(20 * SLOW), "the server was never stopped"
        assert sent[0] < 30_000_000
        c.ping()
        assert len(c.stream(n).body) == 65535


def test_other_streams_go_on_when_one_is_stuck(go):
    s = go()
    with h2(s, updates=False, window=1 << 24) as c:
        stuck = c.open(c.fields("/big"))
        c.until(lambda: len(c.stream(stuck).body) == 65535)
        for _ in range(20):
            assert c.get("/small").body == b"small"
        c.window(stuck, 1 << 24)
        assert c.response(stuck).body == BIG


def test_upload_nobody_reads_stays_within_the_window(go):
    """The backend does not read: no more than the windows say is taken."""
    hold = threading.Event()

    def slow(conn):
        conn.read_head()
        hold.wait(20 * SLOW)
        conn.send(response(b"done"))
    s = go(handler=slow)
    with h2(s) as c:
        n = c.open(c.fields("/raw/", method="POST"), end=False)
        given = {n: 0}

        def note(kind, flags, stream, payload, was=c._note):
            was(kind, flags, stream, payload)
            if kind == 8 and stream == n:
                given[n] += int.from_bytes(payload, "big")
        c._note = note
        c.until(lambda: c.settings is not None)
        room = c.settings.get(INITIAL_WINDOW, 65535)
        sent = 0
        conn_room = 65535
        # until the server gives no more
        import socket as so
        c.sock.settimeout(1.5 * SLOW)
        total_conn = [conn_room]

        def note2(kind, flags, stream, payload, was=c._note):
            was(kind, flags, stream, payload)
            if kind == 8 and stream == 0:
                total_conn[0] += int.from_bytes(payload, "big")
        c._note = note2
        try:
            while sent < 50_000_000:
                k = min(16384, room + given[n] - sent, total_conn[0] - sent)
                if k <= 0:
                    c.recv()
                    continue
                c.data(n, bytes(k))
                sent += k
        except so.timeout:
            pass
        hold.set()
        assert sent < 12_000_000, sent


# ---------------------------------------------------------------- aborts and time

def test_reset_cancels_the_upstream(go):
    seen = threading.Event()

    def hang(conn):
        conn.read_request()
        if conn.wait_eof(15):
            seen.set()
    s = go(handler=hang)
    with h2(s) as c:
        n = c.open(c.fields("/b/"))
        s.b.wait_requests(1)
        c.reset(n)
        assert seen.wait(15 * SLOW)
        assert c.get("/say").status == 200
    s.wait_log(r"/b/ HTTP/2.0\|499\|", "h2.log")


def test_reset_at_once_leaves_a_line(go):
    s = go()
    with h2(s) as c:
        n, head = c.make_open(c.fields("/say?at-once", method="POST"), end=False)
        c.send(head + frame(RST_STREAM, 0, n, b"\0\0\0\x08"))
        assert c.get("/say").status == 200
    s.wait_log(r"/say\?at-once HTTP/2.0\|(499|200)\|", "h2.log")


def test_closing_cancels_all(go):
    gone = []

    def hang(conn):
        conn.read_request()
        if conn.wait_eof(15):
            gone.append(1)
    s = go(handler=hang)
    with h2(s) as c:
        for _ in range(5):
            c.open(c.fields("/b/"))
        s.b.wait_requests(5)
    poll(lambda: len(gone) == 5, 15, "five closed upstream connections")


@sluice_only
def test_ignore_client_abort(go):
    def slow(conn):
        conn.read_request()
        go_on.wait(15 * SLOW)
        conn.send(response(b"x" * 100))
        done.append(conn.wait_eof(5))
    go_on, done = threading.Event(), []
    s = go(handler=slow, location="proxy_ignore_client_abort on;")
    with h2(s) as c:
        n = c.open(c.fields("/b/"))
        s.b.wait_requests(1)
        c.reset(n)
        c.ping()
        go_on.set()
        s.wait_log(r"/b/ HTTP/2.0\|", "h2.log")
        assert c.get("/say").status == 200
    assert len(s.b.requests) == 1


def test_a_cut_answer_is_reset(go):
    """The client must see that it is not whole."""
    def cut(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
        conn.close()
    s = go(handler=cut)
    with h2(s) as c:
        r = c.get("/b/")
        assert r.status == 200 and not r.ended and r.reset not in (None, NO_ERROR)
        assert c.get("/say").status == 200


def test_444(go):
    s = go(server="location = /444 { return 444; }")
    with h2(s) as c:
        n = c.open(c.fields("/444"))
        try:
            r = c.response(n)
            assert r.status == 0 and r.reset is not None
        except Exception:
            assert ORACLE


@sluice_only
def test_head_timeout(go):
    s = go(server="client_header_timeout 500ms;")
    with h2(s) as c:
        c.get("/say")
        c.send(frame(HEADERS, 0, c.next_id, c.encoder.encode(c.fields("/"))))  # and no CONTINUATION
        c.wait_closed()


def test_silence_before_any_request(go):
    s = go(server="client_header_timeout 500ms; keepalive_timeout 500ms;")
    with h2(s, preface=False) as c:
        c.send(b"PRI * HTTP/2.0\r\n\r\n")
        c.wait_closed()
    with h2(s) as c:
        c.wait_closed()


def test_body_timeout(go):
    s = go(answer=echo, location="client_body_timeout 500ms;")
    with h2(s) as c:
        n = c.open(c.fields("/b/", method="POST", more=[("content-length", "10")]), end=False)
        c.data(n, b"abc")
        r = c.response(n)
        assert r.status == 408 or r.reset is not None


def test_send_timeout(go):
    """A stream whose window stays shut is given up; the connection lives."""
    s = go(server="send_timeout 500ms;")
    with h2(s, updates=False, window=1 << 24) as c:
        n = c.open(c.fields("/big"))
        c.until(lambda: c.stream(n).reset is not None or c.eof)
        if not ORACLE:
            assert c.get("/say").status == 200


def test_keepalive_timeout(go):
    s = go(server="keepalive_timeout 500ms;")
    with h2(s) as c:
        assert c.get("/say").status == 200
        assert c.wait_closed() == NO_ERROR


@sluice_only
def test_keepalive_requests(go):
    s = go(server="keepalive_requests 5;")
    with h2(s, ack=False) as c:
        last = 0
        for i in range(5):
            last = c.open(c.fields("/say"))
            assert c.response(last).status == 200
        c.until(lambda: c.goaways)
        assert c.goaways[0][0] == 0x7fffffff
        assert c.get("/say").status == 200  # on its way when the first GOAWAY left
        assert c.wait_closed() == NO_ERROR
        assert c.goaways[-1][0] == c.next_id - 2


# ---------------------------------------------------------------- the end

def test_graceful_shutdown(go):
    """Requests in flight are finished, those on their way are taken, then the connection closes."""
    release = threading.Event()

    def slow(conn):
        while conn.read_request():
            release.wait(15 * SLOW)
            conn.send(response(b"late"))
    s = go(handler=slow)
    with h2(s) as c:
        n = c.open(c.fields("/b/"))
        s.b.wait_requests(1)
        s.send_signal(signal.SIGQUIT)
        c.until(lambda: c.goaways)
        release.set()
        r = c.response(n)
        assert r.status == 200 and r.body == b"late"
        assert c.wait_closed() == NO_ERROR
    s.proc.wait(10 * SLOW)


@sluice_only
def test_reload_disturbs_nobody(go):
    s = go()
    with h2(s) as c:
        assert c.get("/say").status == 200
        n = c.open(c.fields("/b/", method="POST"), end=False)
        c.ping()
        s.reload()
        c.data(n, b"x", end=True)
        assert c.response(n).body == b"from b"
        assert c.get("/say").status == 200 and not c.goaways


@sluice_only
def test_reload_that_takes_the_port_away(go):
    """What is in flight is finished; then GOAWAY."""
    release = threading.Event()

    def slow(conn):
        conn.read_request()
        release.wait(15 * SLOW)
        conn.send(response(b"late"))
    s = go(handler=slow)
    with h2(s) as c, h2(s) as idle:
        assert idle.get("/say").status == 200
        n = c.open(c.fields("/b/"))
        s.b.wait_requests(1)
        s.reload(http="server { listen 127.0.0.1:@port_other@; return 200; }")
        release.set()
        assert c.response(n).body == b"late"
        assert c.wait_closed() == NO_ERROR
        idle.open(idle.fields("/say"))
        assert idle.wait_closed() == NO_ERROR


# ---------------------------------------------------------------- protocols side by side

def test_http1_on_the_same_ports(go, certs):
    s = go()
    if not ORACLE:  # the oracle's plain port speaks HTTP/2 only
        assert s.get("/small").body == b"small"
        with s.connect() as c:
            c.send("P")
            c.send("RI /say HTTP/1.1\r\nHost: a\r\n\r\n")
            assert c.read_response().status == 200
    assert s.get("/small", port="port_s", tls=certs.client_context(), sni="localhost").body == b"small"
    c = H2(s.port("port_s"), tls=["http/1.1"], preface=False)
    assert c.alpn == "http/1.1"
    c.close()


@sluice_only
def test_off_means_off(go, start, certs):
    crt, key = certs.a
    s = start("server { listen 127.0.0.1:@port@; listen 127.0.0.1:@port_s@ ssl; ssl_certificate %s; ssl_certificate_key %s; "
              "return 200; }" % (crt, key))
    c = H2(s.port("port_s"), tls=["h2", "http/1.1"], preface=False)
    assert c.alpn == "http/1.1"
    c.close()
    with s.connect() as c:
        c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert c.read_response().status in (400, 505)


@sluice_only
def test_preface_in_pieces(go):
    s = go()
    with h2(s, preface=False) as c:
        for ch in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4):
            c.send(bytes([ch]))
        assert c.get("/say").status == 200


def test_log_lines(go):
    s = go()
    with h2(s) as c:
        c.get("/small")
        c.get("/nowhere")
    log = s.wait_log(r"nowhere", "h2.log") and s.log("h2.log")
    assert "GET /small HTTP/2.0|200|h2c|HTTP/2.0|1|5|" in log
    assert "GET /nowhere HTTP/2.0|404|h2c|HTTP/2.0|2|" in log


@sluice_only
def test_priorities(go):
    """RFC 9218: an urgent stream passes one that is not, while the connection's window is small."""
    s = go()
    with h2(s, settings={INITIAL_WINDOW: 1 << 24}, updates=False) as c:
        low = c.open(c.fields("/big", more=[("priority", "u=7")]))
        c.until(lambda: len(c.stream(low).body) == 65535)
        assert c.settings[NO_RFC7540] == 1
        high = c.open(c.fields("/big", more=[("priority", "u=0")]))
        c.ping()
        c.window(0, 100_000)
        c.until(lambda: len(c.stream(low).body) + len(c.stream(high).body) == 165_535)
        assert len(c.stream(high).body) == 100_000
        c.frame(PRIORITY_UPDATE, 0, 0, struct.pack(">I", low) + b"u=0")
        c.frame(PRIORITY_UPDATE, 0, 0, struct.pack(">I", high) + b"u=6")
        c.ping()
        before = len(c.stream(low).body)
        c.window(0, 50_000)
        c.until(lambda: len(c.stream(low).body) + len(c.stream(high).body) == 215_535)
        assert len(c.stream(low).body) == before + 50_000


@sluice_only
def test_listen_http2_warns(go, start):
    s = start("server { listen 127.0.0.1:@port@ http2; http2_idle_timeout 3m; http2_push /x; http2_max_field_size 4k; "
              "return 200 $http2; }")
    with h2(s) as c:
        assert c.get("/").body == b"h2c"
    out = s.run("-t").stderr
    for text in ('the "listen ... http2" directive is deprecated, use the "http2" directive instead',
                 'the "http2_idle_timeout" directive is obsolete, use the "keepalive_timeout" directive instead',
                 'the "http2_push" directive is obsolete, ignored',
                 'the "http2_max_field_size" directive is obsolete, use the "large_client_header_buffers" directive instead'):
        assert text in out


# ---------------------------------------------------------------- real clients

@pytest.mark.parametrize("tls", [False, True])
def test_curl(go, tls, tmp_path):
    s = go(answer=echo)
    base = f"https://127.0.0.1:{s.port('port_s')}" if tls else f"http://127.0.0.1:{s.port()}"
    how = "--http2" if tls else "--http2-prior-knowledge"
    out = tmp_path / "out"
    subprocess.run(["curl", "-sSk", how, "-o", out, base + "/big"], check=True, timeout=30 * SLOW)
    assert out.read_bytes() == BIG
    (tmp_path / "in").write_bytes(BIG)
    subprocess.run(["curl", "-sSk", how, "-o", out, "--data-binary", f"@{tmp_path / 'in'}", base + "/b/"], check=True,
                   timeout=30 * SLOW)
    assert out.read_bytes() == BIG


@pytest.mark.skipif(not shutil.which("nghttp"), reason="no nghttp")
@pytest.mark.parametrize("args,path,want", [
    (["--header-table-size=0", "-m", "3"], "b/", b"from bfrom bfrom b"), (["-w", "14", "-W", "14"], "big", None),
    (["-p", "256"], "b/", b"from b"), (["--no-dep", "-H", "priority: u=1, i"], "small", b"small"), (["-b", "250"], "small", b"small"),
    (["--expect-continue", "-d", "@up"], "b/", b"from b"),
    pytest.param(["--trailer", "a: b", "-d", "@up"], "b/", b"from b", marks=sluice_only)])
def test_nghttp(go, args, path, want):
    s = go(files={"up": bytes(300_000)})
    args = [s.path("up") if a == "@up" else a for a in args]
    got = subprocess.run(["nghttp", *args, f"http://127.0.0.1:{s.port()}/{path}"], capture_output=True, timeout=30 * SLOW)
    assert got.returncode == 0 and got.stdout == (want or BIG), got.stderr
    if "-d" in args:
        assert s.b.last.body == bytes(300_000)


def test_python_h2(go):
    """A client that checks what it gets by the RFC."""
    import socket

    from h2.connection import H2Connection
    from h2.events import ConnectionTerminated, DataReceived, StreamEnded, StreamReset
    s = go(answer=echo)
    c = H2Connection()
    c.initiate_connection()
    with socket.create_connection(("127.0.0.1", s.port()), timeout=20 * SLOW) as k:
        for i in range(20):
            n = c.get_next_available_stream_id()
            c.send_headers(n, [(":method", "POST"), (":authority", "a"), (":scheme", "http"), (":path", "/b/")])
            c.send_data(n, b"z" * 1000, end_stream=ORACLE)
            if not ORACLE:
                c.send_headers(n, [("t", "u")], end_stream=True)
        ended, bodies = 0, b""
        while ended < 20:
            k.sendall(c.data_to_send())
            for e in c.receive_data(k.recv(65536)):
                assert not isinstance(e, (StreamReset, ConnectionTerminated)), e
                ended += isinstance(e, StreamEnded)
                bodies += e.data if isinstance(e, DataReceived) else b""
        assert bodies == b"z" * 20_000
        if ORACLE:  # waits for its keepalive_timeout
            return
        c.close_connection()
        k.sendall(c.data_to_send())
        events = []
        while more := k.recv(65536):
            events += c.receive_data(more)
        assert [e.last_stream_id for e in events if isinstance(e, ConnectionTerminated)] == [39]


@pytest.mark.skipif(not shutil.which("h2load"), reason="no h2load")
@pytest.mark.parametrize("path", ["small", "big", "b/"])
def test_h2load(go, path):
    s = go()
    n = 200 if path == "big" else 4000
    out = subprocess.run(["h2load", "-n", str(n), "-c", "8", "-m", "20", f"https://127.0.0.1:{s.port('port_s')}/{path}"],
                         capture_output=True, text=True, timeout=55 * SLOW).stdout
    assert f"{n} succeeded, 0 failed, 0 errored, 0 timeout" in out, out


@sluice_only("early_hints is newer than 1.22")
def test_early_hints(go):
    def handler(conn):
        while conn.read_request():
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n")
            conn.send(response(b"final"))
    s = go(handler=handler, location="early_hints $arg_h;")
    with h2(s) as c:
        r = c.get("/b/?h=1", authority="one.test")
        assert r.status == 200 and r.body == b"final"
        assert [dict(i) for i in r.interims] == [{":status": "103", "link": "</a.css>"}]
        assert c.get("/b/", authority="one.test").interims == []


# ---------------------------------------------------------------- connections that rest

RESTS = 1.3  # seconds without streams, after which a session is packed away (1 s)


@sluice_only
@pytest.mark.parametrize("tls", [False, True])
def test_after_a_rest(go, tls):
    """What the client's encoder knows is still known; so are numbers, windows and settings."""
    s = go(server='location /echo { return 200 "$http_x_one,$http_x_two,$connection_requests"; }')
    scheme = "https" if tls else "http"
    with h2(s, tls=tls, settings={INITIAL_WINDOW: 70_000}) as c:
        def ask(**kw):
            return c.response(c.open(c.fields("/echo", scheme=scheme, more=[(k.replace("_", "-"), v) for k, v in kw.items()])))
        assert ask(x_one="a" * 50, x_two="b").body == b"a" * 50 + b",b,1"
        for i in range(3):
            time.sleep(RESTS)
            c.ping()  # wakes it for a moment
            head = c.encoder.encode(c.fields("/echo", scheme=scheme, more=[("x-one", "a" * 50), ("x-two", "b")]))
            assert len(head) < 12, "the client does not use its table"
            n = c.next_id
            c.next_id += 2
            c.frame(HEADERS, 5, n, head)
            assert c.response(n).body == b"a" * 50 + b",b,%d" % (i + 2)
        time.sleep(RESTS)
        r = c.get("/big", scheme=scheme)
        assert r.body == BIG
        time.sleep(RESTS)
        c.frame(7, 0, 0, bytes(8))
        assert c.wait_closed() == NO_ERROR


@sluice_only
def test_the_end_of_a_rest(go):
    """A client that goes, a time-out, an error, a port that is taken away, the end of the process."""
    s = go(server="keepalive_timeout 1500ms;")
    with h2(s) as gone, h2(s) as late, h2(s) as wrong:
        for c in (gone, late, wrong):
            assert c.get("/say").status == 200
        time.sleep(RESTS)
        gone.close()
        wrong.send(frame(8, 0, 0, bytes(4)))
        assert wrong.wait_closed() == 1
        assert late.wait_closed() == NO_ERROR
    s.configure(http=s.http.replace("keepalive_timeout 1500ms;", "keepalive_timeout 60s;"))
    s.reload()
    with h2(s) as taken, h2(s) as stays:
        assert taken.get("/say").status == 200 and stays.get("/say").status == 200
        time.sleep(RESTS)
        s.reload()
        assert stays.get("/say").status == 200 and not stays.goaways
        time.sleep(RESTS)
        s.send_signal(signal.SIGQUIT)
        assert stays.wait_closed() == NO_ERROR
        assert taken.wait_closed() == NO_ERROR
    s.proc.wait(10 * SLOW)
