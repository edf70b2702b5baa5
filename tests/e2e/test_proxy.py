"""proxy_pass: what goes to the server behind, what comes back, redirects, cookies, 1xx, framing."""
import os
import re
import threading

import pytest

from harness import (ORACLE, SLOW, Conn, Server, build_request, chunked, echo_lines, poll, response)


@pytest.fixture
def echo(backend):
    return backend(answer=echo_lines)


def head_of(r):
    """The echoed request: first line, dict of headers in lower case."""
    lines = r.text.split("\n\n")[0].split("\n")
    return lines[0], {k.lower(): v for k, v in (x.split(": ", 1) for x in lines[1:] if ": " in x)}


URI_RULES = [
    # location, proxy_pass suffix, request, what the server behind sees
    ("/a/", "", "/a/b?c=d", "/a/b?c=d"),
    ("/a/", "/", "/a/b?c=d", "/b?c=d"),
    ("/a/", "/x/", "/a/b/c", "/x/b/c"),
    ("/a", "/x", "/abc", "/xbc"),
    ("/a/", "/x", "/a/b", "/xb"),
    ("= /a", "/z", "/a?q", "/z?q"),
    ("/a/", "/", "/a/%20b%2Fc", "/%20b/c"),
    ("/a/", "", "/a/%20b%2fc//d", "/a/%20b%2fc//d"),
    ("/a/", "/x/", "/a/../a/./b", "/x/b"),
    ("/a/", "/x?k=v", "/a/b", "/x?k=vb"),
    ("~ ^/r/(.*)$", "/p/$1", "/r/one?q=1", "/p/one"),
    ("~ ^/r/(.*)$", "/p/$1$is_args$args", "/r/one?q=1", "/p/one?q=1"),
    ("~ ^/r/(.*)$", "", "/r/one?q=1", "/r/one?q=1"),
    ("/a/", "$request_uri", "/a/%41", "/a/%41"),
]


@pytest.mark.parametrize("loc,suffix,path,seen", URI_RULES, ids=[f"{r[0]} {r[1]} {r[2]}" for r in URI_RULES])
def test_uri_rules(start, echo, loc, suffix, path, seen):
    s = start("server { listen 127.0.0.1:@port@; location %s { proxy_pass http://@b@%s; } }" % (loc, suffix),
              values={"b": echo.addr})
    assert head_of(s.get(path))[0].split()[1] == seen


def test_uri_after_rewrite(start, echo):
    s = start("""server { listen 127.0.0.1:@port@; location /a/ { rewrite ^/a/(.*) /new/$1?x=y break; proxy_pass http://@b@; }
        location /b/ { rewrite ^/b/(.*) /new/$1 break; proxy_pass http://@b@/ignored/; } }""", values={"b": echo.addr})
    assert head_of(s.get("/a/one?q=1"))[0].split()[1] == "/new/one?x=y&q=1"
    assert head_of(s.get("/b/one%20two"))[0].split()[1] == "/new/one%20two"


def test_default_headers(start, echo):
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; } }", values={"b": echo.addr})
    r = s.get("/", headers=[("X-One", "1"), ("X-One", "2"), ("Connection", "x-hop, close"), ("X-Hop", "h"),
                            ("Keep-Alive", "3"), ("TE", "trailers"), ("Upgrade", "h2c"), ("Accept", "*/*"),
                            ("Proxy-Connection", "close")])
    line, headers = head_of(r)
    assert headers["host"] == echo.addr
    assert r.text.count("X-One:") == 2
    assert headers["accept"] == "*/*"
    for gone in ("keep-alive", "upgrade", "transfer-encoding"):
        assert gone not in headers, gone
    if not ORACLE:
        # FEATURES N42: 1.1 and keep-alive to the server behind; RFC 9110 7.6.1: hop-by-hop ends here
        assert line.endswith("HTTP/1.1") and headers.get("connection") != "close"
        assert "te" not in headers or headers["te"] == "trailers"
        assert "x-hop" not in headers and "proxy-connection" not in headers


