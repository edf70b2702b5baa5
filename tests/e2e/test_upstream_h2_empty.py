"""Empty bodies over HTTP/2, towards servers and from them: what may follow them (RFC 9113 8.1, RFC 9110 6.5)."""
import struct
import threading

import pytest

from h2_backend import H2Backend
from h2raw import DATA, END_HEADERS, END_STREAM, H2, HEADERS, frame, literal
from harness import SLOW, poll

pytestmark = pytest.mark.sluice_only("proxy_http_version 2")
TRAILERS = literal("x-sum", "42") + literal("x-more", "yes")
WANT = [("x-sum", "42"), ("x-more", "yes")]


def conf(b, more="", how="proxy"):
    kind = {"proxy": f"proxy_pass http://{b.addr}; proxy_http_version 2; proxy_pass_trailers on;",
            "grpc": f"grpc_pass grpc://{b.addr};"}[how]
    return ("log_format t '$status $upstream_status $upstream_trailer_x_sum $body_bytes_sent'; "
            "server { listen 127.0.0.1:@port@; http2 on; access_log @PREFIX@/logs/t.log t; location / { %s %s } }" % (kind, more))


def head(length="0", status=200, more=b""):
    return literal(":status", str(status)) + (literal("content-length", length) if length else b"") + more


def trailing(how, gate=None):
    """A server's answer: head, perhaps an empty DATA, trailers; `how` says in how many writes."""
    def on_head(c, stream, fields, end):
        parts = [frame(HEADERS, END_HEADERS, stream, head(more=literal("content-type", "application/grpc")))]
        if "data" in how:
            parts.append(frame(DATA, 0, stream))
        parts.append(frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS))
        if gate:
            c.send(b"".join(parts[:-1]))
            gate.wait(20 * SLOW)
            c.send(parts[-1])
        elif "split" in how:
            c.dribble(b"".join(parts))
        else:
            c.send(b"".join(parts))
    return on_head


# ---------------------------------------------------------------- answers

@pytest.mark.parametrize("kind,buffering", [("proxy", "on"), ("proxy", "off"), ("grpc", "off")])
@pytest.mark.parametrize("how", ["together", "data", "split", "data split"])
def test_trailers_behind_nothing(start, raw, kind, buffering, how):
    b = raw(on_head=trailing(how))
    s = start(conf(b, f"proxy_buffering {buffering};", kind), workers=1)
    with H2(s.port()) as c:
        for _ in range(3):
            st = c.response(c.open(c.fields()))
            assert st.status == 200 and st.get("content-length") == "0" and st.ended and st.reset is None
            assert st.trailers == WANT and st.body == b""
    assert b.accepted == 1 and not b.raw[0].resets
    s.wait_log("^200 200 42 0$", "t.log", count=3)


@pytest.mark.parametrize("kind", ["proxy", "grpc"])
@pytest.mark.parametrize("how", ["together", "data"])
def test_head_does_not_wait_for_trailers(start, raw, kind, how):
    gate = threading.Event()
    b = raw(on_head=trailing(how, gate))
    s = start(conf(b, how=kind))
    with H2(s.port()) as c:
        n = c.open(c.fields())
        st = c.head(n)
        assert st.status == 200 and not st.ended
        gate.set()
        st = c.response(n)
        assert st.trailers == WANT and st.ended
    assert not b.raw[0].resets


@pytest.mark.parametrize("how", ["together", "data", "split"])
def test_clients_of_http_1(start, raw, how):
    """RFC 9112 6: behind a Content-Length there is no room for trailers."""
    b = raw(on_head=trailing(how))
    s = start(conf(b), workers=1)
    with s.connect() as c:
        for _ in range(3):
            r = c.request("/")
            assert r.status == 200 and r.get("Content-Length") == "0" and not r.trailers
            assert r.get("Transfer-Encoding") is None
        assert c.quiet()
    assert b.accepted == 1
    if how != "split":  # that slow it may be given up
        assert not b.raw[0].resets


def test_client_of_http_1_does_not_wait(start, raw):
    """Nothing that could come would be for it: the stream ends, the connection goes on."""
    gate = threading.Event()
    b = raw(on_head=trailing("together", gate))
    s = start(conf(b))
    try:
        with s.connect() as c:
            r = c.request("/")
            assert r.status == 200 and r.get("Content-Length") == "0"
    finally:
        gate.set()
    poll(lambda: b.raw[0].resets, what="the stream is given up")
    assert s.get("/").status == 200 and b.accepted == 1


def test_without_the_directive(start, raw):
    b = raw(on_head=trailing("together"))
    s = start(conf(b, "proxy_pass_trailers off;").replace("proxy_pass_trailers on;", ""))
    with H2(s.port()) as c:
        st = c.get()
        assert st.status == 200 and st.ended and not st.trailers
    s.wait_log("^200 200 42 0$", "t.log")  # the log may have them all the same
    assert not b.raw[0].resets


def test_web_client(start, raw):
    b = raw(on_head=trailing("together"))
    s = start(conf(b, "grpc_web on;", "grpc"))
    r = s.get("/t.T/x", method="POST", body=b"\0\0\0\0\0", headers=[("Content-Type", "application/grpc-web")])
    assert r.status == 200 and r.get("content-type") == "application/grpc-web"
    text = b"x-sum: 42\r\nx-more: yes\r\n"
    assert r.body == struct.pack(">BI", 0x80, len(text)) + text


