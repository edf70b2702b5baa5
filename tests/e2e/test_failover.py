"""Upstream groups: the order of balancers, failures, retries, replay of reused connections."""
import collections
import signal
import socket
import threading
import zlib

import pytest

from harness import ORACLE, Backend, Conn, build_request, chunked, free_port, poll, request, response


@pytest.fixture
def named(backend):
    """named(n): n backends that answer with their letter."""
    def go(n):
        out = []
        for i in range(n):
            out.append(backend(answer=response(bytes([ord("a") + i]))))
        return out
    return go


def who(s, n, path="/", **kw):
    return "".join(s.get(path, **kw).text for _ in range(n))


def group(servers, more=""):
    return "upstream u { %s %s } " % (" ".join(f"server {x};" for x in servers), more)


SERVE = "server { listen 127.0.0.1:@port@; location / { proxy_pass http://u; %s } }"


def test_round_robin_order(start, named):
    b = named(3)
    s = start(group([x.addr for x in b]) + SERVE % "", workers=1)
    assert who(s, 9) == "abcabcabc"


def test_smooth_weights(start, named):
    b = named(3)
    s = start(group([b[0].addr + " weight=5", b[1].addr, b[2].addr]) + SERVE % "", workers=1)
    assert who(s, 14) == "aabacaa" * 2


def test_weights_over_threads(start, named):
    b = named(2)
    s = start(group([b[0].addr + " weight=3", b[1].addr]) + SERVE % "", workers=1 if ORACLE else 3)
    count = collections.Counter(who(s, 80))
    assert 50 <= count["a"] <= 70


def test_down_and_backup(start, named):
    b = named(3)
    s = start(group([b[0].addr, b[1].addr + " down", b[2].addr + " backup"]) + SERVE % "", workers=1)
    assert who(s, 4) == "aaaa"
    b[0].close()
    assert who(s, 4) == "cccc"


def test_ip_hash(start, named):
    b = named(3)
    s = start(group([x.addr for x in b], "ip_hash;") + SERVE % "", workers=1)

    def expect(ip):
        h = 89
        for octet in ip.split(".")[:3]:
            h = (h * 113 + int(octet)) % 6271
        return "abc"[h % 3]
    for ip in ("127.0.0.1", "127.0.1.1", "127.9.3.4", "127.200.7.1", "127.33.44.55"):
        assert who(s, 3, source=(ip, 0)) == expect(ip) * 3, ip


def test_hash(start, named):
    b = named(4)
    s = start(group([x.addr for x in b], "hash $arg_k;") + SERVE % "", workers=1)
    for key in ("a", "b", "user17", "x" * 50, "0"):
        h = (zlib.crc32(key.encode()) >> 16) & 0x7fff
        assert who(s, 2, path=f"/?k={key}") == "abcd"[h % 4] * 2


def test_hash_consistent_moves_little(start, named):
    b = named(4)
    addrs = [x.addr for x in b]
    s = start(group(addrs, "hash $arg_k consistent;") + SERVE % "", workers=1)
    before = {k: who(s, 1, path=f"/?k={k}") for k in range(200)}
    assert len(set(before.values())) == 4
    b[3].close()
    after = {k: who(s, 1, path=f"/?k={k}") for k in range(200)}
    for k in before:
        if before[k] != "d":
            assert after[k] == before[k]


def test_least_conn(start, backend, named):
    hold, entered = threading.Event(), threading.Event()

    def slow(r):
        if r.target == "/hold":
            entered.set()
            hold.wait(20)
        return response(b"a")
    a = backend(answer=slow)
    b = backend(answer=response(b"b"))
    s = start(group([a.addr, b.addr], "least_conn;") + SERVE % "", workers=1)
    with s.connect() as c:
        c.send(build_request("/hold"))
        assert entered.wait(10)
        assert who(s, 6) == "bbbbbb"
        hold.set()
        assert c.read_response().body == b"a"
    assert set(who(s, 6)) == {"a", "b"}


def test_random_two(start, named):
    b = named(3)
    s = start(group([x.addr for x in b], "random two least_conn;") + SERVE % "")
    assert set(who(s, 60)) == {"a", "b", "c"}


def test_dead_server_costs_nothing(start, named):
    b = named(1)
    s = start(group([f"127.0.0.1:{free_port()}", b[0].addr, f"127.0.0.1:{free_port()}"]) + SERVE % "")
    assert who(s, 20) == "a" * 20


