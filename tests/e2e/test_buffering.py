"""Buffering both ways: slow clients and slow uploads hold no upstream connection; streaming does not wait."""
import os
import threading
import time

import pytest

from harness import ORACLE, build_request, chunked, fd_targets, poll, response

BIG = os.urandom(1 << 16) * 48  # 3 MiB


def serve(more=""):
    return ("server { listen 127.0.0.1:@port@; client_max_body_size 0; proxy_http_version 1.1; %s "
            "location / { proxy_pass http://@b@; } }" % more)


def test_slow_client_frees_the_server(start, backend):
    """The whole answer leaves the server although the client reads nothing yet."""
    done = threading.Event()

    def handler(conn):
        conn.read_request()
        conn.send(response(BIG, headers=[("Connection", "close")]))
        conn.close()
        done.set()
    b = backend(handler)
    s = start(serve(), values={"b": b.addr})
    with s.connect(rcvbuf=4096) as c:
        c.send(build_request("/"))
        assert done.wait(15)
        assert c.read_response().body == BIG


def test_answer_goes_through_a_file_and_the_file_goes_away(start, backend):
    sent = threading.Event()

    def handler(conn):
        conn.read_request()
        conn.send(response(BIG, headers=[("Connection", "close")]))
        sent.set()
    b = backend(handler)
    s = start(serve(), values={"b": b.addr})
    with s.connect(rcvbuf=4096) as c:
        c.send(build_request("/"))
        assert sent.wait(15)
        poll(lambda: any("temp" in t for p in s.all_pids() for t in fd_targets(p)), 10, "a temporary file")
        assert c.read_response().body == BIG
    poll(lambda: not any("temp/" in t for p in s.all_pids() for t in fd_targets(p)), 10, "the temporary file to go")
    left = [f for _, _, files in os.walk(s.path("temp")) for f in files]
    assert left == []


def test_no_temp_file_bounds_the_server(start, backend):
    """proxy_max_temp_file_size 0: memory only, so the server waits for the client."""
    done = threading.Event()

    def handler(conn):
        conn.read_request()
        conn.send(response(BIG * 4))
        done.set()
    b = backend(handler)
    s = start(serve("proxy_max_temp_file_size 0;"), values={"b": b.addr})
    with s.connect(rcvbuf=4096) as c:
        c.send(build_request("/"))
        assert not done.wait(1)
        assert c.read_response().body == BIG * 4
        assert done.wait(10)


def test_unbuffered_passes_each_piece(start, backend):
    step = threading.Semaphore(0)

    def handler(conn):
        conn.read_request()
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(5):
            conn.send(b"5\r\npart%d\r\n" % i)
            assert step.acquire(timeout=20)
        conn.send("0\r\n\r\n")
    b = backend(handler)
    s = start(serve("proxy_buffering off;"), values={"b": b.addr})
    with s.connect() as c:
        c.send(build_request("/"))
        c.read_until(b"\r\n\r\n")
        for i in range(5):
            assert c.read_until(b"part%d\r\n" % i) in (b"5\r\n",)
            step.release()
        assert c.read_until(b"0\r\n\r\n") == b""


def test_x_accel_buffering(start, backend):
    step = threading.Event()

    def handler(conn):
        conn.read_request()
        conn.send("HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        step.wait(20)
        conn.send("0\r\n\r\n")
    b = backend(handler)
    s = start(serve(), values={"b": b.addr})
    with s.connect() as c:
        c.send(build_request("/"))
        head = c.read_until(b"\r\n\r\n")
        assert b"X-Accel" not in head
        c.read_until(b"first")
        step.set()
        c.read_until(b"0\r\n\r\n")


@pytest.mark.sluice_only("N11: event streams are not held back")
def test_event_stream_without_tuning(start, backend):
    step = threading.Event()

    def handler(conn):
        conn.read_request()
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n")
        step.wait(20)
        conn.send("data: 2\n\n")
    b = backend(handler)
    s = start(serve(), values={"b": b.addr})
    with s.connect() as c:
        c.send(build_request("/"))
        c.read_until(b"data: 1\n\n")
        step.set()
        c.read_until(b"data: 2\n\n")


def test_head_comes_before_the_body(start, backend):
    """Even with buffering, the head of the answer does not wait for the body's end."""
    step = threading.Event()

    def handler(conn):
        conn.read_request()
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        step.wait(20)
        conn.send("hello")
    b = backend(handler)
    s = start(serve(), values={"b": b.addr})
    with s.connect() as c:
        c.send(build_request("/"))
        if ORACLE:
            step.set()
        c.read_until(b"\r\n\r\n")
        step.set()
        assert c.read_exact(5) == b"hello"


def test_slow_upload_does_not_reach_the_server_early(start, backend):
    b = backend(answer=lambda r: response(str(len(r.body))))
    s = start(serve(), values={"b": b.addr})
    with s.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(9):
            c.send(b"x" * 10000)
        assert c.quiet(0.3) and b.accepted == 0
        c.send(b"x" * 10000)
        assert c.read_response().body == b"100000"


def test_unbuffered_upload_streams(start, backend):
    got = []

    def handler(conn):
        head = conn.read_head()
        got.append(conn.c.read_exact(5))
        conn.c.read_exact(int(head.get("Content-Length")) - 5)
        conn.send(response(b"ok"))
    b = backend(handler)
    s = start(serve("proxy_request_buffering off;"), values={"b": b.addr})
    with s.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst")
        poll(lambda: got == [b"first"], 10, "the first bytes at the server")
        c.send("other")
        assert c.read_response().body == b"ok"


def test_unbuffered_chunked_upload_streams(start, backend):
    got = []

    def handler(conn):
        conn.read_head()
        line = conn.c.read_until(b"\r\n")
        got.append(conn.c.read_exact(int(line, 16)))
        conn.c.read_until(b"0\r\n\r\n")
        conn.send(response(b"ok"))
    b = backend(handler)
    s = start(serve("proxy_request_buffering off;"), values={"b": b.addr})
    with s.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        poll(lambda: got == [b"first"], 10, "the first chunk at the server")
        c.send("5\r\nother\r\n0\r\n\r\n")
        assert c.read_response().body == b"ok"


def test_upload_goes_through_a_file(start, backend):
    b = backend(answer=lambda r: response(str(len(r.body))))
    s = start(serve("client_body_buffer_size 4k;"), values={"b": b.addr})
    with s.connect() as c:
        c.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(BIG)}\r\n\r\n")
        c.send(BIG[:-1])
        poll(lambda: any("temp" in t for p in s.all_pids() for t in fd_targets(p)), 10, "a temporary file")
        c.send(BIG[-1:])
        assert c.read_response().body == str(len(BIG)).encode()
    assert b.last.body == BIG
    poll(lambda: not any("temp/" in t for p in s.all_pids() for t in fd_targets(p)), 10, "the temporary file to go")