def test_http11_has_a_host(start, echo):
    """An HTTP/1.0 client that names no host: $host is empty, and HTTP/1.1 without Host would be no request."""
    s = start("server { listen 127.0.0.1:@port@; proxy_set_header Host $host; location / { proxy_pass http://%s; proxy_http_version 1.1; }"
              " location /0 { proxy_pass http://%s; proxy_http_version 1.0; } }" % (echo.addr, echo.addr))

    def ask(path):
        with s.connect() as c:
            c.send(b"GET %s HTTP/1.0\r\n\r\n" % path)
            return head_of(c.read_response())
    line, h = ask(b"/")
    assert line == "GET / HTTP/1.1"
    assert h.get("host") == (None if ORACLE else echo.addr)
    line, h = ask(b"/0")
    assert line == "GET /0 HTTP/1.0" and "host" not in h


def test_set_header(start, echo):
    s = start("""server { listen 127.0.0.1:@port@; proxy_set_header X-Server s; proxy_set_header Host $host;
        location / { proxy_pass http://@b@; }
        location /l { proxy_pass http://@b@; proxy_set_header X-Real-IP $remote_addr; proxy_set_header Accept "";
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header Host $http_host;
          proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Empty ""; proxy_set_header Cookie "a=$cookie_a"; }
        }""", values={"b": echo.addr})
    _, h = head_of(s.get("/", host="a.example:99"))
    assert h["host"] == "a.example" and h["x-server"] == "s"
    _, h = head_of(s.get("/l", host="A.example:99", headers={"Accept": "x", "X-Forwarded-For": "192.0.2.1", "Cookie": "a=1; b=2"}))
    assert h["host"] == "A.example:99" and "x-server" not in h and "accept" not in h and "x-empty" not in h
    assert h["x-real-ip"] == "127.0.0.1" and h["x-forwarded-for"] == "192.0.2.1, 127.0.0.1"
    assert h["x-forwarded-proto"] == "http" and h["cookie"] == "a=1"


def test_cookies_are_joined_or_kept(start, echo):
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; } }", values={"b": echo.addr})
    r = s.get("/", headers=[("Cookie", "a=1"), ("Cookie", "b=2")])
    values = re.findall(r"^Cookie: (.*)$", r.text, re.M | re.I)
    assert "; ".join(values) == "a=1; b=2"


def test_method_body_set(start, echo):
    s = start("""server { listen 127.0.0.1:@port@;
        location /m { proxy_pass http://@b@; proxy_method REPORT; }
        location /s { proxy_pass http://@b@; proxy_set_body "fixed $arg_x"; }
        location /n { proxy_pass http://@b@; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
        location /h { proxy_pass http://@b@; proxy_pass_request_headers off; } }""", values={"b": echo.addr})
    assert head_of(s.get("/m"))[0].startswith("REPORT /m ")
    r = s.get("/s?x=9", method="POST", body=b"original")
    assert r.body.endswith(b"\nfixed 9") and head_of(r)[1]["content-length"] == "7"
    r = s.get("/n", method="POST", body=b"original")
    assert b"original" not in r.body
    r = s.get("/h", headers={"X-A": "b"})
    assert "x-a" not in head_of(r)[1] and "host" in head_of(r)[1]


@pytest.mark.parametrize("size", [0, 1, 100, 8192, 16384, 100000, 3000000])
def test_bodies_up(start, echo, size):
    body = bytes(i * 7 & 255 for i in range(256)) * (size // 256 + 1)
    body = body[:size]
    s = start("""server { listen 127.0.0.1:@port@; client_max_body_size 10m; location / { proxy_pass http://@b@; }
        location /un { proxy_pass http://@b@; proxy_request_buffering off; proxy_http_version 1.1; } }""", values={"b": echo.addr})
    for path in ("/", "/un"):
        r = s.get(path, method="POST", body=body)
        assert r.status == 200 and echo.last.body == body and not echo.last.chunked
        r = s.get(path, method="POST", headers={"Transfer-Encoding": "chunked"},
                  body=chunked(*[body[i:i + 5000] for i in range(0, size, 5000)]))
        assert r.status == 200 and echo.last.body == body


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [0, 1, 4000, 70000, 2000000])
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_bodies_down(start, backend, framing, size, buffering):
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    def handler(conn):
        conn.read_request()
        if framing == "length":
            conn.send(response(body))
        elif framing == "chunked":
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                      .encode() + chunked(*[body[i:i + 3000] for i in range(0, size, 3000)]))
        else:
            conn.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        conn.close()
    b = backend(handler)
    s = start("server { listen 127.0.0.1:@port@; proxy_buffering %s; proxy_http_version 1.1;"
              " location / { proxy_pass http://@b@; } }" % buffering, values={"b": b.addr})
    with s.connect() as c:
        r = c.request("/")
        assert r.status == 200 and r.body == body and r.complete
        if framing == "length":
            assert r.get("Content-Length") == str(size)
        else:
            assert r.get("Transfer-Encoding") == "chunked"
        assert c.request("/").body == body  # the connection stays usable
    assert s.get("/", version="1.0").body == body
    r = s.get("/", method="HEAD")
    assert r.status == 200 and r.body == b""


def test_response_headers(start, backend):
    b = backend(answer=response(b"x", headers=[
        ("Server", "secret"), ("Date", "Sun, 13 Sep 2020 12:26:40 GMT"), ("X-Pad", "p"), ("X-Accel-Expires", "0"),
        ("X-Powered-By", "php"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Hide", "h"), ("Keep-Alive", "timeout=5"),
        ("Connection", "x-hop"), ("X-Hop", "1")]))
    s = start("""server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; proxy_hide_header X-Hide; }
        location /p { proxy_pass http://@b@; proxy_pass_header Server; proxy_pass_header X-Accel-Expires; proxy_pass_header Date; } }""",
              values={"b": b.addr})
    r = s.get("/")
    assert r.get("Server") != "secret" and r.get("Date") != "Sun, 13 Sep 2020 12:26:40 GMT"
    assert r.get("X-Powered-By") == "php" and r.all("Set-Cookie") == ["a=1", "b=2"]
    for gone in ("X-Pad", "X-Accel-Expires", "X-Hide", "Keep-Alive"):
        assert r.get(gone) is None, gone
    if not ORACLE:
        assert r.get("X-Hop") is None
    r = s.get("/p")
    assert r.all("Server") == ["secret"] and r.get("X-Accel-Expires") == "0"
    assert r.all("Date") == ["Sun, 13 Sep 2020 12:26:40 GMT"]


REDIRECTS = [
    ("", "http://{b}/up/x", "http://front/loc/x"),
    ("", "http://other/x", "http://other/x"),
    ("proxy_redirect off;", "http://{b}/up/x", "http://{b}/up/x"),
    ("proxy_redirect http://{b}/up/ /new/;", "http://{b}/up/x", "http://front/new/x"),
    ("proxy_redirect http://{b}/up/ http://n.example/;", "http://{b}/up/x", "http://n.example/x"),
    ("proxy_redirect ~^http://[^/]*/up/(.*)$ https://r.example/$1;", "http://{b}/up/x", "https://r.example/x"),
    ("proxy_redirect ~*^HTTP://(?<h>[^/]*)/ http://$host/;", "http://{b}/up/x", "http://front/"),
    ("proxy_redirect default; proxy_redirect http://other/ /o/;", "http://other/x", "http://front/o/x"),
    ("", "/up/x", "/up/x"),
]


@pytest.mark.parametrize("directive,location,want", REDIRECTS)
def test_proxy_redirect(start, backend, directive, location, want):
    b = backend(answer=lambda r: response(b"", 302, [("Location", location.format(b=b.addr)),
                                                     ("Refresh", "5; url=" + location.format(b=b.addr))], "Found"))
    s = start("server { listen 127.0.0.1:@port@; location /loc/ { proxy_pass http://@b@/up/; %s } }"
              % directive.format(b=b.addr), values={"b": b.addr})
    r = s.get("/loc/x", host="front")
    got = r.get("Location").replace(f"front:{s.port()}", "front")
    assert got == want.format(b=b.addr)
    if want.startswith("http://front/loc"):
        assert f"front:{s.port()}/loc/x" in r.get("Refresh") or "/loc/x" in r.get("Refresh")


def test_cookie_rewrites(start, backend):
    b = backend(answer=response(b"", headers=[("Set-Cookie", "a=1; Domain=back.example; Path=/app/x; HttpOnly"),
                                              ("Set-Cookie", "b=2; path=/other; domain=.sub.back.example"),
                                              ("Set-Cookie", "c=3")]))
    s = start("""server { listen 127.0.0.1:@port@;
        location / { proxy_pass http://@b@; proxy_cookie_domain back.example front.example;
            proxy_cookie_domain ~\\.(\\w+)\\.back\\.example$ $1.front.example; proxy_cookie_path /app/ /;
            proxy_cookie_flags b secure samesite=lax; proxy_cookie_flags a nohttponly; } }""", values={"b": b.addr})
    got = s.get("/").all("Set-Cookie")
    assert got[0].lower() == "a=1; domain=front.example; path=/x"
    assert got[1].lower() == "b=2; path=/other; domain=sub.front.example; secure; samesite=lax"
    assert got[2] == "c=3"


def test_intercept_errors(start, backend):
    b = backend(answer=response(b"from behind", 404, reason="Not Found"))
    s = start("""server { listen 127.0.0.1:@port@; error_page 404 =200 /own; location = /own { return 200 own; }
        location /a { proxy_pass http://@b@; } location /b { proxy_pass http://@b@; proxy_intercept_errors on; } }""",
              values={"b": b.addr})
    r = s.get("/a")
    assert r.status == 404 and r.body == b"from behind"
    r = s.get("/b")
    assert r.status == 200 and r.body == b"own"


def test_error_page_502_to_named(start, echo):
    s = start("""server { listen 127.0.0.1:@port@; location / { proxy_pass http://127.0.0.1:@portdead@; error_page 502 = @b2; }
        location @b2 { proxy_pass http://@b@; } }""", values={"b": echo.addr})
    r = s.get("/x?y", method="POST", body=b"keep me")
    assert r.status == 200 and r.body.endswith(b"keep me") and head_of(r)[0].startswith("POST /x?y ")


def test_interim_responses(start, backend):
    def handler(conn):
        while conn.read_request():
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
            conn.send(response(b"final"))
    b = backend(handler)
    s = start("server { listen 127.0.0.1:@port@; proxy_http_version 1.1; location / { proxy_pass http://@b@; } }",
              values={"b": b.addr})
    if ORACLE:
        pytest.skip("1.22 takes a 1xx for the answer")
    r = s.get("/")
    assert r.status == 200 and r.body == b"final"


BAD_ANSWERS = [
    ("nothing", b"", 502),
    ("garbage", b"hello world\r\n\r\n", 502),
    ("bad status", b"HTTP/1.1 abc OK\r\n\r\n", 502),
    ("short status", b"HTTP/1.1 20 OK\r\n\r\n", 502),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab", 502),
    ("bad length", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nab", 502),
    ("cut head", b"HTTP/1.1 200 OK\r\nContent-Le", 502),
    ("NUL", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", 502),
    ("length and chunked", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502),
    ("unknown coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", 502),
    ("101 unasked", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502),
    ("space before colon", b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n", 502),
]


@pytest.mark.parametrize("data,status", [b[1:] for b in BAD_ANSWERS], ids=[b[0] for b in BAD_ANSWERS])
def test_bad_answers(start, backend, request, data, status):
    if ORACLE and request.node.callspec.id not in ("nothing", "cut head", "NUL"):
        pytest.skip("1.22 reads these as HTTP/0.9 or lets them through")

    def handler(conn):
        conn.read_request()
        conn.send(data)
        conn.close()
    b = backend(handler)
    s = start("server { listen 127.0.0.1:@port@; proxy_http_version 1.1; location / { proxy_pass http://@b@; } }",
              values={"b": b.addr})
    r = s.get("/")
    assert r.status == status


def test_truncated_body_is_visible(start, backend):
    """The client must be able to see that the answer is incomplete."""
    def handler(conn):
        r = conn.read_request()
        if r.target == "/len":
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
        else:
            conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n")
        conn.close()
    b = backend(handler)
    s = start("server { listen 127.0.0.1:@port@; proxy_http_version 1.1; location / { proxy_pass http://@b@; } }",
              values={"b": b.addr})
    for path in ("/len", "/chunk"):
        with s.connect() as c:
            r = c.request(path)
            assert r.body == b"only this" and not r.complete
    s.wait_log("prematurely closed connection", "error.log", count=2)


def test_more_than_announced(start, backend):
    """What a server sends beyond its length never reaches anybody, nor the next request."""
    def handler(conn):
        while conn.read_request():
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    b = backend(handler)
    s = start("upstream u { server @b@; keepalive 4; } server { listen 127.0.0.1:@port@; proxy_http_version 1.1;"
              ' location / { proxy_set_header Connection ""; proxy_pass http://u; } }', values={"b": b.addr})
    with s.connect() as c:
        for _ in range(5):
            assert c.request("/").body == b"ok"


def test_no_body_statuses(start, backend):
    def answer(r):
        code = int(r.target[1:])
        return f"HTTP/1.1 {code} X\r\nETag: \"a\"\r\n\r\n".encode() if code != 200 else response(b"x")
    b = backend(answer=answer)
    s = start("server { listen 127.0.0.1:@port@; proxy_http_version 1.1; location / { proxy_pass http://@b@; } }",
              values={"b": b.addr})
    with s.connect() as c:
        for code in (204, 304, 204):
            r = c.request(f"/{code}")
            assert r.status == code and r.get("Transfer-Encoding") is None
        assert c.request("/200").body == b"x"


def test_unix_socket_upstream(start, backend, tmp_path):
    import tempfile
    import os
    folder = tempfile.mkdtemp(prefix="sluice-u-")
    os.chmod(folder, 0o755)
    b = backend(answer=echo_lines, path=folder + "/u.sock")
    s = start("""upstream u { server unix:@sock@; } server { listen 127.0.0.1:@port@;
        location / { proxy_pass http://unix:@sock@; } location /uri { proxy_pass http://unix:@sock@:/x; }
        location /u { proxy_pass http://u; } }""", values={"sock": b.path})
    assert head_of(s.get("/a"))[0].startswith("GET /a ")
    assert head_of(s.get("/a"))[1]["host"] == "localhost"
    assert head_of(s.get("/uri/b"))[0].startswith("GET /x/b ")
    assert s.get("/u").status == 200
    os.unlink(b.path)
    os.rmdir(folder)


def test_variables_in_proxy_pass(start, echo):
    s = start("""upstream named { server @b@; } server { listen 127.0.0.1:@port@;
        location /v { set $to "@b@"; proxy_pass http://$to; }
        location /u { set $to named; proxy_pass http://$to/fixed; }
        location /w { proxy_pass http://@b@$uri?q=$arg_a; } }""", values={"b": echo.addr})
    line, h = head_of(s.get("/v/x?y"))
    assert line.split()[1] == "/v/x?y" and h["host"] == echo.addr
    line, h = head_of(s.get("/u/x"))
    assert line.split()[1] == "/fixed" and h["host"] == "named"
    assert head_of(s.get("/w?a=7"))[0].split()[1] == "/w?q=7"


def test_proxy_bind(start, echo):
    peer = []
    echo.handler_orig = echo.handler

    def handler(conn):
        peer.append(conn.sock.getpeername()[0])
        echo.handler_orig(conn)
    echo.handler = handler
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; proxy_bind 127.0.0.9; } }",
              values={"b": echo.addr})
    assert s.get("/").status == 200
    assert peer == ["127.0.0.9"]


def capabilities(s):
    out = set()
    for pid in s.worker_pids():
        with open(f"/proc/{pid}/status") as f:
            status = f.read()
        assert re.search(r"^Uid:\s+(\d+)", status, re.M).group(1) != "0"
        out |= {re.search(rf"^{k}:\s+(\w+)", status, re.M).group(1) for k in ("CapEff", "CapPrm")}
    return {int(c, 16) for c in out}


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_proxy_bind_transparent(start, echo):
    """The worker keeps CAP_NET_RAW, and nothing else, when the configuration needs it; a reload can ask for it."""
    conf = "server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; proxy_bind 127.0.0.9%s; } }"
    s = start(conf % " transparent", values={"b": echo.addr})
    assert s.get("/").status == 200
    assert capabilities(s) == {1 << 13}
    s = start(conf % "", values={"b": echo.addr})
    before = s.worker_pids()
    assert s.get("/").status == 200 and capabilities(s) == {0}
    s.reload(conf % " transparent")
    poll(lambda: s.worker_pids() and not set(s.worker_pids()) & set(before), 10, "another worker")
    assert s.get("/").status == 200 and capabilities(s) == {1 << 13}


def test_keepalive_pool(start, echo):
    s = start("""upstream u { server @b@; keepalive 8; } server { listen 127.0.0.1:@port@;
        location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }""",
              values={"b": echo.addr}, workers=1)
    for _ in range(10):
        assert s.get("/").status == 200
    assert echo.accepted == 1


def test_keepalive_requests_upstream(start, echo):
    s = start("""upstream u { server @b@; keepalive 8; keepalive_requests 3; } server { listen 127.0.0.1:@port@;
        location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }""",
              values={"b": echo.addr}, workers=1)
    for _ in range(9):
        assert s.get("/").status == 200
    assert echo.accepted == 3


def test_keepalive_idle_timeout_upstream(start, echo):
    s = start("""upstream u { server @b@; keepalive 8; keepalive_timeout 1s; } server { listen 127.0.0.1:@port@;
        location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }""",
              values={"b": echo.addr}, workers=1)
    assert s.get("/").status == 200
    assert echo.conns[0].wait_eof(8)


@pytest.mark.sluice_only("1.31: keep-alive to groups is the default")
def test_keepalive_is_the_default(start, echo):
    s = start("upstream u { server @b@; } server { listen 127.0.0.1:@port@; location / { proxy_pass http://u; } }",
              values={"b": echo.addr})
    for _ in range(10):
        assert s.get("/").status == 200
    assert echo.accepted <= 2
    assert all((r.get("Connection") or "") != "close" and r.version == "HTTP/1.1" for r in echo.requests)


def test_x_accel_redirect(start, backend):
    def answer(r):
        if r.target.startswith("/named"):
            return response(b"", headers=[("X-Accel-Redirect", "@n")])
        return response(b"hidden", headers=[("X-Accel-Redirect", "/files/f.txt?a=1"), ("Content-Type", "text/x-app"),
                                            ("Set-Cookie", "k=v"), ("X-Secret", "s")])
    b = backend(answer=answer)
    s = start("""server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; }
        location /files/ { internal; alias @PREFIX@/html/; } location @n { return 200 named; }
        location /ign { proxy_pass http://@b@; proxy_ignore_headers X-Accel-Redirect; } }""",
              values={"b": b.addr}, files={"html/f.txt": "the file"})
    r = s.get("/app")
    assert r.body == b"the file" and r.get("Content-Type") == "text/x-app"
    assert r.get("Set-Cookie") == "k=v" and r.get("X-Secret") is None and r.get("X-Accel-Redirect") is None
    assert s.get("/named").body == b"named"
    assert s.get("/files/f.txt").status == 404
    assert s.get("/ign").body == b"hidden"


def test_x_accel_charset_and_limit_rate(start, backend):
    b = backend(answer=response(b"y" * 3000, headers=[("X-Accel-Charset", "koi8-r"), ("Content-Type", "text/html"),
                                                      ("X-Accel-Limit-Rate", "1000")]))
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; } }", values={"b": b.addr})
    import time
    begin = time.monotonic()
    r = s.get("/")
    assert r.body == b"y" * 3000
    assert time.monotonic() - begin > 1