def test_killed_connections_fail_over(start, backend, named):
    """A server that resets before its answer: GET goes on to the next one."""
    def handler(conn):
        conn.read_request()
        conn.reset()
    bad = backend(handler)
    good = named(1)[0]
    s = start(group([bad.addr, good.addr]) + SERVE % "", workers=1)
    assert who(s, 6) == "aaaaaa"


def test_post_is_not_repeated_after_it_was_sent(start, backend, named):
    def handler(conn):
        conn.read_request()
        conn.close()
    bad = backend(handler)
    good = named(1)[0]
    s = start("upstream u { server %s; server %s backup; } " % (bad.addr, good.addr) + SERVE % "", workers=1)
    assert s.get("/", method="POST", body=b"x").status == 502
    assert len(bad.requests) == 1 and not good.requests
    s2 = start("upstream u { server %s; server %s backup; } " % (bad.addr, good.addr)
               + SERVE % "proxy_next_upstream error non_idempotent;", workers=1)
    assert s2.get("/", method="POST", body=b"x").body == b"a"


def test_post_goes_on_when_nothing_was_sent(start, named):
    """Connection refused: nothing was sent, so any method may try the next server."""
    good = named(1)[0]
    s = start(group([f"127.0.0.1:{free_port()}", good.addr]) + SERVE % "", workers=1)
    for _ in range(4):
        assert s.get("/", method="POST", body=b"x").body == b"a"


STATUSES = [("http_500", 500), ("http_502", 502), ("http_503", 503), ("http_504", 504), ("http_403", 403),
            ("http_404", 404), ("http_429", 429)]


@pytest.mark.parametrize("word,status", STATUSES)
def test_next_upstream_by_status(start, backend, named, word, status):
    bad = backend(answer=response(b"bad", status, reason="X"))
    good = named(1)[0]
    s = start("upstream u { server %s; server %s backup; } " % (bad.addr, good.addr)
              + SERVE % f"proxy_next_upstream {word};", workers=1)
    assert s.get("/").body == b"a"
    s = start("upstream u { server %s; server %s backup; } " % (bad.addr, good.addr)
              + SERVE % "proxy_next_upstream error;", workers=1)
    r = s.get("/")
    assert r.status == status and r.body == b"bad"


def test_last_answer_when_all_fail(start, backend):
    bad = [backend(answer=response(b"bad%d" % i, 503, reason="X")) for i in range(2)]
    s = start(group([x.addr for x in bad]) + SERVE % "proxy_next_upstream http_503;", workers=1)
    r = s.get("/")
    assert r.status == 503
    assert [len(b.requests) for b in bad] == [1, 1]


def test_next_upstream_off_and_tries(start, backend, named):
    def handler(conn):
        conn.read_request()
        conn.close()
    bad = [backend(handler) for _ in range(3)]
    good = named(1)[0]
    servers = " ".join(f"server {b.addr} max_fails=0;" for b in bad) + f" server {good.addr};"
    s = start("upstream u { %s } " % servers + SERVE % "proxy_next_upstream off;", workers=1)
    assert s.get("/").status == 502 and sum(len(b.requests) for b in bad) == 1
    for b in bad:
        b.requests.clear()
    s = start("upstream u { %s } " % servers + SERVE % "proxy_next_upstream_tries 2;", workers=1)
    assert s.get("/").status == 502 and sum(len(b.requests) for b in bad) == 2
    s = start("upstream u { %s } " % servers + SERVE % "proxy_next_upstream_tries 4;", workers=1)
    assert s.get("/").body == b"a"


def test_next_upstream_timeout(start, backend, named):
    hold = threading.Event()

    def handler(conn):
        conn.read_request()
        hold.wait(20)
    bad = [backend(handler) for _ in range(3)]
    good = named(1)[0]
    servers = " ".join(f"server {b.addr};" for b in bad) + f" server {good.addr} backup;"
    s = start("upstream u { %s } " % servers
              + SERVE % "proxy_read_timeout 1s; proxy_next_upstream_timeout 1500ms;", workers=1)
    r = s.get("/")
    assert r.status == 504
    assert sum(len(b.requests) for b in bad) == 2
    hold.set()


