"""HTTP/2 clients that mean ill. Each attack costs the attacker the connection, and us no more than so many ordinary
requests: CPU and memory of the worker are measured beside an ordinary load."""
import os
import socket
import struct
import threading

import pytest

from h2raw import (ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, H2, HEADERS,
                   INITIAL_WINDOW, PING, PRIORITY, PRIORITY_UPDATE, PROTOCOL_ERROR, RST_STREAM, SETTINGS, WINDOW_UPDATE,
                   frame)
from harness import SANITIZED, SLOW, poll, response, rss_kb

pytestmark = pytest.mark.sluice_only("limits are ours")

HTTP = """access_log off; keepalive_requests 1000000; server { listen 127.0.0.1:@port@; http2 on; %s
    location / { proxy_pass http://@b@; proxy_http_version 1.1; proxy_set_header Connection ""; }
    location /say { return 200 ok; } location /f/ { root .; } }"""
MAX = 500  # http2_max_glitches' default


@pytest.fixture
def go(start, backend):
    def run(more="", handler=None, answer=None, files=None):
        b = backend(handler) if handler else backend(answer=answer or response(b"got it"))
        s = start(HTTP % more, values={"b": b.addr}, files=files or {})
        s.b = b
        return s
    return run


def cpu(s):
    """Seconds of CPU that the worker has used."""
    total = 0
    for p in s.worker_pids():
        with open(f"/proc/{p}/stat") as f:
            part = f.read().rsplit(")", 1)[1].split()
        total += int(part[11]) + int(part[12])
    return total / os.sysconf("SC_CLK_TCK")


def memory(s):
    return sum(rss_kb(p) for p in s.worker_pids())


def ordinary(s, n, path="/say"):
    """CPU of n requests that mean well."""
    before, done = cpu(s), 0
    while done < n:
        with H2(s.port()) as c:
            for _ in range(20):
                ids = [c.open(c.fields(path)) for _ in range(5)]
                for i in ids:
                    assert c.response(i).status == 200
            done += 100
    return cpu(s) - before


def flood(c, data, limit=300, pause=None):
    """Sends data again and again until the server has had enough; how often it was sent."""
    c.sock.settimeout(20 * SLOW)
    for i in range(limit):
        try:
            c.send(data() if callable(data) else data)
        except (OSError, socket.timeout):
            return i
        if pause:
            pause()
    return limit


def verdict(c):
    """The error code that the connection ended with. What we still had to say may have been met by a reset."""
    c.ack = c.updates = False
    try:
        return c.wait_closed()
    except socket.timeout:
        return "open"


def attack(s, data, limit=300, first=b"", prepare=None, codes=(ENHANCE_YOUR_CALM,), cost=2000, **kw):
    """The flood ends the connection, with at most the CPU of `cost` ordinary requests, and the server lives."""
    base = ordinary(s, 500) / 500
    m0, c0 = memory(s), cpu(s)
    with H2(s.port(), **kw) as c:
        if prepare:
            prepare(c)
        c.send(first)
        sent = flood(c, data, limit)
        code = verdict(c)
    used, grown = cpu(s) - c0, memory(s) - m0
    assert code in codes + (None,), (code, sent)  # None: it was closed; "open" would be the flood that went through
    assert used <= base * cost + 0.1, f"{used:.3f} s of CPU; an ordinary request takes {base * 1e6:.0f} us"
    assert grown < (60_000 if SANITIZED else 6_000), f"{grown} KB"
    assert s.get("/say").status == 200
    return sent


def limits_seen(s, name="client_glitches"):
    return s.log("error.log").count("ENHANCE_YOUR_CALM")


FLOODS = {
    "PING": frame(PING, 0, 0, bytes(8)),
    "PING ACK": frame(PING, ACK, 0, bytes(8)),
    "SETTINGS": frame(SETTINGS),
    "SETTINGS with values": frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 70000) * 5),
    "SETTINGS ACK": frame(SETTINGS, ACK),
    "WINDOW_UPDATE": frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)),
    "PRIORITY": frame(PRIORITY, 0, 1001, struct.pack(">IB", 0, 1)),
    "PRIORITY_UPDATE": frame(PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1) + b"u=1"),
    "unknown": frame(0x55, 0, 0, b"x"),
    "empty unknown": frame(0x55),
    "GOAWAY": frame(GOAWAY, 0, 0, bytes(8)),
}


@pytest.mark.parametrize("name", sorted(FLOODS))
def test_control_floods(go, name):
    s = go()
    attack(s, FLOODS[name] * 1000, codes=(ENHANCE_YOUR_CALM, PROTOCOL_ERROR, 0))


def test_a_flood_is_said_in_the_log(go):
    s = go("error_log logs/error.log info;")
    attack(s, frame(PING, 0, 0, bytes(8)) * 1000)
    s.wait_log("HTTP/2 connection ended: ENHANCE_YOUR_CALM", "error.log")