def test_proxy_limit_rate(start, backend):
    b = backend(answer=response(b"y" * 60000))
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; proxy_limit_rate 20k; } }", values={"b": b.addr})
    import time
    begin = time.monotonic()
    assert s.get("/").body == b"y" * 60000
    assert 1 < time.monotonic() - begin < 15


def test_early_answer(start, backend):
    """A server that answers before it has read the body: the answer arrives."""
    def handler(conn):
        conn.read_head()
        conn.send(response(b"too much", 413, [("Connection", "close")], "Payload Too Large"))
        conn.close()
    b = backend(handler)
    s = start("""server { listen 127.0.0.1:@port@; client_max_body_size 0; proxy_http_version 1.1; location / { proxy_pass http://@b@; }
        location /un { proxy_pass http://@b@; proxy_request_buffering off; } }""", values={"b": b.addr})
    good = 0
    for path in ("/", "/un"):
        for _ in range(5):
            r = s.get(path, method="POST", body=b"z" * 200000)
            assert r.status in (413, 502)
            good += r.status == 413
    if not ORACLE:
        assert good >= 5


@pytest.mark.sluice_only("trailers to the client")
def test_trailers_down(start, backend):
    b = backend(answer=lambda r: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                + chunked("abc", trailers=[("X-Sum", "9")]))
    s = start("""server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; proxy_pass_trailers on; }
        location /off { proxy_pass http://@b@; } location /add { proxy_pass http://@b@; add_trailer X-Mine "$status"; } }""",
              values={"b": b.addr})
    r = s.get("/", headers={"TE": "trailers"})
    assert r.body == b"abc" and r.trailers == [("X-Sum", "9")]
    assert s.get("/off", headers={"TE": "trailers"}).trailers == []
    assert ("X-Mine", "200") in s.get("/add", headers={"TE": "trailers"}).trailers


