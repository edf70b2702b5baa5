"""Hostile clients and servers. Memory and descriptors are back to where they were afterwards."""
import os
import random
import resource
import socket
import threading
import time

import pytest

from harness import (ORACLE, SANITIZED, Closed, Conn, build_request, chunked, fd_targets, open_fds, poll, response, rss_kb)

HTTP = """server { listen 127.0.0.1:@port@; client_max_body_size 0; root @PREFIX@/html; keepalive_timeout 300s;
    location /up { proxy_pass http://@b@; proxy_read_timeout 5s; } location /ok { return 200 ok; } }"""


@pytest.fixture
def site(start, backend):
    b = backend(answer=lambda r: response(r.body + b"x" * 5000))
    s = start(HTTP, values={"b": b.addr}, files={"html/f": b"z" * 3000000, "html/small": b"s"}, events="worker_connections 16384;",
              main="worker_rlimit_nofile 20000;")
    s.b = b
    for _ in range(20):
        s.get("/up")
        s.get("/small")
    return s


def fds(s):
    return sum(open_fds(p) for p in s.worker_pids())


def memory(s):
    return sum(rss_kb(p) for p in s.worker_pids())


def settled(s, before, slack=12):
    poll(lambda: fds(s) <= before + slack, 20, f"descriptors to go back to {before} (now {fds(s)})")


def test_random_bytes(site):
    before = fds(site)
    rnd = random.Random(7)
    for i in range(150):
        with site.connect() as c:
            try:
                c.send(bytes(rnd.randrange(256) for _ in range(rnd.randrange(1, 300))))
                if i % 3:
                    c.half_close()
                    c.read_all()
            except OSError:
                pass
    assert site.get("/ok").status == 200
    settled(site, before)


def test_mutated_requests(site):
    """Valid requests with a few bytes changed: answered or refused, never more than one way."""
    before = fds(site)
    rnd = random.Random(11)
    whole = (build_request("/up?q=1", "POST", headers={"X-A": "b", "Cookie": "a=1; b=2"}, body=b"hello world")
             + build_request("/up/c", "POST", headers={"Transfer-Encoding": "chunked"}, body=chunked("abc", "de")))
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(rnd.randrange(1, 4)):
            data[rnd.randrange(len(data))] = rnd.choice([0, 10, 13, 32, 58, 59, 48, 255, rnd.randrange(256)])
        with site.connect() as c:
            try:
                c.send(bytes(data))
                c.half_close()
                c.read_all()
            except OSError:
                pass
    assert site.get("/ok").status == 200
    settled(site, before)


def test_cut_off_uploads_and_downloads(site):
    before = fds(site)
    for i in range(60):
        c = site.connect(rcvbuf=4096)
        c.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * (i * 1500))
        c.reset() if i % 2 else c.close()
        c = site.connect(rcvbuf=4096)
        c.send(build_request("/f"))
        c.read_exact(1 + i * 100)
        c.reset() if i % 2 else c.close()
    assert site.get("/ok").status == 200
    settled(site, before)


def test_never_reading(site):
    before = fds(site)
    conns = [site.connect(rcvbuf=4096) for _ in range(50)]
    for c in conns:
        c.send(build_request("/f") * 5)
    assert site.get("/ok").status == 200
    for c in conns:
        c.reset()
    settled(site, before)


def test_pipelined_flood(site):
    """A client that sends and sends and does not read: the server's memory stays bounded."""
    before = memory(site)
    conns = [site.connect(rcvbuf=4096) for _ in range(10)]
    data = build_request("/up") * 2000
    for c in conns:
        c.sock.settimeout(0.3)
        try:
            while True:
                c.sock.sendall(data)
        except socket.timeout:
            pass
    assert site.get("/ok").status == 200
    assert memory(site) - before < (200000 if SANITIZED else 30000)
    for c in conns:
        c.reset()
    site.wait_log("/ok")


