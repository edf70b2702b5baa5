"""TLS to the servers behind: proxy_ssl_*."""
import ssl

import pytest

from harness import ORACLE, echo_lines, response


@pytest.fixture
def secure(backend, certs):
    """A TLS backend that notes the SNI it was asked for."""
    def go(pair=None, answer=None, **kw):
        ctx = certs.server_context(pair or certs.a, **kw)
        names = []
        ctx.sni_callback = lambda sock, name, c: names.append(name)
        b = backend(answer=answer or response(b"secret"), tls=ctx)
        b.names, b.ctx = names, ctx
        return b
    return go


def conf(b, more, to="https://@b@"):
    return ("server { listen 127.0.0.1:@port@; location / { proxy_pass %s; %s } }" % (to, more)).replace("@b@", b.addr)


def test_plain(start, secure):
    b = secure(answer=echo_lines)
    s = start(conf(b, ""))
    r = s.get("/x", method="POST", body=b"z" * 100000)
    assert r.status == 200 and r.body.endswith(b"z" * 1000)


def test_big_bodies(start, secure):
    big = bytes(range(256)) * 20000
    b = secure(answer=lambda r: response(r.body or big))
    s = start(conf(b, "client_max_body_size 0;"))
    assert s.get("/").body == big
    assert s.get("/", method="POST", body=big).body == big


def test_server_name(start, secure):
    b = secure()
    s = start(conf(b, "proxy_ssl_server_name on; proxy_ssl_name www.a.example;"))
    assert s.get("/").status == 200
    assert b.names == ["www.a.example"]


def test_verify(start, secure, certs):
    good, other = secure(), secure(certs.b)
    ca = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {certs.ca_path};"
    assert start(conf(good, ca + "proxy_ssl_name a.example;")).get("/").body == b"secret"
    s = start(conf(good, ca + "proxy_ssl_name wrong.example;"))
    assert s.get("/").status == 502
    assert start(conf(other, ca + "proxy_ssl_name b.example;")).get("/").status == 200
    s = start(conf(other, f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {certs.a[0]}; proxy_ssl_name b.example;"))
    assert s.get("/").status == 502
    s.wait_log("upstream SSL certificate verify error", "error.log")
    assert not other.requests[1:]


def test_verify_name_mismatch_is_logged(start, secure, certs):
    s = start(conf(secure(), f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {certs.ca_path}; proxy_ssl_name wrong.example;"))
    assert s.get("/").status == 502
    s.wait_log('upstream SSL certificate does not match "wrong.example"', "error.log")


def test_client_certificate(start, secure, certs):
    b = secure(verify_clients=True, high=ssl.TLSVersion.TLSv1_2)
    assert start(conf(b, "")).get("/").status == 502 or ORACLE
    s = start(conf(b, "proxy_ssl_certificate %s; proxy_ssl_certificate_key %s;" % certs.client))
    assert s.get("/").body == b"secret"


@pytest.mark.sluice_only("1.22 resumes the session of the other certificate")
def test_client_certificate_by_variable(start, secure, certs):
    """Also on kept connections: a request with another certificate never goes over this one's."""
    b = secure(verify_clients=True, high=ssl.TLSVersion.TLSv1_2)

    def handler(conn):
        who = dict(x[0] for x in conn.sock.getpeercert()["subject"])["commonName"]
        while conn.read_request():
            conn.send(response(who.encode()))
    b.handler = handler
    certs.make("other", client=True)
    s = start(conf(b, "proxy_ssl_certificate certs/$arg_c.crt; proxy_ssl_certificate_key certs/$arg_c.key;"), start=False)
    for n, pair in (("one", certs.client), ("two", (certs.dir + "/other.crt", certs.dir + "/other.key"))):
        for end, path in zip(("crt", "key"), pair):
            with open(path) as f:
                s.write("conf/certs/%s.%s" % (n, end), f.read())
    s.start()
    for _ in range(3):
        first, second = s.get("/?c=one"), s.get("/?c=two")
        assert first.status == second.status == 200 and first.body != second.body and second.body == b"other"
    assert s.get("/?c=none").status in (500, 502)
    s.wait_log('cannot load certificate "%s/conf/certs/none.crt"' % s.prefix, "error.log")


def test_protocols(start, secure):
    b = secure(high=ssl.TLSVersion.TLSv1_2)
    assert start(conf(b, "proxy_ssl_protocols TLSv1.2;")).get("/").status == 200
    assert start(conf(b, "proxy_ssl_protocols TLSv1.3;")).get("/").status == 502


def test_ciphers(start, secure):
    b = secure(high=ssl.TLSVersion.TLSv1_2)
    b.ctx.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    assert start(conf(b, "proxy_ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384;")).get("/").status == 200
    assert start(conf(b, "proxy_ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;")).get("/").status == 502


@pytest.mark.parametrize("reuse,want", [("on", True), ("off", False)])
def test_session_reuse(start, secure, reuse, want):
    seen = []
    b = secure(high=ssl.TLSVersion.TLSv1_2)
    inner = b.handler

    def handler(conn):
        seen.append(conn.sock.session_reused)
        inner(conn)
    b.handler = handler
    s = start(conf(b, f"proxy_ssl_session_reuse {reuse}; proxy_http_version 1.0; proxy_set_header Connection close;"), workers=1)
    for _ in range(4):
        assert s.get("/").status == 200
    assert any(seen) == want


def test_handshake_fails_over(start, secure, backend):
    """A server that speaks no TLS, and one that closes: the next one answers."""
    def no_tls(conn):
        conn.c.read_some()
        conn.send("HTTP/1.1 400 Bad Request\r\n\r\n")
    plain = backend(no_tls)
    shut = backend(lambda conn: conn.close())
    good = secure()
    s = start("upstream u { server %s; server %s; server %s; } server { listen 127.0.0.1:@port@;"
              " location / { proxy_pass https://u; } }" % (plain.addr, shut.addr, good.addr), workers=1)
    for _ in range(4):
        assert s.get("/").body == b"secret"


def test_keepalive_over_tls(start, secure):
    b = secure()
    s = start("upstream u { server %s; keepalive 4; } server { listen 127.0.0.1:@port@; location / { proxy_pass https://u;"
              ' proxy_http_version 1.1; proxy_set_header Connection ""; } }' % b.addr, workers=1)
    for _ in range(5):
        assert s.get("/").status == 200
    assert b.accepted == 1


def test_handshake_timeout(start, backend):
    import threading
    hold = threading.Event()
    b = backend(lambda conn: hold.wait(20))
    s = start(conf(b, "proxy_connect_timeout 1s; proxy_read_timeout 1s;"))
    assert s.get("/").status == 504
    hold.set()


def test_truncated_by_a_cut_connection(start, secure):
    b = secure()

    def handler(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort")
        conn.reset()
    b.handler = handler
    s = start(conf(b, ""))
    r = s.get("/")
    assert r.status == 502 or not r.complete


@pytest.mark.parametrize("notify", [True, False])
def test_end_without_close_notify(start, secure, notify):
    """No length: without close_notify it may be an attack or a crash, and the client can tell (RFC 9112 9.8)."""
    b = secure()

    def handler(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + 500 * b"x")
        if notify:
            conn.sock = conn.sock.unwrap()
        conn.close()
    b.handler = handler
    s = start(conf(b, ""))
    r = s.get("/")
    assert r.status == 200
    assert r.complete == (notify or ORACLE)
    assert not notify or r.body == 500 * b"x"
