"""HTTP/2 to the servers behind: proxy_http_version 2 and auto."""
import concurrent.futures
import hashlib
import os
import shutil
import socket
import threading
import time

import h2.settings
import pytest

import harness
from h2_backend import H2Backend, h2_tls
from harness import Process, echo_lines, free_port, poll, response

pytestmark = pytest.mark.sluice_only("proxy_http_version 2")


@pytest.fixture
def h2b():
    made = []

    def go(*a, **kw):
        b = H2Backend(*a, **kw)
        made.append(b)
        return b
    yield go
    for b in made:
        b.close()


def conf(b, more="", to="http://%s", version="2", outer=""):
    target = to % (b if isinstance(b, str) else b.addr)
    return ("%s server { listen 127.0.0.1:@port@; client_max_body_size 0; location / { proxy_pass %s; "
            "proxy_http_version %s; %s } }" % (outer, target, version, more))


def group(*backends, more=""):
    return "upstream g { %s %s }" % (" ".join(f"server {b.addr};" for b in backends), more)


# ---------------------------------------------------------------- the ordinary

def test_request_as_it_arrives(start, h2b):
    b = h2b()
    s = start(conf(b, "proxy_set_header Connection close; proxy_set_header X-More ' yes '; proxy_set_header Te gzip;"))
    r = s.get("/a/b?c=d", headers=[("X-Mine", "1"), ("Keep-Alive", "5"), ("TE", "trailers, deflate"),
                                   ("Connection", "close, X-Hop"), ("X-Hop", "1"), ("Cookie", "a=b; c=d")])
    assert r.status == 200 and r.body == b"ok"
    got = b.requests[0].headers
    assert got[:4] == [(":method", "GET"), (":scheme", "http"), (":path", "/a/b?c=d"), (":authority", b.addr)]
    rest = dict(got[4:])
    assert rest["x-mine"] == "1" and rest["x-more"] == "yes" and rest["cookie"] == "a=b; c=d"
    assert not {"connection", "host", "keep-alive", "x-hop", "transfer-encoding", "upgrade"} & set(rest)
    assert rest.get("te") == "trailers"
    assert not b.problems


def test_host_becomes_authority(start, h2b):
    b = h2b()
    s = start(conf(b, "proxy_set_header Host $host;"))
    s.get("/", headers=[("Host", "www.example")])
    assert b.requests[0].get(":authority") == "www.example"
    assert b.requests[0].get("host") is None


@pytest.mark.parametrize("size", [1, 1024, 65535, 65536, 3000000])
def test_bodies_both_ways(start, h2b, size):
    data = os.urandom(size)
    b = h2b(lambda r: {"body": r.body, "headers": [("x-len", str(len(r.body)))]})
    s = start(conf(b), workers=1)
    for kw in ({}, {"chunked": True}):
        r = s.get("/", method="POST", body=data, **kw) if not kw else post_chunked(s, data)
        assert r.status == 200 and hashlib.sha1(r.body).digest() == hashlib.sha1(data).digest()
    assert b.accepted == 1


def post_chunked(s, data):
    with s.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        c.send(harness.chunked(*[data[i:i + 30000] for i in range(0, len(data), 30000)]))
        return c.read_response()


@pytest.mark.parametrize("more", ["proxy_request_buffering off;", "", "client_body_buffer_size 8m;"])
def test_upload_into_a_window_without_end(start, h2b, more):
    """What the server's windows allow is not all made at once: frames wait for the socket, up to a limit."""
    def open_wide(c):
        c.start({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2 ** 30})
        c.h2.increment_flow_control_window(2 ** 30)
        c.flush()
    b = h2b(lambda r: {"body": hashlib.sha1(r.body).hexdigest()}, started=open_wide)
    s = start(conf(b, more), workers=1)
    data = os.urandom(6 << 20)
    assert s.get("/", method="POST", body=b"x").status == 200  # the windows are known
    for _ in range(2):
        r = s.get("/", method="POST", body=data)
        assert r.status == 200 and r.body.decode() == hashlib.sha1(data).hexdigest()


def test_streamed_upload(start, h2b):
    seen = threading.Event()
    b = h2b(lambda r: {"body": r.body}, on_data=lambda c, r, d: seen.set())
    s = start(conf(b, "proxy_request_buffering off;"))
    with s.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert seen.wait(10 * harness.SLOW)  # it is at the server before the client has ended
        c.send("6\r\n world\r\n0\r\n\r\n")
        assert c.read_response().body == b"hello world"
    assert b.requests[0].get("content-length") is None


def test_no_body(start, h2b):
    answers = {"/204": {"status": 204}, "/304": {"status": 304, "headers": [("etag", '"x"')]},
               "/head": {"headers": [("content-length", "1000")]}, "/empty": {"headers": [("content-length", "0")]}}
    b = h2b(lambda r: answers[r.get(":path")])
    s = start(conf(b))
    with s.connect() as c:
        assert c.request("/204").status == 204
        assert c.request("/304").status == 304
        r = c.request("/head", method="HEAD")
        assert r.status == 200 and r.get("Content-Length") == "1000" and not r.body
        assert c.request("/empty").body == b""
    assert b.accepted == 1 and not b.resets()


def test_trailers_both_ways(start, h2b):
    b = h2b(lambda r: {"body": b"x" * 10, "trailers": [("x-sum", "42"), ("content-length", "3")]})
    s = start(conf(b, 'proxy_pass_trailers on; proxy_request_buffering off; add_header T $upstream_http_none;'))
    with s.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Up: 7\r\n\r\n")
        r = c.read_response()
    assert r.body == b"x" * 10 and r.trailers == [("x-sum", "42")]
    assert b.requests[0].trailers == [("x-up", "7")]


