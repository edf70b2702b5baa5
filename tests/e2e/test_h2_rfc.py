"""The MUSTs of RFC 9113, 7541, 9218 and 8441 for a server, one row each, with raw frames: what is sent, and what has to
come of it. A connection error is a GOAWAY with its code and the end of the connection; a stream error is RST_STREAM with
its code, and the connection goes on; everything else goes on too. test_h2_strict.py has heads and bodies in more ways."""
import contextlib
import socket
import struct
import threading
import time

import pytest

from h2raw import (ACK, CANCEL, COMPRESSION_ERROR, CONNECT_PROTOCOL, CONTINUATION, DATA, END_HEADERS, END_STREAM,
                   FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY, H2, HEADERS, INITIAL_WINDOW, MAX_FRAME, MAX_STREAMS,
                   NO_ERROR, NO_RFC7540, PADDED, PING, PREFACE, PRIORITY, PRIORITY_UPDATE, PROTOCOL_ERROR, PUSH_PROMISE,
                   REFUSED_STREAM, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, frame)
from harness import SLOW, Closed, response

pytestmark = pytest.mark.sluice_only("nginx is more lenient")

TABLE_SIZE, PUSH = 1, 2
PRIO = 0x20
HTTP = """server { listen 127.0.0.1:@port@; http2 on; http2_max_concurrent_streams 20; client_body_timeout 30s;
    location / { return 200 ok; }
    location /up { proxy_pass http://@b@; proxy_http_version 1.1; proxy_set_header Connection ""; }
    location /early { return 403 no; } }"""


@pytest.fixture
def server(start, backend):
    """/up hangs when its path says so, until the test is over."""
    over = threading.Event()

    def answer(conn):
        while True:
            r = conn.read_request()
            if not r:
                return
            if "hang" in r.target:
                over.wait(50 * SLOW)
                return
            conn.send(response(b"up"))
    b = backend(answer)
    s = start(HTTP, values={"b": b.addr})
    s.b = b
    yield s
    over.set()


# ---------------------------------------------------------------- what is sent

def u32(n):
    return struct.pack(">I", n)


