"""gRPC: real clients and servers (python3-grpcio), gRPC-Web by hand, servers that misbehave."""
import base64
import concurrent.futures
import struct
import threading
import time

import pytest

import harness
from h2_backend import H2Backend, h2_tls
from harness import free_port, poll

grpc = pytest.importorskip("grpc")
pytestmark = pytest.mark.sluice_only("grpc-status answers, grpc_web")


def raw(x):
    return x


class Echo(grpc.GenericRpcHandler):
    """Methods of /t.T/: the four kinds; messages are bytes."""

    def __init__(self):
        self.seen, self.metadata, self.cancelled = [], [], threading.Event()

    def service(self, call):
        self.metadata.append(dict(call.invocation_metadata))
        name = call.method.rsplit("/", 1)[1]
        kind = {"unary": grpc.unary_unary_rpc_method_handler, "down": grpc.unary_stream_rpc_method_handler,
                "up": grpc.stream_unary_rpc_method_handler, "both": grpc.stream_stream_rpc_method_handler,
                "fail": grpc.unary_unary_rpc_method_handler, "hang": grpc.unary_stream_rpc_method_handler,
                "late": grpc.unary_stream_rpc_method_handler}.get(name)
        return kind(getattr(self, name), raw, raw) if kind else None

    def unary(self, m, ctx):
        ctx.set_trailing_metadata((("x-trail", "yes"), ("x-bin", b"1")))
        return b"<" + m + b">"

    def down(self, m, ctx):
        for i in range(int(m)):
            yield b"%d" % i * 1000

    def up(self, ms, ctx):
        return b"%d" % sum(len(m) for m in ms)

    def both(self, ms, ctx):
        for m in ms:
            yield b"<" + m + b">"

    def fail(self, m, ctx):
        ctx.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: \u00e4")

    def late(self, m, ctx):
        yield b"first"
        ctx.abort(grpc.StatusCode.DATA_LOSS, "later")

    def hang(self, m, ctx):
        ctx.add_callback(self.cancelled.set)
        yield b"first"
        self.cancelled.wait(30)


@pytest.fixture
def server():
    made = []

    def go(credentials=None):
        s = grpc.server(concurrent.futures.ThreadPoolExecutor(32))
        s.echo = Echo()
        s.add_generic_rpc_handlers((s.echo,))
        s.addr = "127.0.0.1:%d" % free_port()
        assert (s.add_secure_port(s.addr, credentials) if credentials else s.add_insecure_port(s.addr))
        s.start()
        made.append(s)
        return s
    yield go
    for s in made:
        s.stop(0)


@pytest.fixture
def channel():
    made = []

    def go(s, port="port"):
        c = grpc.insecure_channel("127.0.0.1:%d" % s.port(port), options=[("grpc.enable_retries", 0)])
        made.append(c)
        return c
    yield go
    for c in made:
        c.close()


def conf(to, more="", outer=""):
    return ("%s server { listen 127.0.0.1:@port@; http2 on; client_max_body_size 0; location / { grpc_pass %s; %s } }"
            % (outer, to, more))


def call(kind, c, name):
    return getattr(c, kind)("/t.T/" + name, request_serializer=raw, response_deserializer=raw)


# ---------------------------------------------------------------- the four kinds

def test_unary(start, server, channel):
    g = server()
    s = start(conf("grpc://" + g.addr, 'grpc_set_header X-Set "a $remote_addr";'))
    out, info = call("unary_unary", channel(s), "unary").with_call(b"hello", metadata=(("x-mine", "1"), ("x-bin", b"2")), timeout=10)
    assert out == b"<hello>" and info.code() == grpc.StatusCode.OK
    assert ("x-trail", "yes") in info.trailing_metadata()
    assert g.echo.metadata[0]["x-mine"] == "1" and g.echo.metadata[0]["x-set"] == "a 127.0.0.1"


def test_large_messages(start, server, channel):
    g = server()
    s = start(conf("grpc://" + g.addr))
    u = call("unary_unary", channel(s), "unary")
    for n in (0, 1, 65535, 3000000):
        assert u(b"x" * n, timeout=20) == b"<" + b"x" * n + b">"


def test_server_streaming(start, server, channel):
    g = server()
    s = start(conf(g.addr))
    got = list(call("unary_stream", channel(s), "down")(b"500", timeout=20))
    assert got == [b"%d" % i * 1000 for i in range(500)]


