"""HTTP/2 where several servers share a port: which of them speak it, and whose limits hold."""
import struct
import threading
import time

import pytest

from h2raw import ENHANCE_YOUR_CALM, H2, INITIAL_WINDOW, MAX_STREAMS, PRIORITY, REFUSED_STREAM, frame
from harness import ORACLE, SLOW, response

sluice_only = pytest.mark.sluice_only


@pytest.fixture
def go(start, certs, backend):
    def run(text, answer=None, **kw):
        crt, key = certs.a
        b = backend(answer=answer or (lambda r: response(b"%d" % len(r.body or b""))))
        s = start(f"ssl_certificate {crt}; ssl_certificate_key {key}; " + text, values={"b": b.addr}, **kw)
        s.b = b
        return s
    return run


def alpn(s, name, offer=("h2", "http/1.1")):
    with H2(s.port(), tls=list(offer), name=name, preface=False) as c:
        return c.alpn


def settings(s, name):
    with H2(s.port(), tls=True, name=name) as c:
        c.until(lambda: c.settings is not None)
        return c.settings


@sluice_only
def test_the_name_decides(go):
    s = go("server { listen 127.0.0.1:@port@ ssl; server_name a; return 200 a; } "
           "server { listen 127.0.0.1:@port@ ssl; server_name b; http2 on; return 200 b$http2; } "
           "server { listen 127.0.0.1:@port@ ssl; server_name c; http2 off; return 200 c; }")
    assert [alpn(s, n) for n in "abcd"] == ["http/1.1", "h2", "http/1.1", "http/1.1"]
    with H2(s.port(), tls=True, name="b") as c:
        assert c.get("/", authority="b", scheme="https").body == b"bh2"
        assert c.get("/", authority="a", scheme="https").status in (200, 421)


@sluice_only
def test_on_for_all_and_off_for_one(go):
    s = go("http2 on; server { listen 127.0.0.1:@port@ ssl; server_name a; return 200 a; } "
           "server { listen 127.0.0.1:@port@ ssl; server_name b; http2 off; return 200 b; }")
    assert [alpn(s, n) for n in "abz"] == ["h2", "http/1.1", "h2"]


@pytest.mark.parametrize("first", [True, False])
def test_listen_http2_is_the_address_s(go, first):
    """nginx: the word at one server's listen counts for every server of the address."""
    one, two = ("ssl http2", "ssl") if first else ("ssl", "ssl http2")
    s = go(f"server {{ listen 127.0.0.1:@port@ {one}; server_name a; return 200 a; }} "
           f"server {{ listen 127.0.0.1:@port@ {two}; server_name b; return 200 b; }}")
    assert [alpn(s, n) for n in "abz"] == ["h2", "h2", "h2"]


@pytest.mark.parametrize("how", ["listen", "server"])
def test_the_port_decides_too(go, how):
    """A server on two addresses, of which one speaks HTTP/2 for another's sake."""
    if how == "listen":
        s = go("server { listen 127.0.0.1:@port@ ssl http2; listen 127.0.0.1:@port2@ ssl; server_name a; return 200 a; }")
        want = {"port": "h2", "port2": "http/1.1"}
    else:
        if ORACLE:
            pytest.skip("the oracle is older than this")
        s = go("server { listen 127.0.0.1:@port@ ssl; listen 127.0.0.1:@port2@ ssl; http2 on; server_name a; return 200 a; }")
        want = {"port": "h2", "port2": "h2"}
    for port, protocol in want.items():
        with H2(s.port(port), tls=["h2", "http/1.1"], name="a", preface=False) as c:
            assert c.alpn == protocol, port


@sluice_only
def test_limits_by_name(go):
    s = go("server { listen 127.0.0.1:@port@ ssl; server_name a; http2 on; http2_max_concurrent_streams 7; "
           "http2_body_preread_size 1000; return 200 a; } "
           "server { listen 127.0.0.1:@port@ ssl; server_name b; http2 on; http2_max_concurrent_streams 9; "
           "http2_body_preread_size 2000; large_client_header_buffers 2 2k; return 200 b; }")
    got = {n: settings(s, n) for n in "abz"}
    assert [got[n][MAX_STREAMS] for n in "abz"] == [7, 9, 7]
    assert [got[n][INITIAL_WINDOW] for n in "abz"] == [1000, 2000, 1000]
    assert [got[n][6] for n in "abz"] == [32768, 4096, 32768]


@sluice_only
@pytest.mark.parametrize("name,status", [("a", 200), ("b", 400)])
def test_head_limits_by_name(go, name, status):
    listen = "listen 127.0.0.1:@port@ ssl http2;" if ORACLE else "listen 127.0.0.1:@port@ ssl; http2 on;"
    s = go("server { %s server_name a; return 200 a; } "
           "server { %s server_name b; large_client_header_buffers 2 2k; return 200 b; }" % (listen, listen))
    with H2(s.port(), tls=True, name=name) as c:
        r = c.response(c.open(c.fields("/", authority=name, scheme="https", more=[("x", "y" * 3000)])))
        assert r.status == status


@sluice_only
def test_max_streams_by_name(go):
    hold = threading.Event()
    s = go("server { listen 127.0.0.1:@port@ ssl; server_name a; http2 on; return 200 a; } "
           "server { listen 127.0.0.1:@port@ ssl; server_name b; http2 on; http2_max_concurrent_streams 2; "
           "location / { proxy_pass http://@b@; } }",
           answer=lambda r: hold.wait(20 * SLOW) and response(b"x"))
    with H2(s.port(), tls=True, name="b", ack=False) as c:
        ids = [c.open(c.fields("/", authority="b", scheme="https")) for _ in range(3)]
        assert c.response(ids[2]).reset == REFUSED_STREAM
        hold.set()
        assert [c.response(n).status for n in ids[:2]] == [200, 200]