def test_interim_answers_are_skipped(start, h2b):
    def answer(c, r):
        for status in ("100", "103"):
            c.h2.send_headers(r.stream, [(":status", status), ("link", "</x>")])
        c.respond(r.stream, body=b"final")
    b = h2b(on_request=answer)
    s = start(conf(b))
    r = s.get("/")
    assert r.status == 200 and r.body == b"final" and r.get("link") is None


def test_many_requests_share_a_connection(start, h2b):
    gate = threading.Barrier(20)
    b = h2b(on_head=lambda c, r: None)
    s = start(conf(b), workers=1)

    def one(i):
        gate.wait()
        return s.get(f"/{i}").status
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert list(pool.map(one, range(20))) == [200] * 20
    assert b.accepted == 1 and len(b.requests) == 20


def test_servers_limit_makes_more_connections(start, h2b):
    import h2.settings
    held, lock = [], threading.Lock()

    def hold(c, r):
        with lock:
            held.append((c, r))
    b = h2b(on_request=hold, settings={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 3})
    s = start(conf(b), workers=1)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        first = pool.submit(s.get, "/0")
        poll(lambda: held, 10, "the first request")
        rest = [pool.submit(s.get, f"/{i}") for i in range(1, 9)]
        poll(lambda: len(held) == 9, 10, "nine requests")
        assert b.accepted == 3
        assert sorted(len(c.requests) for c in b.h2conns) == [3, 3, 3]
        for c, r in held:
            c.respond(r.stream, body=b"ok")
        assert [f.result().status for f in [first, *rest]] == [200] * 9


def test_connection_is_closed_when_idle(start, h2b):
    b = h2b()
    s = start(conf("g", outer=group(b, more="keepalive_timeout 200ms;")), workers=1)
    assert s.get("/").status == 200
    poll(lambda: b.goodbyes == [0], 10, "GOAWAY")


def test_keepalive_requests(start, h2b):
    b = h2b()
    s = start(conf("g", outer=group(b, more="keepalive_requests 3;")), workers=1)
    with s.connect() as c:
        assert [c.request("/").status for _ in range(7)] == [200] * 7
    poll(lambda: b.accepted == 3 and len(b.goodbyes) == 2, 10, "three connections")


def test_max_conns_counts_requests(start, h2b):
    held = []
    b = h2b(on_request=lambda c, r: held.append((c, r)))
    s = start(conf("g", outer="upstream g { server %s max_conns=2; }" % b.addr), workers=1)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        two = [pool.submit(s.get, "/") for _ in range(2)]
        poll(lambda: len(held) == 2, 10, "two requests")
        assert s.get("/").status == 502
        for c, r in held:
            c.respond(r.stream)
        assert [f.result().status for f in two] == [200, 200]


def test_variables(start, h2b):
    b = h2b(lambda r: {"body": b"x" * 100, "headers": [("x-who", "me"), ("server", "theirs"), ("x-hide", "1")]})
    s = start(conf(b, 'proxy_hide_header X-Hide; access_log @PREFIX@/logs/access.log u;',
                   outer='log_format u "$upstream_addr|$upstream_status|$upstream_http_x_who|$upstream_http_x_hide|'
                         '$upstream_http_server|$upstream_response_length|$upstream_bytes_received|$upstream_bytes_sent";'))
    r = s.get("/")
    assert r.get("x-who") == "me" and r.get("x-hide") is None
    m = s.wait_log(r"^(\S+)\|200\|me\|1\|theirs\|100\|(\d+)\|(\d+)$")
    assert m.group(1) == b.addr and int(m.group(2)) > 118 and int(m.group(3)) > 18


# ---------------------------------------------------------------- TLS

def test_alpn(start, h2b, certs):
    b = h2b(tls=h2_tls(certs))
    s = start(conf(b, to="https://%s"))
    assert s.get("/").body == b"ok" and b.requests[0].get(":scheme") == "https"


def test_auto_takes_what_the_server_chooses(start, h2b, backend, certs):
    two = h2b(tls=h2_tls(certs, protocols=("h2", "http/1.1")))
    one = backend(answer=response(b"one"), tls=h2_tls(certs, protocols=("http/1.1",)))
    none = backend(answer=response(b"none"), tls=certs.server_context(certs.a))
    plain = backend(answer=response(b"plain"))
    for b, to, want in ((two, "https://%s", b"ok"), (one, "https://%s", b"one"), (none, "https://%s", b"none"),
                        (plain, "http://%s", b"plain")):
        s = start(conf(b, to=to, version="auto"), workers=1)
        with s.connect() as c:
            assert [c.request("/").body for _ in range(3)] == [want] * 3
        assert b.accepted == 1, want


def test_server_without_h2(start, backend, certs):
    b = backend(answer=response(b"one"), tls=h2_tls(certs, protocols=("http/1.1",)))
    s = start(conf(b, to="https://%s"))
    assert s.get("/").status == 502


def test_http1_server_in_clear(start, backend):
    b = backend(answer=response(b"one"))
    s = start(conf(b, "proxy_read_timeout 2s;"))
    assert s.get("/").status == 502


# ---------------------------------------------------------------- flow control