def test_client_streaming(start, server, channel):
    g = server()
    s = start(conf("grpc://" + g.addr))
    assert call("stream_unary", channel(s), "up")(iter([b"x" * 1000] * 2000), timeout=20) == b"2000000"


def test_bidirectional_one_by_one(start, server, channel):
    """Each message is answered before the next is sent: nothing is held back anywhere."""
    g = server()
    s = start(conf("grpc://" + g.addr))
    turn = threading.Semaphore(1)

    def ask():
        for i in range(50):
            assert turn.acquire(timeout=10 * harness.SLOW)
            yield b"%d" % i
    n = 0
    for m in call("stream_stream", channel(s), "both")(ask(), timeout=30):
        assert m == b"<%d>" % n
        n += 1
        turn.release()
    assert n == 50


def test_bidirectional_in_bulk(start, server, channel):
    g = server()
    s = start(conf("grpc://" + g.addr))
    got = list(call("stream_stream", channel(s), "both")(iter([b"y" * 5000] * 1000), timeout=30))
    assert got == [b"<" + b"y" * 5000 + b">"] * 1000


def test_many_calls_share_connections(start, server, channel):
    g = server()
    s = start(conf("grpc://" + g.addr))
    u = call("unary_unary", channel(s), "unary")
    futures = [u.future(b"%d" % i, timeout=20) for i in range(300)]
    assert [f.result() for f in futures] == [b"<%d>" % i for i in range(300)]


def test_tls_to_the_server(start, server, channel, certs):
    key, crt = open(certs.a[1], "rb").read(), open(certs.a[0], "rb").read()
    g = server(grpc.ssl_server_credentials([(key, crt)]))
    s = start(conf("grpcs://" + g.addr, f"grpc_ssl_verify on; grpc_ssl_name a.example; grpc_ssl_trusted_certificate {certs.ca_path};"))
    assert call("unary_unary", channel(s), "unary")(b"x", timeout=10) == b"<x>"


def test_variables_in_the_address(start, server, channel):
    g = server()
    s = start(conf("grpc://$there", outer='map "" $there { default %s; }' % g.addr))
    assert call("unary_unary", channel(s), "unary")(b"x", timeout=10) == b"<x>"


# ---------------------------------------------------------------- status

def failure(fn, *a, **kw):
    with pytest.raises(grpc.RpcError) as e:
        r = fn(*a, **kw)
        if not isinstance(r, bytes):
            list(r)
    return e.value.code(), e.value.details()


def test_errors_of_the_server(start, server, channel):
    g = server()
    s = start(conf("grpc://" + g.addr))
    c = channel(s)
    assert failure(call("unary_unary", c, "fail"), b"", timeout=10) == (grpc.StatusCode.FAILED_PRECONDITION, "no: \u00e4")
    assert failure(call("unary_stream", c, "late"), b"", timeout=10) == (grpc.StatusCode.DATA_LOSS, "later")
    assert failure(call("unary_unary", c, "none"), b"", timeout=10)[0] == grpc.StatusCode.UNIMPLEMENTED


def test_errors_of_ours(start, channel):
    s = start(conf("grpc://127.0.0.1:%d" % free_port()))
    code, words = failure(call("unary_unary", channel(s), "unary"), b"", timeout=10)
    assert code == grpc.StatusCode.UNAVAILABLE and words == "proxy: 502 Bad Gateway"
    r = s.get("/t.T/unary", method="POST", body=b"")
    assert r.status == 502  # no gRPC request


def test_error_page_wins(start, channel):
    s = start(conf("grpc://127.0.0.1:%d" % free_port(), "error_page 502 = /err;").replace(
        "location / {", "location = /err { internal; default_type application/grpc; add_header grpc-status 10 always; "
        "return 204; } location / {"))
    code, _ = failure(call("unary_unary", channel(s), "unary"), b"", timeout=10)
    assert code == grpc.StatusCode.ABORTED


def test_deadline_of_the_client(start, channel):
    held = []
    b = H2Backend(on_request=lambda c, r: held.append(r))
    try:
        s = start(conf("grpc://" + b.addr))
        with s.connect() as c:
            before = time.monotonic()
            r = c.request("/t.T/x", method="POST", body=b"\0\0\0\0\0", headers=[
                ("Content-Type", "application/grpc"), ("grpc-timeout", "300m"), ("TE", "trailers")])
            took = time.monotonic() - before
        assert r.status == 200 and r.get("grpc-status") == "4" and 0.25 < took < 10
        assert held[0].get("grpc-timeout") == "300m" and held[0].get("te") == "trailers"
        poll(lambda: b.resets() == [(1, 8)], 10, "the server to hear of it")
    finally:
        b.close()


