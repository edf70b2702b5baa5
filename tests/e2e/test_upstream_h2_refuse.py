"""Servers of HTTP/2 that refuse requests, and end connections ahead of them: by the hundred."""
import random
import re
import shutil
import struct
import subprocess
import time

import pytest

from h2raw import DATA, END_HEADERS, END_STREAM, HEADERS, OK, REFUSED_STREAM, RST_STREAM, H2, frame

pytestmark = pytest.mark.sluice_only("proxy_http_version 2")


def conf(*backends, more=""):
    return ("upstream g { %s } server { listen 127.0.0.1:@port@; http2 on; keepalive_requests 1000000; location / { "
            "proxy_pass http://g; proxy_http_version 2; %s } }"
            % (" ".join(f"server {b.addr};" for b in backends), more))


def load(s, n, at_once, clients=4):
    """How many requests of n were answered with which class of status."""
    out = subprocess.run(["h2load", "-n", str(n), "-c", str(clients), "-m", str(at_once // clients),
                          f"http://127.0.0.1:{s.port()}/"], capture_output=True, text=True, check=True).stdout
    counts = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
    return [int(c) for c in counts.groups()]


needs_h2load = pytest.mark.skipif(not shutil.which("h2load"), reason="no h2load")


def leaves(rate, seed=1):
    """Answers in order, and says GOAWAY behind that share of its answers, with the number of the last one that it
    took: what it ignores from there on it has not looked at (RFC 9113 6.8)."""
    draw = random.Random(seed)

    def on_head(c, stream, fields, end):
        if getattr(c, "left", False):
            return
        c.answer(stream)
        if draw.random() < rate:
            c.left = True
            c.goaway(stream)
    return on_head


@needs_h2load
@pytest.mark.parametrize("rate,at_once,most", [(0.3, 64, 4), (0.3, 256, 4), (1.0, 64, 6), (0.02, 256, 4)])
def test_goaway_storm(start, raw, rate, at_once, most):
    """Nobody suffers, and not by brute force."""
    b = raw(leaves(rate))
    s = start(conf(b), workers=1)
    assert load(s, 4000, at_once) == [4000, 0, 0, 0]
    assert b.streams < most * 4000


def answered(stream):
    return frame(HEADERS, END_HEADERS, stream, OK) + frame(DATA, END_STREAM, stream, b"ok")


def refused(stream):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", REFUSED_STREAM))


@needs_h2load
@pytest.mark.parametrize("pause", [None, 0, 0.0003, 0.001, 0.003])
def test_takes_less_than_it_announces(start, raw, pause):
    """RST_STREAM with REFUSED_STREAM for what is more than two at once; all in one write, or one by one, with a pause between
    them: then those that were refused first are elsewhere when the last ones are, where it begins again."""
    def on_head(c, stream, fields, end):
        c.batch = getattr(c, "batch", []) + [stream]
        if len(c.buf) >= 9 and c.buf[3] == HEADERS:
            return
        words = [answered(n) for n in c.batch[:2]] + [refused(n) for n in c.batch[2:]]
        for w in words if pause is not None else [b"".join(words)]:
            c.send(w)
            time.sleep(pause or 0)
        c.batch = []
    b = raw(on_head)
    s = start(conf(b), workers=1)
    assert load(s, 2000, 64) == [2000, 0, 0, 0]
    assert b.streams < 2200  # each of the 62 is refused about once


def test_refuses_all(start, raw):
    """However many are refused side by side, it does not take long to learn that alone they fare no better."""
    b = raw(lambda c, stream, fields, end: c.send(refused(stream)))
    s = start(conf(b), workers=1)
    with H2(s.port()) as c:
        ids = [c.open(c.fields("/")) for _ in range(64)]
        for n in ids:
            assert c.response(n).status == 502
    assert b.streams <= 8 * 64
    s.wait_log("upstream refused the request", "error.log")


def test_goaway_for_ever(start, raw):
    """No connection answers anything: it is soon over."""
    b = raw(lambda c, stream, fields, end: c.goaway(0))
    s = start(conf(b), workers=1)
    with H2(s.port()) as c:
        ids = [c.open(c.fields("/")) for _ in range(20)]
        for n in ids:
            assert c.response(n).status == 502
    assert b.streams <= 4 * 20
    s.wait_log("upstream refused the request", "error.log")
    assert s.get("/", method="POST", body=b"x").status == 502


def never_takes(seconds=0):
    """Answers all but /never, ahead of which it ends its connection."""
    def on_head(c, stream, fields, end):
        if getattr(c, "left", False):
            return
        if (":path", "/never") in fields:
            time.sleep(seconds)
            c.left = True
            c.goaway(max(0, stream - 2))
        else:
            c.answer(stream)
    return on_head


@pytest.mark.parametrize("more", ["", "proxy_next_upstream off;"])
def test_one_request_is_never_taken(start, raw, more):
    """A server that answers others on each connection and ends it ahead of this request: there is an end to that, too."""
    b = raw(never_takes())
    s = start(conf(b, more=more), workers=1)
    with H2(s.port()) as c:
        never = c.open(c.fields("/never"))
        while not c.stream(never).ended:
            assert c.get("/").status == 200
            assert b.streams < 2000
        assert c.stream(never).status == 502
    assert b.accepted <= 4 + 64 + 1
    assert re.search(r"upstream (refused|ended the connection ahead of) the request", s.log("error.log"))


def test_next_server_after_goaways(start, raw):
    bad, good = raw(lambda c, stream, fields, end: c.goaway(0)), raw()
    s = start(conf(bad, good), workers=1)
    for _ in range(4):
        assert s.get("/", method="POST", body=b"x").status == 200
    assert bad.streams and good.streams == 4


@pytest.mark.parametrize("more", ["proxy_read_timeout 400ms;", "proxy_next_upstream_timeout 400ms;"])
def test_refusals_end_in_time(start, raw, more):
    """A server that takes its time to refuse: as long as for an answer is waited, no longer."""
    b = raw(never_takes(0.15))
    s = start(conf(b, more=more), workers=1)
    with H2(s.port()) as c:
        never = c.open(c.fields("/never"))
        began = time.monotonic()
        while not c.stream(never).ended:
            c.get("/")
        assert c.stream(never).status == 502 and time.monotonic() - began < 10
    assert 2 <= b.accepted <= 8
