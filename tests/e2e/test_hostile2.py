"""Moments that are hard to hit: a request body that two servers are asked to take, configurations that change
under a half-finished greeting, answers that fail while the request is still on its way."""
import select
import threading

import pytest

from harness import build_request, chunked, response

pytestmark = pytest.mark.sluice_only("what happens there is ours")

STREAM = """
    server {
        listen 127.0.0.1:@port@;
        location / {
            proxy_pass http://@BACK@;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_intercept_errors on;
            proxy_next_upstream off;
            error_page 502 503 = @fallback;
        }
        location @fallback {
            proxy_pass http://@SECOND@;
            proxy_http_version 1.1;
            %s
        }
    }
"""


def stream_server(start, first, second, more=""):
    return start(STREAM % more, values={"BACK": first.addr, "SECOND": second.addr})


# A body that went to one server as it came is gone: the next one must not take the rest for the whole.
@pytest.mark.parametrize("more", ["", "proxy_request_buffering off;"])
@pytest.mark.parametrize("te", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_error_page_after_a_streamed_body(start, backend, more, te, whole):
    def refuse(conn):
        r = conn.read_head()
        if whole:
            conn.read_body(r)
        else:
            conn.c.read_until(b"first")
        conn.send(response(b"no", status=503, reason="No"))
        conn.wait_eof()
    second = backend()
    s = stream_server(start, backend(refuse), second, more)
    with s.connect() as c:
        if te:
            c.send(build_request(method="POST", headers={"Transfer-Encoding": "chunked"}))
            c.send(chunked(b"first", b"second") if whole else b"5\r\nfirst\r\n")
        else:
            c.send(build_request(method="POST", headers={"Content-Length": "11"}))
            c.send(b"firstsecond" if whole else b"first")
        r = c.read_response()
    assert r.status >= 500, r
    assert all(q.body in (b"", b"firstsecond") for q in second.requests)
    assert len(s.worker_pids()) == 1


# What follows a broken chunk is nobody's next request.
@pytest.mark.parametrize("broken", [b"0x\r\n\r\n", b"0\rX\n\r\n", b"5\r\nagain\n0\r\n\r\n"])
def test_broken_chunk_after_an_early_answer(start, backend, broken):
    def early(conn):
        r = conn.read_head()
        if r is None:
            return
        conn.c.read_until(b"\r\n")
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nea")
        conn.c.read_until(b"first")
        gate.wait()
        conn.send(b"rly")
        conn.wait_eof()
    gate = threading.Event()
    b = backend(early)
    s = start("""
        server {
            listen 127.0.0.1:@port@;
            location / { proxy_pass http://@BACK@; proxy_http_version 1.1; proxy_request_buffering off;
                         proxy_buffering off; }
            location /evil { return 200 evil; }
        }""", values={"BACK": b.addr})
    with s.connect() as c:
        c.send(build_request(method="POST", headers={"Transfer-Encoding": "chunked"}) + b"5\r\nfirst\r\n")
        c.read_until(b"ea")
        c.send(broken + b"GET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n")
        gate.set()
        got = b""
        try:
            while True:
                data = c.sock.recv(65536)
                if not data:
                    break
                got += data
        except OSError:
            pass
    assert got == b"rly", got


# A reload while a client is in the middle of its PROXY line.
@pytest.mark.parametrize("ssl", ["", "ssl"])
def test_reload_during_the_proxy_line(start, certs, ssl):
    http = """
        ssl_certificate %s; ssl_certificate_key %s;
        server { listen 127.0.0.1:@port@ proxy_protocol %s; location / { return 200 $proxy_protocol_addr; } }
    """ % (certs.a[0], certs.a[1], ssl)
    s = start(http)
    with s.connect() as c:
        c.send(b"PROXY TCP4 192.0.2")
        s.reload()
        s.reload()
        c.send(b".7 192.0.2.1 5555 80\r\n")
        c.send(build_request(headers={"Connection": "close"}))
        if ssl:
            assert c.read_response().status == 400
        else:
            assert c.read_response().text == "192.0.2.7"


# An answer that cannot be used, while the request is still being sent.
def test_unusable_answer_during_an_upload(start, backend):
    def early(conn):
        conn.read_head()
        conn.send(response(b"", status=302, reason="Found", headers=[("Location", "http://x/")]))
        conn.wait_eof()
    s = start("""
        server {
            listen 127.0.0.1:@port@;
            location / { proxy_pass http://@BACK@; proxy_http_version 1.1; proxy_request_buffering off;
                         proxy_redirect http://x/ $uri; }
        }""", values={"BACK": backend(early).addr})
    with s.connect() as c:
        c.send(build_request("/a%0d%0ab", method="POST", headers={"Content-Length": "1000"}) + b"some")
        assert c.read_response().status == 500
    assert len(s.worker_pids()) == 1


# The one call that hears of a reset is the upload's: what was read until then is not a whole answer.
def test_reset_heard_by_the_upload(start, backend):
    gone = threading.Event()

    def flood(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while select.select([], [conn.sock], [], 0.3)[1]:
            conn.sock.setblocking(False)
            try:
                conn.sock.send(b"x" * 65536)
            except BlockingIOError:
                break
        conn.reset()
        gone.set()
    s = start("""
        server {
            listen 127.0.0.1:@port@;
            client_max_body_size 0;
            location / { proxy_pass http://@BACK@; proxy_http_version 1.1; proxy_request_buffering off;
                         proxy_buffering off; }
        }""", values={"BACK": backend(flood).addr})
    with s.connect(rcvbuf=4096) as c:
        c.send(build_request(method="POST", headers={"Content-Length": "100000000"}))
        c.sock.setblocking(False)
        while not gone.is_set():
            if select.select([], [c.sock], [], 0.1)[1]:
                try:
                    c.sock.send(b"y" * 65536)
                except BlockingIOError:
                    pass
        c.sock.settimeout(20)
        assert not c.read_response().complete