def test_client_abort_reaches_the_server(start, backend):
    gone = threading.Event()

    def handler(conn):
        conn.read_request()
        if conn.wait_eof():
            gone.set()
    b = backend(handler)
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; } }", values={"b": b.addr})
    c = s.connect()
    c.send(build_request("/x"))
    b.wait_requests(1)
    c.close()
    assert gone.wait(10)
    s.wait_log(r'" 499 ')


def test_ignore_client_abort(start, backend):
    release, finished = threading.Event(), threading.Event()

    def handler(conn):
        conn.read_request()
        release.wait(10)
        conn.send(response(b"late"))
        finished.set()
    b = backend(handler)
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; proxy_ignore_client_abort on; } }",
              values={"b": b.addr})
    c = s.connect()
    c.send(build_request("/x"))
    b.wait_requests(1)
    c.close()
    release.set()
    assert finished.wait(10)
    s.wait_log(r'"GET /x HTTP/1.1" (200|499) ')


def test_nginx_as_the_server_behind(start):
    with Server("server { listen 127.0.0.1:@port@; root @PREFIX@/html; }", binary="/usr/sbin/nginx",
                files={"html/f": b"q" * 50000}) as peer:
        s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://127.0.0.1:%d; } }" % peer.port())
        with s.connect() as c:
            assert c.request("/f").body == b"q" * 50000
            r = c.request("/f", headers={"Range": "bytes=5-9"})
            assert r.status == 206 and r.get("Content-Range") == "bytes 5-9/50000"
            tag = c.request("/f", "HEAD").get("ETag")
            assert c.request("/f", headers={"If-None-Match": tag}).status == 304