@sluice_only
def test_glitches_by_name(go):
    s = go("server { listen 127.0.0.1:@port@ ssl; server_name a; http2 on; return 200 a; } "
           "server { listen 127.0.0.1:@port@ ssl; server_name b; http2 on; http2_max_glitches 5; return 200 b; }")
    for name, ends in (("a", False), ("b", True)):
        with H2(s.port(), tls=True, name=name) as c:
            c.send(frame(PRIORITY, 0, 11, struct.pack(">IB", 0, 1)) * 20)
            if ends:
                assert c.wait_closed() == ENHANCE_YOUR_CALM
            else:
                assert c.get("/", authority="a", scheme="https").status == 200


def window_given(c, n):
    """What a stream's window was opened to, in all, when nobody reads its body."""
    given = [0]

    def note(kind, flags, stream, payload, was=c._note):
        was(kind, flags, stream, payload)
        if kind == 8 and stream == n:
            given[0] += int.from_bytes(payload, "big")
    c._note = note
    return given


@sluice_only
@pytest.mark.parametrize("name,recv", [("a", 100_000), ("b", 300_000)])
def test_recv_buffer_by_name(go, name, recv):
    """A body that its server does not read: the window is opened to http2_recv_buffer_size, and no further."""
    import socket
    quiet = socket.socket()
    quiet.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    quiet.bind(("127.0.0.1", 0))
    quiet.listen(5)
    up = "location / { proxy_pass http://127.0.0.1:%d; proxy_request_buffering off; client_max_body_size 0; }" % quiet.getsockname()[1]
    s = go("server { listen 127.0.0.1:@port@ ssl; server_name a; http2 on; http2_recv_buffer_size 100000; %s } "
           "server { listen 127.0.0.1:@port@ ssl; server_name b; http2 on; http2_recv_buffer_size 300000; %s }" % (up, up))
    with H2(s.port(), tls=True, name=name) as c:
        n = c.next_id
        given = window_given(c, n)
        c.until(lambda: c.settings is not None)
        assert c.settings[INITIAL_WINDOW] == 65536
        c.open(c.fields("/", method="POST", authority=name, scheme="https"), end=False)
        c.until(lambda: given[0] >= recv - 65536)
        assert given[0] == recv - 65536
    quiet.close()


def test_chunk_size_by_place(go):
    listen = "listen 127.0.0.1:@port@ ssl http2;" if ORACLE else "listen 127.0.0.1:@port@ ssl; http2 on;"
    s = go("http2_chunk_size 3k; root .; server { %s server_name a; location /s/ { http2_chunk_size 1k; alias ./; } "
           "location / { } } server { %s server_name b; http2_chunk_size 2k; }" % (listen, listen.replace("http2 on;", "http2 on;")),
           files={"big": bytes(100_000)})
    for name, path, size in (("a", "/big", 3072), ("a", "/s/big", 1024), ("b", "/big", 2048)):
        with H2(s.port(), tls=True, name=name) as c:
            r = c.get(path, authority=name, scheme="https")
            assert len(r.body) == 100_000 and max(r.data_frames) == size, (name, path, max(r.data_frames))


@sluice_only
def test_cleartext_is_the_default_server_s(go):
    s = go("server { listen 127.0.0.1:@port@; server_name a; http2 on; http2_max_concurrent_streams 7; return 200 a; } "
           "server { listen 127.0.0.1:@port@; server_name b; http2_max_concurrent_streams 9; return 200 b; } "
           "server { listen 127.0.0.1:@port2@; server_name c; return 200 c; } "
           "server { listen 127.0.0.1:@port2@; server_name d; http2 on; return 200 d; }")
    with H2(s.port()) as c:
        assert c.get("/", authority="a").body == b"a" and c.get("/", authority="b").body == b"b"
        assert c.settings[MAX_STREAMS] == 7
    with H2(s.port("port2"), preface=False) as c:
        c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4))
        assert c.sock.recv(100).startswith(b"HTTP/1.1 ")


@sluice_only
def test_time_by_name(go):
    """A client that says nothing, and one that stops within a head."""
    s = go("keepalive_timeout 50s; server { listen 127.0.0.1:@port@ ssl; server_name a; http2 on; return 200 a; } "
           "server { listen 127.0.0.1:@port@ ssl; server_name b; http2 on; client_header_timeout 500ms; return 200 b; } "
           "server { listen 127.0.0.1:@port@ ssl; server_name c; http2 on; keepalive_timeout 500ms; return 200 c; }")
    with H2(s.port(), tls=True, name="a") as a, H2(s.port(), tls=True, name="b") as b, H2(s.port(), tls=True, name="c") as c:
        b.send(frame(1, 0, 1, b.encoder.encode(b.fields("/"))))
        b.wait_closed()
        assert c.get("/", authority="c", scheme="https").status == 200
        assert c.wait_closed() == 0
        assert a.get("/", authority="a", scheme="https").status == 200


@sluice_only
def test_age(go):
    """keepalive_time: two GOAWAYs with the answer to the first request that comes later; both are served."""
    s = go("server { listen 127.0.0.1:@port@ ssl; server_name a; http2 on; keepalive_time 300ms; return 200 a; }")
    with H2(s.port(), tls=True, name="a", ack=False) as c:
        assert c.get("/", scheme="https").status == 200 and not c.goaways
        time.sleep(0.4)
        assert c.get("/", scheme="https").status == 200
        c.until(lambda: c.goaways)
        assert c.goaways[0][0] == 0x7fffffff
        assert c.get("/", scheme="https").status == 200
        assert c.wait_closed() == 0 and c.goaways[-1][0] == 5
