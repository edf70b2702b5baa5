"""Interim answers (1xx) of servers that speak HTTP/2: early_hints, floods, what must not come (RFC 9113 8.1, 8.6; RFC 8297)."""
import threading

import pytest

from h2raw import DATA, END_HEADERS, END_STREAM, H2, HEADERS, PROTOCOL_ERROR, frame, literal
from harness import SLOW, poll

pytestmark = pytest.mark.sluice_only("proxy_http_version 2")


def head(stream, status, *fields, end=False):
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream,
                 literal(":status", str(status)) + b"".join(literal(*f) for f in fields))


def final(stream, body=b"final"):
    return head(stream, 200, ("content-length", str(len(body)))) + frame(DATA, END_STREAM, stream, body)


def answers(*parts, gate=None):
    """Interim heads and then the final answer, in one write or, with a gate, that one later."""
    def on_head(c, stream, fields, end):
        first = b"".join(p(stream) for p in parts)
        if gate:
            c.send(first)
            gate.wait(20 * SLOW)
            c.send(final(stream))
        else:
            c.send(first + final(stream))
    return on_head


HINTS = [lambda n: head(n, 103, ("link", "</a.css>; rel=preload"), ("server", "up"), ("date", "x"), ("x-hide", "1"),
                        ("x-accel-expires", "1"), ("content-length", "5")),
         lambda n: head(n, 103, ("link", "</b.css>"), ("x-y", "z")),
         lambda n: head(n, 102, ("x-processing", "1")),
         lambda n: head(n, 100)]


def conf(b, more="early_hints $arg_h;", how="proxy", top=""):
    kind = {"proxy": f"proxy_pass http://{b.addr}; proxy_http_version 2; proxy_hide_header X-Hide;",
            "grpc": f"grpc_pass grpc://{b.addr}; grpc_hide_header X-Hide;"}[how]
    return (f"log_format t '$status $upstream_status $upstream_error'; {top}"
            f"server {{ listen 127.0.0.1:@port@; http2 on; access_log @PREFIX@/logs/t.log t; location / {{ {kind} {more} }} }}")