def test_slow_client_stops_its_stream_only(start, h2b):
    big = os.urandom(24 << 20)
    b = h2b(lambda r: {"body": big if r.get(":path") == "/big" else b"small"})
    s = start(conf(b, "proxy_buffering off;"), workers=1)
    with s.connect() as slow:
        slow.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        poll(lambda: b.requests, 10, "the big one")
        for _ in range(20):
            assert s.get("/small").body == b"small"
        left = len(b.h2conns[0].waiting[1][0])
        assert left > 2 << 20  # the server was stopped
        r = slow.read_response()
        assert hashlib.sha1(r.body).digest() == hashlib.sha1(big).digest()
    assert b.accepted == 1


def test_window_never_opened(start, h2b):
    b = h2b(on_data=lambda c, r, d: False)
    s = start(conf(b, "proxy_send_timeout 500ms; proxy_next_upstream off;"))
    assert s.get("/", method="POST", body=b"x" * 200000).status == 504
    poll(lambda: b.resets(), 10, "RST_STREAM")
    assert b.resets()[0][1] == 8
    s.reload(conf(b, "proxy_send_timeout 500ms; proxy_next_upstream off; proxy_request_buffering off;"))
    assert s.get("/", method="POST", body=b"x" * 200000).status == 504


def test_small_windows(start, h2b):
    import h2.settings
    data = os.urandom(100000)

    def started(c):
        c.start()
        c.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        c.flush()
    b = h2b(lambda r: {"body": r.body}, started=started)
    s = start(conf(b))
    assert s.get("/", method="POST", body=data).body == data


def test_settings_change_in_flight(start, h2b):
    import h2.settings
    data = os.urandom(300000)
    codes = h2.settings.SettingCodes
    count = [0]

    def change(c, r, d):
        from hyperframe.frame import SettingsFrame
        count[0] += 1
        c.h2.increment_flow_control_window(len(d), r.stream)
        c.h2.increment_flow_control_window(len(d))
        if count[0] % 3 == 0:
            c.raw(SettingsFrame(0, {codes.INITIAL_WINDOW_SIZE: [65535, 30000][count[0] % 2],
                                    codes.MAX_FRAME_SIZE: 16384 + count[0],
                                    codes.HEADER_TABLE_SIZE: [0, 100, 4096][count[0] % 3]}).serialize())
        return False
    b = h2b(lambda r: {"body": r.body}, on_data=change)
    s = start(conf(b))
    for _ in range(5):
        assert s.get("/", method="POST", body=data).body == data
    assert not b.problems


def test_proxy_buffering_frees_the_server(start, h2b):
    big = os.urandom(24 << 20)
    b = h2b(lambda r: {"body": big})
    s = start(conf(b), workers=1)
    with s.connect() as slow:
        slow.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        poll(lambda: b.h2conns and b.requests and not b.h2conns[0].waiting, 20, "the server to have sent all")
        r = slow.read_response()
        assert hashlib.sha1(r.body).digest() == hashlib.sha1(big).digest()


# ---------------------------------------------------------------- ends

def test_client_abort_cancels_the_stream(start, h2b):
    b = h2b(on_request=lambda c, r: c.respond(r.stream, body=b"ok") if r.get(":path") == "/ok" else None)
    s = start(conf(b), workers=1)
    assert s.get("/ok").status == 200
    with s.connect() as c:
        c.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        b.wait_requests(2)
    poll(lambda: b.resets() == [(3, 8)], 10, "RST_STREAM CANCEL")
    assert s.get("/ok").status == 200 and b.accepted == 1


def test_early_answer_while_the_upload_runs(start, h2b):
    def early(c, r):
        c.respond(r.stream, status=413, body=b"too much", headers=[("content-length", "8")])
        c.reset(r.stream, 0)
    b = h2b(on_head=early, on_request=lambda c, r: None, on_data=lambda c, r, d: False)
    s = start(conf(b, "proxy_request_buffering off;"), workers=1)
    with s.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + "x" * 1000)
        r = c.read_response()
        assert r.status == 413 and r.body == b"too much"
    b.on_head, b.on_request = lambda c, r: None, lambda c, r: c.respond(r.stream, body=b"ok")
    assert s.get("/").status == 200 and b.accepted == 1


def test_early_answer_without_reset(start, h2b):
    b = h2b(on_head=lambda c, r: c.respond(r.stream, body=b"early"), on_request=lambda c, r: None)
    s = start(conf(b), workers=1)
    r = s.get("/", method="POST", body=b"x" * 5000000)
    assert r.status == 200 and r.body == b"early"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refused_streams_are_sent_again(start, h2b, method):
    seen = []

    def refuse(c, r):
        seen.append(c.number)
        if len(seen) < 3:
            c.reset(r.stream, 7)
        else:
            c.respond(r.stream, body=r.body or b"none")
    b = h2b(on_request=refuse)
    s = start(conf(b), workers=1)
    r = s.get("/", method=method, body=b"data" if method == "POST" else b"")
    assert r.status == 200 and r.body == (b"data" if method == "POST" else b"none")


def test_refused_for_ever(start, h2b):
    b = h2b(on_request=lambda c, r: c.reset(r.stream, 7))
    s = start(conf(b))
    assert s.get("/").status == 502
    assert 2 <= len(b.requests) <= 5
    s.wait_log("upstream refused the request", "error.log")


def test_refused_goes_to_the_next_server(start, h2b):
    bad, good = h2b(on_request=lambda c, r: c.reset(r.stream, 7)), h2b()
    s = start(conf("g", outer=group(bad, good)), workers=1)
    for _ in range(4):
        assert s.get("/", method="POST", body=b"x").status == 200
    assert bad.requests and good.requests