def test_loop_of_proxies(start):
    s = start("""server { listen 127.0.0.1:@port@; location / { proxy_pass http://127.0.0.1:@port2@; } }
        server { listen 127.0.0.1:@port2@; location / { proxy_pass http://127.0.0.1:@port3@; } }
        server { listen 127.0.0.1:@port3@; location / { return 200 "end $request_uri"; } }""")
    with s.connect() as c:
        for i in range(20):
            assert c.request(f"/{i}").text == f"end /{i}"


@pytest.mark.sluice_only("N20")
def test_header_injection_is_refused(start, echo):
    s = start("""server { listen 127.0.0.1:@port@; location /h { return 302 http://x$uri; }
        location /p { proxy_pass http://@b@; proxy_set_header X-U $uri; } location /a { add_header X-U $uri; return 200 ok; } }""",
              values={"b": echo.addr})
    for path in ("/h%0d%0aX-Evil:1", "/p%0d%0aX-Evil:1", "/a%0aX-Evil:1"):
        r = s.get(path)
        assert r.status == 500 and r.get("X-Evil") is None
    assert not echo.requests


def test_big_response_head(start, backend):
    b = backend(answer=response(b"x", headers=[("Set-Cookie", "s=" + "v" * 3000)] * 5))
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://@b@; } }", values={"b": b.addr})
    r = s.get("/")
    if ORACLE:
        assert r.status == 502
    else:  # FEATURES N30: grows on demand
        assert r.status == 200 and len(r.all("Set-Cookie")) == 5