def test_read_timeout_when_sooner(start):
    b = H2Backend(on_request=lambda c, r: None)
    try:
        s = start(conf("grpc://" + b.addr, "grpc_read_timeout 200ms;"))
        r = s.get("/t.T/x", method="POST", body=b"\0\0\0\0\0", headers=[("Content-Type", "application/grpc"), ("grpc-timeout", "1H")])
        assert r.get("grpc-status") == "14"
    finally:
        b.close()


def test_cancel_reaches_the_server(start, server, channel):
    g = server()
    s = start(conf("grpc://" + g.addr))
    it = call("unary_stream", channel(s), "hang")(b"", timeout=30)
    assert next(it) == b"first"
    it.cancel()
    assert g.echo.cancelled.wait(10 * harness.SLOW)


def test_calls_survive_a_goaway(start, channel):
    """A server that ends its connections without having taken the call: the call goes to the next connection."""
    count = [0]

    def answer(c, r):
        count[0] += 1
        if count[0] % 3 == 0:
            c.goaway(max(0, r.stream - 2))
            c.gone = True
            return
        c.respond(r.stream, headers=[("content-type", "application/grpc")], body=r.body, trailers=[("grpc-status", "0")])
    b = H2Backend(on_request=answer)
    try:
        s = start(conf("grpc://" + b.addr), workers=1)
        u = call("unary_unary", channel(s), "echo")
        for i in range(30):
            assert u(b"%d" % i, timeout=10) == b"%d" % i
    finally:
        b.close()


def test_next_server(start, server, channel):
    g = server()
    dead = "127.0.0.1:%d" % free_port()
    s = start(conf("grpc://g", outer="upstream g { server %s; server %s; }" % (dead, g.addr)))
    u = call("unary_unary", channel(s), "unary")
    for _ in range(6):
        assert u(b"x", timeout=10) == b"<x>"


def test_reload_does_not_disturb_a_stream(start, server, channel):
    g = server()
    text = conf("grpc://" + g.addr)
    s = start(text)
    turn, got = threading.Semaphore(1), []

    def ask():
        for i in range(6):
            assert turn.acquire(timeout=10 * harness.SLOW)
            yield b"%d" % i
    for m in call("stream_stream", channel(s), "both")(ask(), timeout=30):
        got.append(m)
        if len(got) == 3:
            s.reload(text)
        turn.release()
    assert got == [b"<%d>" % i for i in range(6)]


# ---------------------------------------------------------------- gRPC-Web

def frame(data, kind=0):
    return struct.pack(">BI", kind, len(data)) + data


def web_parts(data):
    """[(flags, payload)]"""
    out = []
    while data:
        kind, n = struct.unpack(">BI", data[:5])
        assert len(data) >= 5 + n
        out.append((kind, data[5:5 + n]))
        data = data[5 + n:]
    return out


def unbase64(text):
    """Concatenated groups, each with its own padding."""
    assert len(text) % 4 == 0
    return b"".join(base64.b64decode(text[i:i + 4], validate=True) for i in range(0, len(text), 4))


@pytest.mark.parametrize("suffix", ["", "+proto"])
@pytest.mark.parametrize("text", [False, True])
def test_web_unary(start, server, text, suffix):
    g = server()
    s = start(conf("grpc://" + g.addr, "grpc_web on;"))
    kind = "application/grpc-web" + ("-text" if text else "") + suffix
    for n in (0, 1, 2, 100000):
        body = frame(b"z" * n)
        r = s.get("/t.T/unary", method="POST", body=base64.b64encode(body) if text else body,
                  headers=[("Content-Type", kind), ("X-Grpc-Web", "1")])
        assert r.status == 200 and r.get("content-type").startswith("application/grpc-web" + ("-text" if text else ""))
        parts = web_parts(unbase64(r.body) if text else r.body)
        assert parts[0] == (0, b"<" + b"z" * n + b">") and parts[1][0] == 0x80 and len(parts) == 2
        fields = dict(line.split(b": ", 1) for line in parts[1][1].split(b"\r\n") if line)
        assert fields[b"grpc-status"] == b"0" and fields[b"x-trail"] == b"yes"
    assert g.echo.metadata[0].get("te", "trailers") == "trailers"


