"""Every variable of the core, proxy, upstream, ssl, log and stub_status modules, in many situations, beside
Debian's nginx: what the access log says, and in other runs what headers of the answer say, must be the same. (In other
runs, as many variables keep the value that they had when they were asked for first.)

A value that is a moment, a process or a chosen port is compared by its form (SHAPES); what nginx 1.22 does not
know yet is left out (NEWER)."""
import base64
import os
import re
import ssl

import pytest

import cases
from harness import NGINX, Backend, Conn, Server, build_request, chunked, poll, proxy_v1, proxy_v2, response
from test_diff import STAMP

# ---------------------------------------------------------------- names

CORE = """http_host http_user_agent http_referer http_via http_x_forwarded_for http_cookie content_length content_type host
    binary_remote_addr remote_addr remote_port proxy_protocol_addr proxy_protocol_port proxy_protocol_server_addr
    proxy_protocol_server_port server_addr server_port server_protocol scheme https request_uri uri document_uri request
    document_root realpath_root query_string args is_args request_filename server_name request_method remote_user bytes_sent
    body_bytes_sent pipe request_completion request_body request_body_file request_length request_time request_id status
    sent_http_content_type sent_http_content_length sent_http_location sent_http_last_modified sent_http_connection
    sent_http_keep_alive sent_http_transfer_encoding sent_http_cache_control sent_http_link limit_rate connection
    connection_requests connection_time nginx_version hostname pid msec time_iso8601 time_local tcpinfo_rtt tcpinfo_rttvar
    tcpinfo_snd_cwnd tcpinfo_rcv_space""".split()
PREFIXED = """http_x_one http_x_twice http_x_none http_content_length http_connection http_authorization sent_http_x_up sent_http_x_none
    sent_http_etag sent_http_set_cookie sent_http_server sent_http_date sent_http_accept_ranges sent_http_content_range
    sent_http_allow sent_trailer_x_tr cookie_one cookie_two cookie_none arg_a arg_b arg_A arg_none arg_empty""".split()
UPSTREAM = """upstream_addr upstream_status upstream_connect_time upstream_header_time upstream_response_time
    upstream_response_length upstream_bytes_received upstream_bytes_sent upstream_cache_status upstream_http_x_up
    upstream_http_content_length upstream_http_server upstream_http_set_cookie upstream_http_none upstream_trailer_x_tr
    upstream_cookie_one upstream_cookie_none proxy_host proxy_port proxy_add_x_forwarded_for""".split()
SSL = ["ssl_" + n for n in """protocol cipher ciphers curve curves session_id session_reused early_data server_name alpn_protocol
    client_cert client_raw_cert client_escaped_cert client_s_dn client_i_dn client_s_dn_legacy client_i_dn_legacy client_serial
    client_fingerprint client_verify client_v_start client_v_end client_v_remain""".split()]
COUNTERS = ["connections_active", "connections_reading", "connections_writing", "connections_waiting"]
NAMES = CORE + PREFIXED + UPSTREAM + SSL + COUNTERS

# Of the reference, not in 1.22 (or of a module that is not part of this): tests/e2e has them.
NEWER = {"request_port", "is_request_port", "proxy_add_via", "ssl_sigalg", "ssl_sigalgs", "ssl_client_sigalg", "ssl_ech_status",
         "ssl_ech_outer_server_name", "upstream_cache_last_modified", "upstream_cache_etag"}

SECONDS, NUMBER = r"\d+\.\d{3}", r"\d+"
MANY_SECONDS = r"(-|\d+\.\d{3})(( : |, )(-|\d+\.\d{3}))*"
SHAPES = {
    "remote_port": NUMBER, "request_time": SECONDS, "request_id": "[0-9a-f]{32}", "connection": NUMBER, "connection_time": SECONDS,
    "nginx_version": r"\d+\.\d+\.\d+", "pid": NUMBER, "msec": SECONDS, "time_iso8601": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d",
    "time_local": r"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}", "tcpinfo_rtt": NUMBER, "tcpinfo_rttvar": NUMBER,
    "tcpinfo_snd_cwnd": NUMBER, "tcpinfo_rcv_space": NUMBER, "upstream_connect_time": MANY_SECONDS, "upstream_header_time": MANY_SECONDS,
    "upstream_response_time": MANY_SECONDS, "ssl_session_id": "[0-9a-f]{64}", "proxy_protocol_port": NUMBER,
    "sent_http_date": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "sent_http_server": r"(nginx|sluice)/[\d.]+",
    "request_body_file": r"/.*/\d+", "connections_active": NUMBER, "connections_reading": NUMBER, "connections_writing": NUMBER,
    "connections_waiting": NUMBER,
    # another head goes upstream: HTTP/1.1 with keep-alive (FEATURES N42)
    "upstream_bytes_sent": r"\d+(( : |, )\d+)*",
}
MISSING = {"-", ""}


JOINED = re.compile("(http|sent_http|upstream_http)_(?!x_forwarded_for|cookie|link|cache_control)")


def shape(name, value):
    """What is compared of a value."""
    if name in ("upstream_http_server", "server_protocol") and value in MISSING:
        return "-"  # nginx has an empty one in some cases
    if name == "request":
        value = value[:4000]  # of a line that is too long, what was read
    if JOINED.match(name):
        value = value.split(", ")[0]  # 1.22 knows only the first of several; since 1.23 they are joined
    want = SHAPES.get(name)
    if want and value not in MISSING and re.fullmatch(want, value):
        return ("number of tries", len(re.findall(r" : |, ", value))) if name.startswith("upstream_") else "as it should look"
    return value


FORMAT = "\n".join(f"'{n}=${n}\\t'" for n in NAMES)
THEN = [n for n in NAMES if n not in ("ssl_client_cert", "ssl_client_raw_cert", "binary_remote_addr")]
PIECE = 40  # names per header: a word of a configuration has less than 4096 bytes


def test_every_variable_of_the_reference_is_here():
    path = os.path.join(os.path.dirname(__file__), "..", "..", "..", "shared", "reference", "nginx-variables.tsv")
    if not os.path.exists(path):
        pytest.skip("the reference is not here")
    modules = {"ngx_http_variables", "ngx_http_upstream_module", "ngx_http_ssl_module", "ngx_http_proxy_module", "ngx_http_stub_status_module"}
    with open(path) as f:
        for line in f:
            kind, name, module = line.split("\t")[:3]
            if kind != "http" or module not in modules or "internal" in name or name in NEWER or "tlv" in name:
                continue
            assert name in NAMES or (name.endswith("*") and any(n.startswith(name[:-1]) for n in NAMES)), name


# ---------------------------------------------------------------- situations

def answer(r):
    path = r.target.split("?")[0]
    if path.endswith("/trailers"):
        return (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Tr\r\nX-Up: 1\r\n\r\n" + chunked(b"abc", trailers=[("X-Tr", "t")]))
    if path.endswith("/cookies"):
        return response(b"c", 201, [("X-Up", "1"), ("X-Up", "2"), ("Set-Cookie", "one=1; Path=/"), ("Set-Cookie", "two=2"), ("Server", "up/1"),
                                    ("Link", "</a>"), ("Link", "</b>"), ("Cache-Control", "a"), ("Cache-Control", "b")])
    if path.endswith("/fail"):
        return response(b"no", 500)
    if path.endswith("/accel"):
        return response(b"", 200, [("X-Accel-Redirect", "/a.txt?from=accel"), ("X-Up", "1")])
    if path.endswith("/nothing"):
        return None
    if path.endswith("/length"):
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end", True
    return response(b"got " + r.body, 200, [("X-Up", "yes"), ("Content-Type", "text/x-up")])


CONF = """
    log_format vars %s;
    upstream two { server 127.0.0.1:@portdead@ max_fails=0; server @b@ max_fails=0; }
    proxy_http_version 1.1;
    types { text/plain txt; text/html html; }
    server {
        listen 127.0.0.1:@port@; listen [::1]:@port@; listen unix:@PREFIX@/sock; listen 127.0.0.1:@portssl@ ssl;
        listen 127.0.0.1:@portpp@ proxy_protocol;
        server_name site.example *.wild.example; root @PREFIX@/html; access_log @PREFIX@/logs/vars.log vars;
        ssl_certificate @crt@; ssl_certificate_key @key@; ssl_client_certificate @ca@; ssl_verify_client optional; ssl_protocols TLSv1.2 TLSv1.3;
        client_body_buffer_size 1k; keepalive_timeout 70s 60s;
%s
        location /p/ { proxy_pass http://@b@/up/; }
        location /p/body { proxy_pass http://@b@/up/; client_body_in_single_buffer on; }
        location /two/ { proxy_pass http://two; }
        location /dead { proxy_pass http://127.0.0.1:@portdead@/x; }
        location /var/ { set $where @b@; proxy_pass http://$where/fix; }
        location /named { error_page 502 = @fallback; proxy_pass http://127.0.0.1:@portdead@; }
        location @fallback { proxy_pass http://@b@; }
        location /page { error_page 404 /a.txt?page=1; }
        location /other { error_page 404 =200 /p/cookies; }
        location /rw { rewrite ^/rw/(.*)$ /a.txt?r=$1 last; }
        location /brk { rewrite ^ /a.txt?b=1? break; }
        location /ret { return 301 /to?$args; }
        location /text { default_type text/x-t; return 200 "text"; }
        location /limit { limit_rate 12345; limit_rate_after 1; return 200 x; }
        location /set { set $limit_rate 500; set $args a=set; return 200 x; }
        location /alias/ { alias @PREFIX@/html/dir/; }
        location /try { try_files /none /a.txt; }
        location /if { if ($arg_a) { return 200 "if"; } return 204; }
        location /forbidden { deny all; }
        location /exp { expires 1d; root @PREFIX@/html; try_files /a.txt =404; }
        location /444 { return 444; }
        location /chunk { proxy_pass http://@b@; }
        location /file { client_body_in_file_only clean; proxy_pass http://@b@; }
    }
"""

HOST = "site.example"


def ask(path="/", method="GET", headers=(), body=None, host=HOST, version="1.1", **how):
    return dict(data=build_request(path, method, list(headers), body, host, version), method=method, **how)


def raw(data, **how):
    return dict(data=data, method="GET", **how)


BASIC = base64.b64encode(b"user:pa ss").decode()
SITUATIONS = {
    "file": [ask("/a.txt?a=1&b=x%20y&a=2&empty=&A=up")],
    "head": [ask("/a.txt", "HEAD")],
    "folder": [ask("/dir"), ask("/dir/"), ask("/dir/../a.txt"), ask("//dir//x.txt?")],
    "not found": [ask("/none?x"), ask("/page/x"), ask("/other/x?a=o")],
    "conditional": [ask("/a.txt", headers=[("If-Modified-Since", cases.OLD)]), ask("/a.txt", headers=[("If-Match", '"x"')])],
    "range": [ask("/a.txt", headers=[("Range", "bytes=2-5")]), ask("/a.txt", headers=[("Range", "bytes=900-")])],
    "fields": [ask("/a.txt", headers=[("X-One", "1"), ("X-Twice", "a"), ("X-Twice", "b"), ("Cookie", "one=1; two=2=3; ONE=x"), ("User-Agent", "U/1 (x)"),
                                      ("Referer", "http://r/"), ("Via", "1.0 a"), ("Via", "1.1 b"), ("X-Forwarded-For", "1.2.3.4"),
                                      ("X-Forwarded-For", "5.6.7.8"), ("Authorization", "Basic " + BASIC)]),
               ask("/p/x", headers=[("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-For", "5.6.7.8"), ("Cookie", "a=1"), ("Cookie", "one=2")])],
    "hosts": [ask("/a.txt", host="SITE.Example:8080"), ask("/a.txt", host="x.wild.example"), ask("/a.txt", host="other.example."),
              raw(b"GET http://abs.example:81/a.txt?q HTTP/1.1\r\nHost: site.example\r\n\r\n"), ask("/a.txt", host="[::1]:80")],
    "old": [ask("/a.txt", version="1.0"), raw(b"GET /a.txt HTTP/1.0\r\n\r\n"), ask("/a.txt", version="1.0", headers=[("Connection", "keep-alive")])],
    "proxied": [ask("/p/x?q=1"), ask("/p/cookies"), ask("/p/fail"), ask("/p/trailers"), ask("/p/length"), ask("/p/nothing"), ask("/p/accel?a=1"),
                ask("/p/x", "HEAD")],
    "uploads": [ask("/p/x", "POST", body=b"hello"), ask("/p/body", "POST", body=b"k" * 300, headers=[("Content-Type", "text/y")]),
                ask("/p/x", "PUT", body=b"z" * 5000), ask("/file", "POST", body=b"in a file"),
                raw(b"POST /p/x HTTP/1.1\r\nHost: site.example\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"ab", b"cde")),
                ask("/a.txt", "POST", body=b"refused"), ask("/text", "POST", body=b"ignored")],
    "tries": [ask("/two/x"), ask("/two/x"), ask("/dead"), ask("/named/x"), ask("/var/x?y")],
    "rewriting": [ask("/rw/abc?q=1"), ask("/brk?gone"), ask("/ret?a=b"), ask("/text"), ask("/if?a=1"), ask("/if"), ask("/try/x?q"), ask("/alias/x.txt"),
                  ask("/set?a=client"), ask("/exp")],
    "limits": [ask("/limit"), ask("/forbidden")],
    "bad": [raw(b"GET\r\n\r\n"), raw(b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n"), raw(b"GET / HTTP/1.1\r\n\r\n"), raw(b"GET / HTTP/9.1\r\nHost: x\r\n\r\n"),
            raw(b"GET /a.txt HTTP/1.1\r\nHost: site.example\r\nContent-Length: x\r\n\r\n"),
            raw(b"GET /" + b"u" * 9000 + b" HTTP/1.1\r\nHost: site.example\r\n\r\n")],
    "dropped": [ask("/444", silent=True)],
    "kept": [dict(data=build_request("/a.txt") + build_request("/text?2") + build_request("/none"), method="GET", answers=3)],
    "ipv6": [ask("/a.txt", family="ipv6"), ask("/p/x", family="ipv6")],
    "unix": [ask("/a.txt", family="unix"), ask("/p/x", family="unix")],
    "proxy protocol": [ask("/a.txt", port="portpp", proxy=proxy_v1()), ask("/a.txt", port="portpp", proxy=proxy_v2("2001:db8::7", "2001:db8::1")),
                       ask("/p/x", port="portpp", proxy=b"PROXY UNKNOWN\r\n")],
    "tls 1.2": [ask("/a.txt", tls="1.2"), ask("/p/x?q", tls="1.2")],
    "tls 1.3": [ask("/a.txt", tls="1.3"), ask("/a.txt", tls="1.3", alpn=["http/1.1"])],
    "tls client": [ask("/a.txt", tls="1.2", who="client"), ask("/a.txt", tls="1.3", who="client"), ask("/p/x", tls="1.3", who="expired")],
    "plain on tls": [ask("/a.txt", port="portssl")],
}

# What differs on purpose: (situation, variable), or the variable alone. See INTENDED.md.
MEANT = {
    # nginx forgets that it kept the connection before it writes the log
    "sent_http_connection", "sent_http_keep_alive",
    ("conditional", "request_completion"),  # it ends a 412 as if it had been cut off
    ("proxied", "bytes_sent"), ("proxied", "upstream_trailer_x_tr"), ("proxied", "upstream_response_length"),  # trailers: since 1.27
    ("rewriting", "args"), ("rewriting", "query_string"),  # empty after try_files: it tells "" from none by chance
    ("uploads", "request_body_file"),  # memory first: a body that came with its head is not written to a file
    ("bad", "content_length"),  # a value that is no number is not known
}
MEANT_THEN = {
    "sent_http_accept_ranges", ("range", None),  # ranges are made before fields are added, not after
    ("proxied", "upstream_response_time"),  # known already
    ("rewriting", "sent_http_content_type"), ("rewriting", "sent_http_content_length"),  # of a 204, which has none
    ("uploads", "request_body_file"), ("bad", "content_length"),
    ("uploads", "upstream_bytes_received"),  # as much as was read so far
}


def meant(name, v, which):
    return v in which or (name, v) in which or (name, None) in which


def backend_loop(conn):
    while True:
        r = conn.read_request()
        if r is None:
            return
        out, close = answer(r), False
        if out is None:
            return
        if isinstance(out, tuple):
            out, close = out
        if r.method == "HEAD":
            out = out.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
        conn.send(out)
        if close or (r.get("Connection") or "").lower() == "close" or r.version == "HTTP/1.0":
            return


@pytest.fixture(scope="module")
def files(certs):
    files = dict(cases.FILES)
    for n, path in (("a.crt", certs.a_rsa[0]), ("a.key", certs.a_rsa[1]), ("ca.crt", certs.ca_path)):
        with open(path) as f:
            files["conf/" + n] = f.read()
    return files


def two_servers(files, headers):
    """The oracle and ours; both end with the module."""
    with Backend(backend_loop) as b:
        values = {"b": b.addr, "crt": "a.crt", "key": "a.key", "ca": "ca.crt"}
        http = CONF % (FORMAT, headers)
        with Server(http, files=files, values=values, workers=1, binary=NGINX, log_level="error") as theirs, \
                Server(http, files=files, values=values, workers=1, log_level="error") as ours:
            for s in (theirs, ours):
                for f in files:
                    os.utime(s.path(f), (STAMP, STAMP))
            yield theirs, ours


@pytest.fixture(scope="module")
def logging(files):
    yield from two_servers(files, "")


@pytest.fixture(scope="module")
def telling(files):
    yield from two_servers(files, "\n".join('add_header X-Then-%d "%s" always;' % (i, "|".join("$" + n for n in THEN[i:i + PIECE]))
                                            for i in range(0, len(THEN), PIECE)))


def connect(s, q, certs):
    port = q.get("port", "portssl" if q.get("tls") else "port")
    how = {}
    if q.get("tls"):
        v = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[q["tls"]]
        who = q.get("who")
        how = dict(tls=certs.client_context(low=v, high=v, alpn=q.get("alpn"), cert=getattr(certs, who) if who else None), sni="a.example")
    if q.get("proxy"):
        how["proxy"] = q["proxy"]
    if q.get("family") == "ipv6":
        return Conn(("::1", s.port("port")))
    if q.get("family") == "unix":
        return Conn(s.path("sock"))
    return s.connect(port, **how)


def plain(s, text):
    for name, port in sorted(s.ports.items(), key=lambda x: -x[1]):
        text = text.replace(str(port), name.upper())
    return text.replace(s.prefix, "PREFIX").replace("nginx/1.22.1", "sluice/0.1.0")


def talk(s, q, certs):
    """The answers' X-Then headers, as dicts."""
    out = []
    with connect(s, q, certs) as c:
        c.send(q["data"])
        for _ in range(q.get("answers", 1) if not q.get("silent") else 0):
            r = c.read_response(q["method"])
            told = "|".join(v for k, v in r.headers if k.startswith("X-Then-"))
            out.append(dict(zip(THEN, plain(s, told).split("|"))) if told else {})
    return out


def logged(s, q, certs):
    """The log lines of a request, as dicts."""
    before, n = len(s.log("vars.log").splitlines()), q.get("answers", 1)
    talk(s, q, certs)

    def whole():
        text = s.log("vars.log")
        return text.endswith("\n") and text.count("\n") >= before + n and text.splitlines()
    lines = poll(whole, 10, "the log line")[before:]
    out = [dict(x.split("=", 1) for x in line.rstrip("\t").split("\t")) for line in lines]
    return [{k: v if k == "binary_remote_addr" else plain(s, v) for k, v in fields.items()} for fields in out]


def compare(name, servers, look, certs, which):
    bad = []
    for q in SITUATIONS[name]:
        theirs, ours = (look(s, q, certs) for s in servers)
        label = q["data"][:60]
        assert len(theirs) == len(ours), (label, theirs, ours)
        for t, o in zip(theirs, ours):
            assert t.keys() == o.keys(), (label, t, o)
            bad += [f"{label}: ${v}: nginx {t[v]!r:.300} sluice {o[v]!r:.300}" for v in t
                    if shape(v, t[v]) != shape(v, o[v]) and not meant(name, v, which)]
    if bad:
        pytest.fail("\n".join(bad), pytrace=False)


@pytest.mark.parametrize("name", SITUATIONS)
def test_variables_in_the_log(logging, certs, name):
    compare(name, logging, logged, certs, MEANT)


@pytest.mark.parametrize("name", SITUATIONS)
def test_variables_in_headers(telling, certs, name):
    compare(name, telling, talk, certs, MEANT_THEN)
