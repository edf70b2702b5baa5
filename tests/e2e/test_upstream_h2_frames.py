"""Answers of servers of HTTP/2 as frames by hand: heads in pieces, interim answers, trailers."""
import struct

import pytest

from h2raw import (CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, OK, frame, literal)
from harness import poll

pytestmark = pytest.mark.sluice_only("proxy_http_version 2")


def conf(b, more="", outer=""):
    return ("%s server { listen 127.0.0.1:@port@; http2 on; location / { proxy_pass http://%s; proxy_http_version 2; %s } }"
            % (outer, b.addr, more))


def in_pieces(stream, block, n, flags=0):
    """HEADERS and n CONTINUATIONs."""
    size = max(1, -(-len(block) // (n + 1)))
    parts = [block[k * size:(k + 1) * size] for k in range(n + 1)]
    return b"".join(frame(CONTINUATION if k else HEADERS, (END_HEADERS if k == n else 0) | (0 if k else flags), stream, p)
                    for k, p in enumerate(parts))


@pytest.mark.parametrize("n", [0, 1, 8])
@pytest.mark.parametrize("how", ["whole", "dribbled"])
def test_head_in_many_frames(start, raw, n, how):
    """RFC 9113 4.3: however the bytes of CONTINUATIONs arrive, they are no more of them. Trailers, too."""
    block = OK + b"".join(literal(f"x-{k}", "v%d" % k) for k in range(12))

    def on_head(c, stream, fields, end):
        out = (in_pieces(stream, block, n) + frame(DATA, 0, stream, b"body")
               + in_pieces(stream, b"".join(literal(f"t-{k}", "v") for k in range(5)), min(n, 3), END_STREAM))
        (c.send if how == "whole" else c.dribble)(out)
    b = raw(on_head)
    s = start(conf(b, "proxy_pass_trailers on;"), workers=1)
    for _ in range(2):
        r = s.get("/", headers=[("TE", "trailers")])
        assert r.status == 200 and r.body == b"body"
        assert [r.get(f"x-{k}") for k in range(12)] == [f"v{k}" for k in range(12)]
    assert b.accepted == 1


@pytest.mark.parametrize("what", ["empty", "one byte", "large"])
def test_continuation_flood(start, raw, what):
    """A head without end is bounded, and costs nobody else anything."""
    payload = {"empty": b"", "one byte": b"\0", "large": literal("x", "y" * 100) * 150}[what]
    calm = []

    def on_head(c, stream, fields, end):
        if (":path", "/good") in fields:
            return c.answer(stream)
        c.send(frame(HEADERS, 0, stream, OK))
        try:
            for _ in range(20000):
                c.frame(CONTINUATION, 0, stream, payload)
        except OSError:
            pass
        calm.append(True)
        return None
    b = raw(on_head)
    s = start(conf(b, "proxy_next_upstream off;"), workers=1)
    assert s.get("/good").status == 200
    assert s.get("/").status == 502
    poll(lambda: calm, 10, "the end of the flood")
    assert s.get("/good").status == 200
    assert s.worker_pids()
    s.wait_log("upstream broke the rules of HTTP/2", "error.log")


def test_goaway_says_why(start, raw):
    """The server hears that it was too much."""
    def on_head(c, stream, fields, end):
        c.send(frame(HEADERS, 0, stream, OK) + frame(CONTINUATION, 0, stream, b"\0") * 10)
    b = raw(on_head)
    s = start(conf(b), workers=1)
    assert s.get("/").status == 502
    poll(lambda: b.raw[0].goaways, 10, "GOAWAY")
    assert b.raw[0].goaways[0][1] == ENHANCE_YOUR_CALM
