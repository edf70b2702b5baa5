"""HTTP/2 to the letter: RFC 9113 sections 3 to 8. What is malformed is reset with PROTOCOL_ERROR (a stream error) or ends
the connection with the code that the RFC names, and nothing of it reaches a server behind."""
import struct

import pytest

from h2raw import (ACK, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR,
                   FRAME_SIZE_ERROR, GOAWAY, H2, HEADERS, INITIAL_WINDOW, MAX_FRAME, PADDED, PING, PREFACE,
                   PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, SETTINGS, STREAM_CLOSED,
                   WINDOW_UPDATE, frame)
from harness import Closed, response

pytestmark = pytest.mark.sluice_only("nginx is more lenient")

HTTP = """server { listen 127.0.0.1:@port@; http2 on; %s
    location / { proxy_pass http://@b@; proxy_http_version 1.1; proxy_set_header Connection ""; }
    location /say { return 200 ok; } }"""
GET = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/x")]


@pytest.fixture
def go(start, backend):
    def run(more=""):
        b = backend(answer=lambda r: response(r.body or b"got it"))
        s = start(HTTP % more, values={"b": b.addr})
        s.b = b
        return s
    return run


def without(name):
    return [f for f in GET if f[0] != name]


def replaced(name, value):
    return [(n, value if n == name else v) for n, v in GET]