def test_the_limit_is_configurable(go):
    s = go("http2_max_glitches 20;")
    with H2(s.port()) as c:
        c.send(frame(PRIORITY, 0, 11, struct.pack(">IB", 0, 1)) * 10)
        assert c.get("/say").status == 200
        c.send(frame(PRIORITY, 0, 11, struct.pack(">IB", 0, 1)) * 30)
        assert verdict(c) == ENHANCE_YOUR_CALM
    s.reload(http=HTTP % "http2_max_glitches 0;")
    with H2(s.port()) as c:
        c.send(frame(PRIORITY, 0, 11, struct.pack(">IB", 0, 1)) * 5000)
        assert c.get("/say").status == 200


def test_ordinary_clients_do_not_meet_it(go):
    """Pings, cancelled requests and window updates among real work, much more than the limit in all."""
    s = go("http2_max_glitches 100;")
    with H2(s.port(), window=1 << 20) as c:
        for i in range(100):
            ids = [c.open(c.fields("/say")) for _ in range(10)]
            c.ping()
            c.reset(c.open(c.fields("/x")))
            c.window(0, 100)
            for n in ids:
                assert c.response(n).status == 200
        assert not c.goaways


# ---------------------------------------------------------------- requests that are not meant

def test_rapid_reset(go):
    s = go()

    def pairs():
        out = b""
        for _ in range(200):
            n, head = c0[0].make_open(c0[0].fields("/x"))
            out += head + frame(RST_STREAM, 0, n, struct.pack(">I", CANCEL))
        return out
    c0 = []
    attack(s, pairs, prepare=c0.append)
    assert len(s.b.requests) <= MAX + 200


def test_rapid_reset_does_not_exceed_max_streams(go):
    """What was reset counts until its work has ended: the server behind never sees more at once."""
    now, most, lock = [0], [0], threading.Lock()

    def slow(conn):
        while conn.read_request():
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            conn.wait_eof(5)
            with lock:
                now[0] -= 1
            return
    s = go("http2_max_concurrent_streams 10; http2_max_glitches 0;", handler=slow)
    with H2(s.port()) as c:
        for _ in range(30):
            ids = [c.open(c.fields("/x")) for _ in range(10)]
            for n in ids:
                c.reset(n)
            c.ping()
    poll(lambda: now[0] == 0, 10, "all upstream connections to close")
    assert most[0] <= 20  # this server hears a little later that one was closed than that the next one came


WRONG = {  # what makes the server reset one stream: the head's length, and the frames behind it
    "window": ([], lambda c, n: frame(WINDOW_UPDATE, 0, n, struct.pack(">I", 0x7fffffff))),
    "too little": ([("content-length", "5")], lambda c, n: frame(DATA, END_STREAM, n, b"x")),
    "too much": ([("content-length", "5")], lambda c, n: frame(DATA, 0, n, b"x" * 6)),
    "trailers that end nothing": ([], lambda c, n: frame(HEADERS, END_HEADERS, n, c.encoder.encode([("a", "b")]))),
    "trailers that are none": ([], lambda c, n: frame(HEADERS, END_HEADERS | END_STREAM, n, c.encoder.encode([("te", "b")]))),
}


@pytest.mark.parametrize("name", sorted(WRONG))
@pytest.mark.parametrize("buffered", ["on", "off"])
def test_made_you_reset(go, name, buffered):
    """Requests that the server itself must reset, by frames that are wrong: as good as a reset."""
    s = go(f"proxy_request_buffering {buffered};")
    more, wrong = WRONG[name]

    def bad():
        out = b""
        for _ in range(100):
            n, head = c0[0].make_open(c0[0].fields("/x", method="POST", more=more), end=False)
            out += head + wrong(c0[0], n)
        return out
    c0 = []
    attack(s, bad, prepare=c0.append, codes=(ENHANCE_YOUR_CALM, PROTOCOL_ERROR))
    assert len(s.b.requests) <= MAX + 200


def test_made_you_reset_by_data_after_the_end(go):
    s = go()

    def bad():
        out = b""
        for _ in range(100):
            n, head = c0[0].make_open(c0[0].fields("/x"))
            out += head + frame(DATA, 0, n, b"x")
        return out
    c0 = []
    attack(s, bad, prepare=c0.append, codes=(ENHANCE_YOUR_CALM, PROTOCOL_ERROR, 5))


def test_malformed_flood(go):
    s = go()

    def bad():
        out = b""
        for _ in range(100):
            n, head = c0[0].make_open(c0[0].fields("/x", more=[("connection", "x")]))
            out += head
        return out
    c0 = []
    attack(s, bad, prepare=c0.append)
    assert not s.b.requests