@pytest.mark.parametrize("how", ["proxy", "grpc"])
@pytest.mark.parametrize("when", ["together", "before"])
def test_both_protocols_of_clients(start, raw, how, when):
    gate = threading.Event() if when == "before" else None
    b = raw(on_head=answers(*HINTS, gate=gate))
    s = start(conf(b, how=how), workers=1)
    with s.connect() as c:
        c.send(b"GET /?h=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.read_until(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload"
        assert c.read_until(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\nx-y: z"
        if gate:
            gate.set()
        r = c.read_response()
        assert r.status == 200 and r.body == b"final" and not r.interim and r.get("link") is None
    if gate:
        gate.clear()
    with H2(s.port()) as c:
        n = c.open(c.fields("/?h=1"))
        c.until(lambda: len(c.stream(n).interims) == 2)
        if gate:
            assert not c.stream(n).headers
            gate.set()
        st = c.response(n)
        assert st.status == 200 and st.body == b"final" and st.get("link") is None
        assert [dict(i) for i in st.interims] == [{":status": "103", "link": "</a.css>; rel=preload"},
                                                  {":status": "103", "link": "</b.css>", "x-y": "z"}]
    assert b.accepted == 1 and not b.raw[0].resets
    s.wait_log("^200 200 -$", "t.log", count=2)


@pytest.mark.parametrize("more,path", [("", "/?h=1"), ("early_hints $arg_h;", "/"), ("early_hints $arg_h;", "/?h=0")])
def test_not_wanted(start, raw, more, path):
    b = raw(on_head=answers(*HINTS))
    s = start(conf(b, more), workers=1)
    r = s.get(path)
    assert r.status == 200 and not r.interim and r.body == b"final"
    with H2(s.port()) as c:
        st = c.get(path)
        assert st.status == 200 and not st.interims and st.body == b"final"
    assert not b.raw[0].resets


def test_old_clients_get_none(start, raw):
    b = raw(on_head=answers(*HINTS))
    s = start(conf(b, "early_hints 1;"))
    r = s.get("/", version="1.0")
    assert r.status == 200 and not r.interim and r.body == b"final"


def test_beyond_the_buffer(start, raw):
    """Those beyond proxy_buffer_size are left out, as from servers of HTTP/1."""
    b = raw(on_head=answers(*[lambda n, i=i: head(n, 103, ("link", "</%s%d>" % ("x" * 110, i))) for i in range(40)]))
    s = start(conf(b, "early_hints 1; proxy_buffer_size 2k;"))
    r = s.get("/")
    assert r.body == b"final" and 5 <= len(r.interim) <= 2048 // 110
    with H2(s.port()) as c:
        assert len(c.get("/").interims) == len(r.interim)


@pytest.mark.parametrize("status", [100, 102, 103])
@pytest.mark.parametrize("hints", ["", "early_hints 1;"])
def test_flood(start, raw, status, hints):
    """64 are borne with, as from servers of HTTP/1; then the stream ends, the connection does not."""
    many = {"/64": 64, "/65": 65, "/5000": 5000}

    def on_head(c, stream, fields, end):
        n = many.get(dict(fields)[":path"], 0)
        c.send(head(stream, status, ("link", "</x>")) * n + final(stream))
    b = raw(on_head=on_head)
    s = start(conf(b, hints + " proxy_buffer_size 64k;"), workers=1)
    with s.connect() as c:
        r = c.request("/64")
        assert r.status == 200 and r.body == b"final" and len(r.interim) == (64 if hints and status == 103 else 0)
        for path in ("/65", "/5000"):
            r = c.request(path)
            assert r.status == 502 and len(r.interim) <= 64
            s.wait_log("upstream sent invalid header while reading response header", "error.log")
        s.wait_log("^502 502 upstream_bad_head$", "t.log", count=2)
        assert c.request("/").body == b"final"
    assert b.accepted == 1
    poll(lambda: [code for _, code in b.raw[0].resets] == [PROTOCOL_ERROR] * 2)


@pytest.mark.parametrize("name,parts", [
    ("101", [lambda n: head(n, 101, ("upgrade", "x"))]),
    ("101 behind 103", [HINTS[1], lambda n: head(n, 101)]),
    ("103 that ends", [lambda n: head(n, 103, ("link", "</x>"), end=True)]),
    ("100 that ends", [lambda n: head(n, 100, end=True)]),
    ("data behind 103", [HINTS[1], lambda n: frame(DATA, 0, n, b"x")]),
    ("bad field in 103", [lambda n: head(n, 103, ("connection", "close"))]),
    ("line feed in 103", [lambda n: head(n, 103, ("link", "a\nb"))]),
    ("two statuses", [lambda n: frame(HEADERS, END_HEADERS, n, literal(":status", "103") + literal(":status", "103"))]),
])
@pytest.mark.parametrize("how", ["proxy", "grpc"])
def test_broken(start, raw, name, parts, how):
    """RFC 9113 8.1.1: malformed, so the stream is reset with PROTOCOL_ERROR; the others live on."""
    bad = answers(*parts)

    def on_head(c, stream, fields, end):
        if dict(fields)[":path"] == "/bad":
            bad(c, stream, fields, end)
        else:
            c.send(final(stream))
    b = raw(on_head=on_head)
    s = start(conf(b, "early_hints 1;", how), workers=1)
    with s.connect() as c:
        assert c.request("/").status == 200
        r = c.request("/bad")
        assert r.status == 502 and all(i.status == 103 for i in r.interim)
        assert not any(i.get("connection") == "close" and i.get("link") for i in r.interim)
        assert c.request("/").status == 200
    s.wait_log("^502 502 upstream_[a-z0-9_]+$", "t.log")
    poll(lambda: b.raw[0].resets and b.raw[0].resets[0][1] == PROTOCOL_ERROR)
    assert b.accepted == 1


def test_the_next_server_hints_too(start, raw):
    """A server that hints and then resets its stream: another one answers, the client has seen both hints."""
    def dies(c, stream, fields, end):
        c.send(head(stream, 103, ("link", "</first>")))
        gate.wait(20 * SLOW)
        c.reset(stream)
    gate = threading.Event()
    a, b = raw(on_head=dies), raw(on_head=answers(HINTS[1]))
    s = start(conf(a, "early_hints 1;", top=f"upstream g {{ server {a.addr}; server {b.addr}; }} ").replace(f"http://{a.addr}", "http://g"))
    with H2(s.port()) as c:
        seen = 0
        for _ in range(2):  # one of them meets the first server first
            n = c.open(c.fields())
            c.until(lambda: c.stream(n).interims)
            gate.set()
            st = c.response(n)
            assert st.status == 200 and st.body == b"final"
            seen = max(seen, len(st.interims))
        assert seen == 2


def test_many_at_once(start, raw):
    """Hints of streams that share a connection do not get mixed up."""
    def on_head(c, stream, fields, end):
        path = dict(fields)[":path"]
        c.send(head(stream, 103, ("link", f"<{path}>;1")) + head(stream, 103, ("link", f"<{path}>;2")))
        waiting.append((c, stream, path))
        if len(waiting) == 50:
            for conn, n, p in reversed(waiting):
                conn.send(head(n, 103, ("link", f"<{p}>;3")) + final(n, p.encode()))
    waiting = []
    b = raw(on_head=on_head)
    s = start(conf(b, "early_hints 1;"), workers=1)
    with H2(s.port()) as c:
        ids = [c.open(c.fields(f"/{i}")) for i in range(50)]
        for i, n in enumerate(ids):
            st = c.response(n)
            assert st.body == b"/%d" % i
            assert [dict(x)["link"] for x in st.interims] == [f"</{i}>;{k}" for k in (1, 2, 3)]


def test_while_uploading(start, raw):
    """A hint comes through while the upload goes on."""
    def on_head(c, stream, fields, end):
        c.send(HINTS[1](stream))
    got = []

    def on_data(c, stream, data, end):
        got.append(data)
        if end:
            c.send(final(stream, b"".join(got)))
    b = raw(on_head=on_head, on_data=on_data)
    s = start(conf(b, "early_hints 1; proxy_request_buffering off;"))
    with s.connect() as c:
        c.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
        assert c.read_until(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\nx-y: z"
        c.send(b"56789")
        assert c.read_response().body == b"0123456789"
