"""CONNECT: tunnel_pass, a forward proxy with access control."""
import socket
import threading

import pytest

import harness
from harness import echo_lines, free_port, poll

pytestmark = pytest.mark.sluice_only("tunnel_pass")


def echo(conn):
    """Sends back what comes, until the end; then says bye."""
    while True:
        data = conn.sock.recv(65536)
        if not data:
            break
        conn.sock.sendall(data)
    conn.sock.sendall(b"bye")


def conf(more="tunnel_pass;", where="location / { %s }", outer=""):
    return "%s server { listen 127.0.0.1:@port@; %s }" % (outer, where % more)


def connect(s, to, then=b"", headers=""):
    c = s.connect()
    c.send(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{headers}\r\n".encode() + then)
    return c, c.read_response(method="HEAD")  # no body follows success


def test_tunnel(start, backend):
    b = backend(echo)
    s = start(conf())
    c, r = connect(s, b.addr, b"early ")
    with c:
        assert r.status == 200 and r.reason == "Connection established"
        assert r.get("Content-Length") is None and r.get("Transfer-Encoding") is None and r.get("Connection") is None
        c.send(b"and late")
        assert c.read_exact(14) == b"early and late"
        c.sock.shutdown(socket.SHUT_WR)
        assert c.read_exact(3) == b"bye"
        assert c.sock.recv(1) == b""
    s.wait_log(r'"CONNECT %s HTTP/1.1" 200 17 ' % b.addr)


def test_at_server_level(start, backend):
    b = backend(echo)
    s = start(conf(where="%s location / { root html; }"), files={"html/index.html": "page"})
    c, r = connect(s, b.addr)
    with c:
        assert r.status == 200
        c.send(b"x")
        assert c.read_exact(1) == b"x"
    assert s.get("/").body == b"page"


@pytest.mark.parametrize("where", [
    "location / { if ($request_method = CONNECT) { tunnel_pass; } }",
    "location = / { tunnel_pass; } location / { return 403; }",
    "location ~ ^/ { tunnel_pass; }",
    "location / { location = / { tunnel_pass; } return 403; }",
    "location / { rewrite ^ /t/x last; } location /t/ { internal; tunnel_pass; }",
    "if ($request_method = CONNECT) { rewrite ^ /t/x last; } location / { return 404; } location /t/ { tunnel_pass; }",
    "location / { error_page 418 = @t; return 418; } location @t { tunnel_pass; }",
    "location / { try_files /none @t; } location @t { tunnel_pass; }",
    "tunnel_pass; location / { proxy_pass http://127.0.0.1:1; }"])
def test_locations_that_it_reaches(start, backend, where):
    """CONNECT has no path: the location of "/" decides, and whatever that leads to."""
    b = backend(echo)
    s = start("server { listen 127.0.0.1:@port@; %s }" % where)
    c, r = connect(s, b.addr, b"x")
    with c:
        assert r.status == 200 and c.read_exact(1) == b"x"


def test_fixed_target(start, backend):
    b, other = backend(echo), backend(echo)
    s = start(conf(f"tunnel_pass {b.addr};"))
    c, r = connect(s, other.addr)
    with c:
        assert r.status == 200
        poll(lambda: b.accepted == 1, 10, "the fixed one")
    assert other.accepted == 0


def test_group_and_next_server(start, backend):
    b = backend(echo)
    s = start(conf("tunnel_pass g;", outer="upstream g { server 127.0.0.1:%d; server %s; }" % (free_port(), b.addr)))
    for _ in range(4):
        c, r = connect(s, "a.example:443")
        with c:
            assert r.status == 200
            c.send(b"x")
            assert c.read_exact(1) == b"x"


def test_big_transfer(start, backend):
    b = backend(echo)
    s = start(conf())
    data = bytes(range(256)) * 40000
    c, r = connect(s, b.addr)
    with c:
        t = threading.Thread(target=c.sock.sendall, args=(data,))
        t.start()
        assert c.read_exact(len(data)) == data
        t.join()


def test_nobody_listens(start):
    s = start(conf())
    c, r = connect(s, "127.0.0.1:%d" % free_port())
    with c:
        assert r.status == 502
    s.wait_log("connect\\(\\) failed", "error.log")


def test_allow_upstream(start, backend):
    b, other = backend(echo), backend(echo)
    s = start(conf("tunnel_pass; tunnel_allow_upstream $ok_port $ok_host;",
                   outer="map $request_port $ok_port { default 0; %d 1; } map $host $ok_host { 127.0.0.1 1; }" % b.port))
    c, r = connect(s, b.addr)
    with c:
        assert r.status == 200
    for to in (other.addr, f"localhost:{b.port}"):
        c, r = connect(s, to)
        with c:
            assert r.status == 403
    assert other.accepted == 0
    s.wait_log("is forbidden by rule", "error.log", count=2)


def test_access_rules_come_first(start, backend):
    b = backend(echo)
    s = start(conf("tunnel_pass; deny all;"))
    c, r = connect(s, b.addr)
    with c:
        assert r.status == 403
    assert b.accepted == 0


@pytest.mark.parametrize("to", ["169.254.169.254:80", "[fe80::1]:80", "[::ffff:169.254.169.254]:80", "100.100.100.200:80",
                                "[fd00:ec2::254]:80", "[64:ff9b::169.254.169.254]:443"])
def test_link_local_and_metadata_are_refused(start, to):
    s = start(conf("tunnel_pass; tunnel_connect_timeout 1s;"))
    c, r = connect(s, to)
    with c:
        assert r.status == 502
    s.wait_log("is a link-local address, which a tunnel may not reach", "error.log")


def test_name_that_cannot_be_resolved(start):
    s = start(conf("tunnel_pass; resolver 127.0.0.1:%d; resolver_timeout 500ms;" % free_port()))
    c, r = connect(s, "a.example:443")
    with c:
        assert r.status in (502, 504)
    s.wait_log("could not be resolved", "error.log")


def h2_connect(s, to):
    import h2.config
    import h2.connection
    c = s.connect()
    h = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="latin-1",
                                                                      validate_outbound_headers=False))
    h.initiate_connection()
    h.send_headers(1, [(":method", "CONNECT"), (":authority", to)])
    c.sock.sendall(h.data_to_send())
    return c, h