def test_too_many_streams_flood(go):
    """Refused ones count."""
    hold = threading.Event()

    def slow(conn):
        conn.read_request()
        hold.wait(20 * SLOW)
    s = go("http2_max_concurrent_streams 5;", handler=slow)

    def more():
        return b"".join(c0[0].make_open(c0[0].fields("/x"))[1] for _ in range(200))
    c0 = []
    attack(s, more, prepare=c0.append, ack=False)
    hold.set()
    assert s.b.accepted <= 5


# ---------------------------------------------------------------- heads

def test_continuation_flood(go):
    s = go()
    attack(s, frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 1000), first=frame(HEADERS, 0, 1, b"\x82"),
           codes=(ENHANCE_YOUR_CALM, PROTOCOL_ERROR, 2))


def test_empty_continuation_flood(go):
    s = go()
    attack(s, frame(CONTINUATION, 0, 1) * 1000, first=frame(HEADERS, 0, 1, b"\x82"),
           codes=(ENHANCE_YOUR_CALM, PROTOCOL_ERROR, 2))


@pytest.mark.parametrize("value", [3900, 0])
def test_hpack_bomb(go, value):
    """One entry of the table, named thousands of times in a few bytes."""
    s = go()
    c0 = []

    def bomb():
        c = c0[0]
        n = c.next_id
        c.next_id += 2
        block = b"\x82\x84\x86\x01\x01h" + b"\x40\x01a" + int_bytes(value) + b"v" * value
        return frame(HEADERS, END_STREAM | END_HEADERS, n, block + b"\xbe" * (16000 - len(block)))

    def prepare(c):
        c.updates = True
        c0.append(c)
    base, m0 = cpu(s), memory(s)
    with H2(s.port()) as c:
        prepare(c)
        for _ in range(50):
            n = c.next_id
            c.send(bomb())
            r = c.response(n)
            assert r.status in (400, 431, 494) or r.reset is not None
    used, grown = cpu(s) - base, memory(s) - m0
    assert not s.b.requests
    assert used < (5 if SANITIZED else 0.5) and grown < (60_000 if SANITIZED else 4_000), (used, grown)


def int_bytes(n, prefix=7):
    top = (1 << prefix) - 1
    if n < top:
        return bytes([n])
    out, n = [top], n - top
    while n >= 128:
        out.append(n % 128 + 128)
        n //= 128
    return bytes(out + [n])


def test_many_cookies(go):
    s = go()
    m0, c0 = memory(s), cpu(s)
    with H2(s.port()) as c:
        for _ in range(20):
            r = c.response(c.open(c.fields("/x", more=[("cookie", "a=%d" % i) for i in range(990)])))
            assert r.status == 200 or r.status in (400, 431, 494)
            r = c.response(c.open(c.fields("/x", more=[("cookie", "a")] * 3000)))
            assert r.status in (400, 431, 494)
    assert memory(s) - m0 < (60_000 if SANITIZED else 6_000)
    assert cpu(s) - c0 < (5 if SANITIZED else 0.5)


# ---------------------------------------------------------------- bodies

def start_post(c):
    c.post = c.open(c.fields("/x", method="POST"), end=False)
    c.ping()


@pytest.mark.parametrize("flags,payload", [(0, b""), (8, b"\x05" + bytes(5))])
def test_empty_data_flood(go, flags, payload):
    s = go()
    attack(s, frame(DATA, flags, 1, payload) * 1000, prepare=start_post)


def test_dribbled_data(go):
    """A byte in a frame: no crime, and cheap."""
    s = go(answer=lambda r: response(b"%d" % len(r.body or b"")))
    base = ordinary(s, 500) / 500
    before, m0 = cpu(s), memory(s)
    with H2(s.port()) as c:
        n = c.open(c.fields("/x", method="POST"), end=False)
        for _ in range(50):
            c.send(frame(DATA, 0, n, b"x") * 1000)
            c.ping()
        c.data(n, b"", end=True)
        assert c.response(n).body == b"50000"
    assert cpu(s) - before <= base * 3000 + 0.1
    assert memory(s) - m0 < (60_000 if SANITIZED else 6_000)


def test_empty_data_on_a_stream_that_is_over(go):
    """What may have been on its way when we ended the stream is passed over, but not without end."""
    s = go("location = /no { return 403 no; }")

    def prepare(c):
        n = c.open(c.fields("/no", method="POST"), end=False)
        c.until(lambda: c.stream(n).reset is not None)
        assert n == 1
    attack(s, frame(DATA, 0, 1) * 1000, prepare=prepare)