def test_read_timeout(start, backend, named):
    hold = threading.Event()

    def handler(conn):
        conn.read_request()
        hold.wait(20)
    bad, good = backend(handler), named(1)[0]
    s = start("upstream u { server %s; } " % bad.addr + SERVE % "proxy_read_timeout 1s;", workers=1)
    assert s.get("/").status == 504
    s.wait_log("upstream timed out \\(110: .*\\) while reading response header from upstream", "error.log")
    s = start("upstream u { server %s; server %s backup; } " % (bad.addr, good.addr)
              + SERVE % "proxy_read_timeout 1s;", workers=1)
    assert s.get("/").body == b"a"
    hold.set()


def full_backlog():
    """A port that takes no more connections: connect() to it hangs."""
    lst = socket.socket()
    lst.bind(("127.0.0.1", free_port()))
    lst.listen(0)
    held = []
    for _ in range(4):
        c = socket.socket()
        c.setblocking(False)
        c.connect_ex(lst.getsockname())
        held.append(c)
    return lst, held


def test_connect_timeout(start, named):
    lst, held = full_backlog()
    addr = "127.0.0.1:%d" % lst.getsockname()[1]
    good = named(1)[0]
    s = start("upstream u { server %s; } " % addr + SERVE % "proxy_connect_timeout 1s;", workers=1)
    assert s.get("/").status == 504
    s.wait_log("upstream timed out .* while connecting to upstream", "error.log")
    s = start("upstream u { server %s; server %s backup; } " % (addr, good.addr)
              + SERVE % "proxy_connect_timeout 1s;", workers=1)
    assert s.get("/", method="POST", body=b"x").body == b"a"
    for x in held + [lst]:
        x.close()


def test_max_fails(start, backend, named):
    """After max_fails failures a server is left alone for fail_timeout, then tried again."""
    state = {"bad": True}

    def handler(conn):
        while conn.read_request():
            if state["bad"]:
                conn.reset()
                return
            conn.send(response(b"x"))
    flaky, good = backend(handler), named(1)[0]
    s = start(group([flaky.addr + " max_fails=2 fail_timeout=2s", good.addr]) + SERVE % "", workers=1)
    assert who(s, 20) == "a" * 20
    assert len(flaky.requests) == 2
    state["bad"] = False
    poll(lambda: "x" in who(s, 2), 10, "the server to come back")


def test_max_fails_0_is_never_ejected(start, named):
    dead, good = free_port(), named(1)[0]
    s = start(group([f"127.0.0.1:{dead} max_fails=0", good.addr]) + SERVE % "", workers=1)
    assert who(s, 6) == "aaaaaa"
    with Backend(answer=response(b"z"), port=dead):
        assert "z" in who(s, 2)


def test_no_live_upstreams(start):
    ports = [free_port(), free_port()]
    s = start(group([f"127.0.0.1:{p}" for p in ports]) + SERVE % "", workers=1)
    for _ in range(3):
        assert s.get("/").status == 502
    s.wait_log("no live upstreams while connecting to upstream", "error.log")
    s.wait_log(r"connect\(\) failed \(111: Connection refused\) while connecting to upstream", "error.log")


def test_max_conns(start, backend):
    hold, entered = threading.Event(), threading.Semaphore(0)

    def slow(r):
        entered.release()
        hold.wait(20)
        return response(b"a")
    a = backend(answer=slow)
    b = backend(answer=response(b"b"))
    s = start("upstream u { zone z 64k; server %s max_conns=2 weight=100; server %s; } " % (a.addr, b.addr) + SERVE % "", workers=1)
    conns = [s.connect() for _ in range(2)]
    for c in conns:
        c.send(build_request("/"))
        assert entered.acquire(timeout=10)
    assert who(s, 5) == "bbbbb"
    hold.set()
    for c in conns:
        assert c.read_response().body == b"a"
        c.close()


def test_reused_connection_that_died_is_replayed(start, backend):
    """The server closes idle connections whenever it likes; clients never see that."""
    state = {"close": False}

    def handler(conn):
        n = 0
        while True:
            r = conn.read_request()
            if r is None:
                return
            n += 1
            if n == 2:  # the second request on any connection finds it dead
                conn.reset()
                return
            conn.send(response(b"a"))
    b = backend(handler)
    s = start("upstream u { server %s; keepalive 4; } " % b.addr
              + SERVE % 'proxy_http_version 1.1; proxy_set_header Connection "";', workers=1)
    statuses = [s.get("/").status for _ in range(10)]
    if ORACLE:
        assert statuses.count(200) >= 5  # nginx ejects or repeats as proxy_next_upstream allows
    else:
        assert statuses == [200] * 10