def test_body_in_file_only(start, backend):
    b = backend(answer=lambda r: response(r.get("X-File") or ""))
    s = start(serve("client_body_in_file_only on; proxy_set_header X-File $request_body_file;"), values={"b": b.addr})
    path = s.get("/", method="POST", body=b"kept").text
    with open(path, "rb") as f:
        assert f.read() == b"kept"
    s2 = start(serve("client_body_in_file_only clean; proxy_set_header X-File $request_body_file;"), values={"b": b.addr})
    path = s2.get("/", method="POST", body=b"gone").text
    assert path
    poll(lambda: not os.path.exists(path), 10, "the file to go")


def test_request_body_variable(start, backend):
    b = backend(answer=lambda r: response(r.get("X-Body") or "none"))
    s = start(serve("proxy_set_header X-Body $request_body;"), values={"b": b.addr})
    assert s.get("/", method="POST", body=b"small").body == b"small"


def test_client_that_never_reads_is_dropped(start, backend):
    b = backend(answer=response(BIG * 3))
    s = start(serve("send_timeout 1s;"), values={"b": b.addr})
    with s.connect(rcvbuf=4096) as c:
        c.send(build_request("/"))
        s.wait_log(r'"GET / HTTP/1.1" 200 ', timeout=20)


def test_many_slow_clients_at_once(start, backend):
    b = backend(answer=response(BIG))
    s = start(serve(), values={"b": b.addr})
    conns = [s.connect(rcvbuf=4096) for _ in range(20)]
    for c in conns:
        c.send(build_request("/"))
    b.wait_requests(20)
    for c in conns:
        assert c.read_response().body == BIG
        c.close()


def test_proxy_send_timeout(start, backend):
    """A server that does not read."""
    hold = threading.Event()

    def handler(conn):
        conn.sock.setsockopt(1, 8, 4096)  # SO_RCVBUF
        conn.read_head()
        hold.wait(20)
    b = backend(handler)
    s = start(serve("proxy_send_timeout 1s; proxy_read_timeout 1s;"), values={"b": b.addr})
    r = s.get("/", method="POST", body=BIG * 4)
    assert r.status == 504
    hold.set()


def test_temporary_files_are_said(start, backend):
    """Who uses files although memory would do wants to know."""
    def handler(conn):
        while conn.read_request():
            conn.send(response(BIG))
    b = backend(handler)
    s = start(serve("client_body_buffer_size 8k; location /only { client_body_in_file_only clean; proxy_pass http://@b@; }"), values={"b": b.addr})
    assert s.get("/up", method="POST", body=b"x" * 100000).body == BIG
    s.wait_log(r'\[warn\] .*a client request body is buffered to a temporary file.*, client: 127.0.0.1, .*"POST /up HTTP', "error.log")
    assert s.get("/only", method="POST", body=b"x").body == BIG
    s.wait_log(r'\[notice\] .*a client request body is buffered to a temporary file /.*"POST /only HTTP', "error.log")
    with s.connect(rcvbuf=4096) as c:
        c.send(build_request("/down"))
        s.wait_log(r'\[warn\] .*an upstream response is buffered to a temporary file .*, client: 127.0.0.1, .*"GET /down HTTP.*upstream: "http://', "error.log")
        assert c.read_response().body == BIG