def test_goaway_spares_what_it_took(start, h2b):
    """GOAWAY names the last stream that was taken: it is answered, the others are sent again elsewhere."""
    held = []

    def on_request(c, r):
        if c.number > 1:
            c.respond(r.stream, body=b"second")
            return
        held.append(r)
        if len(held) == 6:
            c.goaway(held[1].stream)
            for r in held[:2]:
                c.respond(r.stream, body=b"first")
    b = h2b(on_request=on_request)
    s = start(conf(b), workers=1)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        jobs = []
        for i in range(6):
            jobs.append(pool.submit(s.get, "/", method="POST", body=b"x"))
            poll(lambda: len(held) > i or b.accepted > 1, 10, "a request")
        got = [j.result() for j in jobs]
    assert [r.status for r in got] == [200] * 6
    assert sorted(r.body for r in got) == [b"first"] * 2 + [b"second"] * 4
    assert b.accepted == 2


def test_streamed_bodies_are_sent_again(start, h2b):
    """What was streamed to a server that refuses is kept, up to a ceiling."""
    seen = []

    def refuse(c, r):
        seen.append(r)
        if len(seen) % 2:
            c.reset(r.stream, 7)
        else:
            c.respond(r.stream, body=r.body)
    b = h2b(on_request=refuse)
    s = start(conf(b, "proxy_request_buffering off;"), workers=1)
    for n in (1, 1000, 60000):
        data = os.urandom(n)
        r = post_chunked(s, data)
        assert r.status == 200 and r.body == data
    seen.clear()
    assert post_chunked(s, os.urandom(200000)).status == 502  # more than is kept


def test_goaway_while_idle(start, h2b):
    b = h2b()
    s = start(conf(b), workers=1)
    for i in range(1, 4):
        assert s.get("/", method="POST", body=b"x").status == 200
        b.h2conns[-1].goaway(2 ** 31 - 1)
        assert s.get("/", method="POST", body=b"x").status == 200
        assert b.accepted == i + 1


def test_connection_gone_silent(start, h2b):
    """A connection on which nothing is heard any more fails one request, not all that follow."""
    gate = threading.Event()

    def on_request(c, r):
        if r.get(":path") == "/deaf":
            gate.wait(30)
        c.respond(r.stream, body=b"ok")
    b = h2b(on_request=on_request)
    s = start(conf(b, "proxy_read_timeout 300ms; proxy_next_upstream off;"), workers=1)
    assert s.get("/").status == 200
    assert s.get("/deaf").status == 504
    assert s.get("/").status in (200, 504)
    assert s.get("/").status == 200 and b.accepted == 2
    gate.set()


def test_dies_of_every_request(start, h2b):
    """A connection that has answered nothing is no idle one that happened to close: nothing is repeated on another."""
    gate = threading.Barrier(10)

    def die(c, r):
        c.gone = True
        c.sock.shutdown(socket.SHUT_RDWR)
    b = h2b(on_head=die)
    s = start(conf(b), workers=1)

    def one(i):
        gate.wait()
        return s.get("/").status
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert list(pool.map(one, range(10))) == [502] * 10
    accepted = b.accepted
    # One that has: once, and not for ever.
    seen = []

    def answer_then_die(c, r):
        seen.append(r)
        if len(c.requests) == 1:
            return c.respond(r.stream, body=b"ok")
        c.gone = True
        c.sock.shutdown(socket.SHUT_RDWR)
    b.on_head, b.on_request = (lambda c, r: None), answer_then_die
    assert s.get("/").status == 200
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        got = list(pool.map(lambda i: s.get("/").status, range(10)))
    assert set(got) <= {200, 502} and 200 in got
    assert len(seen) <= 21 and b.accepted - accepted <= 11


def test_server_vanishes(start, h2b, certs):
    """Without FIN or RST: found out by PING, and what may be done twice, or never arrived, goes elsewhere."""
    def stall(c, r):
        if r.get(":path") != "/stall":
            c.respond(r.stream, body=b"ok")
    busy, pair, other, idle, alive = [h2b(on_request=stall) for _ in range(5)]
    over_tls = h2b(tls=h2_tls(certs))
    where = {"busy": busy.addr, "pair": "g", "idle": idle.addr, "alive": alive.addr}
    s = start("upstream g { server %s; server %s backup; } server { listen 127.0.0.1:@port@; "
              "location /tls/ { proxy_pass https://%s; proxy_http_version auto; } %s }" % (
        pair.addr, other.addr, over_tls.addr, "".join("location /%s/ { proxy_pass http://%s/; proxy_http_version 2; }" % x
                                       for x in where.items())), workers=1)

    def get(path, **kw):
        with s.connect(timeout=60) as c:
            return c.request(path, **kw).status
    assert [get(f"/{w}/") for w in (*where, "tls")] == [200] * 5
    idle.h2conns[0].conn.vanish()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        # This request arrived: it fails, for nobody can tell what became of it.
        acked = pool.submit(get, "/busy/stall", method="POST", body=b"x")
        busy.wait_requests(2)
        for b in (busy, pair, over_tls):
            b.h2conns[0].conn.vanish()
        lost = [pool.submit(get, p, **kw) for p in ("/busy/", "/pair/", "/tls/")
                for kw in ({}, {"method": "POST", "body": b"x"})]
        # Where nobody waits, the first request after a while comes with a PING.
        time.sleep(10.5)
        lost.append(pool.submit(get, "/idle/", method="POST", body=b"x"))
        assert get("/alive/") == 200
        poll(lambda: alive.h2conns[0].pings == 1)
        assert acked.result() == 504
        assert [f.result() for f in lost] == [200] * 7
    assert [b.accepted for b in (busy, pair, other, idle, alive, over_tls)] == [2, 1, 1, 2, 1, 2]
    assert len(other.requests) == 2
    assert "upstream timed out (110: Connection timed out)" in s.log("error.log")


