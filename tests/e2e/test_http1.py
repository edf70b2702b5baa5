"""HTTP/1.0 and 1.1 on the client side: RFC 9110 and 9112, strictly."""
import re
import time

import pytest

from harness import ORACLE, Closed, Conn, build_request, chunked, echo_lines, response

BASIC = """
server {
    listen 127.0.0.1:@port@; server_name localhost;
    location / { return 200 "$request_method $request_uri $host\\n"; }
    location /up/ { proxy_pass http://@backend@; proxy_set_header Connection ""; proxy_http_version 1.1; }
}
"""


@pytest.fixture
def basic(start, backend):
    b = backend(answer=echo_lines)
    s = start(BASIC, values={"backend": b.addr})
    s.b = b
    return s


def raw(s, data):
    """Sends bytes; returns the status of the answer, or "close" when there was none."""
    with s.connect() as c:
        c.send(data)
        try:
            return c.read_response().status
        except Closed:
            return "close"


OK = "GET / HTTP/1.1\r\nHost: localhost\r\n"

# (what, bytes, status here, status of nginx when it differs)
REFUSED = [
    ("no host", "GET / HTTP/1.1\r\n\r\n", 400, 400),
    ("two hosts", OK + "Host: localhost\r\n\r\n", 400, 400),
    ("bad host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, 400),
    ("host with space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, 400),
    ("host with NUL", "GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", 400, 400),
    ("bad absolute host", "GET http://a_%zz/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("two lengths", OK + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, 400),
    ("same length twice", OK + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400, 400),
    ("length list", OK + "Content-Length: 5, 5\r\n\r\nhello", 400, 400),
    ("length plus", OK + "Content-Length: +5\r\n\r\nhello", 400, 400),
    ("length minus", OK + "Content-Length: -5\r\n\r\nhello", 400, 400),
    ("length hex", OK + "Content-Length: 0x5\r\n\r\nhello", 400, 400),
    ("length empty", OK + "Content-Length: \r\n\r\n", 400, 400),
    ("length huge", OK + "Content-Length: 99999999999999999999999\r\n\r\n", 400, 400),
    ("length and chunked", OK + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 400),
    ("chunked twice", OK + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 400),
    ("chunked, chunked", OK + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", (400, 501), 501),
    ("gzip, chunked", OK + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", (400, 501), 501),
    ("unknown coding", OK + "Transfer-Encoding: xyz\r\n\r\n", 501, 501),
    ("identity", OK + "Transfer-Encoding: identity\r\n\r\n", (400, 501), 501),
    ("vertical tab coding", OK + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", (400, 501), 501),
    ("chunked in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 400),
    ("space before colon", OK + "X-A : b\r\n\r\n", 400, 400),
    ("folded", OK + "X-A: b\r\n c\r\n\r\n", 400, 400),
    ("folded first", "GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", 400, 400),
    ("no colon", OK + "garbage\r\n\r\n", 400, 200),
    ("empty name", OK + ": v\r\n\r\n", 400, 400),
    ("NUL in value", OK + "X: a\x00b\r\n\r\n", 400, 400),
    ("CR in value", OK + "X: a\rb\r\n\r\n", 400, 400),
    ("CR CR LF", OK + "X: a\r\r\n\r\n", 400, 200),
    ("control in target", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("DEL in target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("space in target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("percent", "GET /% HTTP/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("percent zz", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("percent NUL", "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("above root", "GET /../etc HTTP/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("above root, encoded", "GET /a/%2e%2e/%2E%2e/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("not a path", "GET abc HTTP/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("method with bytes", "G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("no version number", "GET / HTTP/\r\nHost: a\r\n\r\n", 400, 400),
    ("version words", "GET / HTTZ/1.1\r\nHost: a\r\n\r\n", 400, 400),
    ("version 2", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, 505),
    ("tls hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, 400),
]


@pytest.mark.parametrize("data,here,nginx", [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused(basic, data, here, nginx):
    want = nginx if ORACLE else here
    got = raw(basic, data)
    assert got in (want if isinstance(want, tuple) else (want,))


def test_refusal_closes(basic):
    """After a malformed head nothing that follows is read as a request."""
    with basic.connect() as c:
        c.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\nGET /second HTTP/1.1\r\nHost: localhost\r\n\r\n")
        r = c.read_response()
        assert r.status == 400 and r.get("Connection") == "close"
        assert c.read_all() == b""


ACCEPTED = [
    ("lone LF", "GET /x HTTP/1.1\nHost: localhost\n\n"),
    ("leading CRLF", "\r\nGET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("no space after colon", "GET /x HTTP/1.1\r\nHost:localhost\r\n\r\n"),
    ("tab around value", "GET /x HTTP/1.1\r\nHost: localhost\r\nX: \t a \t\r\n\r\n"),
    ("empty value", "GET /x HTTP/1.1\r\nHost: localhost\r\nX:\r\n\r\n"),
    ("latin-1 value", "GET /x HTTP/1.1\r\nHost: localhost\r\nX: \xe9\r\n\r\n"),
    ("unknown method", "BREW /x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("host in upper case", "GET /x HTTP/1.1\r\nHOST: LOCALHOST\r\n\r\n"),
    ("absolute form", "GET http://localhost/x HTTP/1.1\r\nHost: other\r\n\r\n"),
    ("1.0 without host", "GET /x HTTP/1.0\r\n\r\n"),
]


@pytest.mark.parametrize("data", [a[1] for a in ACCEPTED], ids=[a[0] for a in ACCEPTED])
def test_accepted(basic, data):
    with basic.connect() as c:
        c.send(data)
        r = c.read_response()
        assert r.status == 200
        assert " localhost" in r.text


def test_absolute_form_host_and_path(basic):
    with basic.connect() as c:
        r = c.send("GET http://One.Example:81/p?q=1 HTTP/1.1\r\nHost: two.example\r\n\r\n").read_response()
        assert r.text == "GET http://One.Example:81/p?q=1 one.example\n" or r.text == "GET /p?q=1 one.example\n"


def test_keep_alive_and_close(basic):
    with basic.connect() as c:
        for _ in range(3):
            r = c.request("/a")
            assert r.status == 200 and r.version == "HTTP/1.1"
        r = c.request("/b", headers={"Connection": "close"})
        assert r.get("Connection") == "close"
        assert c.closed()


def test_http10(basic):
    with basic.connect() as c:
        r = c.request("/a", version="1.0")
        assert r.status == 200 and r.get("Transfer-Encoding") is None
        assert c.closed()
    with basic.connect() as c:
        r = c.request("/a", version="1.0", headers={"Connection": "keep-alive"})
        assert r.get("Connection") == "keep-alive"
        assert c.request("/a", version="1.0").status == 200
        assert c.closed()


def test_connection_header_tokens(basic):
    with basic.connect() as c:
        r = c.request("/a", headers={"Connection": "foo, Close"})
        assert r.status == 200
        if not ORACLE:  # nginx looks for the word anywhere, in one spelling of the list
            assert c.closed()


def test_pipelining(basic):
    with basic.connect() as c:
        c.send(b"".join(build_request(f"/n{i}") for i in range(20)))
        for i in range(20):
            assert c.read_response().text.split()[1] == f"/n{i}"


def test_pipelining_mixed_with_bodies(basic):
    with basic.connect() as c:
        c.send(build_request("/up/1", "POST", body=b"x" * 100)
               + build_request("/up/2", "POST", headers={"Transfer-Encoding": "chunked"}, body=chunked("ab", "c"))
               + build_request("/n3")
               + build_request("/up/4"))
        assert c.read_response().body.endswith(b"x" * 100)
        assert c.read_response().body.endswith(b"\nabc")
        assert c.read_response().text.split()[1] == "/n3"
        assert c.read_response().text.startswith("GET /up/4 ")


def test_unread_body_is_skipped(basic):
    """A handler that does not want the body: the next request still starts at its place."""
    with basic.connect() as c:
        c.send(build_request("/a", "POST", body=b"GET /evil HTTP/1.1\r\n\r\n" * 50) + build_request("/b"))
        assert c.read_response().text.split()[1] == "/a"
        assert c.read_response().text.split()[1] == "/b"
        c.send(build_request("/c", "POST", headers={"Transfer-Encoding": "chunked"}, body=chunked("z" * 5000))
               + build_request("/d"))
        assert c.read_response().text.split()[1] == "/c"
        assert c.read_response().text.split()[1] == "/d"


def test_head(basic):
    with basic.connect() as c:
        r = c.request("/abc", "HEAD")
        assert r.status == 200 and int(r.get("Content-Length")) == len("HEAD /abc localhost\n")
        assert c.request("/next").text.startswith("GET /next")


def test_byte_at_a_time(basic):
    with basic.connect() as c:
        for b in build_request("/slow", "GET", headers={"X-A": "b"}):
            c.send(bytes([b]))
        assert c.read_response().text.split()[1] == "/slow"


def test_chunked_request_byte_at_a_time(basic):
    with basic.connect() as c:
        for b in build_request("/up/c", "POST", headers={"Transfer-Encoding": "chunked"},
                               body=chunked("hello", " ", "world")):
            c.send(bytes([b]))
        assert c.read_response().body.endswith(b"\nhello world")


def test_chunk_extensions_are_dropped(basic):
    with basic.connect() as c:
        c.send("POST /up/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
               "5;a=b\r\nhello\r\n0\r\n\r\n")
        assert c.read_response().body.endswith(b"\nhello")


BAD_CHUNKS = ["5\r\nhelloX", "g\r\n", "-1\r\n", "5\r\nhello\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n",
              "ffffffffffffffffff\r\n", " 5\r\nhello\r\n0\r\n\r\n", "5 \x01\r\nhello\r\n0\r\n\r\n"]
BAD_CHUNKS_HERE = ["5\nhello\n0\n\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello\r\n0\n\n", "5;\rx\r\nhello\r\n0\r\n\r\n"]


@pytest.mark.parametrize("body", BAD_CHUNKS[:6] if ORACLE else BAD_CHUNKS + BAD_CHUNKS_HERE)
def test_bad_chunks(basic, body):
    with basic.connect() as c:
        c.send("POST /up/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + body
               + "GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert c.read_response().status == 400
        assert b"HTTP/1.1" not in c.read_all()
    assert all("/second" not in r.target for r in basic.b.requests)


def test_request_trailers_do_not_become_headers(basic):
    with basic.connect() as c:
        c.send("POST /up/t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
               "2\r\nhi\r\n0\r\nX-Trailer: v\r\nHost: evil\r\n\r\n")
        r = c.read_response()
        assert r.status == 200 and b"evil" not in r.body.split(b"\n\n")[0]
        assert c.request("/n").status == 200


def test_expect_continue(basic):
    with basic.connect() as c:
        c.send("POST /up/e HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        r = c.read_response(interim=True)
        assert r.status == 100 and r.raw_head == b"HTTP/1.1 100 Continue"
        c.send("hello")
        r = c.read_response()
        assert r.status == 200 and r.body.endswith(b"hello")
        assert "expect" not in r.text.lower()


def test_expect_continue_not_asked_when_body_is_there(basic):
    """The final answer comes either way; a 100 in between is allowed."""
    with basic.connect() as c:
        c.send("POST /up/e HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        assert c.read_response().body.endswith(b"hello")


def test_expect_continue_refused_body(start):
    s = start("server { listen 127.0.0.1:@port@; client_max_body_size 10; location / { proxy_pass http://127.0.0.1:1; } }")
    with s.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n")
        r = c.read_response()
        assert r.status == 413 and not r.interim


def test_expect_10_is_ignored(basic):
    with basic.connect() as c:
        c.send("POST /up/e HTTP/1.0\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        r = c.read_response()
        assert r.status == 200 and not r.interim


def test_trace_and_connect(basic):
    assert raw(basic, "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n") == 405
    assert raw(basic, "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n") in (400, 405)


def test_options_star(basic):
    assert raw(basic, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n") in (200, 204, 400, 405)


def test_duplicated_slashes_and_dots(start):
    s = start("""server { listen 127.0.0.1:@port@; location / { return 200 "$uri\\n"; } }
                 server { listen 127.0.0.1:@port2@; merge_slashes off; location / { return 200 "$uri\\n"; } }""")
    for path, uri in [("//a///b", "/a/b"), ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/a/b/..", "/a/"), ("/a/.", "/a/"),
                      ("/%41%2fb", "/A/b"), ("/a%20b?x=%20", "/a b"), ("/a/...", "/a/..."), ("/.../b", "/.../b"),
                      ("/a%3fb", "/a?b"), ("/a/%2e%2e/b", "/b"), ("/..a", "/..a"), ("/a#b", "/a")]:
        assert s.get(path).text == uri + "\n", path
    assert s.get("//a///b", port="port2").text == "//a///b\n"


def test_date_and_server(basic):
    r = basic.get("/")
    assert re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", r.get("Date"))
    assert r.get("Server").startswith("nginx" if ORACLE else "sluice")


def test_server_tokens(start):
    s = start("""server { listen 127.0.0.1:@port@; server_tokens off; location / { return 404; } }
                 server { listen 127.0.0.1:@port2@; location / { return 404; } }""")
    name = "nginx" if ORACLE else "sluice"
    r = s.get("/")
    assert r.get("Server") == name and f"<center>{name}</center>" in r.text
    r = s.get("/", port="port2")
    assert re.fullmatch(name + r"/[\d.]+", r.get("Server")) and f"<center>{r.get('Server')}</center>" in r.text


def test_error_page_look(start):
    s = start("server { listen 127.0.0.1:@port@; server_tokens off; location / { return 404; } }")
    r = s.get("/x")
    name = "nginx" if ORACLE else "sluice"
    assert r.get("Content-Type") == "text/html"
    assert r.text == ("<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1>"
                      f"</center>\r\n<hr><center>{name}</center>\r\n</body>\r\n</html>\r\n")


def test_underscores_and_invalid_names(start, backend):
    b = backend(answer=echo_lines)
    s = start("""server { listen 127.0.0.1:@port@; location / { proxy_pass http://@backend@; } }
        server { listen 127.0.0.1:@port2@; underscores_in_headers on; location / { proxy_pass http://@backend@; } }""",
              values={"backend": b.addr})
    assert "a_b" not in s.get("/", headers={"a_b": "1"}).text
    assert "a_b: 1" in s.get("/", port="port2", headers={"a_b": "1"}).text


def test_keepalive_requests(start):
    s = start("server { listen 127.0.0.1:@port@; keepalive_requests 3; location / { return 200 ok; } }")
    with s.connect() as c:
        assert c.request("/").get("Connection") != "close"
        assert c.request("/").get("Connection") != "close"
        assert c.request("/").get("Connection") == "close"
        assert c.closed()


def test_keepalive_timeout(start):
    s = start("""server { listen 127.0.0.1:@port@; keepalive_timeout 1s 7s; location / { return 200 ok; } }
                 server { listen 127.0.0.1:@port2@; keepalive_timeout 0; location / { return 200 ok; } }""")
    with s.connect() as c:
        r = c.request("/")
        assert r.get("Keep-Alive") == "timeout=7"
        begin = time.monotonic()
        assert c.closed()
        assert 0.8 < time.monotonic() - begin < 5
    with s.connect("port2") as c:
        assert c.request("/").get("Connection") == "close"
        assert c.closed()


def test_keepalive_time(start):
    s = start("server { listen 127.0.0.1:@port@; keepalive_time 1s; location / { return 200 ok; } }")
    with s.connect() as c:
        begin = time.monotonic()
        n = 0
        while c.request("/").get("Connection") != "close":
            n += 1
            assert time.monotonic() - begin < 10
            assert c.quiet(0.1)
        assert n >= 2 and c.closed()


def test_keepalive_disable_and_chunked_off(start, backend):
    def answer(r):
        return response(b"", length=False, headers=[("Transfer-Encoding", "chunked")]) + chunked("abc")
    b = backend(answer=answer)
    s = start("""server { listen 127.0.0.1:@port@; proxy_http_version 1.1;
        location / { proxy_pass http://@backend@; }
        location /off { chunked_transfer_encoding off; proxy_pass http://@backend@; } }""", values={"backend": b.addr})
    with s.connect() as c:
        r = c.request("/")
        assert r.get("Transfer-Encoding") == "chunked" and r.body == b"abc"
        r = c.request("/off")
        assert r.get("Transfer-Encoding") is None and r.body == b"abc"
    assert s.get("/", version="1.0").body == b"abc"


def test_client_header_timeout(start):
    s = start("server { listen 127.0.0.1:@port@; client_header_timeout 1s; location / { return 200 ok; } }")
    with s.connect() as c:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n")
        begin = time.monotonic()
        data = c.read_all()
        assert 0.8 < time.monotonic() - begin < 6
        assert data == b"" or data.startswith(b"HTTP/1.1 408")
    s.wait_log(r'" 408 ')


def test_client_header_timeout_is_total(start):
    """Slowloris: bytes that keep coming do not prolong the wait for the head."""
    s = start("server { listen 127.0.0.1:@port@; client_header_timeout 1s; location / { return 200 ok; } }")
    with s.connect() as c:
        begin = time.monotonic()
        c.send("GET / HTTP/1.1\r\nHost: a\r\n")
        with pytest.raises(OSError):
            while time.monotonic() - begin < 20:
                c.send("X-A: b\r\n")
                if not c.quiet(0.1):
                    raise OSError
        assert time.monotonic() - begin < 8


def test_client_body_timeout(start, backend):
    b = backend()
    s = start("server { listen 127.0.0.1:@port@; client_body_timeout 1s; location / { proxy_pass http://@backend@; } }",
              values={"backend": b.addr})
    with s.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        data = c.read_all()
        assert data == b"" or data.startswith(b"HTTP/1.1 408")
    s.wait_log(r'" 408 ')
    assert not b.requests


def test_cut_off_anywhere(basic):
    whole = build_request("/up/cut", "POST", headers={"X-A": "b"}, body=b"0123456789")
    for n in range(1, len(whole), 3):
        with basic.connect() as c:
            c.send(whole[:n])
    with basic.connect() as c:
        for n in range(1, len(whole), 7):
            d = basic.connect()
            d.send(whole[:n])
            d.reset()
        assert c.request("/after").status == 200
    basic.wait_log("after")


def test_half_closed_client_gets_its_answer(basic):
    with basic.connect() as c:
        c.send(build_request("/half"))
        c.half_close()
        assert c.read_response().text.split()[1] == "/half"
        assert c.closed()


def test_many_headers(basic):
    many = {f"X-{i}": "v" * 10 for i in range(300)}
    r = basic.get("/up/m", headers=many)
    assert r.status == 200 and r.text.count("vvvvvvvvvv") == 300


def test_large_response_of_return(start):
    s = start('server { listen 127.0.0.1:@port@; location / { return 200 "$arg_x$arg_x$arg_x$arg_x"; } }')
    assert s.get("/?x=" + "y" * 6000).body == b"y" * 24000


def test_ipv6_and_unix_listen(start):
    s = start("""server { listen [::1]:@port@; listen unix:@PREFIX@/temp/s.sock; server_name _;
                 location / { return 200 "$server_addr $remote_addr\\n"; } }""")
    with Conn(("::1", s.port())) as c:
        assert c.request("/").text == "::1 ::1\n"
    with Conn(s.path("temp/s.sock")) as c:
        assert c.request("/").text == f"unix:{s.path('temp/s.sock')} unix:\n"


def test_lingering_close_delivers_413(start):
    """The answer to a body that is refused reaches the client although it is still sending."""
    s = start("server { listen 127.0.0.1:@port@; client_max_body_size 1k; location / { proxy_pass http://127.0.0.1:1; } }")
    with s.connect() as c:
        c.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {1 << 20}\r\n\r\n")
        c.send(b"x" * 300000)
        r = c.read_response()
        assert r.status == 413 and r.complete


def test_reset_timedout_connection(start):
    s = start("""server { listen 127.0.0.1:@port@; reset_timedout_connection on; client_header_timeout 1s;
                 location / { return 200 ok; } }""")
    with s.connect() as c:
        c.send("GET / HT")
        assert c.read_all() == b""


def test_return_444_closes(start):
    s = start("server { listen 127.0.0.1:@port@; location / { return 444; } }")
    with s.connect() as c:
        c.send(build_request("/"))
        assert c.read_all() == b""


def test_two_requests_in_slow_pieces(basic):
    data = build_request("/one") + build_request("/two")
    cut = len(build_request("/one")) + 9
    with basic.connect() as c:
        c.send(data[:cut])
        assert c.read_response().text.split()[1] == "/one"
        c.send(data[cut:])
        assert c.read_response().text.split()[1] == "/two"