def h2_events(c, h):
    data = c.sock.recv(65536)
    assert data
    events = h.receive_data(data)
    c.sock.sendall(h.data_to_send())
    return events


def test_over_http2(start, backend):
    """Several tunnels in one connection, each with its own end."""
    import h2.events
    b = backend(echo)
    s = start(conf("tunnel_pass; ").replace("server {", "server { http2 on;"))
    c, h = h2_connect(s, b.addr)
    h.send_headers(3, [(":method", "CONNECT"), (":authority", b.addr)])
    h.send_headers(5, [(":method", "CONNECT"), (":authority", "169.254.169.254:80")])
    heads, got, ended = {}, {1: b"", 3: b""}, set()
    with c:
        c.sock.sendall(h.data_to_send())
        while len(heads) < 3:
            for e in h2_events(c, h):
                if isinstance(e, h2.events.ResponseReceived):
                    heads[e.stream_id] = dict(e.headers)
        assert {k: v[":status"] for k, v in heads.items()} == {1: "200", 3: "200", 5: "502"}
        assert "content-length" not in heads[1]
        for sid in (1, 3):
            h.send_data(sid, b"hello %d" % sid)
        h.send_data(1, b"", end_stream=True)
        c.sock.sendall(h.data_to_send())
        while len(got[3]) < 7 or 1 not in ended:
            for e in h2_events(c, h):
                if isinstance(e, h2.events.DataReceived):
                    got[e.stream_id] = got.get(e.stream_id, b"") + e.data
                if isinstance(e, h2.events.StreamEnded):
                    ended.add(e.stream_id)
        assert got[1] == b"hello 1bye" and got[3] == b"hello 3" and 3 not in ended


def test_connect_without_tunnel_pass(start, backend):
    b = backend(answer=echo_lines)
    s = start("server { listen 127.0.0.1:@port@; location / { proxy_pass http://%s; } }" % b.addr)
    c, r = connect(s, b.addr)
    with c:
        assert r.status == 405
    assert b.accepted == 0