def unacknowledged(sock):
    """Bytes that the other end has sent and that this machine has not acknowledged (Linux counts them for the sender)."""
    me, peer = ("0100007F:%04X" % a[1] for a in (sock.getsockname(), sock.getpeername()))
    for line in open("/proc/net/tcp").read().splitlines()[1:]:
        f = line.split()
        if (f[1], f[2]) == (peer, me):
            return int(f[4].split(":")[0], 16)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("arrived", [False, True])
def test_closed_without_goaway(start, h2b, certs, tls, arrived):
    """What is not to be done twice is sent again only when TCP proves that nothing of it arrived."""
    b = h2b(on_request=lambda c, r: c.respond(r.stream, body=b"ok") if r.get(":method") == "GET" or len(b.h2conns) > 1
            else None, tls=h2_tls(certs) if tls else None)
    s = start(conf(b, to="https://%s" if tls else "http://%s"), workers=1)
    assert s.get("/").status == 200
    with s.connect() as c:
        first = b.h2conns[0]
        poll(lambda: unacknowledged(first.sock) == 0)
        if not arrived:
            first.conn.vanish()
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        if arrived:
            b.wait_requests(2)
        else:
            poll(lambda: unacknowledged(first.sock))
        socket.socket.shutdown(first.sock, socket.SHUT_WR)  # TLS, too, says no goodbye
        assert c.read_response().status == (502 if arrived else 200)
    assert b.accepted == (1 if arrived else 2) and len(b.requests) == 2


def test_busy_server_is_not_lost(start, h2b):
    """A program that computes for a while answers no PING, but its kernel acknowledges: only new requests go elsewhere."""
    gate = threading.Event()

    def busy(c, r):
        if r.get(":path") == "/busy":
            gate.wait(120)
        c.respond(r.stream, body=b"ok")
    b = h2b(on_request=busy)
    s = start(conf(b), workers=1)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        first = pool.submit(lambda: s.connect(timeout=60).request("/busy", method="POST", body=b"x").status)
        b.wait_requests(1)
        more = []
        poll(lambda: more.append(pool.submit(lambda: s.connect(timeout=60).request("/").status)) or b.accepted == 2,
             60, every=1)
        gate.set()
        assert first.result() == 200 and [f.result() for f in more] == [200] * len(more)
    poll(lambda: b.h2conns[0].pings == 1)
    assert s.get("/").status == 200 and b.accepted == 2


def test_connection_lost_while_idle(start, h2b):
    b = h2b()
    s = start(conf(b), workers=1)
    for i in range(3):
        assert s.get("/").status == 200
        b.h2conns[-1].sock.shutdown(socket.SHUT_RDWR)
    assert s.get("/").status == 200


@pytest.mark.parametrize("code", [0, 1, 2, 8, 11])
def test_reset_before_the_head(start, h2b, code):
    bad, good = h2b(on_request=lambda c, r: c.reset(r.stream, code)), h2b()
    s = start(conf(bad), workers=1)
    assert s.get("/").status == 502
    s = start(conf("g", outer=group(bad, good)), workers=1)
    assert [s.get("/").status for _ in range(4)] == [200] * 4
    n = len(bad.requests)
    posts = [s.get("/", method="POST", body=b"x").status for _ in range(2)]
    assert sorted(posts) in ([200, 502], [200, 200]) and len(bad.requests) <= n + 1  # it may have acted: not again


def in_both(b, http1):
    """A handler for a TLS backend that speaks HTTP/2 as b says, or HTTP/1: then http1(conn) is called."""
    from h2_backend import H2Conn

    def both(conn):
        b.spoken.append(conn.sock.selected_alpn_protocol() or "http/1.1")
        if b.spoken[-1] != "h2":
            return http1(conn)
        c = H2Conn(b, conn)
        with b.lock:
            b.h2conns.append(c)
        c.run()
    b.spoken = []
    b.handler = both


@pytest.mark.parametrize("how", ["reset", "goaway"])
def test_http_1_1_required(start, h2b, certs, how):
    """RFC 9113 section 7: with auto the request is sent again in HTTP/1.1, and so are those that follow."""
    got = []

    def refuse(c, r):
        if how == "reset":
            c.reset(r.stream, 13)
        else:
            c.goaway(0, 13)

    def http1(conn):
        while r := conn.read_request():
            got.append((r.method, r.body))
            conn.send(response(b"one"))
    b = h2b(on_head=refuse, on_request=lambda c, r: None, tls=h2_tls(certs, protocols=("h2", "http/1.1")))
    in_both(b, http1)
    s = start(conf(b, "proxy_request_buffering off; client_body_buffer_size 1k;", to="https://%s", version="auto"),
              workers=1)
    for i in range(2):
        assert s.get("/", method="POST", body=b"x" * 5000).body == b"one"
        assert post_chunked(s, b"y" * 5000).body == b"one"
        assert s.get("/").body == b"one"
    assert got == [("POST", b"x" * 5000), ("POST", b"y" * 5000), ("GET", b"")] * 2
    assert b.spoken == ["h2", "http/1.1"]
    s = start(conf(b, to="https://%s"), workers=1)
    assert s.get("/").status == 502
    assert "upstream requires HTTP/1.1 (proxy_http_version 1.1 or auto) while reading response header" in s.log("error.log")