@pytest.mark.parametrize("text", [False, True])
def test_web_server_streaming(start, server, text):
    g = server()
    s = start(conf("grpc://" + g.addr, "grpc_web on;"))
    body = frame(b"20")
    r = s.get("/t.T/down", method="POST", body=base64.b64encode(body) if text else body,
              headers=[("Content-Type", "application/grpc-web" + ("-text" if text else ""))])
    parts = web_parts(unbase64(r.body) if text else r.body)
    assert [p for k, p in parts[:-1]] == [b"%d" % i * 1000 for i in range(20)] and parts[-1][0] == 0x80


def test_web_streams_without_waiting(start, server):
    g = server()
    s = start(conf("grpc://" + g.addr, "grpc_web on;"))
    with s.connect() as c:
        body = frame(b"")
        c.send(b"POST /t.T/hang HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web\r\nContent-Length: 5\r\n\r\n" + body)
        got = b""
        while b"first" not in got:
            more = c.sock.recv(4096)
            assert more
            got += more
    assert g.echo.cancelled.wait(10 * harness.SLOW)


def test_web_trailers_only(start, server):
    g = server()
    s = start(conf("grpc://" + g.addr, "grpc_web on;"))
    r = s.get("/t.T/none", method="POST", body=frame(b""), headers=[("Content-Type", "application/grpc-web")])
    assert r.status == 200 and r.get("grpc-status") == "12" and r.get("content-type").startswith("application/grpc-web")


def test_web_bad_base64(start, server):
    g = server()
    s = start(conf("grpc://" + g.addr, "grpc_web on;"))
    for body in (b"AAA", b"A===", b"AA!A", b"AA==AA=A", b"=AAA"):
        r = s.get("/t.T/unary", method="POST", body=body, headers=[("Content-Type", "application/grpc-web-text")])
        assert r.status in (200, 400) and r.get("grpc-status") not in ("0", None) or r.status == 400, body


def test_web_off_and_plain_grpc(start, server, channel):
    g = server()
    s = start(conf("grpc://" + g.addr, "grpc_web on;"))
    assert call("unary_unary", channel(s), "unary")(b"x", timeout=10) == b"<x>"
    s = start(conf("grpc://" + g.addr))
    r = s.get("/t.T/unary", method="POST", body=frame(b"x"), headers=[("Content-Type", "application/grpc-web")])
    assert r.get("content-type") != "application/grpc-web"


# ---------------------------------------------------------------- configuration

@pytest.mark.parametrize("line, words", [
    ("grpc_pass grpc://127.0.0.1:1/uri;", "invalid host"),
    ("grpc_pass grpc://127.0.0.1:99999;", "invalid port"),
    ("grpc_pass grpc://;", "no host"),
])
def test_bad_configuration(start, line, words):
    s = start("server { listen 127.0.0.1:@port@; location / { %s } }" % line, start=False)
    r = s.run("-t")
    assert r.returncode == 1 and words in r.stderr


def test_every_directive(start, certs):
    s = start(conf("grpcs://127.0.0.1:1", f"""grpc_bind 127.0.0.1; grpc_socket_keepalive on; grpc_socket_rcvbuf 64k;
        grpc_socket_sndbuf 64k; grpc_connect_timeout 1s; grpc_send_timeout 1s; grpc_intercept_errors on; grpc_buffer_size 8k;
        grpc_read_timeout 1s; grpc_next_upstream error timeout http_503; grpc_next_upstream_tries 2; grpc_next_upstream_timeout 1s;
        grpc_set_header A b; grpc_pass_header Date; grpc_hide_header X; grpc_ignore_headers Vary; grpc_ssl_session_reuse off;
        grpc_ssl_protocols TLSv1.3; grpc_ssl_ciphers HIGH; grpc_ssl_name x; grpc_ssl_server_name on; grpc_ssl_verify on;
        grpc_ssl_verify_depth 2; grpc_ssl_trusted_certificate {certs.ca_path}; grpc_ssl_crl {certs.crl_path};
        grpc_ssl_certificate {certs.client[0]}; grpc_ssl_certificate_key {certs.client[1]};
        grpc_ssl_conf_command Options PrioritizeChaCha;"""), start=False)
    r = s.run("-t")
    assert r.returncode == 0, r.stderr