def test_bytes_where_none_were_announced(start, raw):
    def on_head(c, stream, fields, end):
        c.send(frame(HEADERS, END_HEADERS, stream, head()) + frame(DATA, 0, stream, b"x") +
               frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS))
    b = raw(on_head=on_head)
    s = start(conf(b))
    with H2(s.port()) as c:
        st = c.get()
        assert st.reset is not None or st.status == 502, st
        assert not st.trailers and st.body != b"x"


@pytest.mark.parametrize("method,status,fields", [
    ("HEAD", 200, literal("content-length", "1000")), ("GET", 204, b""), ("GET", 304, literal("etag", '"x"'))])
@pytest.mark.parametrize("last", ["data", "trailers"])
def test_bodiless_answers_end_their_stream(start, raw, method, status, fields, last):
    """A server that ends its stream in a frame of its own, behind a head without a body, is not told off with a reset."""
    def on_head(c, stream, f, end):
        first = frame(HEADERS, END_HEADERS, stream, literal(":status", str(status)) + fields)
        c.send(first)
        c.send(frame(DATA, END_STREAM, stream) if last == "data" else
               frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS))
    b = raw(on_head=on_head)
    s = start(conf(b), workers=1)
    with s.connect() as c:
        for _ in range(5):
            r = c.request("/", method=method)
            assert r.status == status and not r.body
    assert b.accepted == 1 and not b.raw[0].resets


# ---------------------------------------------------------------- requests

def upload(c, body=b"", trailers=(("x-up", "7"),), data=True, length=True):
    n = c.open(c.fields(method="POST", more=[("content-length", str(len(body)))] if length else []), end=False)
    if data:
        c.data(n, body)
    c.frame(HEADERS, END_HEADERS | END_STREAM, n, c.encoder.encode(list(trailers)))
    return c.response(n)


@pytest.mark.parametrize("kind,buffering", [("proxy", "on"), ("proxy", "off"), ("proxy", "on; client_body_in_file_only clean"),
                                            ("grpc", "off")])
def test_trailers_behind_an_empty_upload(start, kind, buffering):
    with H2Backend() as b:
        s = start(conf(b, f"proxy_request_buffering {buffering};", kind), workers=1)
        with H2(s.port()) as c:
            for body, data, length in ((b"", False, True), (b"", True, True), (b"", True, False), (b"xyz", True, True),
                                       (b"xyz", True, False)):
                st = upload(c, body, data=data, length=length)
                assert st.status == 200 and st.body == b"ok" and st.reset is None
                r = b.last
                assert r.body == body and r.trailers == [("x-up", "7")]
                if length:
                    assert r.get("content-length") == str(len(body))
            # none: the stream still ends
            n = c.open(c.fields(method="POST", more=[("content-length", "0")]), end=False)
            c.data(n, b"", end=True)
            st = c.response(n)
            assert st.status == 200 and b.last.ended and not b.last.trailers
        assert not b.problems and b.accepted == 1 and not b.resets()


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_uploads_trailers_need_the_directive(start, buffering):
    with H2Backend() as b:
        s = start(conf(b, f"proxy_pass_trailers off; proxy_request_buffering {buffering};").replace("proxy_pass_trailers on;", ""))
        with H2(s.port()) as c:
            for body in (b"", b"xyz"):
                assert upload(c, body).status == 200
                assert b.last.body == body and not b.last.trailers


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_empty_upload_in_chunks(start, buffering):
    """From HTTP/1, too."""
    with H2Backend() as b:
        s = start(conf(b, f"proxy_request_buffering {buffering};"))
        with s.connect() as c:
            c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Up: 7\r\n\r\n")
            assert c.read_response().status == 200
            assert b.last.trailers == [("x-up", "7")] and b.last.body == b""
            c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            assert c.read_response().status == 200
            assert b.last.get("content-length") == "0" and not b.last.trailers


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_trailers_are_sent_again(start, buffering):
    """A server that refuses has not acted: the next attempt has the same trailers."""
    seen = []

    def on_request(c, r):
        seen.append(list(r.trailers))
        if len(seen) == 1:
            c.reset(r.stream, 7)
        else:
            c.respond(r.stream, body=b"ok")
    with H2Backend(on_request=on_request) as b:
        s = start(conf(b, f"proxy_request_buffering {buffering};"))
        with H2(s.port()) as c:
            assert upload(c).status == 200
    assert seen == [[("x-up", "7")]] * 2


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_empty_upload_goes_to_an_error_page(start, buffering):
    """What was streamed to one server and was nothing can be streamed to another."""
    with H2Backend(lambda r: {"status": 503}) as b, H2Backend() as spare:
        s = start(conf(b, f"proxy_request_buffering {buffering}; proxy_intercept_errors on; error_page 503 = @spare; }} "
                          f"location @spare {{ proxy_pass http://{spare.addr}; proxy_http_version 2; proxy_pass_trailers on; "
                          f"proxy_request_buffering {buffering};"))
        with H2(s.port()) as c:
            assert upload(c).status == 200
        assert spare.last.trailers == [("x-up", "7")]


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_servers_of_http_1_get_none(start, backend, buffering):
    b = backend(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    s = start(conf(b, f"proxy_http_version 1.1; proxy_request_buffering {buffering};").replace("proxy_http_version 2;", ""),
              workers=1)
    with H2(s.port()) as c:
        for body in (b"", b"xyz"):
            assert upload(c, body).body == b"ok"
            assert b.last.body == body and b.last.get("Content-Length") == str(len(body))