def test_reset_in_the_body(start, h2b):
    def cut(c, r):
        c.respond(r.stream, body=b"x" * 1000, headers=[("content-length", "5000")], end=False)
        c.reset(r.stream, 2)
    b = h2b(on_request=cut)
    s = start(conf(b, "proxy_buffering off;"))
    r = raw_get(s)
    assert not r.complete


def raw_get(s):
    with s.connect() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return c.read_response()


@pytest.mark.parametrize("how", ["short", "long", "headers-only"])
def test_content_length_must_be_true(start, h2b, how):
    def lie(c, r):
        if how == "headers-only":
            c.h2.send_headers(r.stream, [(":status", "200"), ("content-length", "10")], end_stream=True)
        else:
            c.respond(r.stream, body=b"x" * (5 if how == "short" else 15), headers=[("content-length", "10")])
    b = h2b(on_request=lie)
    s = start(conf(b))
    r = raw_get(s)
    assert r.status == 502 or not r.complete
    assert s.get("/").status in (200, 502) and s.worker_pids()


# ---------------------------------------------------------------- servers that misbehave

BAD_HEADS = {
    "no status": [("x", "y")],
    "two": [(":status", "200"), (":status", "200")],
    "late": [("x", "y"), (":status", "200")],
    "request": [(":status", "200"), (":path", "/")],
    "101": [(":status", "101")],
    "words": [(":status", "OK")],
    "connection": [(":status", "200"), ("connection", "close")],
    "te": [(":status", "200"), ("transfer-encoding", "chunked")],
    "upper": [(":status", "200"), ("X-Upper", "1")],
    "space": [(":status", "200"), ("a b", "1")],
    "crlf": [(":status", "200"), ("x", "a\r\nSet-Cookie: evil=1")],
    "nul": [(":status", "200"), ("x", "a\0b")],
    "lengths": [(":status", "200"), ("content-length", "1"), ("content-length", "2")],
    "big": [(":status", "200"), ("x", "y" * 65535)],
    "big in all": [(":status", "200"), *[("x%d" % i, "y" * 30000) for i in range(3)]],
    "64k": [(":status", "200"), ("x", "y" * 66000)],
    "64k in few bytes": [(":status", "200"), ("x", "y" * 100000)],
}


@pytest.mark.parametrize("name", BAD_HEADS)
def test_bad_heads(start, h2b, name):
    from hpack import Encoder
    from hyperframe.frame import ContinuationFrame, HeadersFrame

    def answer(c, r):
        block = Encoder().encode(BAD_HEADS[name], huffman=name == "64k in few bytes")
        pieces = [block[i:i + 16000] for i in range(0, len(block), 16000)]
        out = HeadersFrame(r.stream, pieces[0], flags=["END_STREAM"] + (["END_HEADERS"] if len(pieces) == 1 else []))
        c.raw(out.serialize())
        for i, p in enumerate(pieces[1:]):
            c.raw(ContinuationFrame(r.stream, p, flags=["END_HEADERS"] if i == len(pieces) - 2 else []).serialize())
    b = h2b(on_request=answer)
    s = start(conf(b))
    r = s.get("/")
    assert r.status == 502 and not r.all("set-cookie")
    assert s.get("/").status == 502 and s.worker_pids()
    assert ("too big header" if "big" in name else "cannot be decoded, or a field above 64k" if "64k" in name
            else "invalid header") in s.log("error.log")


def frames(*parts):
    return b"".join(p.serialize() if hasattr(p, "serialize") else p for p in parts)