@pytest.mark.alone
@pytest.mark.limit(120)
def test_ten_thousand_idle(start, backend):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = min(10000, hard - 2000) if not SANITIZED else 2000
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    s = start("server { listen 127.0.0.1:@port@ backlog=4096; keepalive_timeout 300s; location /ok { return 200 ok; } }",
              events="worker_connections 16384;", main="worker_rlimit_nofile 20000;")
    for _ in range(5):
        s.get("/ok")
    fd0, mem0 = fds(s), memory(s)
    socks = []
    try:
        for i in range(n):
            c = socket.create_connection(("127.0.0.1", s.port()), 20)
            socks.append(c)
            if i % 100 == 0:
                c.sendall(build_request("/ok"))
                assert c.recv(4096).startswith(b"HTTP/1.1 200")
        poll(lambda: fds(s) >= fd0 + n - 12, 30, "all connections accepted")
        assert s.get("/ok").status == 200
        grown = memory(s) - mem0
        if not SANITIZED:
            assert grown * 1024 / n < 2048, f"{grown * 1024 / n:.0f} bytes per idle connection"
    finally:
        for c in socks:
            c.close()
    poll(lambda: fds(s) <= fd0 + 12, 30, "descriptors to go back")
    assert s.get("/ok").status == 200


def test_ten_thousand_requests_leak_nothing(site):
    mem0 = None
    for round_ in range(4):
        with site.connect() as c:
            for _ in range(300):
                c.send(build_request("/up") + build_request("/small") + build_request("/none"))
                assert c.read_response().status == 200
                assert c.read_response().status == 200
                assert c.read_response().status == 404
        if round_ == 1:
            mem0 = memory(site)
    if not SANITIZED:
        assert memory(site) - mem0 < 3000


def hostile(conn):
    """A server that misbehaves in a way that its connection number picks."""
    if conn.read_request() is None:
        return
    kind = conn.number % 12
    if kind == 0:
        conn.reset()
    elif kind == 1:
        conn.send(b"HTTP/1.1 200 OK\r\n")
        conn.close()
    elif kind == 2:
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        conn.reset()
    elif kind == 3:
        conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n")
    elif kind == 4:
        conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
    elif kind == 5:
        conn.send(b"\x00" * 1000)
    elif kind == 6:
        conn.send(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300000)
    elif kind == 7:
        for b in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":
            conn.send(bytes([b]))
    elif kind == 8:
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)
    elif kind == 9:
        conn.send(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello")
    elif kind == 10:
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + b"surplus" * 1000)
    else:
        conn.send(b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


@pytest.mark.sluice_only("1.22 passes nonsense on as HTTP/0.9")
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_hostile_servers(start, backend, buffering):
    b = backend(hostile)
    s = start("upstream u { server %s max_fails=0; } server { listen 127.0.0.1:@port@; proxy_buffering %s; proxy_read_timeout 2s;"
              " location / { proxy_pass http://u; } location /ok { return 200 ok; } }" % (b.addr, buffering))
    s.get("/ok")
    before = fds(s)

    def visit(n):
        for _ in range(n):
            try:
                r = s.get("/")
                assert r.status in (200, 204, 304, 502, 504)
            except (Closed, OSError):
                pass
    threads = [threading.Thread(target=visit, args=(24,)) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert s.get("/ok").status == 200
    settled(s, before)


def test_smuggling_shapes(site):
    """Requests that two parsers could cut differently: exactly one of them reaches the server behind, or none."""
    shapes = [
        b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",
        b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        b"POST /up HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length : 5\r\n\r\nhello",
        b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 0 5\r\n\r\nhello",
        b"GET /up HTTP/1.1\r\nHost: a\r\nContent\x00-Length: 5\r\n\r\nhello",
    ]
    for shape in shapes:
        site.b.requests.clear()
        with site.connect() as c:
            c.send(shape + b"GET /up/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            r = c.read_response()
            assert r.status in (400, 501), shape
            c.read_all()
        assert not [r for r in site.b.requests], shape


def test_what_goes_upstream_is_reserialised(site):
    with site.connect() as c:
        c.send(b"POST /up HTTP/1.1\nHost: a\nX-A:   spaced  \nTransfer-Encoding: Chunked\n\n5;ext=\"x\"\r\nhello\r\n0\r\nT: r\r\n\r\n")
        assert c.read_response().status == 200
    raw = site.b.last.raw_head
    assert b"\n" not in raw.replace(b"\r\n", b"") and b"X-A: spaced" in raw and site.b.last.body == b"hello"