def test_answers_in_crumbs(go):
    """Windows that are opened a byte at a time, on many streams: each byte costs a frame, but little work."""
    s = go(files={"f/big": bytes(1_000_000)})
    base = ordinary(s, 1000) / 1000
    m0 = memory(s)
    with H2(s.port(), settings={INITIAL_WINDOW: 0}, updates=False) as c:
        ids = [c.open(c.fields("/f/big")) for _ in range(100)]
        for n in ids:
            c.head(n)
        c0, rounds = cpu(s), 100
        for i in range(rounds):
            c.send(b"".join(frame(WINDOW_UPDATE, 0, n, struct.pack(">I", 1)) for n in ids))
            c.until(lambda: all(len(c.stream(n).body) == i + 1 for n in ids))
        used, grown = cpu(s) - c0, memory(s) - m0
        assert not c.goaways
    assert used <= base * rounds * len(ids) + 0.05, f"{used / rounds / len(ids) * 1e6:.1f} us a crumb, {base * 1e6:.0f} a request"
    assert grown < (60_000 if SANITIZED else 100 * 24), f"{grown} KB"


# ---------------------------------------------------------------- not reading

@pytest.mark.parametrize("window", [0, 65535, 0x7fffffff])
def test_streams_that_are_never_read(go, window):
    """100 large answers, the socket unread: what waits in memory has a ceiling."""
    s = go(files={"f/big": bytes(20_000_000)})
    ordinary(s, 100)
    m0 = memory(s)
    with H2(s.port(), settings={INITIAL_WINDOW: window}, updates=False, rcvbuf=20_000,
            window=0x7fffffff - 65535) as c:
        for _ in range(100):
            c.open(c.fields("/f/big"))
        c.sock.settimeout(0.3)
        poll(lambda: quiet(s), 20, "the worker to come to rest", every=0.2)
        grown = memory(s) - m0
        c.sock.settimeout(20 * SLOW)
        if window:  # it was the client who held it up
            c.until(lambda: sum(len(st.body) for st in c.streams.values()) > min(1_000_000, window - 1))
        else:
            c.until(lambda: len([1 for st in c.streams.values() if st.status == 200]) == 100)
    assert grown < (100_000 if SANITIZED else 100 * 24), f"{grown} KB for 100 streams"


def quiet(s, last={}):
    now = cpu(s)
    same = last.get(id(s)) == now
    last[id(s)] = now
    return same


def test_proxied_answers_that_are_never_read(go):
    """The same with a server behind: buffers and files, not more."""
    body = bytes(3_000_000)
    s = go(answer=lambda r: response(body))
    ordinary(s, 100)
    m0 = memory(s)
    with H2(s.port(), settings={INITIAL_WINDOW: 0x7fffffff}, updates=False, rcvbuf=20_000,
            window=0x7fffffff - 65535) as c:
        for _ in range(50):
            c.open(c.fields("/x"))
        s.b.wait_requests(50, 30)
        poll(lambda: quiet(s), 30, "the worker to come to rest", every=0.3)
        grown = memory(s) - m0
        c.sock.settimeout(20 * SLOW)
        c.until(lambda: sum(len(st.body) for st in c.streams.values()) > 1_000_000)
    assert grown < (150_000 if SANITIZED else 50 * 150), f"{grown} KB for 50 streams"


def test_a_client_that_reads_no_acknowledgements(go):
    """PINGs whose answers nobody reads: we stop to listen, or end it."""
    s = go("http2_max_glitches 0; send_timeout 2s;")
    m0 = memory(s)
    with H2(s.port(), updates=False, ack=False, rcvbuf=5_000) as c:
        c.sock.settimeout(0.5)
        sent = 0
        try:
            for _ in range(5000):
                sent += c.sock.send(frame(PING, 0, 0, bytes(8)) * 500)
        except OSError:
            pass
        assert memory(s) - m0 < (60_000 if SANITIZED else 6_000)
        c.sock.settimeout(20 * SLOW)
        try:
            c.wait_closed()
        except OSError:
            pass
    assert s.get("/say").status == 200


def test_stalled_streams_are_given_up(go):
    s = go("send_timeout 700ms;", files={"f/big": bytes(300_000)})
    with H2(s.port(), settings={INITIAL_WINDOW: 0}) as c:
        ids = [c.open(c.fields("/f/big")) for _ in range(50)]
        for n in ids:
            assert c.response(n).reset is not None
        c.frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, 65535))
        assert c.get("/say").status == 200


def test_many_connections_that_do_nothing(go):
    """They cost little while they wait."""
    s = go("keepalive_timeout 60s;")
    ordinary(s, 100)
    n = 300
    m0 = memory(s)
    conns = []
    for _ in range(n):
        c = H2(s.port())
        assert c.get("/say").status == 200
        conns.append(c)
    if SANITIZED:
        assert memory(s) - m0 < n * 200
    else:  # after a second what they need shrinks; nginx 1.22 holds 6 KB
        poll(lambda: memory(s) - m0 < n * 3.5, 10, "connections to become small", every=0.2)
    for c in conns:
        assert c.get("/say").status == 200
        c.close()