@pytest.mark.parametrize("rule", ["return 200 hello;", "return 204;", "rewrite ^ /x; return 200;"])
def test_success_is_a_tunnel_or_nothing(start, backend, rule):
    """What answers 200 to CONNECT and is no tunnel would make a client send its bytes to us as requests."""
    b = backend(echo)
    s = start(conf("tunnel_pass; " + rule))
    c, r = connect(s, b.addr)
    with c:
        assert r.status == 405
    assert b.accepted == 0


def test_other_methods_in_the_same_place(start, backend):
    b = backend(answer=echo_lines)
    s = start(conf("tunnel_pass; proxy_pass http://%s;" % b.addr))
    assert s.get("/x").status == 200
    c, r = connect(s, b.addr)
    with c:
        assert r.status == 200
        c.send("GET /through HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"GET /through" in c.read_response().body


def test_idle_tunnel_ends(start, backend):
    b = backend(echo)
    s = start(conf("tunnel_pass; tunnel_read_timeout 300ms;"))
    c, r = connect(s, b.addr)
    with c:
        assert r.status == 200
        assert c.sock.recv(100) == b""


def test_server_ends(start, backend):
    b = backend(lambda conn: conn.sock.sendall(b"hi"))
    s = start(conf())
    c, r = connect(s, b.addr)
    with c:
        assert c.read_exact(2) == b"hi"
        assert c.sock.recv(100) == b""


def test_reload_leaves_tunnels(start, backend):
    b = backend(echo)
    s = start(conf())
    c, r = connect(s, b.addr)
    with c:
        for _ in range(3):
            s.reload()
            c.send(b"x")
            assert c.read_exact(1) == b"x"


@pytest.mark.parametrize("head", ["CONNECT 127.0.0.1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n",
                                  "CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:b HTTP/1.1\r\nHost: a\r\n\r\n",
                                  "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\nabc"])
def test_malformed(start, head):
    s = start(conf())
    with s.connect() as c:
        c.send(head)
        assert c.read_response().status in (400, 405, 502)


def test_every_directive(start):
    s = start(conf("""tunnel_pass $host:$request_port; tunnel_bind 127.0.0.1; tunnel_socket_keepalive on; tunnel_socket_rcvbuf 64k;
        tunnel_socket_sndbuf 64k; tunnel_connect_timeout 1s; tunnel_send_timeout 1s; tunnel_send_lowat 1; tunnel_buffer_size 8k;
        tunnel_read_timeout 1s; tunnel_next_upstream error; tunnel_next_upstream_tries 2; tunnel_next_upstream_timeout 1s;
        tunnel_allow_link_local off;"""), start=False)
    r = s.run("-t")
    assert r.returncode == 0, r.stderr


def test_credentials_over_http2(start, backend):
    """A stream without them is asked with 407, one with them is a tunnel; Authorization is not for the proxy."""
    import h2.events
    b = backend(echo)
    s = start(conf("tunnel_pass; auth_basic proxy; auth_basic_user_file users;").replace("server {", "server { http2 on;"),
              files={"conf/users": "user:{PLAIN}secret\n"})
    good = "Basic dXNlcjpzZWNyZXQ="
    c, h = h2_connect(s, b.addr)  # stream 1
    h.send_headers(3, [(":method", "CONNECT"), (":authority", b.addr), ("proxy-authorization", good)])
    h.send_headers(5, [(":method", "CONNECT"), (":authority", b.addr), ("authorization", good)])
    heads, got = {}, b""
    with c:
        c.sock.sendall(h.data_to_send())
        while len(heads) < 3:
            for e in h2_events(c, h):
                if isinstance(e, h2.events.ResponseReceived):
                    heads[e.stream_id] = dict(e.headers)
        assert {k: v[":status"] for k, v in heads.items()} == {1: "407", 3: "200", 5: "407"}
        assert heads[1]["proxy-authenticate"] == 'Basic realm="proxy"' and "www-authenticate" not in heads[1]
        h.send_data(3, b"hello")
        c.sock.sendall(h.data_to_send())
        while len(got) < 5:
            for e in h2_events(c, h):
                if isinstance(e, h2.events.DataReceived):
                    got += e.data
        assert got == b"hello"
