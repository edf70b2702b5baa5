"""Limits: heads, bodies, headers; each with its status; stub_status; allow and deny when they come."""
import re
import threading

import pytest

from harness import ORACLE, Closed, build_request, chunked, echo_lines, poll, response


def test_uri_and_header_limits(start):
    s = start("""client_header_buffer_size 1k; large_client_header_buffers 4 2k;
        server { listen 127.0.0.1:@port@; location / { return 200 ok; } }""")
    assert s.get("/" + "a" * 1900).status == 200
    assert s.get("/" + "a" * 2100).status == 414
    assert s.get("/", headers={"X": "b" * 1900}).status == 200
    r = s.get("/", headers={"X": "b" * 2100})
    assert r.status == 400 and "Request Header Or Cookie Too Large" in r.text
    assert s.get("/", headers={f"X{i}": "b" * 1500 for i in range(3)}).status == 200
    assert s.get("/", headers={f"X{i}": "b" * 1500 for i in range(8)}).status == 400


def test_custom_page_for_494(start):
    s = start("""client_header_buffer_size 1k; large_client_header_buffers 2 2k;
        server { listen 127.0.0.1:@port@; error_page 494 =431 @big; location / { return 200 ok; } location @big { return 431 big; } }""")
    assert s.get("/", headers={"X": "b" * 3000}).status == 431


def test_default_limits(start):
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 ok; } }")
    assert s.get("/" + "a" * 8000).status == 200
    assert s.get("/" + "a" * 9000).status == 414
    assert s.get("/", headers={"Cookie": "c" * 8000}).status == 200
    assert s.get("/", headers={"Cookie": "c" * 9000}).status == 400


@pytest.mark.sluice_only("max_headers is newer than 1.22")
def test_max_headers(start):
    s = start("server { listen 127.0.0.1:@port@; max_headers 10; location / { return 200 ok; } }")
    assert s.get("/", headers={f"X{i}": "b" for i in range(7)}).status == 200
    assert s.get("/", headers={f"X{i}": "b" for i in range(20)}).status == 400


def test_client_max_body_size(start, backend):
    b = backend(answer=lambda r: response(str(len(r.body))))
    s = start("""server { listen 127.0.0.1:@port@; client_max_body_size 1000; location / { proxy_pass http://@b@; }
        location /big { client_max_body_size 0; proxy_pass http://@b@; }
        location /un { proxy_request_buffering off; proxy_http_version 1.1; proxy_pass http://@b@; } }""", values={"b": b.addr})
    for path in ("/", "/un"):
        assert s.get(path, method="POST", body=b"x" * 1000).status == 200
        assert s.get(path, method="POST", body=b"x" * 1001).status == 413
        assert s.get(path, method="POST", headers={"Transfer-Encoding": "chunked"}, body=chunked("x" * 600, "y" * 400)).status == 200
        assert s.get(path, method="POST", headers={"Transfer-Encoding": "chunked"}, body=chunked("x" * 600, "y" * 401)).status == 413
    assert s.get("/big", method="POST", body=b"x" * 3000000).body == b"3000000"
    s.wait_log("client intended to send too large body: 1001 bytes", "error.log")


def test_413_and_keep_alive(start):
    """After a refused body the connection is either closed or at its next request, never in between."""
    s = start("server { listen 127.0.0.1:@port@; client_max_body_size 10; location / { proxy_pass http://127.0.0.1:1; } location /n { return 200 n; } }")
    with s.connect() as c:
        c.send(build_request("/", "POST", body=b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n") + build_request("/n"))
        assert c.read_response().status == 413
        try:
            assert c.read_response().body == b"n"
        except Closed:
            pass


def test_stub_status(start):
    s = start("server { listen 127.0.0.1:@port@; location /st { stub_status; } location /v { return 200 \"$connections_active $connections_reading"
              " $connections_writing $connections_waiting\"; } }")
    idle = s.connect()
    assert idle.request("/st").status == 200

    def seen():
        r = s.get("/st")
        m = re.fullmatch(r"Active connections: (\d+) \nserver accepts handled requests\n (\d+) (\d+) (\d+) \n"
                         r"Reading: (\d+) Writing: (\d+) Waiting: (\d+) \n", r.text)
        assert m, r.text
        assert r.get("Content-Type") == "text/plain"
        active, accepts, handled, requests, reading, writing, waiting = map(int, m.groups())
        return active == 2 and accepts == handled >= 2 and requests >= 2 and writing == 1 and waiting == 1
    poll(seen, 10, "the right numbers")
    assert re.fullmatch(r"\d+ \d+ \d+ \d+", s.get("/v").text)
    idle.close()


def test_limit_rate(start):
    import time
    s = start("""server { listen 127.0.0.1:@port@; root @PREFIX@/html; location /after/ { alias @PREFIX@/html/; limit_rate_after 100k; limit_rate 1k; }
        location /slow/ { alias @PREFIX@/html/; limit_rate 20k; } location /set/ { alias @PREFIX@/html/; set $limit_rate 20k; } }""",
              files={"html/f": b"x" * 60000})
    begin = time.monotonic()
    assert len(s.get("/after/f").body) == 60000
    assert time.monotonic() - begin < 2
    for path in ("/slow/f", "/set/f"):
        begin = time.monotonic()
        assert len(s.get(path).body) == 60000
        assert 1.5 < time.monotonic() - begin < 10


def test_worker_connections(start):
    """More clients than worker_connections: some wait or are closed, the server lives."""
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 ok; } }", events="worker_connections 32;", workers=1)
    conns = []
    for _ in range(60):
        try:
            conns.append(s.connect())
        except OSError:
            break
    for c in conns[:10]:
        try:
            c.send(build_request("/"))
        except OSError:
            pass
    for c in conns:
        c.close()
    poll(lambda: s.get("/").status == 200, 10, "service afterwards")