def setting(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


def lit(name, value, never=False):
    """A literal without indexing, its name a literal too."""
    name, value = name.encode(), value.encode()
    return (b"\x10" if never else b"\x00") + bytes([len(name)]) + name + bytes([len(value)]) + value


def head(path="/", method="GET", more=b""):
    """A header block that touches no table."""
    path = b"\x84" if path == "/" else b"\x04" + bytes([len(path)]) + path.encode()
    return (b"\x82" if method == "GET" else b"\x83" if method == "POST" else b"\x02" + bytes([len(method)]) +
            method.encode()) + b"\x86" + path + b"\x01\x01a" + more


def get(n, path="/", more=b"", flags=END_STREAM | END_HEADERS):
    return frame(HEADERS, flags, n, head(path, more=more))


def post(n, path="/up", more=b""):
    """A request whose body does not come: the stream is open."""
    return frame(HEADERS, END_HEADERS, n, head(path, "POST", more))


def hang(n):
    """A request whose answer does not come: half-closed (remote)."""
    return get(n, "/up/hang")


def update(n, by):
    return frame(WINDOW_UPDATE, 0, n, u32(by))


def reset(n, code=CANCEL):
    return frame(RST_STREAM, 0, n, u32(code))


def done(n):
    """A request, and its whole answer: the stream is closed."""
    def go(c):
        c.send(get(n))
        assert c.response(n).status == 200
        c.ping()
    return go


def was_reset(n):
    """The server has ended it while it was open: what comes for it may have been on its way."""
    def go(c):
        c.send(post(n, "/early"))
        assert c.response(n).status == 403
        c.until(lambda: c.stream(n).reset == NO_ERROR)
        c.streams.pop(n)
    return go


def in_use(c):
    """The server has our SETTINGS acknowledged."""
    c.ping()


# ---------------------------------------------------------------- what has to come of it

class Conn:
    """A connection error with one of these codes."""

    def __init__(self, *codes):
        self.codes = codes

    def check(self, c):
        got = c.wait_closed()
        assert c.goaways, "closed without GOAWAY"
        assert got in self.codes, f"GOAWAY says {got}"


class Reset:
    """A stream error."""

    def __init__(self, n, *codes):
        self.n, self.codes = n, codes

    def check(self, c):
        s = c.response(self.n)
        assert s.reset in self.codes, f"reset {s.reset}, status {s.status}, goaways {c.goaways}"
        goes_on(c)


class Status:
    """The stream is answered so."""

    def __init__(self, n, *codes):
        self.n, self.codes = n, codes

    def check(self, c):
        s = c.response(self.n)
        assert s.status in self.codes, f"{s}"
        goes_on(c)


class Quiet:
    """Nothing happens."""

    def check(self, c):
        goes_on(c)


def goes_on(c):
    c.ping()
    n = max([i for i in c.streams] + [999]) // 2 * 2 + 3
    c.send(get(n))
    r = c.response(n)
    assert r.status == 200 and not c.goaways, f"{r} {c.goaways}"
    del c.streams[n]


def drive(port, steps, want, **kw):
    with H2(port, **kw) as c:
        c.until(lambda: c.settings is not None)
        for step in steps if isinstance(steps, (list, tuple)) else [steps]:
            if callable(step):
                step(c)
            else:
                c.send(step)
        want.check(c)


def run_rows(s, rows, **kw):
    wrong = []
    for name, (steps, want) in rows.items():
        try:
            drive(s.port(), steps, want, **kw)
        except (AssertionError, Closed, socket.timeout, OSError) as e:
            wrong.append(f"{name}: {type(e).__name__} {e}")
    assert not wrong, "\n" + "\n".join(wrong)
    assert s.get("/").status == 200


# ---------------------------------------------------------------- 4: frames

FRAMES = {
    "4.1 the reserved bit is ignored": (frame(HEADERS, 5, 0x80000001, head()), Status(1, 200)),
    "4.1 unknown flags of HEADERS": (frame(HEADERS, 5 | 0xd2, 1, head()), Status(1, 200)),
    "4.1 unknown flags of DATA": ([post(1, "/up"), frame(DATA, 0xf7 & ~PADDED, 1, b"x")], Status(1, 200)),
    "4.1 unknown flags of PING": (frame(PING, 0xfe, 0, bytes(8)), Quiet()),
    "4.1 unknown flags of SETTINGS": (frame(SETTINGS, 0xfe), Quiet()),
    "4.1 unknown flags of WINDOW_UPDATE": (frame(WINDOW_UPDATE, 0xff, 0, u32(1)), Quiet()),
    "4.1 unknown flags of RST_STREAM": ([post(1), frame(RST_STREAM, 0xff, 1, u32(8))], Quiet()),
    "4.1 unknown flags of PRIORITY": (frame(PRIORITY, 0xff, 1, u32(0) + b"\0"), Quiet()),
    "4.1 unknown flags of GOAWAY": (frame(GOAWAY, 0xff, 0, bytes(8)), Conn(NO_ERROR)),
    "4.1 reserved bit of WINDOW_UPDATE": (frame(WINDOW_UPDATE, 0, 0, u32(0x80000001)), Quiet()),
    "4.1 reserved bit of a zero WINDOW_UPDATE": (frame(WINDOW_UPDATE, 0, 0, u32(0x80000000)), Conn(PROTOCOL_ERROR)),
    "4.1 unknown type": (frame(0xbe, 0xff, 0, b"abc"), Quiet()),
    "4.1 unknown type on an idle stream": (frame(0xbe, 0xff, 7, b"abc"), Quiet()),
    "4.1 unknown type on an open stream": ([post(1), frame(0xbe, 0xff, 1, b"abc"), frame(DATA, 1, 1, b"x")], Status(1, 200)),
    "4.1 unknown type on a closed stream": ([done(1), frame(0xbe, 0xff, 1, b"abc")], Quiet()),
    "4.2 the largest frame": ([post(1), frame(DATA, 1, 1, bytes(16384))], Status(1, 200)),
    "4.2 DATA too large": ([post(1), frame(DATA, 1, 1, bytes(16385))], Conn(FRAME_SIZE_ERROR)),
    "4.2 HEADERS too large": (frame(HEADERS, 5, 1, head(more=lit("a", "x" * 100) * 160)), Conn(FRAME_SIZE_ERROR)),
    "4.2 CONTINUATION too large": ([frame(HEADERS, 1, 1, head()), frame(CONTINUATION, 4, 1, lit("a", "x" * 100) * 160)],
                                   Conn(FRAME_SIZE_ERROR)),
    "4.2 unknown type too large": (frame(0xbe, 0, 0, bytes(16385)), Conn(FRAME_SIZE_ERROR)),
    "4.2 SETTINGS too large": (frame(SETTINGS, 0, 0, struct.pack(">HI", 0x99, 0) * 2731), Conn(FRAME_SIZE_ERROR)),
    "4.3 a block may be cut anywhere": ([frame(HEADERS, 1, 1, head()[:1]), frame(CONTINUATION, 0, 1, head()[1:4]),
                                         frame(CONTINUATION, 0, 1, b""), frame(CONTINUATION, 4, 1, head()[4:])],
                                        Status(1, 200)),
    "4.3 bad block of a request": (frame(HEADERS, 5, 1, b"\x80"), Conn(COMPRESSION_ERROR)),
    "4.3 bad block of trailers": ([post(1), frame(HEADERS, 5, 1, b"\x80")], Conn(COMPRESSION_ERROR)),
    "4.3 bad block on a stream that was reset": ([was_reset(1), frame(HEADERS, 5, 1, b"\x80")], Conn(COMPRESSION_ERROR)),
    "4.3 table kept in step on a stream that was reset": (
        [was_reset(1), frame(HEADERS, 5, 1, b"\x40\x01a\x01b"), frame(HEADERS, 5, 3, head(more=b"\xbe"))], Status(3, 200)),
    "4.3 table kept in step by a malformed head": (
        [frame(HEADERS, 5, 1, b"\x82\x84" + b"\x40\x01a\x01b"), frame(HEADERS, 5, 3, head(more=b"\xbe"))], Status(3, 200)),
}

# ---------------------------------------------------------------- 5: streams

STREAMS = {
    "5.1 idle: DATA": (frame(DATA, 0, 1, b"x"), Conn(PROTOCOL_ERROR)),
    "5.1 idle: RST_STREAM": (reset(1), Conn(PROTOCOL_ERROR)),
    "5.1 idle: WINDOW_UPDATE": (update(1, 1), Conn(PROTOCOL_ERROR)),
    "5.1 idle: CONTINUATION": (frame(CONTINUATION, 4, 1, head()), Conn(PROTOCOL_ERROR)),
    "5.1 idle: PUSH_PROMISE": (frame(PUSH_PROMISE, 4, 1, u32(2) + head()), Conn(PROTOCOL_ERROR)),
    "5.1 idle: PRIORITY": ([frame(PRIORITY, 0, 1, u32(0) + b"\0"), get(1)], Status(1, 200)),
    "5.1 idle: DATA behind a used one": ([done(1), frame(DATA, 0, 3, b"x")], Conn(PROTOCOL_ERROR)),
    "5.1 idle: an even number, WINDOW_UPDATE": (update(2, 1), Conn(PROTOCOL_ERROR)),
    "5.1 idle: an even number, DATA": (frame(DATA, 0, 2, b"x"), Conn(PROTOCOL_ERROR)),
    "5.1 idle: an even number, RST_STREAM": (reset(2), Conn(PROTOCOL_ERROR)),
    "5.1 half-closed (remote): DATA": ([hang(1), frame(DATA, 1, 1, b"x")], Conn(STREAM_CLOSED)),
    "5.1 half-closed (remote): HEADERS": ([hang(1), frame(HEADERS, 5, 1, lit("a", "b"))], Conn(STREAM_CLOSED)),
    "5.1 half-closed (remote): CONTINUATION": ([hang(1), frame(CONTINUATION, 4, 1, lit("a", "b"))], Conn(PROTOCOL_ERROR)),
    "5.1 half-closed (remote): WINDOW_UPDATE": ([hang(1), update(1, 1)], Quiet()),
    "5.1 half-closed (remote): PRIORITY": ([hang(1), frame(PRIORITY, 0, 1, u32(0) + b"\0")], Quiet()),
    "5.1 half-closed (remote): RST_STREAM": ([hang(1), reset(1)], Quiet()),
    "5.1 closed by both: DATA": ([done(1), frame(DATA, 1, 1, b"x")], Conn(STREAM_CLOSED)),
    "5.1 closed by both: HEADERS": ([done(1), frame(HEADERS, 5, 1, head())], Conn(STREAM_CLOSED)),
    "5.1 closed by both: CONTINUATION": ([done(1), frame(CONTINUATION, 4, 1, head())], Conn(PROTOCOL_ERROR, STREAM_CLOSED)),
    "5.1 closed by both: WINDOW_UPDATE": ([done(1), update(1, 1)], Quiet()),
    "5.1 closed by both: RST_STREAM": ([done(1), reset(1)], Quiet()),
    "5.1 closed by both: PRIORITY": ([done(1), frame(PRIORITY, 0, 1, u32(0) + b"\0")], Quiet()),
    "5.1 closed by the client: DATA": ([post(1), reset(1), frame(DATA, 0, 1, b"x")], Conn(STREAM_CLOSED)),
    "5.1 closed by the client: HEADERS": ([post(1), reset(1), frame(HEADERS, 5, 1, lit("a", "b"))], Conn(STREAM_CLOSED)),
    "5.1 closed by the client: CONTINUATION": ([post(1), reset(1), frame(CONTINUATION, 4, 1, lit("a", "b"))],
                                               Conn(PROTOCOL_ERROR, STREAM_CLOSED)),
    "5.1 closed by the client: WINDOW_UPDATE": ([post(1), reset(1), update(1, 1)], Quiet()),
    "5.1 closed by the client: RST_STREAM": ([post(1), reset(1), reset(1)], Quiet()),
    "5.1 closed by the client: PRIORITY": ([post(1), reset(1), frame(PRIORITY, 0, 1, u32(0) + b"\0")], Quiet()),
    "5.1 closed by us: DATA": ([was_reset(1), frame(DATA, 0, 1, b"x" * 1000)], Quiet()),
    "5.1 closed by us: trailers": ([was_reset(1), frame(HEADERS, 5, 1, lit("a", "b"))], Quiet()),
    "5.1 closed by us: WINDOW_UPDATE": ([was_reset(1), update(1, 1)], Quiet()),
    "5.1 closed by us: RST_STREAM": ([was_reset(1), reset(1)], Quiet()),
    "5.1 closed by us, others since: DATA": ([was_reset(1), done(3), done(5), frame(DATA, 1, 1, b"x")], Quiet()),
    "5.1.1 even number": (get(2), Conn(PROTOCOL_ERROR)),
    "5.1.1 lower than one used": ([done(5), get(3)], Conn(PROTOCOL_ERROR)),
    "5.1.1 lower than one in use": ([hang(5), get(3)], Conn(PROTOCOL_ERROR)),
    "5.1.1 lower, with a body": ([done(5), post(3)], Conn(PROTOCOL_ERROR)),
    "5.1.1 an implicitly closed one: DATA": ([done(5), frame(DATA, 0, 3, b"x")], Conn(STREAM_CLOSED, PROTOCOL_ERROR)),
    "5.1.1 lower, two gaps ago": ([done(5), done(11), get(3)], Conn(PROTOCOL_ERROR, STREAM_CLOSED)),
    "5.1.1 lower than a reset one": ([was_reset(5), get(3)], Conn(PROTOCOL_ERROR)),
    "5.1.1 gaps are allowed": ([done(7), done(101)], Quiet()),
    "5.3 HEADERS with priority": (frame(HEADERS, 5 | PRIO, 1, u32(0) + b"\xff" + head()), Status(1, 200)),
    "5.3 HEADERS that depend on another": (frame(HEADERS, 5 | PRIO, 1, u32(0x80000005) + b"\xff" + head()), Status(1, 200)),
    "5.5 unknown type in a header block": ([frame(HEADERS, 1, 1, head()), frame(0xbe, 0, 1, b"x"),
                                            frame(CONTINUATION, 4, 1)], Conn(PROTOCOL_ERROR)),
    "5.5 unknown type in a header block, stream 0": ([frame(HEADERS, 1, 1, head()), frame(0xbe, 0, 0, b"x")],
                                                     Conn(PROTOCOL_ERROR)),
}

# ---------------------------------------------------------------- 6: each type of frame

TYPES = {
    "6.1 DATA on stream 0": (frame(DATA, 0, 0, b"x"), Conn(PROTOCOL_ERROR)),
    "6.1 padding as long as the frame": ([post(1), frame(DATA, PADDED, 1, b"\x03ab")], Conn(PROTOCOL_ERROR)),
    "6.1 padding longer than the frame": ([post(1), frame(DATA, PADDED, 1, b"\xffab")], Conn(PROTOCOL_ERROR)),
    "6.1 PADDED and empty": ([post(1), frame(DATA, PADDED, 1, b"")], Conn(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    "6.1 only padding": ([post(1), frame(DATA, PADDED | 1, 1, b"\x03abc")], Status(1, 200)),
    "6.1 padding that is not zero": ([post(1), frame(DATA, PADDED | 1, 1, b"\x03xabc")], Status(1, 200)),
    "6.2 HEADERS on stream 0": (frame(HEADERS, 5, 0, head()), Conn(PROTOCOL_ERROR)),
    "6.2 padding as long as the frame": (frame(HEADERS, 5 | PADDED, 1, b"\x0f" + head()[:15]), Conn(PROTOCOL_ERROR)),
    "6.2 padding longer than the frame": (frame(HEADERS, 5 | PADDED, 1, b"\xff" + head()), Conn(PROTOCOL_ERROR)),
    "6.2 padding into the priority": (frame(HEADERS, 5 | PADDED | PRIO, 1, b"\x05" + bytes(5)), Conn(PROTOCOL_ERROR)),
    "6.2 PADDED and empty": (frame(HEADERS, 5 | PADDED, 1), Conn(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    "6.2 PRIORITY and too short": (frame(HEADERS, 5 | PRIO, 1, b"\0\0\0\0"), Conn(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    "6.2 PADDED, PRIORITY and too short": (frame(HEADERS, 5 | PRIO | PADDED, 1, bytes(5)),
                                           Conn(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    "6.2 an empty block": (frame(HEADERS, 5, 1), Reset(1, PROTOCOL_ERROR)),
    "6.3 PRIORITY on stream 0": (frame(PRIORITY, 0, 0, u32(1) + b"\0"), Conn(PROTOCOL_ERROR)),
    "6.3 PRIORITY too short": (frame(PRIORITY, 0, 1, bytes(4)), Conn(FRAME_SIZE_ERROR)),
    "6.3 PRIORITY too long": (frame(PRIORITY, 0, 1, bytes(6)), Conn(FRAME_SIZE_ERROR)),
    "6.4 RST_STREAM on stream 0": (frame(RST_STREAM, 0, 0, u32(8)), Conn(PROTOCOL_ERROR)),
    "6.4 RST_STREAM too short": ([post(1), frame(RST_STREAM, 0, 1, bytes(3))], Conn(FRAME_SIZE_ERROR)),
    "6.4 RST_STREAM too long": ([post(1), frame(RST_STREAM, 0, 1, bytes(5))], Conn(FRAME_SIZE_ERROR)),
    "6.4 unknown code": ([post(1), reset(1, 0xdeadbeef)], Quiet()),
    "6.5 SETTINGS on a stream": (frame(SETTINGS, 0, 1), Conn(PROTOCOL_ERROR)),
    "6.5 SETTINGS ACK on a stream": (frame(SETTINGS, ACK, 1), Conn(PROTOCOL_ERROR)),
    "6.5 SETTINGS of 5 bytes": (frame(SETTINGS, 0, 0, bytes(5)), Conn(FRAME_SIZE_ERROR)),
    "6.5 SETTINGS of 7 bytes": (frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 1) + b"x"), Conn(FRAME_SIZE_ERROR)),
    "6.5 SETTINGS ACK with payload": (frame(SETTINGS, ACK, 0, struct.pack(">HI", 3, 1)), Conn(FRAME_SIZE_ERROR)),
    "6.5 the last of equal settings counts": ([setting((INITIAL_WINDOW, 0), (INITIAL_WINDOW, 100)), get(1)], Status(1, 200)),
    "6.5.2 unknown setting": (setting((0x7abc, 7)), Quiet()),
    "6.5.2 ENABLE_PUSH 0 and 1": ([setting((PUSH, 0)), setting((PUSH, 1))], Quiet()),
    "6.5.2 ENABLE_PUSH 2": (setting((PUSH, 2)), Conn(PROTOCOL_ERROR)),
    "6.5.2 MAX_CONCURRENT_STREAMS 0": ([setting((MAX_STREAMS, 0)), get(1)], Status(1, 200)),
    "6.5.2 INITIAL_WINDOW_SIZE 2^31": (setting((INITIAL_WINDOW, 1 << 31)), Conn(FLOW_CONTROL_ERROR)),
    "6.5.2 INITIAL_WINDOW_SIZE 2^32-1": (setting((INITIAL_WINDOW, (1 << 32) - 1)), Conn(FLOW_CONTROL_ERROR)),
    "6.5.2 INITIAL_WINDOW_SIZE 2^31-1": (setting((INITIAL_WINDOW, (1 << 31) - 1)), Quiet()),
    "6.5.2 MAX_FRAME_SIZE 16383": (setting((MAX_FRAME, 16383)), Conn(PROTOCOL_ERROR)),
    "6.5.2 MAX_FRAME_SIZE 0": (setting((MAX_FRAME, 0)), Conn(PROTOCOL_ERROR)),
    "6.5.2 MAX_FRAME_SIZE 2^24": (setting((MAX_FRAME, 1 << 24)), Conn(PROTOCOL_ERROR)),
    "6.5.2 MAX_FRAME_SIZE 2^24-1": ([setting((MAX_FRAME, (1 << 24) - 1)), get(1)], Status(1, 200)),
    "6.5.2 HEADER_TABLE_SIZE 2^32-1": ([setting((TABLE_SIZE, (1 << 32) - 1)), get(1)], Status(1, 200)),
    "6.5.2 MAX_HEADER_LIST_SIZE 0": ([setting((6, 0)), get(1)], Quiet()),
    "6.5.2 a bad one behind a good one": (setting((MAX_FRAME, 20000), (PUSH, 9)), Conn(PROTOCOL_ERROR)),
    "6.5.3 an ACK too many": ([in_use, frame(SETTINGS, ACK)], Conn(PROTOCOL_ERROR)),
    "6.6 PUSH_PROMISE": (frame(PUSH_PROMISE, 4, 1, u32(2) + head()), Conn(PROTOCOL_ERROR)),
    "6.6 PUSH_PROMISE on an open stream": ([post(1), frame(PUSH_PROMISE, 4, 1, u32(2) + head())], Conn(PROTOCOL_ERROR)),
    "6.6 PUSH_PROMISE on a closed stream": ([done(1), frame(PUSH_PROMISE, 4, 1, u32(2) + head())], Conn(PROTOCOL_ERROR)),
    "6.6 PUSH_PROMISE on stream 0": (frame(PUSH_PROMISE, 4, 0, u32(2) + head()), Conn(PROTOCOL_ERROR)),
    "6.7 PING on a stream": (frame(PING, 0, 1, bytes(8)), Conn(PROTOCOL_ERROR)),
    "6.7 PING of 7 bytes": (frame(PING, 0, 0, bytes(7)), Conn(FRAME_SIZE_ERROR)),
    "6.7 PING of 9 bytes": (frame(PING, 0, 0, bytes(9)), Conn(FRAME_SIZE_ERROR)),
    "6.7 PING of none": (frame(PING), Conn(FRAME_SIZE_ERROR)),
    "6.7 PING ACK of 7 bytes": (frame(PING, ACK, 0, bytes(7)), Conn(FRAME_SIZE_ERROR)),
    "6.7 an ACK nobody asked for": (frame(PING, ACK, 0, b"whatever"), Quiet()),
    "6.8 GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), Conn(PROTOCOL_ERROR)),
    "6.8 GOAWAY too short": (frame(GOAWAY, 0, 0, bytes(7)), Conn(FRAME_SIZE_ERROR)),
    "6.8 GOAWAY with words": (frame(GOAWAY, 0, 0, bytes(8) + b"bye"), Conn(NO_ERROR)),
    "6.8 GOAWAY with an unknown code": (frame(GOAWAY, 0, 0, u32(0) + u32(0xffff)), Conn(NO_ERROR)),
    "6.8 what is in flight is answered": ([post(1), frame(GOAWAY, 0, 0, bytes(8)), frame(DATA, 1, 1, b"x"),
                                           lambda c: c.response(1).status == 200 or 1 / 0], Conn(NO_ERROR)),
    "6.9 WINDOW_UPDATE 0 on the connection": (update(0, 0), Conn(PROTOCOL_ERROR)),
    "6.9 WINDOW_UPDATE 0 on a stream": ([post(1), update(1, 0)], Conn(PROTOCOL_ERROR)),
    "6.9 WINDOW_UPDATE of 3 bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), Conn(FRAME_SIZE_ERROR)),
    "6.9 WINDOW_UPDATE of 5 bytes": (frame(WINDOW_UPDATE, 0, 0, u32(1) + b"x"), Conn(FRAME_SIZE_ERROR)),
    "6.9 WINDOW_UPDATE of 3 bytes on a stream": ([post(1), frame(WINDOW_UPDATE, 0, 1, bytes(3))], Conn(FRAME_SIZE_ERROR)),
    "6.9.1 the connection's window overflows": (update(0, 0x7fffffff), Conn(FLOW_CONTROL_ERROR)),
    "6.9.1 bit by bit": ([update(0, 0x7fffffff - 65535), update(0, 1)], Conn(FLOW_CONTROL_ERROR)),
    "6.9.1 as large as may be": (update(0, 0x7fffffff - 65535), Quiet()),
    "6.9.1 a stream's window overflows": ([post(1), update(1, 0x7fffffff)], Reset(1, FLOW_CONTROL_ERROR)),
    "6.9.1 more than the stream's window": ([post(1, "/up")] + [frame(DATA, 0, 1, bytes(16384))] * 40,
                                            Reset(1, FLOW_CONTROL_ERROR)),
    "6.9.2 a setting makes a window overflow": ([post(1), update(1, 0x7fffffff - 65535), setting((INITIAL_WINDOW, 65536))],
                                                Conn(FLOW_CONTROL_ERROR)),
    "6.9.2 a window may become negative": ([setting((INITIAL_WINDOW, 0)), hang(1), update(1, 5),
                                            setting((INITIAL_WINDOW, 0)), get(3), update(3, 2),
                                            lambda c: c.response(3), setting((INITIAL_WINDOW, 65535))],
                                           Status(3, 200)),
    "6.10 CONTINUATION on stream 0": ([frame(HEADERS, 1, 1, head()), frame(CONTINUATION, 4, 0)], Conn(PROTOCOL_ERROR)),
    "6.10 CONTINUATION alone": (frame(CONTINUATION, 4, 1, head()), Conn(PROTOCOL_ERROR)),
    "6.10 CONTINUATION behind END_HEADERS": ([get(1, "/up/hang"), frame(CONTINUATION, 4, 1, lit("a", "b"))],
                                             Conn(PROTOCOL_ERROR)),
    "6.10 CONTINUATION behind the last": ([frame(HEADERS, 1, 1, head()), frame(CONTINUATION, 4, 1),
                                           frame(CONTINUATION, 4, 1)], Conn(PROTOCOL_ERROR)),
    "6.10 CONTINUATION behind DATA": ([post(1), frame(DATA, 0, 1, b"x"), frame(CONTINUATION, 4, 1, lit("a", "b"))],
                                      Conn(PROTOCOL_ERROR)),
    "6.10 CONTINUATION of another stream": ([frame(HEADERS, 1, 1, head()), frame(CONTINUATION, 4, 3)],
                                            Conn(PROTOCOL_ERROR)),
    "6.10 HEADERS in a block": ([frame(HEADERS, 1, 1, head()), get(3)], Conn(PROTOCOL_ERROR)),
    "6.10 DATA in a block": ([frame(HEADERS, 0, 1, head()), frame(DATA, 1, 1, b"x")], Conn(PROTOCOL_ERROR)),
    "6.10 PRIORITY in a block": ([frame(HEADERS, 1, 1, head()), frame(PRIORITY, 0, 1, bytes(5))], Conn(PROTOCOL_ERROR)),
    "6.10 SETTINGS in a block": ([frame(HEADERS, 1, 1, head()), frame(SETTINGS)], Conn(PROTOCOL_ERROR)),
    "6.10 PING in a block": ([frame(HEADERS, 1, 1, head()), frame(PING, 0, 0, bytes(8))], Conn(PROTOCOL_ERROR)),
    "6.10 WINDOW_UPDATE in a block": ([frame(HEADERS, 1, 1, head()), update(0, 1)], Conn(PROTOCOL_ERROR)),
    "6.10 trailers in pieces": ([post(1), frame(HEADERS, 1, 1, lit("a", "b")), frame(CONTINUATION, 4, 1, lit("c", "d"))],
                                Status(1, 200)),
}

# ---------------------------------------------------------------- 8: messages

POST_5 = lit("content-length", "5")
MESSAGES = {
    "8.1 trailers": ([post(1), frame(DATA, 0, 1, b"x"), frame(HEADERS, 5, 1, lit("a", "b"))], Status(1, 200)),
    "8.1 trailers without END_STREAM": ([post(1), frame(DATA, 0, 1, b"x"), frame(HEADERS, 4, 1, lit("a", "b"))],
                                        Reset(1, PROTOCOL_ERROR)),
    "8.1 trailers with a pseudo-header field": ([post(1), frame(HEADERS, 5, 1, lit(":path", "/"))],
                                                Reset(1, PROTOCOL_ERROR)),
    "8.1 trailers with :method behind": ([post(1), frame(HEADERS, 5, 1, lit("a", "b") + b"\x82")], Reset(1, PROTOCOL_ERROR)),
    "8.1 two heads": ([post(1), frame(HEADERS, 4, 1, head())], Reset(1, PROTOCOL_ERROR)),
    "8.1 DATA behind trailers": ([post(1, "/up/hang"), frame(HEADERS, 5, 1, lit("a", "b")), frame(DATA, 1, 1, b"x")],
                                 Conn(STREAM_CLOSED)),
    "8.1.1 less than announced": ([post(1, more=POST_5), frame(DATA, 1, 1, b"abcd")], Reset(1, PROTOCOL_ERROR)),
    "8.1.1 more than announced": ([post(1, more=POST_5), frame(DATA, 0, 1, b"abcd"), frame(DATA, 1, 1, b"ef")],
                                  Reset(1, PROTOCOL_ERROR)),
    "8.1.1 less, ended by trailers": ([post(1, more=POST_5), frame(DATA, 0, 1, b"abcd"), frame(HEADERS, 5, 1, lit("a", "b"))],
                                      Reset(1, PROTOCOL_ERROR)),
    "8.1.1 announced and no body": (frame(HEADERS, 5, 1, head("/up", "POST", POST_5)), Reset(1, PROTOCOL_ERROR)),
    "8.1.1 as announced, without padding": ([post(1, more=POST_5), frame(DATA, PADDED | 1, 1, b"\x02abcdexx")],
                                            Status(1, 200)),
    "8.1.1 zero announced": (frame(HEADERS, 5, 1, head("/up", "POST", lit("content-length", "0"))), Status(1, 200)),
    "8.1.1 a length that is none": (post(1, more=lit("content-length", "5x")), Reset(1, PROTOCOL_ERROR)),
    "8.1.1 +5": (post(1, more=lit("content-length", "+5")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 upper case": (get(1, more=lit("X-A", "b")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 NUL in a value": (get(1, more=lit("a", "b\0c")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 CR in a value": (get(1, more=lit("a", "b\rc")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 LF in a value": (get(1, more=lit("a", "b\nc")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 space before a value": (get(1, more=lit("a", " b")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 tab behind a value": (get(1, more=lit("a", "b\t")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 colon in a name": (get(1, more=lit("a:b", "c")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 a name that begins with a colon": (get(1, more=lit(":a", "c")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 space in a name": (get(1, more=lit("a ", "c")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 DEL in a name": (get(1, more=lit("a\x7f", "c")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 an empty name": (get(1, more=lit("", "c")), Reset(1, PROTOCOL_ERROR)),
    "8.2.1 never indexed": (get(1, more=lit("a", "b", never=True)), Status(1, 200)),
    "8.2.2 connection": (get(1, more=lit("connection", "x")), Reset(1, PROTOCOL_ERROR)),
    "8.2.2 proxy-connection": (get(1, more=lit("proxy-connection", "x")), Reset(1, PROTOCOL_ERROR)),
    "8.2.2 keep-alive": (get(1, more=lit("keep-alive", "x")), Reset(1, PROTOCOL_ERROR)),
    "8.2.2 transfer-encoding": (post(1, more=lit("transfer-encoding", "chunked")), Reset(1, PROTOCOL_ERROR)),
    "8.2.2 upgrade": (get(1, more=lit("upgrade", "h2c")), Reset(1, PROTOCOL_ERROR)),
    "8.2.2 te": (get(1, more=lit("te", "trailers, gzip")), Reset(1, PROTOCOL_ERROR)),
    "8.2.2 te: trailers": (get(1, more=lit("te", "trailers")), Status(1, 200)),
    "8.2.2 connection in trailers": ([post(1), frame(HEADERS, 5, 1, lit("connection", "x"))], Reset(1, PROTOCOL_ERROR)),
    "8.3 pseudo behind a field": (frame(HEADERS, 5, 1, b"\x82\x86" + lit("a", "b") + b"\x84"), Reset(1, PROTOCOL_ERROR)),
    "8.3 :status": (get(1, more=lit(":status", "200")), Reset(1, PROTOCOL_ERROR)),
    "8.3 unknown pseudo": (frame(HEADERS, 5, 1, lit(":x", "y") + head()), Reset(1, PROTOCOL_ERROR)),
    "8.3.1 no :method": (frame(HEADERS, 5, 1, head()[1:]), Reset(1, PROTOCOL_ERROR)),
    "8.3.1 no :scheme": (frame(HEADERS, 5, 1, b"\x82\x84\x01\x01a"), Reset(1, PROTOCOL_ERROR)),
    "8.3.1 no :path": (frame(HEADERS, 5, 1, b"\x82\x86\x01\x01a"), Reset(1, PROTOCOL_ERROR)),
    "8.3.1 empty :path": (frame(HEADERS, 5, 1, b"\x82\x86\x04\0\x01\x01a"), Reset(1, PROTOCOL_ERROR)),
    "8.3.1 two :method": (frame(HEADERS, 5, 1, b"\x82" + head()), Reset(1, PROTOCOL_ERROR)),
    "8.3.1 two :scheme": (frame(HEADERS, 5, 1, b"\x86" + head()), Reset(1, PROTOCOL_ERROR)),
    "8.3.1 two :path": (frame(HEADERS, 5, 1, b"\x84" + head()), Reset(1, PROTOCOL_ERROR)),
    "8.3.1 OPTIONS *": (frame(HEADERS, 5, 1, head("*", "OPTIONS")), Status(1, 200, 400, 405)),
    "8.3.1 user and password in :authority": (frame(HEADERS, 5, 1, b"\x82\x86\x84\x01\x05u:p@a"), Status(1, 400)),
    "8.3.1 a scheme that is not served": (frame(HEADERS, 5, 1, b"\x82\x06\x03ftp\x84\x01\x01a"), Status(1, 400)),
    "8.3.1 a scheme that is none": (frame(HEADERS, 5, 1, b"\x82\x06\x031tp\x84\x01\x01a"), Reset(1, PROTOCOL_ERROR)),
    "8.5 CONNECT with :scheme": (frame(HEADERS, 4, 1, lit(":method", "CONNECT") + b"\x86\x01\x03a:1"),
                                 Reset(1, PROTOCOL_ERROR)),
    "8.5 CONNECT with :path": (frame(HEADERS, 4, 1, lit(":method", "CONNECT") + b"\x84\x01\x03a:1"),
                               Reset(1, PROTOCOL_ERROR)),
    "8.5 CONNECT without :authority": (frame(HEADERS, 4, 1, lit(":method", "CONNECT")), Reset(1, PROTOCOL_ERROR)),
    "8.5 CONNECT that nobody serves": (frame(HEADERS, 4, 1, lit(":method", "CONNECT") + b"\x01\x03a:1"),
                                       Status(1, 400, 403, 405, 501)),
    "8441 4 :protocol when it was not offered": (
        frame(HEADERS, 4, 1, lit(":method", "CONNECT") + b"\x86\x84\x01\x01a" + lit(":protocol", "websocket")),
        Reset(1, PROTOCOL_ERROR)),
    "8441 3 ENABLE_CONNECT_PROTOCOL from a client": (setting((CONNECT_PROTOCOL, 1)), Quiet()),
}

# ---------------------------------------------------------------- RFC 7541

HPACK = {
    "2.3.3 an index beyond the static table": (get(1, more=b"\xbe"), Conn(COMPRESSION_ERROR)),
    "2.3.3 an index far beyond": (get(1, more=b"\xff\x80\x80\x80\x01"), Conn(COMPRESSION_ERROR)),
    "2.3.3 a name's index beyond": (get(1, more=b"\x7f\x0f\x01x"), Conn(COMPRESSION_ERROR)),
    "2.3.3 an entry that was evicted": (
        [get(1, more=b"\x40\x01a\x01b"), lambda c: c.response(1), get(3, more=b""), frame(HEADERS, 5, 5, b"\x20" + head(more=b"\xbe"))],
        Conn(COMPRESSION_ERROR)),
    "4.2 the table smaller and larger again": (
        [get(1, more=b"\x40\x01a\x01b"), frame(HEADERS, 5, 3, b"\x20\x3f\xe1\x1f" + head(more=b"\x40\x01c\x01d\xbe"))],
        Status(3, 200)),
    "4.2 larger than allowed": (frame(HEADERS, 5, 1, b"\x3f\xe2\x1f" + head()), Conn(COMPRESSION_ERROR)),
    "4.2 in the middle of a block": (get(1, more=b"\x20"), Conn(COMPRESSION_ERROR)),
    "4.2 behind the first field": (frame(HEADERS, 5, 1, b"\x82\x20" + head()[1:]), Conn(COMPRESSION_ERROR)),
    "4.4 an entry larger than the table": (
        [frame(HEADERS, 5, 1, b"\x3f\x09" + head(more=b"\x40\x01a\x14" + b"x" * 20)), get(3, more=b"\xbe")],
        Conn(COMPRESSION_ERROR)),
    "5.1 an integer without end": (get(1, more=b"\x7f" + b"\x80" * 12), Conn(COMPRESSION_ERROR)),
    "5.1 an integer too large": (get(1, more=b"\xff\xff\xff\xff\xff\xff\x0f"), Conn(COMPRESSION_ERROR)),
    "5.1 leading zeroes": (get(1, more=b"\x00\x01a\x7f\x80\x00" + b"x" * 127), Status(1, 200)),
    "5.2 a string longer than the block": (get(1, more=b"\x00\x01a\x10x"), Conn(COMPRESSION_ERROR)),
    "5.2 a block that ends in a name": (get(1, more=b"\x00\x05ab"), Conn(COMPRESSION_ERROR)),
    "5.2 a block that ends in front of a value": (get(1, more=b"\x00\x01a"), Conn(COMPRESSION_ERROR)),
    "5.2 Huffman": (get(1, more=b"\x00\x01a\x81\x1f"), Status(1, 200)),
    "5.2 Huffman, padded with more than 7 bits": (get(1, more=b"\x00\x01a\x82\x1f\xff"), Conn(COMPRESSION_ERROR)),
    "5.2 Huffman, padded with zeroes": (get(1, more=b"\x00\x01a\x81\x18"), Conn(COMPRESSION_ERROR)),
    "5.2 Huffman with EOS": (get(1, more=b"\x00\x01a\x84\xff\xff\xff\xff"), Conn(COMPRESSION_ERROR)),
    "5.2 Huffman, EOS behind a letter": (get(1, more=b"\x00\x01a\x85\x1f\xff\xff\xff\xff"), Conn(COMPRESSION_ERROR)),
    "5.2 Huffman, cut in a code": (get(1, more=b"\x00\x01a\x81\xfe"), Conn(COMPRESSION_ERROR)),
    "5.2 Huffman in a name": (get(1, more=b"\x00\x82\x18\xff\x01b"), Status(1, 200)),
    "6.1 index 0": (get(1, more=b"\x80"), Conn(COMPRESSION_ERROR)),
}

# ---------------------------------------------------------------- RFC 9218

PRIORITIES = {
    "7.1 on a stream": (frame(PRIORITY_UPDATE, 0, 1, u32(1) + b"u=1"), Conn(PROTOCOL_ERROR)),
    "7.1 on an open stream": ([post(1), frame(PRIORITY_UPDATE, 0, 1, u32(1) + b"u=1")], Conn(PROTOCOL_ERROR)),
    "7.1 for stream 0": (frame(PRIORITY_UPDATE, 0, 0, u32(0) + b"u=1"), Conn(PROTOCOL_ERROR)),
    "7.1 too short": (frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0"), Conn(FRAME_SIZE_ERROR)),
    "7.1 empty": (frame(PRIORITY_UPDATE, 0, 0), Conn(FRAME_SIZE_ERROR)),
    "7.1 for a push that is not": (frame(PRIORITY_UPDATE, 0, 0, u32(2) + b"u=1"), Conn(PROTOCOL_ERROR)),
    "7.1 for an idle stream": ([frame(PRIORITY_UPDATE, 0, 0, u32(1) + b"u=1"), get(1)], Status(1, 200)),
    "7.1 for a closed stream": ([done(1), frame(PRIORITY_UPDATE, 0, 0, u32(1) + b"u=1")], Quiet()),
    "7.1 for more idle streams than there may be": (
        [in_use] + [frame(PRIORITY_UPDATE, 0, 0, u32(n) + b"u=1") for n in range(1, 45, 2)], Conn(PROTOCOL_ERROR)),
    "7.1 for one idle stream, often": ([in_use] + [frame(PRIORITY_UPDATE, 0, 0, u32(1) + b"u=1")] * 40, Quiet()),
    "7.1 nothing": ([post(1), frame(PRIORITY_UPDATE, 0, 0, u32(1))], Quiet()),
    "7.1 not understood": ([post(1), frame(PRIORITY_UPDATE, 0, 0, u32(1) + b"u=;;(")], Quiet()),
    "7.1 long": ([post(1), frame(PRIORITY_UPDATE, 0, 0, u32(1) + b"u=2" + b", a=b" * 100)], Quiet()),
    "2.1 NO_RFC7540_PRIORITIES 2": (setting((NO_RFC7540, 2)), Conn(PROTOCOL_ERROR)),
    "2.1 NO_RFC7540_PRIORITIES changed": (setting((NO_RFC7540, 1)), Conn(PROTOCOL_ERROR)),
}


@pytest.mark.parametrize("rows", [FRAMES, STREAMS, TYPES, MESSAGES, HPACK, PRIORITIES],
                         ids="frames streams types messages hpack priorities".split())
def test_musts(server, rows):
    run_rows(server, rows)


# ---------------------------------------------------------------- 3.4: the beginning

PREFACES = {
    "no SETTINGS": PREFACE + frame(PING, 0, 0, bytes(8)),
    "SETTINGS that are an ACK": PREFACE + frame(SETTINGS, ACK),
    "a request first": PREFACE + get(1),
    "an unknown type first": PREFACE + frame(0xbe),
    "SETTINGS on a stream": PREFACE + frame(SETTINGS, 0, 1),
}


@pytest.mark.parametrize("name", sorted(PREFACES))
def test_first_frames(server, name):
    with H2(server.port(), preface=False) as c:
        c.send(PREFACES[name])
        assert c.wait_closed() == PROTOCOL_ERROR
        assert not c.streams


@pytest.mark.parametrize("at", range(1, 24))
def test_broken_prefaces(server, at):
    """A byte of it is wrong: no HTTP/2 (the answer may be HTTP/1's), and the connection ends."""
    bad = bytearray(PREFACE)
    bad[at] ^= 0x01
    with H2(server.port(), preface=False) as c:
        c.send(bytes(bad) + frame(SETTINGS) + get(1))
        c.sock.shutdown(socket.SHUT_WR)
        got = b""
        while True:
            try:
                more = c.sock.recv(65536)
            except ConnectionError:
                break
            if not more:
                break
            got += more
        assert b"ok" not in got, got


def test_settings_come_first(server):
    with H2(server.port()) as c:
        kind, flags, stream, _ = c.recv()
        assert (kind, flags, stream) == (SETTINGS, 0, 0)


# ---------------------------------------------------------------- what only comes later

def test_refused_with_its_body(server):
    """5.1.2, 8.7: refused streams bring bodies and trailers along that had left before; no error."""
    with H2(server.port(), ack=False) as c:
        c.until(lambda: c.settings is not None)
        c.send(b"".join(hang(n) for n in range(1, 41, 2)))
        c.send(post(41) + frame(DATA, 0, 41, b"abc") + frame(HEADERS, 5, 41, lit("a", "b")) +
               frame(HEADERS, 0, 43, head("/up", "POST")) + frame(CONTINUATION, 4, 43) + frame(DATA, 1, 43, b"x") +
               frame(WINDOW_UPDATE, 0, 41, u32(5)) + reset(43))
        assert c.response(41).reset == REFUSED_STREAM and c.response(43).reset == REFUSED_STREAM
        c.send(frame(DATA, 0, 41, b"abc") + frame(DATA, 1, 43, b"x"))
        c.ping()
        assert not c.goaways


def test_malformed_with_its_body(server):
    """The client hears of its reset when the rest is on its way."""
    with H2(server.port()) as c:
        c.send(post(1, more=lit("connection", "x")) + frame(DATA, 0, 1, b"abc") + frame(HEADERS, 5, 1, lit("a", "b")))
        c.send(get(3))
        assert c.response(3).status == 200
        assert c.response(1).reset == PROTOCOL_ERROR and not c.goaways


def test_what_is_said_on_a_stream_ends_with_its_end(server):
    """All in one write, so that nothing of it has been answered yet."""
    for late, code in ((frame(DATA, 0, 1, b"x"), STREAM_CLOSED), (frame(HEADERS, 5, 1, lit("a", "b")), STREAM_CLOSED)):
        for first in (post(1) + reset(1), post(1) + frame(DATA, 1, 1, b"x"), get(1)):
            with H2(server.port()) as c:
                c.ping()
                c.send(first + late)
                assert c.wait_closed() == code


def test_frames_in_any_pieces(server):
    """The same rows with each byte on its own; the checks must not depend on how input is cut."""
    rows = {n: r for n, r in {**STREAMS, **PRIORITIES}.items() if "more idle" not in n and "often" not in n}
    wrong = []
    for name, (steps, want) in rows.items():
        def each(c, data):
            with contextlib.suppress(OSError):  # it may have ended before the last one
                for b in data:
                    c.sock.sendall(bytes([b]))

        def one(step):
            return step if callable(step) else lambda c: each(c, step)
        steps = steps if isinstance(steps, (list, tuple)) else [steps]
        try:
            drive(server.port(), [one(st) for st in steps], want)
        except (AssertionError, Closed, OSError) as e:
            wrong.append(f"{name}: {e}")
    assert not wrong, "\n".join(wrong)


def test_a_header_block_in_many_pieces(server):
    """4.3: however the bytes of CONTINUATIONs arrive, they are no more of them."""
    block = head("/") + b"".join(lit(f"x-{n}", "v") for n in range(8))
    parts = [block[n:n + 12] for n in range(0, len(block), 12)][:6] + [block[72:]]
    frames = frame(HEADERS, 1, 1, parts[0]) + b"".join(frame(CONTINUATION, 4 if n == 6 else 0, 1, parts[n]) for n in range(1, 7))
    with H2(server.port()) as c:
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n in range(len(frames)):
            c.sock.sendall(frames[n:n + 1])
            time.sleep(0.001)  # for the server to read it by itself; where it does not, less is tested
        c.until(lambda: c.stream(1).headers)
        assert c.stream(1).status == 200


def test_a_waiting_priority_counts(server, start):
    """RFC 9218 7.1: PRIORITY_UPDATE before its request is remembered, and is stronger than the field."""
    s = start("server { listen 127.0.0.1:@port@; http2 on; root .; }", files={"big": bytes(200_000)})
    with H2(s.port(), settings={INITIAL_WINDOW: 1 << 20}, updates=False) as c:
        c.send(frame(PRIORITY_UPDATE, 0, 0, u32(5) + b"u=0") + frame(PRIORITY_UPDATE, 0, 0, u32(3) + b"u=7"))
        c.send(get(1, "/big") + get(3, "/big", more=lit("priority", "u=1")) + get(5, "/big"))
        c.until(lambda: c.stream(5).headers and c.stream(3).headers)
        given = 65535

        def got():
            return sum(len(c.stream(n).body) for n in (1, 3, 5))
        c.until(lambda: got() == given)
        while not c.stream(5).body:  # its file may have to be opened first
            c.window(0, 1000)
            given += 1000
            c.until(lambda: got() == given)
            assert len(c.stream(1).body) < 150_000
        was = len(c.stream(5).body)
        c.window(0, 50_000)
        c.until(lambda: got() == given + 50_000)
        assert len(c.stream(5).body) == was + 50_000 and not c.stream(3).body


def test_priorities_ahead_of_our_settings(server):
    """9218 7.1: too many of them are an error for a client that knows the limit; those that were reset do not count."""
    ahead = b"".join(frame(PRIORITY_UPDATE, 0, 0, u32(n) + b"u=1") for n in range(101, 201, 2))
    with H2(server.port(), ack=False) as c:
        c.send(ahead)
        c.ping()
        c.send(get(1))
        assert c.response(1).status == 200 and not c.goaways
    with H2(server.port()) as c:
        c.ping()
        for n in range(1, 39, 2):
            c.send(hang(n))
        for n in range(1, 39, 2):
            c.send(reset(n))
        c.send(ahead[:18 * 16])
        c.ping()
        assert not c.goaways
        c.send(ahead)
        assert c.wait_closed() == PROTOCOL_ERROR


# ---------------------------------------------------------------- what we send

def test_our_table_follows_the_client(server):
    """RFC 7541 4.2: a decoder that allows no table, or a smaller one, is told so in the next block."""
    for size in (0, 1, 100, 4096, 65536):
        with H2(server.port(), settings={TABLE_SIZE: size}) as c:
            c.decoder.max_allowed_table_size = size
            for _ in range(3):
                assert c.get("/").status == 200
            c.send(setting((TABLE_SIZE, 0)))
            c.ping()
            c.decoder.max_allowed_table_size = 0
            assert c.get("/").status == 200
            c.send(setting((TABLE_SIZE, 4096)) + setting((TABLE_SIZE, 10)) + setting((TABLE_SIZE, 4096)))
            c.ping()
            c.decoder.max_allowed_table_size = 4096
            assert c.get("/").status == 200


def test_frames_of_ours_fit(start, backend):
    """4.2: no frame is longer than the client allows; a long head goes on in CONTINUATIONs."""
    more = "".join(f"X-{i}: {'v' * 3000}\r\n" for i in range(15))
    b = backend(answer=lambda r: f"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n{more}\r\n".encode() + bytes(100000))
    s = start("server { listen 127.0.0.1:@port@; http2 on; http2_chunk_size 1m; location / { proxy_pass http://@b@; "
              "proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; } }", values={"b": b.addr})
    with H2(s.port()) as c:
        sizes = []

        def note(kind, flags, stream, payload, was=c._note):
            was(kind, flags, stream, payload)
            sizes.append((kind, len(payload)))
        c._note = note
        r = c.get("/")
        assert r.status == 200 and len(r.body) == 100000 and len([1 for n, _ in r.headers if n.startswith("x-")]) == 15
        assert max(n for _, n in sizes) <= 16384 and CONTINUATION in [k for k, _ in sizes]


def test_the_last_words(server):
    """6.8: the client's GOAWAY is answered with one when all is done, which names the last stream."""
    with H2(server.port()) as c:
        c.send(post(1))
        c.ping()
        c.send(frame(GOAWAY, 0, 0, bytes(8)))
        c.ping()
        assert not c.goaways
        c.send(frame(DATA, 1, 1, b"x"))
        assert c.response(1).status == 200
        assert c.wait_closed() == NO_ERROR and c.goaways == [(1, NO_ERROR, b"")]


def test_the_log_says_why(server):
    with H2(server.port()) as c:
        c.send(update(0, 0))
        assert c.wait_closed() == PROTOCOL_ERROR
    server.wait_log("HTTP/2 connection ended: PROTOCOL_ERROR: .+", "error.log")
    with H2(server.port()) as c:
        done(5)(c)
        c.send(get(3))
        assert c.wait_closed() == PROTOCOL_ERROR
    server.wait_log("HTTP/2 connection ended: PROTOCOL_ERROR", "error.log", count=2)


def test_our_settings_take_effect_in_the_middle_of_a_body(start, backend):
    """6.9.2, 6.5.3: our SETTINGS are acknowledged late, when bodies are on their way and have been read in part."""
    b = backend(answer=lambda r: response(b"%d" % len(r.body)))
    s = start("server { listen 127.0.0.1:@port@; http2 on; http2_body_preread_size 10k; http2_recv_buffer_size 10k; "
              "location / { proxy_pass http://@b@; } }", values={"b": b.addr})
    with H2(s.port(), ack=False) as c:
        c.until(lambda: c.settings is not None)
        for n in (1, 3, 5):
            c.send(post(n) + frame(DATA, 0, n, bytes(16000)) + frame(DATA, 0, n, bytes(16000)))
            c.ping()
        c.send(frame(SETTINGS, ACK))
        c.ping()
        for n in (1, 3, 5):
            c.send(frame(DATA, 1, n, bytes(10)))
            assert c.response(n).body == b"32010"


@pytest.mark.parametrize("busy", [False, True])
def test_the_reason_gets_through(server, busy):
    """5.4.1: who goes on sending is not met by a TCP reset, which could take the GOAWAY away."""
    with H2(server.port()) as c:
        c.until(lambda: c.settings is not None)
        if busy:
            c.send(post(1))
            c.ping()
        c.send(update(0, 0))
        for _ in range(100):
            c.send(frame(0xbe, 0, 0, bytes(16000)))
        c.sock.shutdown(socket.SHUT_WR)
        got = b""
        while more := c.sock.recv(65536):  # not ConnectionResetError
            got += more
        assert frame(GOAWAY)[3:9] in got