def hinting(conn):
    """Two hints, and a final answer when the test says so (the second request gets none)."""
    while conn.read_request():
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nServer: up\r\nDate: x\r\nX-Hide: 1\r\nX-Hop: 1\r\n"
                  "Connection: X-Hop\r\nX-Accel-Expires: 1\r\nContent-Length: 5\r\n\r\n")
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\nX-Y: z\r\n\r\n")
        conn.send("HTTP/1.1 103 Early Hints\r\nServer: nothing else\r\n\r\n")
        conn.send("HTTP/1.1 102 Processing\r\nX-Processing: 1\r\n\r\n")
        conn.go.wait(20 * SLOW)
        conn.send(response(b"final"))


HINTS = """server { listen 127.0.0.1:@port@; proxy_http_version 1.1; proxy_hide_header X-Hide; proxy_pass_header Server; early_hints $http_sec_fetch_mode $arg_h;
    location / { proxy_pass http://@b@; } location /off { early_hints 0 ""; proxy_pass http://@b@; } location /up { proxy_request_buffering off; proxy_pass http://@b@; } }
    server { listen 127.0.0.1:@port2@; location / { proxy_pass http://@b@; } }"""


@pytest.mark.sluice_only("early_hints is newer than 1.22")
def test_early_hints(start, backend):
    """They reach the client before the answer is there; without what is hidden or for the connection; only when wanted."""
    go = threading.Event()

    def handler(conn):
        conn.go = go
        hinting(conn)
    b = backend(handler)
    s = start(HINTS, values={"b": b.addr})
    with s.connect() as c:
        c.send(b"GET / HTTP/1.1\r\nHost: a\r\nSec-Fetch-Mode: navigate\r\n\r\n")
        first = c.read_until(b"\r\n\r\n")
        assert first == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nServer: up"
        assert c.read_until(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\nX-Y: z"
        assert c.read_until(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nServer: nothing else"
        go.set()
        r = c.read_response()
        assert r.status == 200 and r.body == b"final" and r.get("X-Processing") is None
        for target, version, port in (("/", "1.1", None), ("/?h=0", "1.1", None), ("/off?h=1", "1.1", None), ("/?h=1", "1.0", None)):
            c.send(f"GET {target} HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".encode())
            r = c.read_response()
            assert r.status == 200 and not r.interim, target
        c.send(b"GET /?h=yes HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [i.status for i in c.read_response().interim] == [103, 103, 103]
    assert not s.get("/?h=1", "port2").interim
    s.wait_log(r'"GET /\?h=yes HTTP/1.1" 200 5 ')


@pytest.mark.sluice_only("early_hints is newer than 1.22")
def test_early_hints_and_100_continue(start, backend):
    """A hint while the upload waits for its 100: both arrive whole, then the answer."""
    def handler(conn):
        r = conn.read_head()
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        assert len(conn.read_body(r)) == 10
        conn.send(response(b"final"))
    b = backend(handler)
    s = start(HINTS, values={"b": b.addr})
    with s.connect() as c:
        c.send(b"POST /up?h=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        got = sorted([c.read_until(b"\r\n\r\n"), c.read_until(b"\r\n\r\n")])
        assert got == [b"HTTP/1.1 100 Continue", b"HTTP/1.1 103 Early Hints\r\nLink: </a>"]
        c.send(b"0123456789")
        assert c.read_response().body == b"final"


@pytest.mark.sluice_only("early_hints is newer than 1.22")
def test_too_many_early_hints(start, backend):
    """Those beyond proxy_buffer_size are left out, as nginx does."""
    def handler(conn):
        conn.read_request()
        for i in range(40):
            conn.send(f"HTTP/1.1 103 Early Hints\r\nLink: </{'x' * 180}{i}>\r\n\r\n")
        conn.send(response(b"final"))
    b = backend(handler)
    s = start("server { listen 127.0.0.1:@port@; proxy_http_version 1.1; proxy_buffer_size 2k; early_hints 1; location / { proxy_pass http://@b@; } }", values={"b": b.addr})
    r = s.get("/")
    assert r.body == b"final" and 5 <= len(r.interim) <= 2048 // 180
