"""The variables of the core, upstream, proxy and log modules."""
import os
import re

import pytest

from harness import ORACLE, Conn, build_request, response

# (expression, request options, expected text or pattern)
CASES = [
    ("$arg_a|$arg_b|$arg_none", dict(path="/?a=1&b=x%20y&a=2"), r"1\|x%20y\|"),
    ("$args|$query_string|$is_args", dict(path="/p?q=1"), r"q=1\|q=1\|\?"),
    ("$args|$is_args", dict(path="/p"), r"\|"),
    ("$uri|$document_uri|$request_uri", dict(path="/a//b/%41?x"), r"/a/b/A\|/a/b/A\|/a//b/%41\?x"),
    ("$host|$http_host", dict(host="H.Example:8080"), r"h\.example\|H\.Example:8080"),
    ("$request|$request_method|$server_protocol", dict(path="/z"), r"GET /z HTTP/1\.1\|GET\|HTTP/1\.1"),
    ("$http_x_custom_name", dict(headers={"X-Custom-Name": "v"}), "v"),
    ("$http_x_twice", dict(headers=[("X-Twice", "a"), ("X-Twice", "b")]), "a, b|a"),
    ("$cookie_one|$cookie_two|$cookie_none", dict(headers={"Cookie": "one=1; two=2=3"}), r"1\|2=3\|"),
    ("$content_length|$content_type", dict(method="POST", body=b"abc", headers={"Content-Type": "text/x"}), r"3\|text/x"),
    ("$remote_addr|$remote_port|$server_addr|$server_port", {}, r"127\.0\.0\.1\|\d+\|127\.0\.0\.1\|@port@"),
    ("$scheme|$https|$server_name", {}, r"http\|\|name\.example"),
    ("$binary_remote_addr", {}, "\x7f\0\0\x01"),
    ("$document_root|$realpath_root", {}, r"@PREFIX@/html\|@PREFIX@/html"),
    ("$request_filename", dict(path="/f.txt"), r"@PREFIX@/html/f\.txt"),
    ("$remote_user", dict(headers={"Authorization": "Basic dXNlcjpwYXNz"}), "user"),
    ("$request_id", {}, "[0-9a-f]{32}"),
    ("$connection|$connection_requests", {}, r"\d+\|1"),
    ("$msec", {}, r"\d{10}\.\d{3}"),
    ("$time_local", {}, r"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"),
    ("$time_iso8601", {}, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"),
    ("$hostname", {}, re.escape(os.uname().nodename.lower())),
    ("$pid", {}, r"\d+"),
    ("$nginx_version", {}, r"\d+\.\d+\.\d+"),
    ("$request_length", {}, r"\d+"),
    ("$http_user_agent|$http_referer", dict(headers={"User-Agent": "U", "Referer": "R"}), r"U\|R"),
    ("$request_completion|$pipe", {}, r"\|\."),
    ("$tcpinfo_rtt", {}, r"\d+"),
    ("$limit_rate", {}, "0"),
    ("$status", {}, r"200|000"),
    ("$proxy_protocol_addr", {}, ""),
]


@pytest.fixture(scope="module")
def many():
    """One server with a location per case."""
    from harness import Server
    http = "server { listen 127.0.0.1:@port@; server_name name.example; root @PREFIX@/html;\n"
    for i, (expr, _, _) in enumerate(CASES):
        http += 'if ($http_x_case = "%d") { return 200 "%s"; }\n' % (i, expr)
    s = Server(http + "}")
    yield s
    s.close()


@pytest.mark.parametrize("i", range(len(CASES)), ids=[c[0] for c in CASES])
def test_variable(many, i):
    expr, options, want = CASES[i]
    options = dict(options)
    items = options.pop("headers", [])
    items = list(items.items()) if isinstance(items, dict) else list(items)
    r = many.get(options.pop("path", "/"), headers=items + [("X-Case", str(i))], **options)
    assert r.status == 200
    assert re.fullmatch(many.fill(want), r.text, re.S), (expr, r.text)


UPSTREAM = [
    ("$upstream_addr", r"127\.0\.0\.1:\d+"), ("$upstream_status", "201"), ("$upstream_response_length", "5"),
    ("$upstream_response_time", r"\d+\.\d{3}"), ("$upstream_connect_time", r"\d+\.\d{3}"), ("$upstream_header_time", r"\d+\.\d{3}"),
    ("$upstream_bytes_sent", r"\d+"), ("$upstream_bytes_received", r"\d+"), ("$upstream_http_x_up", "yes"), ("$upstream_cookie_k", "v"),
    ("$proxy_host", r"127\.0\.0\.1:\d+"), ("$proxy_port", r"\d+"), ("$proxy_add_x_forwarded_for", r"127\.0\.0\.1"),
    ("$sent_http_x_up", "yes"), ("$sent_http_content_length", "5"), ("$body_bytes_sent", "5"), ("$bytes_sent", r"\d+"), ("$status", "201"),
    ("$request_completion", "OK"), ("$request_time", r"\d+\.\d{3}"), ("$upstream_cache_status", "-"),
]


@pytest.mark.parametrize("name,want", UPSTREAM, ids=[u[0] for u in UPSTREAM])
def test_upstream_variable(start, backend, name, want):
    b = backend(answer=response(b"hello", 201, [("X-Up", "yes"), ("Set-Cookie", "k=v; Path=/")], "Created"))
    s = start("log_format f '<%s>'; access_log @PREFIX@/logs/access.log f; server { listen 127.0.0.1:@port@;"
              " location / { proxy_pass http://%s; } }" % (name, b.addr))
    assert s.get("/").status == 201
    line = s.wait_log(r"^<(.*)>$").group(1)
    assert re.fullmatch(want, line), line


def test_upstream_variables_of_no_upstream(start):
    s = start("log_format f '$upstream_addr $upstream_status $upstream_response_time'; access_log @PREFIX@/logs/access.log f;"
              " server { listen 127.0.0.1:@port@; location / { return 200 x; } }")
    s.get("/")
    assert s.wait_log(r"^(.+)$").group(1) == "- - -"


def test_args_can_be_set(start):
    s = start('server { listen 127.0.0.1:@port@; location / { set $args "new=1"; return 200 "$args|$arg_new|$query_string|$request_uri"; } }')
    assert s.get("/?old=2").text == "new=1|1|new=1|/?old=2"


def test_request_id_is_stable_within_a_request(start):
    s = start('server { listen 127.0.0.1:@port@; location / { return 200 "$request_id $request_id"; } }')
    a, b = s.get("/").text.split()
    assert a == b and s.get("/").text.split()[0] != a


def test_connection_numbers(start):
    s = start('server { listen 127.0.0.1:@port@; location / { return 200 "$connection $connection_requests"; } }')
    with s.connect() as c:
        one = [c.request("/").text.split() for _ in range(3)]
    assert [x[1] for x in one] == ["1", "2", "3"] and len({x[0] for x in one}) == 1
    assert s.get("/").text.split()[0] != one[0][0]


def test_unknown_prefix_variables_are_empty(start):
    s = start('server { listen 127.0.0.1:@port@; location / { return 200 "[$http_none$cookie_none$arg_none$sent_http_none$upstream_http_none]"; } }')
    assert s.get("/").text == "[]"


def test_split_across_threads(start):
    """The same variable in many parallel requests never mixes."""
    import threading
    s = start('map $arg_n $m { ~^(?<d>\\d+)$ "m$d"; } server { listen 127.0.0.1:@port@; location ~ ^/(?<w>\\w+)$ { return 200 "$w $m $arg_n"; } }')
    bad = []

    def many_requests(k):
        with s.connect() as c:
            for i in range(100):
                got = c.request(f"/w{k}x{i}?n={k}{i}").text
                if got != f"w{k}x{i} m{k}{i} {k}{i}":
                    bad.append(got)
    threads = [threading.Thread(target=many_requests, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad
