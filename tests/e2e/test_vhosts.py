"""Virtual servers: names, defaults, listen addresses, PROXY protocol, and what -t says about mistakes."""
import re
import socket

import pytest

from harness import ORACLE, Conn, build_request, proxy_v1, proxy_v2, request

NAMES = """
server { listen 127.0.0.1:@port@; server_name first; location / { return 200 first; } }
server { listen 127.0.0.1:@port@; server_name a.example; location / { return 200 exact; } }
server { listen 127.0.0.1:@port@; server_name *.example; location / { return 200 star; } }
server { listen 127.0.0.1:@port@; server_name *.b.example; location / { return 200 longer-star; } }
server { listen 127.0.0.1:@port@; server_name mail.*; location / { return 200 tail; } }
server { listen 127.0.0.1:@port@; server_name .dot.org; location / { return 200 dot; } }
server { listen 127.0.0.1:@port@; server_name ~^(?<sub>\\w+)\\.re\\.net$ ~^two(\\d+)$; location / { return 200 "re $sub $1"; } }
server { listen 127.0.0.1:@port@; server_name ""; location / { return 200 empty; } }
server { listen 127.0.0.1:@port2@; server_name x; location / { return 200 x; } }
server { listen 127.0.0.1:@port2@ default_server; server_name y; location / { return 200 y; } }
"""

HOSTS = [("a.example", "exact"), ("A.Example", "exact"), ("a.example:8080", "exact"), ("a.example.", "exact"), ("x.example", "star"),
         ("x.y.example", "star"), ("c.b.example", "longer-star"), ("b.example", "star"), ("mail.foo", "tail"),
         ("dot.org", "dot"), ("x.dot.org", "dot"), ("foo.re.net", "re foo foo"), ("two17", "re  17"), ("nobody", "first"),
         ("example", "first"), ("127.0.0.1", "first"), ("[::1]:80", "first")]


@pytest.mark.parametrize("host,want", HOSTS)
def test_names(start, host, want):
    s = start(NAMES)
    assert s.get("/", host=host).text == want


def test_no_host_and_default(start):
    s = start(NAMES)
    assert s.get("/", host=None, version="1.0").text == "empty"
    assert s.get("/", port="port2", host="zzz").text == "y"
    assert s.get("/", port="port2", host="x").text == "x"


def test_one_connection_many_hosts(start):
    s = start(NAMES)
    with s.connect() as c:
        for host, want in HOSTS * 2:
            assert c.request("/", host=host).text == want


def test_addresses(start):
    s = start("""server { listen 127.0.0.1:@port@; location / { return 200 "one $server_addr"; } }
        server { listen @port@; location / { return 200 "any $server_addr $server_port"; } }
        server { listen 127.0.0.3:@port@; server_name z; location / { return 200 three; } }""")
    assert request(("127.0.0.1", s.port())).text == "one 127.0.0.1"
    assert request(("127.0.0.2", s.port())).text == f"any 127.0.0.2 {s.port()}"
    assert request(("127.0.0.3", s.port())).text == "three"


def test_ipv6_any(start):
    s = start("server { listen [::]:@port@ ipv6only=off; location / { return 200 $remote_addr; } }")
    assert request(("::1", s.port())).text == "::1"
    assert request(("127.0.0.1", s.port())).text in ("127.0.0.1", "::ffff:127.0.0.1")


def test_listen_options(start):
    s = start("server { listen 127.0.0.1:@port@ backlog=128 rcvbuf=64k sndbuf=64k so_keepalive=on deferred reuseport; location / { return 200 x; } }")
    for _ in range(10):
        assert s.get("/").status == 200


PROXY_SERVER = """server { listen 127.0.0.1:@port@ proxy_protocol;
    location / { return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port $remote_addr"; } }"""


def test_proxy_protocol(start):
    s = start(PROXY_SERVER)
    assert s.get("/", proxy=proxy_v1("192.0.2.7", "192.0.2.1", 5555, 80)).text == "192.0.2.7 5555 192.0.2.1 80 127.0.0.1"
    assert s.get("/", proxy=proxy_v1("2001:db8::7", "2001:db8::1", 5, 6, "TCP6")).text.startswith("2001:db8::7 5 2001:db8::1 6")
    assert s.get("/", proxy=proxy_v2("192.0.2.8")).text.startswith("192.0.2.8 5555 ")
    assert s.get("/", proxy=proxy_v2("2001:db8::8", "2001:db8::1")).text.startswith("2001:db8::8 ")
    assert s.get("/", proxy=proxy_v2("192.0.2.8", tlvs=b"\x01\x00\x02h2\x04\x00\x01x")).status == 200
    assert s.get("/", proxy=proxy_v2("192.0.2.8", command=0)).status == 200
    assert s.get("/", proxy=b"PROXY UNKNOWN\r\n").status == 200


@pytest.mark.sluice_only("nginx wants the header in one piece")
def test_proxy_protocol_in_pieces(start):
    s = start(PROXY_SERVER)
    for header in (proxy_v1(), proxy_v2()):
        with s.connect() as c:
            for b in header + build_request("/"):
                c.send(bytes([b]))
            assert c.read_response().text.startswith("192.0.2.7")


@pytest.mark.parametrize("header", [b"", b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 300.1.1.1 1.1.1.1 1 2\r\n", b"PROXY " + b"x" * 200 + b"\r\n",
                                    b"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c" + b"\0" * 12, b"PROXZ TCP4 1.1.1.1 1.1.1.1 1 2\r\n"])
def test_bad_proxy_protocol(start, header):
    if ORACLE and b"300" in header:
        pytest.skip("nginx does not look at the numbers")
    s = start(PROXY_SERVER)
    with s.connect() as c:
        c.send(header + build_request("/"))
        assert b" 200 " not in c.read_all()
    s.wait_log("broken header|PROXY", "error.log")


MISTAKES = [
    ("server { listen 127.0.0.1:@port@; nonsense on; }", r'unknown directive "nonsense"'),
    ("server { listen 127.0.0.1:@port@; location / { worker_processes 2; } }", r'"worker_processes" directive is not allowed here'),
    ("server { listen 127.0.0.1:@port@; root a; root b; }", r'"root" directive is duplicate'),
    ("server { listen 127.0.0.1:@port@; keepalive_timeout zz; }", r'invalid value|"keepalive_timeout" directive invalid'),
    ("server { listen 127.0.0.1:@port@; root; }", r'invalid number of arguments in "root" directive'),
    ("server { listen 127.0.0.1:@port@; sendfile maybe; }", r'invalid value "maybe" in "sendfile" directive'),
    ("server { listen 127.0.0.1:@port@; location / { return 200 $no_such; } }", r'unknown "no_such" variable'),
    ("server { listen 127.0.0.1:@port@; location ~ ( { } }", r"pcre2?_compile"),
    ("server { listen 127.0.0.1:@port@; location /a { } location /a { } }", r'duplicate location "/a"'),
    ("server { listen 127.0.0.1:@port@; ", r"unexpected end of file, expecting \"}\""),
    ("server { listen 127.0.0.1:@port@; root x } ", r'unexpected "}"|is not terminated by ";"|unexpected'),
    ("upstream u { } server { listen 127.0.0.1:@port@; }", r'no servers are inside upstream'),
    ("server { listen 127.0.0.1:@port@ default_server; } server { listen 127.0.0.1:@port@ default_server; }", r"a duplicate default server"),
    ("server { listen 127.0.0.1:@port@; location / { proxy_pass ftp://x; } }", r"invalid URL prefix"),
    ("include @PREFIX@/conf/none.conf;", r"none\.conf"),
    ('server { listen 127.0.0.1:@port@; root "x; }', r"unexpected end of file"),
    ("map $x { a b; }", r'invalid number of arguments in "map"'),
]


@pytest.mark.parametrize("http,message", MISTAKES)
def test_mistakes(start, http, message):
    s = start(http, start=False)
    p = s.run("-t")
    assert p.returncode == 1
    assert re.search(message, p.stderr), p.stderr
    assert "test failed" in p.stderr
    assert re.search(r"^nginx: \[emerg\] .* in .*nginx\.conf:\d+$", p.stderr, re.M) or "end of file" in p.stderr \
        or "in upstream" in p.stderr or "duplicate default" in p.stderr or "none.conf" in p.stderr or "variable" in p.stderr


@pytest.mark.sluice_only("DX02")
def test_all_mistakes_in_one_run(start):
    s = start("server { listen 127.0.0.1:@port@; nonsense on; sendfile maybe; proxy_bufering off; brotli on; }", start=False)
    p = s.run("-t")
    assert p.returncode == 1
    for word in ("nonsense", "maybe", "proxy_bufering", "proxy_buffering"):
        assert word in p.stderr
    assert "^" in p.stderr


def test_conf_grammar(start):
    s = start("""include @PREFIX@/conf/d/*.conf;  # a comment; with { braces }
        server { listen 127.0.0.1:@port@; set $x 'single "quoted"'; set $y "double 'quoted' \\"esc\\""; set $z a\\ b;
        location / { return 200 "$x|$y|$z|${x}y"; } location "/quo ted" { return 200 q; } }""",
              files={"conf/d/a.conf": "server { listen 127.0.0.1:@porta@; location / { return 200 A; } }\n",
                     "conf/d/b.conf": "server { listen 127.0.0.1:@portb@;\r\n location / { return 200 B; } }\r\n"})
    assert s.get("/").text == """single "quoted"|double 'quoted' "esc"|a\\ b|single "quoted"y"""
    assert s.get("/", port="porta").text == "A" and s.get("/", port="portb").text == "B"
    assert s.get("/quo%20ted").text == "q"


def test_dump(start):
    s = start("include @PREFIX@/conf/x.conf; server { listen 127.0.0.1:@port@; }", files={"conf/x.conf": "# only a comment\n"}, start=False)
    p = s.run("-T")
    assert p.returncode == 0
    assert f"# configuration file {s.path('conf/nginx.conf')}:" in p.stdout
    assert p.stdout.count(f"# configuration file {s.path('conf/x.conf')}:") == 1 and "# only a comment" in p.stdout