def bad_frames():
    from hpack import Encoder
    from hyperframe import frame as f

    def ok(stream):
        return f.HeadersFrame(stream, Encoder().encode([(":status", "200")]), flags=["END_HEADERS"])
    return {
        "garbage": lambda r: b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20,
        "data first": lambda r: frames(f.DataFrame(r.stream, b"x", flags=["END_STREAM"])),
        "data on idle": lambda r: frames(f.DataFrame(99, b"x")),
        "headers on idle": lambda r: frames(ok(101)),
        "even stream": lambda r: frames(ok(2)),
        "push": lambda r: frames(f.PushPromiseFrame(r.stream, 2, Encoder().encode(
            [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a")]), flags=["END_HEADERS"])),
        "huge frame": lambda r: b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 1000,
        "continuation alone": lambda r: frames(f.ContinuationFrame(r.stream, b"", flags=["END_HEADERS"])),
        "bad hpack": lambda r: frames(f.HeadersFrame(r.stream, b"\xff" * 30, flags=["END_HEADERS"])),
        "window overflow": lambda r: frames(*[f.WindowUpdateFrame(r.stream, 2 ** 31 - 1)] * 3),
        "zero window update": lambda r: frames(f.WindowUpdateFrame(0, 0)),
        "bad settings": lambda r: frames(f.SettingsFrame(0, {5: 100})),
        "settings with body on ack": lambda r: b"\0\0\6\4\1\0\0\0\0" + b"\0" * 6,
        "ping length": lambda r: b"\0\0\1\6\0\0\0\0\0x",
        "rst on zero": lambda r: b"\0\0\4\3\0\0\0\0\0\0\0\0\0",
        "goaway and gone": lambda r: frames(f.GoAwayFrame(0, last_stream_id=0, error_code=1)),
        "end": lambda r: b"",
        "beyond the window": lambda r: frames(ok(r.stream), *[f.DataFrame(r.stream, b"x" * 16384)] * 400),
        "half a frame": lambda r: frames(ok(r.stream))[:-1],
        "ping flood": lambda r: frames(*[f.PingFrame(0, b"12345678")] * 20000),
        "settings flood": lambda r: frames(*[f.SettingsFrame(0)] * 20000),
        "interim flood": lambda r: frames(*[f.HeadersFrame(r.stream, bytes([0x48, 3]) + b"103", flags=["END_HEADERS"])] * 1000),
        "trailers without end": lambda r: frames(ok(r.stream), f.HeadersFrame(r.stream, b"\0\1x\1y", flags=["END_HEADERS"])),
        "pseudo trailers": lambda r: frames(ok(r.stream), f.HeadersFrame(r.stream, b"\x88", flags=["END_HEADERS", "END_STREAM"])),
    }


@pytest.mark.parametrize("name", bad_frames())
def test_bad_frames(start, h2b, name):
    make = bad_frames()[name]

    def answer(c, r):
        c.raw(make(r))
        c.gone = True  # and the connection ends
    b = h2b(on_request=answer)
    s = start(conf(b, "proxy_next_upstream off; proxy_buffering off; proxy_read_timeout 5s;"))
    r = raw_get(s)
    assert r.status == 502 or not r.complete, name
    assert s.worker_pids()
    good = h2b()
    s.reload(conf(good))
    assert s.get("/").status == 200


@pytest.mark.limit(120)
def test_cut_at_any_byte(start, h2b):
    """The answer ends after n bytes, for every n: never a whole answer made of less."""
    from hpack import Encoder
    from hyperframe.frame import DataFrame, HeadersFrame
    body = b"0123456789" * 3
    at = [0]

    def whole(stream):
        head = Encoder().encode([(":status", "200"), ("content-length", str(len(body))), ("x-a", "b")])
        return frames(HeadersFrame(stream, head, flags=["END_HEADERS"]), DataFrame(stream, body[:15]),
                      DataFrame(stream, body[15:], flags=["END_STREAM"]))

    def answer(c, r):
        c.raw(whole(r.stream)[:at[0]])
        c.gone = at[0] < len(whole(r.stream))
    b = h2b(on_request=answer)
    s = start(conf(b, "proxy_next_upstream off;"), workers=1)
    for at[0] in range(len(whole(1)) + 1):
        r = raw_get(s)
        done = r.status == 200 and r.complete
        if at[0] == len(whole(1)):
            assert done and r.body == body
        elif done:
            assert r.body == body and at[0] >= len(whole(1)), at[0]
        else:
            assert r.status in (200, 502), at[0]


def test_goaway_at_any_moment(start, h2b):
    """A server that says goodbye again and again loses no request that may be sent twice, and none it did not take."""
    count, lock = [0], threading.Lock()

    def on_request(c, r):
        with lock:
            count[0] += 1
            n = count[0]
        if n % 5 == 0:
            c.goaway(r.stream if n % 2 else max(0, r.stream - 2))
            if n % 2 == 0:
                c.gone = n % 4 == 0
                return
        c.respond(r.stream, body=r.body or b"none")
    b = h2b(on_request=on_request)
    s = start(conf(b), workers=2)

    def many(i):
        with s.connect() as c:
            return [c.request("/", method="PUT", body=b"%d" % i).status for _ in range(15)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = sum(pool.map(many, range(8)), [])
    assert got.count(200) >= 110, got  # three refusals in a row give up


# ---------------------------------------------------------------- real servers

@pytest.fixture
def nghttpd(tmp_path):
    if not shutil.which("nghttpd"):
        pytest.skip("no nghttpd")
    (tmp_path / "big").write_bytes(os.urandom(2 << 20))
    (tmp_path / "small").write_bytes(b"small")
    port = free_port()
    with Process(["nghttpd", "--no-tls", "-d", str(tmp_path), str(port)], port) as p:
        p.folder = tmp_path
        yield p


def test_nghttpd(start, nghttpd):
    s = start(conf(nghttpd), workers=2)
    big = (nghttpd.folder / "big").read_bytes()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        jobs = [pool.submit(s.get, "/big" if i % 2 else "/small") for i in range(100)]
        for i, j in enumerate(jobs):
            r = j.result()
            assert r.status == 200 and r.body == (big if i % 2 else b"small")
    assert s.get("/none").status == 404
    assert s.get("/small", method="POST", body=b"x" * 100000).status == 200


def test_server_restarts_under_load(start, nghttpd):
    s = start(conf(nghttpd), workers=1)
    assert s.get("/small").status == 200
    for _ in range(3):
        nghttpd.kill()
        assert s.get("/small").status == 502
        nghttpd.start()
        assert s.get("/small").status == 200


def test_nginx_as_server(start, tmp_path):
    from harness import NGINX, Server
    if not os.access(NGINX, os.X_OK):
        pytest.skip("no nginx")
    with Server("server { listen 127.0.0.1:@port@ http2; location / { root html; } "
                "location /up { proxy_pass http://127.0.0.1:@port2@; } } "
                "server { listen 127.0.0.1:@port2@; client_max_body_size 0; location / { return 200 $request_length; } }",
                binary=NGINX, files={"html/f": "f" * 300000}) as origin:
        s = start(conf("127.0.0.1:%d" % origin.port()))
        assert s.get("/f").body == b"f" * 300000
        assert s.get("/f", headers=[("Range", "bytes=1-3")]).status == 206
        assert s.get("/up", method="POST", body=b"x" * 500000).status in (200, 413)


# ---------------------------------------------------------------- WebSocket

WS = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;'
HELLO = ("GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")


def speaks_websocket(on):
    import h2.settings

    def on_head(c, r):
        if r.get(":method") == "CONNECT":
            c.respond(r.stream, headers=[("sec-websocket-protocol", "chat")], body=b"", end=False)

    def on_data(c, r, d):
        if d and r.get(":method") == "CONNECT":
            c.data(r.stream, b"<" + d + b">")

    def on_request(c, r):
        c.data(r.stream, b"bye", end=True) if r.get(":method") == "CONNECT" else c.respond(r.stream, body=b"ok")
    settings = {h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1} if on else None
    return dict(settings=settings, on_head=on_head, on_data=on_data, on_request=on_request)


def test_websocket_over_extended_connect(start, h2b):
    b = h2b(**speaks_websocket(True))
    s = start(conf(b, WS), workers=1)
    with s.connect() as c, s.connect() as other:
        c.send(HELLO)
        r = c.read_response()
        assert r.status == 101 and r.get("Upgrade") == "websocket" and r.get("Connection").lower() == "upgrade"
        assert r.get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" and r.get("sec-websocket-protocol") == "chat"
        for word in (b"one", b"two", b"x" * 5000):
            c.send(word)
            assert c.read_exact(len(word) + 2) == b"<" + word + b">"
        assert other.request("/plain").body == b"ok"  # in the same connection
        c.sock.shutdown(socket.SHUT_WR)
        assert c.read_exact(3) == b"bye"
        assert c.sock.recv(1) == b""
    head = b.requests[0].headers
    assert head[0] == (":method", "CONNECT") and (":protocol", "websocket") in head and b.requests[0].get(":path") == "/chat"
    assert b.requests[0].get("sec-websocket-key") is None and b.requests[0].get("sec-websocket-version") == "13"
    assert b.accepted == 1 and not b.problems


def test_websocket_in_bulk(start, h2b):
    b = h2b(**dict(speaks_websocket(True), on_data=lambda c, r, d: c.data(r.stream, d)))
    s = start(conf(b, WS), workers=1)
    data = os.urandom(4 << 20)
    with s.connect() as c:
        c.send(HELLO)
        assert c.read_response().status == 101
        t = threading.Thread(target=c.sock.sendall, args=(data,))
        t.start()
        assert c.read_exact(len(data)) == data
        t.join()


def test_websocket_client_leaves(start, h2b):
    b = h2b(**speaks_websocket(True))
    s = start(conf(b, WS), workers=1)
    with s.connect() as c:
        c.send(HELLO)
        assert c.read_response().status == 101
        c.reset()
    poll(lambda: b.resets(), 10, "RST_STREAM")
    assert s.get("/").body == b"ok" and b.accepted == 1


def test_websocket_server_resets(start, h2b):
    b = h2b(**dict(speaks_websocket(True), on_data=lambda c, r, d: c.reset(r.stream)))
    s = start(conf(b, WS), workers=1)
    with s.connect() as c:
        c.send(HELLO)
        assert c.read_response().status == 101
        c.send(b"x")
        with pytest.raises((harness.Closed, OSError)):
            c.read_exact(1)


def test_websocket_refused(start, h2b):
    b = h2b(**dict(speaks_websocket(True), on_head=lambda c, r: c.respond(r.stream, status=403, body=b"no")))
    s = start(conf(b, WS), workers=1)
    with s.connect() as c:
        c.send(HELLO)
        r = c.read_response()
        assert r.status == 403 and r.body == b"no"


def test_websocket_falls_back_to_http1(start, h2b, backend, certs):
    """A TLS server that speaks both but cannot carry WebSocket in HTTP/2."""
    def http1(conn):
        r = conn.read_head()
        assert r.get("Upgrade") == "websocket"
        conn.send("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        conn.send(b"echo " + conn.sock.recv(100))
    b = h2b(**speaks_websocket(False), tls=h2_tls(certs, protocols=("h2", "http/1.1")))
    in_both(b, http1)
    for version in ("2", "auto"):
        s = start(conf(b, WS, to="https://%s", version=version), workers=1)
        assert s.get("/").body == b"ok"
        with s.connect() as c:
            c.send(HELLO)
            assert c.read_response().status == 101
            c.send(b"hi")
            assert c.read_exact(7) == b"echo hi"
    assert b.spoken == ["h2", "http/1.1"] * 2


def test_websocket_falls_back_with_a_certificate_by_variable(start, h2b, certs):
    def http1(conn):
        conn.read_head()
        who.append(dict(x[0] for x in conn.sock.getpeercert()["subject"])["commonName"])
        conn.send("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    who = []
    b = h2b(**speaks_websocket(False), tls=h2_tls(certs, protocols=("h2", "http/1.1"), verify_clients=True))
    in_both(b, http1)
    s = start(conf(b, WS + "proxy_ssl_certificate certs/$arg_c.crt; proxy_ssl_certificate_key certs/$arg_c.key;",
                   to="https://%s"), start=False, workers=1)
    certs.make("other", client=True)
    for n, pair in (("one", certs.client), ("two", (certs.dir + "/other.crt", certs.dir + "/other.key"))):
        for end, path in zip(("crt", "key"), pair):
            with open(path) as f:
                s.write("conf/certs/%s.%s" % (n, end), f.read())
    s.start()
    for n in ("one", "two"):
        assert s.get("/?c=" + n).status == 200
        with s.connect() as c:
            c.send(HELLO.replace("/chat", "/chat?c=" + n))
            assert c.read_response().status == 101
    assert b.spoken == ["h2", "http/1.1"] * 2 and who[0] != who[1] == "other"