MALFORMED = {
    "no method": without(":method"),
    "no scheme": without(":scheme"),
    "no path": without(":path"),
    "empty path": replaced(":path", ""),
    "path without slash": replaced(":path", "x"),
    "asterisk for GET": replaced(":path", "*"),
    "absolute path": replaced(":path", "http://a/x"),
    "space in path": replaced(":path", "/a b"),
    "fragment": replaced(":path", "/a#b"),
    "line end in path": replaced(":path", "/ HTTP/1.1\r\nX: y"),
    "two methods": GET + [(":method", "GET")],
    "two paths": GET + [(":path", "/")],
    "two authorities": GET + [(":authority", "b")],
    "pseudo after field": [("a", "b")] + GET,
    "pseudo behind fields": GET + [("a", "b"), (":authority", "a")],
    "status": GET + [(":status", "200")],
    "unknown pseudo": GET + [(":x", "1")],
    "protocol": GET + [(":protocol", "websocket")],
    "bad method": replaced(":method", "GE T"),
    "method with line end": replaced(":method", "GET / HTTP/1.1\r\nA: b\r\n"),
    "bad scheme": replaced(":scheme", "ht tp"),
    "upper case name": GET + [("Accept", "x")],
    "space in name": GET + [("a b", "x")],
    "colon in name": GET + [("a:b", "x")],
    "empty name": GET + [("", "x")],
    "high byte in name": GET + [("a\xe4", "x")],
    "line end in name": GET + [("a\r\nb", "x")],
    "line end in value": GET + [("a", "x\r\nB: c")],
    "lf in value": GET + [("a", "x\ny")],
    "nul in value": GET + [("a", "x\0y")],
    "control in value": GET + [("a", "x\x01y")],
    "leading space": GET + [("a", " x")],
    "trailing tab": GET + [("a", "x\t")],
    "connection": GET + [("connection", "close")],
    "keep-alive": GET + [("keep-alive", "5")],
    "proxy-connection": GET + [("proxy-connection", "x")],
    "transfer-encoding": GET + [("transfer-encoding", "chunked")],
    "upgrade": GET + [("upgrade", "websocket")],
    "te": GET + [("te", "gzip")],
    "te with more": GET + [("te", "trailers, deflate")],
    "two lengths": GET + [("content-length", "0"), ("content-length", "0")],
    "length list": GET + [("content-length", "0, 0")],
    "negative length": GET + [("content-length", "-1")],
    "length without body": GET + [("content-length", "5")],
    "connect with path": [(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")],
    "connect without authority": [(":method", "CONNECT")],
    "connect without port": [(":method", "CONNECT"), (":authority", "a")],
}


def test_malformed_heads(go):
    s = go()
    with H2(s.port()) as c:
        for name, fields in MALFORMED.items():
            try:
                r = c.response(c.open([(n.encode("latin-1"), v.encode("latin-1")) for n, v in fields]))
            except Closed:
                raise AssertionError(name) from None
            assert r.reset == PROTOCOL_ERROR and not r.headers, name
            assert c.get("/say").status == 200, name
    assert not s.b.requests


@pytest.mark.parametrize("fields", [without(":authority"), replaced(":authority", "u@a"), replaced(":authority", "a:x"),
                                    GET + [("host", "b")], without(":authority") + [("host", "a"), ("host", "a")],
                                    GET + [("host", "")]])
def test_hosts(go, fields):
    s = go()
    with H2(s.port()) as c:
        assert c.response(c.open(fields)).status == 400
        assert c.get("/say").status == 200
    assert not s.b.requests


def test_good_heads(go):
    s = go()
    with H2(s.port()) as c:
        for fields in (GET, without(":authority") + [("host", "a")], GET + [("host", "A")],
                       GET + [("te", "trailers")], GET + [("a", ""), ("b", "x\ty"), ("c", "\xe4")],
                       [(":path", "/x"), (":authority", "a"), (":scheme", "https"), (":method", "GET")],
                       [(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", "/x")]):
            assert c.response(c.open([(n.encode(), v.encode("latin-1")) for n, v in fields])).status == 200


def test_too_large(go):
    s = go("large_client_header_buffers 4 4k; max_headers 50;")
    with H2(s.port()) as c:
        assert c.response(c.open(GET + [("a", "x" * 5000)])).status in (400, 431, 494)
        assert c.response(c.open(replaced(":path", "/" + "x" * 5000))).status == 414
        assert c.response(c.open(GET + [("a%d" % i, "x" * 3500) for i in range(5)])).status in (400, 431, 494)
        assert c.response(c.open(GET + [("a%d" % i, "x") for i in range(51)])).status in (400, 431, 494)
        assert c.response(c.open(GET + [("a%d" % i, "x") for i in range(50)])).status == 200
        assert c.get("/say").status == 200


# ---------------------------------------------------------------- bodies

@pytest.mark.parametrize("length,parts", [("5", [b"abc"]), ("2", [b"abc"]), ("0", [b"a"]), ("3", [b"abc", b"d"])])
def test_length_against_data(go, length, parts):
    s = go()
    with H2(s.port()) as c:
        n = c.open([(":method", "POST")] + GET[1:] + [("content-length", length)], end=False)
        for i, p in enumerate(parts):
            c.data(n, p, end=i == len(parts) - 1)
        r = c.response(n)
        assert r.reset == PROTOCOL_ERROR
        assert c.get("/say").status == 200
    assert not [r for r in s.b.requests if not getattr(r, "cut", False)]


def post(c):
    return c.open([(":method", "POST")] + GET[1:], end=False)


@pytest.mark.parametrize("trailers", [[(":path", "/")], [("connection", "x")], [("A", "b")], [("a", "x\ry")]])
def test_bad_trailers(go, trailers):
    s = go()
    with H2(s.port()) as c:
        n = post(c)
        c.data(n, b"abc")
        c.open(trailers, stream=n)
        assert c.response(n).reset == PROTOCOL_ERROR
        assert c.get("/say").status == 200


def test_trailers_that_do_not_end_the_stream(go):
    s = go()
    with H2(s.port()) as c:
        n = post(c)
        c.open([("a", "b")], stream=n, end=False)
        assert c.response(n).reset == PROTOCOL_ERROR


def test_trailers_do_not_become_fields(go):
    s = go()
    with H2(s.port()) as c:
        n = post(c)
        c.data(n, b"abc")
        c.open([("content-length", "7"), ("transfer-encoding-x", "1"), ("authorization", "x")], stream=n)
        assert c.response(n).body == b"abc"
    assert s.b.last.get("Authorization") is None and s.b.last.get("Content-Length") in ("3", None)


# ---------------------------------------------------------------- frames

def ends_with(c, *codes):
    got = c.wait_closed()
    assert got in codes, (got, c.goaways)


CONNECTION_ERRORS = {
    "DATA on stream 0": (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    "HEADERS on stream 0": (frame(HEADERS, 5, 0, b"\x82"), PROTOCOL_ERROR),
    "even stream": (frame(HEADERS, 5, 2, b"\x82\x84\x86"), PROTOCOL_ERROR),
    "DATA on idle stream": (frame(DATA, 0, 5, b"x"), PROTOCOL_ERROR, STREAM_CLOSED),
    "RST_STREAM on stream 0": (frame(RST_STREAM, 0, 0, bytes(4)), PROTOCOL_ERROR),
    "RST_STREAM on idle stream": (frame(RST_STREAM, 0, 9, bytes(4)), PROTOCOL_ERROR),
    "RST_STREAM of wrong length": (frame(RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    "SETTINGS of wrong length": (frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
    "SETTINGS ACK with payload": (frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    "ENABLE_PUSH 2": (frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 2)), PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE too large": (frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), FLOW_CONTROL_ERROR),
    "MAX_FRAME_SIZE too small": (frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 16383)), PROTOCOL_ERROR),
    "PUSH_PROMISE": (frame(PUSH_PROMISE, 4, 1, bytes(4) + b"\x82"), PROTOCOL_ERROR),
    "PING on a stream": (frame(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "PING of wrong length": (frame(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "WINDOW_UPDATE 0 on the connection": (frame(WINDOW_UPDATE, 0, 0, bytes(4)), PROTOCOL_ERROR),
    "WINDOW_UPDATE of wrong length": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE_ERROR),
    "WINDOW_UPDATE on idle stream": (frame(WINDOW_UPDATE, 0, 9, struct.pack(">I", 1)), PROTOCOL_ERROR),
    "window overflow": (frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7fffffff)), FLOW_CONTROL_ERROR),
    "lone CONTINUATION": (frame(CONTINUATION, 4, 1, b"\x82"), PROTOCOL_ERROR),
    "too large frame": (frame(PING, 0, 0, bytes(16385)), FRAME_SIZE_ERROR),
    "padding longer than the frame": (frame(HEADERS, 5 | PADDED, 1, bytes([9]) + b"\x82"), PROTOCOL_ERROR),
    "bad HPACK index": (frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\x7f"), COMPRESSION_ERROR),
    "HPACK table too large": (frame(HEADERS, 5, 1, b"\x3f\xe1\xff\x03\x82"), COMPRESSION_ERROR),
    "HEADERS without CONTINUATION": (frame(HEADERS, 1, 1, b"\x82") + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
    "CONTINUATION of another stream": (frame(HEADERS, 1, 1, b"\x82") + frame(CONTINUATION, 4, 3, b"\x84"), PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", sorted(CONNECTION_ERRORS))
def test_connection_errors(go, name):
    s = go()
    data, *codes = CONNECTION_ERRORS[name]
    with H2(s.port()) as c:
        c.send(data)
        ends_with(c, *codes)
    assert not s.b.requests
    assert s.get("/say").status == 200


def test_broken_preface(go):
    s = go()
    with H2(s.port(), preface=False) as c:
        c.send(PREFACE + frame(PING, 0, 0, bytes(8)))
        ends_with(c, PROTOCOL_ERROR)


@pytest.mark.parametrize("n,code", [(3, PROTOCOL_ERROR), (5, STREAM_CLOSED)])
def test_a_number_cannot_be_used_again(go, n, code):
    s = go()
    with H2(s.port()) as c:
        assert c.response(c.open(GET, stream=5)).status == 200
        c.open(GET, stream=n)
        ends_with(c, code)
    assert len(s.b.requests) == 1


def test_frames_on_a_finished_stream(go):
    s = go()
    with H2(s.port()) as c:
        n = c.open(GET)
        assert c.response(n).status == 200
        c.reset(n)  # is allowed
        c.window(n, 1)  # too
        assert c.get("/say").status == 200


def test_data_after_the_end(go):
    """half-closed (remote): STREAM_CLOSED."""
    s = go()
    with H2(s.port()) as c:
        n = c.open(GET)
        c.data(n, b"x")
        try:
            r = c.response(n)
            assert r.reset in (None, STREAM_CLOSED)
        except Exception:
            assert c.goaways[-1][1] == STREAM_CLOSED


def test_stream_errors(go):
    """Wrong on one stream: the others go on."""
    s = go("client_max_body_size 10m;")
    with H2(s.port()) as c:
        n = post(c)
        c.window(n, 0x7fffffff)
        assert c.response(n).reset == FLOW_CONTROL_ERROR
        assert c.get("/say").status == 200
        n = post(c)
        c.window(n, 0)  # a stream error, which may be treated as one of the connection
        ends_with(c, PROTOCOL_ERROR)


def test_more_than_the_window(go):
    s = go("http2_body_preread_size 1000;")
    s.reload(http="http2_recv_buffer_size 1000; " + HTTP % "http2_body_preread_size 1000;")
    with H2(s.port()) as c:
        c.until(lambda: c.settings)
        assert c.settings[INITIAL_WINDOW] == 1000
        c.ping()
        n = post(c)
        c.data(n, bytes(5000))
        assert c.response(n).reset == FLOW_CONTROL_ERROR
        assert c.get("/say").status == 200


def test_too_many_streams(go, start, backend):
    import threading
    hold = threading.Event()

    def slow(conn):
        conn.read_request()
        hold.wait(20)
        conn.send(response(b"x"))
    b = backend(slow)
    s = start(HTTP % "http2_max_concurrent_streams 3;", values={"b": b.addr})
    with H2(s.port(), ack=False) as c:
        first = [c.open(GET) for _ in range(3)]
        b.wait_requests(3)
        assert c.response(c.open(GET)).reset == REFUSED_STREAM  # it may not have known
        c.frame(SETTINGS, ACK)
        c.ping()
        c.open(GET)  # now it does
        ends_with(c, PROTOCOL_ERROR)
    hold.set()
    assert len(first) == 3 and len(b.requests) == 3


def test_unknown_frames_and_settings_are_ignored(go):
    s = go()
    with H2(s.port()) as c:
        c.send(frame(0x42, 0xff, 0, b"xyz") + frame(0x42, 0, 7, b"") + frame(SETTINGS, 0, 0, struct.pack(">HI", 0x7777, 5)))
        c.frame(PRIORITY, 0, 11, struct.pack(">IB", 3, 15))
        assert c.get("/say").status == 200


def test_continuation(go):
    s = go()
    with H2(s.port()) as c:
        block = c.encoder.encode(GET + [("a", "b" * 50)])
        c.frame(HEADERS, END_STREAM, 1, block[:3])
        c.frame(CONTINUATION, 0, 1, block[3:10])
        c.frame(CONTINUATION, END_HEADERS, 1, block[10:])
        c.next_id = 3
        assert c.response(1).status == 200
    assert s.b.last.get("A") == "b" * 50


def test_padded_and_prioritised_headers(go):
    s = go()
    with H2(s.port()) as c:
        block = c.encoder.encode(GET)
        c.frame(HEADERS, 5 | PADDED | 0x20, 1, bytes([10]) + struct.pack(">IB", 0, 5) + block + bytes(10))
        c.next_id = 3
        assert c.response(1).status == 200


def test_settings_are_acknowledged(go):
    s = go()
    with H2(s.port()) as c:
        acks = []

        def note(kind, flags, stream, payload, was=c._note):
            was(kind, flags, stream, payload)
            if kind == SETTINGS and flags & ACK:
                acks.append(1)
        c._note = note
        c.frame(SETTINGS, 0, 0, struct.pack(">HI", MAX_FRAME, 1 << 20))
        c.until(lambda: len(acks) == 2)


def test_smuggling_gets_nowhere(go):
    """What would be a second request in HTTP/1."""
    s = go()
    with H2(s.port()) as c:
        n = c.open([(":method", "POST")] + GET[1:] + [("content-length", "0")], end=False)
        c.data(n, b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n", end=True)
        assert c.response(n).reset == PROTOCOL_ERROR
        n = post(c)
        c.data(n, b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n", end=True)
        assert c.response(n).status == 200
    assert [r.target for r in s.b.requests] == ["/x"]
    assert s.b.requests[0].body.startswith(b"0\r\n\r\nGET")