def test_idle_connection_closed_by_the_server(start, backend):
    def handler(conn):
        conn.read_request()
        conn.send(response(b"a"))
        conn.close()
    b = backend(handler)
    s = start("upstream u { server %s; keepalive 4; } " % b.addr
              + SERVE % 'proxy_http_version 1.1; proxy_set_header Connection "";', workers=1)
    for _ in range(20):
        assert s.get("/").status == 200


@pytest.mark.sluice_only("N07")
def test_replay_of_post_on_a_closed_reused_connection(start, backend):
    """Zero response bytes on a reused connection and a body that can be sent again."""
    def handler(conn):
        n = 0
        while True:
            head = conn.read_head()
            if head is None:
                return
            n += 1
            if n == 2:
                conn.close()
                return
            conn.read_body(head)
            conn.backend.note(head)
            conn.send(response(head.body))
    b = backend(handler)
    s = start("upstream u { server %s; keepalive 4; } " % b.addr + SERVE % "", workers=1)
    for i in range(6):
        r = s.get("/", method="PUT", body=b"body%d" % i)
        assert r.status == 200 and r.body == b"body%d" % i


@pytest.mark.parametrize("how", ["close", "reset"])
def test_post_that_was_read_is_not_sent_again(start, backend, how):
    """The server took the request and died: it may have done what was asked."""
    posts = []

    def handler(conn):
        n = 0
        while True:
            r = conn.read_request()
            if r is None:
                return
            n += 1
            if r.method == "POST":
                posts.append(r.body)
            if n == 2:
                getattr(conn, how)()
                return
            conn.send(response(b"a"))
    b = backend(handler)
    s = start("upstream u { server %s; keepalive 4; } " % b.addr
              + SERVE % 'proxy_http_version 1.1; proxy_set_header Connection "";', workers=1)
    assert s.get("/").status == 200
    assert s.get("/", method="POST", body=b"once").status == 502
    assert posts == [b"once"]
    assert s.get("/").status == 200


def test_large_body_is_sent_again(start, named):
    good = named(1)[0]
    s = start(group([f"127.0.0.1:{free_port()}", good.addr])
              + SERVE % "client_body_buffer_size 8k; client_max_body_size 0;", workers=1)
    body = b"0123456789" * 50000
    for _ in range(3):
        r = s.get("/", method="PUT", body=body)
        assert r.status == 200 and good.last.body == body


def test_half_closed_server(start, backend):
    """A server that half-closes after its answer, and one that closes while the body is still sent."""
    def handler(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it")
        conn.sock.shutdown(socket.SHUT_WR)
        conn.wait_eof(5)
    b = backend(handler)
    s = start("upstream u { server %s; } " % b.addr + SERVE % "", workers=1)
    for _ in range(3):
        r = s.get("/")
        assert r.body == b"all of it" and r.complete


def test_upstream_variables_of_tries(start, backend, named):
    def handler(conn):
        conn.read_request()
        conn.send(response(b"no", 503, reason="X"))
    bad, good = backend(handler), named(1)[0]
    s = start("log_format t '$upstream_addr|$upstream_status|$upstream_response_length|$status|$upstream_bytes_received';"
              " access_log @PREFIX@/logs/access.log t; upstream u { server %s; server %s backup; } " % (bad.addr, good.addr)
              + SERVE % "proxy_next_upstream http_503;", workers=1)
    assert s.get("/").body == b"a"
    m = s.wait_log(r"^(.*)\|503, 200\|(.*)\|200\|.*$")
    assert m.group(1) == f"{bad.addr}, {good.addr}"


def test_resolver_name_in_upstream(start, named):
    b = named(1)[0]
    s = start("upstream u { server localhost:%d; } " % b.port + SERVE % "")
    assert who(s, 6) == "aaaaaa"  # localhost may be ::1 too, where nobody listens


@pytest.mark.sluice_only("N02")
def test_unknown_name_does_not_stop_the_start(start, named):
    b = named(1)[0]
    s = start("upstream u { server nosuchname.invalid:80; server %s; } " % b.addr + SERVE % "")
    assert who(s, 4) == "aaaa"
