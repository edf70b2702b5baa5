"""Every balancing method sends every request where nginx sends it: the same configuration and the same requests to
both, the sequences of $upstream_addr compared. And names that change while the server runs."""
import socket
import struct
import threading

import pytest

from harness import NGINX, Server, free_port, poll, response

SERVE = """server { listen 127.0.0.1:@port@; location / { proxy_pass http://u;
    add_header X-Up $upstream_addr always; proxy_next_upstream_tries 0; } }"""
ROOT = [("/", None)]
KEYS = [(f"/?k=key{i}", None) for i in range(60)]
IPS = [("/", f"127.{i * 37 % 256}.{i * 91 % 256}.{i + 1}") for i in range(40)]

# name: (method, servers, requests). a-e answer, x-z refuse.
CASES = {
    "weights": ("", "a weight=5,b,c", ROOT * 21),
    "weights-2": ("", "a weight=4,b weight=3,c weight=2,d", ROOT * 30),
    "down": ("", "a down,b,c down,d weight=2", ROOT * 9),
    "dead": ("", "x weight=6,b weight=3,c weight=2", ROOT * 24),
    "dead-3": ("", "x weight=6 max_fails=3,b weight=3,c weight=2", ROOT * 24),
    "dead-always": ("", "x weight=6 max_fails=0,b weight=3,c weight=2", ROOT * 24),
    "backup": ("", "x,y,c backup,d backup weight=2", ROOT * 9),
    "all-dead": ("", "x,y", ROOT * 4),
    "only-dead": ("", "x", ROOT * 3),
    "only-down": ("", "a down", ROOT * 2),
    "least_conn": ("least_conn;", "a weight=3,b weight=2,c", ROOT * 24),
    "least_conn-dead": ("least_conn;", "a weight=3,x weight=2,c", ROOT * 24),
    "ip_hash": ("ip_hash;", "a,b,c", IPS),
    "ip_hash-weights": ("ip_hash;", "a weight=2,b,c weight=3,d down", IPS),
    "ip_hash-dead": ("ip_hash;", "y,x,c,d", IPS),
    "hash": ("hash $arg_k;", "a,b,c", KEYS),
    "hash-weights": ("hash $arg_k;", "a weight=2,b,c weight=3,d down", KEYS),
    "hash-dead": ("hash $arg_k;", "a,x max_fails=0,y max_fails=0,c", KEYS),
    "hash-empty": ("hash $arg_k;", "a,b,c", ROOT * 7),
    "consistent": ("hash $arg_k consistent;", "a,b,c", KEYS),
    "consistent-weights": ("hash $arg_k consistent;", "a weight=2,b,c weight=3,d down", KEYS),
    "consistent-dead": ("hash $arg_k consistent;", "a,x max_fails=0,y max_fails=0,c", KEYS),
}


@pytest.fixture
def addrs(backend):
    live = {c: backend(answer=response(c)).addr for c in "abcde"}
    return live | {c: f"127.0.0.1:{free_port()}" for c in "xyz"}


def config(method, servers, addrs):
    lines = "".join(f"server {addrs[s[0]]}{s[1:]}; " for s in servers.split(","))
    return f"upstream u {{ {method} {lines} }} {SERVE}"


def sequence(s, requests, addrs):
    """Letters of the servers each request was sent to; 'u' is the group's name: none was live."""
    names = {v: k for k, v in addrs.items()} | {"u": "u"}
    out = []
    for path, source in requests:
        r = s.get(path, source=(source, 0)) if source else s.get(path)
        out.append("".join(names[a] for a in (r.get("X-Up") or "").split(", ")))
    return " ".join(out)


@pytest.mark.parametrize("name", CASES)
def test_same_as_nginx(start, addrs, name):
    method, servers, requests = CASES[name]
    http = config(method, servers, addrs)
    ours = start(http)  # several threads: what they know is one
    theirs = Server(http, binary=NGINX, workers=1)
    try:
        expected = sequence(theirs, requests, addrs)
    finally:
        theirs.close()
    assert sequence(ours, requests, addrs) == expected


@pytest.mark.sluice_only("nginx forgets on reload")
def test_reload_goes_on_where_it_was(start, addrs):
    s = start(config("", "a,b,c", addrs))
    assert sequence(s, ROOT * 4, addrs) == "a b c a"
    s.reload(config("", "a,b,c", addrs) + "server { listen 127.0.0.1:@port2@; }")
    assert sequence(s, ROOT * 4, addrs) == "b c a b"


def test_random_follows_weights(start, addrs):
    s = start(config("random;", "a weight=3,b,c down", addrs))
    seq = sequence(s, ROOT * 200, addrs)
    assert 110 < seq.count("a") < 190 and seq.count("b") > 10 and "c" not in seq


# ---------------------------------------------------------------- names

class Dns:
    """A name server that knows what a test tells it."""

    def __init__(self):
        self.names, self.ttl, self.asked = {}, 1, 0
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.addr = "127.0.0.1:%d" % self.sock.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                q, peer = self.sock.recvfrom(2048)
            except OSError:
                return
            self.asked += 1
            at, labels = 12, []
            while q[at]:
                labels.append(q[at + 1:at + 1 + q[at]].decode().lower())
                at += 1 + q[at]
            kind = struct.unpack("!H", q[at + 1:at + 3])[0]
            ips = self.names.get(".".join(labels))
            found = ips if ips and kind == 1 else []
            head = q[:2] + struct.pack("!HHHHH", 0x8180 if ips else 0x8183, 1, len(found), 0, 0)
            body = q[12:at + 5]
            for ip in found:
                body += b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, self.ttl, 4) + socket.inet_aton(ip)
            self.sock.sendto(head + body, peer)

    def close(self):
        self.sock.close()


@pytest.fixture
def dns():
    d = Dns()
    yield d
    d.close()


@pytest.mark.sluice_only("nginx does not start")
def test_name_that_is_not_there_yet(start, backend, dns):
    port = free_port()
    s = start(f"resolver {dns.addr} ipv6=off; upstream u {{ server late.test:{port} resolve; }}" + SERVE)
    assert s.get().status == 502
    assert "host not found in upstream" in s.log("error.log") + s.log("stderr")
    backend(answer=response("late"), port=port)
    dns.names["late.test"] = ["127.0.0.1"]
    poll(lambda: s.get().text == "late", 20, "the name to be found")


@pytest.mark.sluice_only("nginx does not start")
def test_reload_forgets_no_name(start, backend, dns):
    """What a name was found to have is served on, though nobody can say it again."""
    b = backend(answer=response("found"))
    dns.names["kept.test"] = ["127.0.0.1"]
    s = start(f"resolver {dns.addr} ipv6=off; upstream u {{ server kept.test:{b.port} resolve; }}" + SERVE)
    poll(lambda: s.get().text == "found", 20, "the name to be found")
    dns.names.clear()
    for _ in range(3):
        s.reload()
        assert s.get().text == "found"
    poll(lambda: "kept.test could not be resolved" in s.log("error.log"), 20, "the name to be asked for")
    assert s.get().text == "found"


@pytest.mark.sluice_only("nginx resolves once")
@pytest.mark.parametrize("ttl", [0, 1])
def test_name_that_moves(start, dns, ttl):
    port = free_port()
    dns.ttl = ttl
    socks = []

    def serve(ip):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ip, port))
        sock.listen(64)
        socks.append(sock)

        def run():
            while True:
                try:
                    c, _ = sock.accept()
                except OSError:
                    return
                c.recv(65536)
                c.sendall(response(ip, headers=[("Connection", "close")]))
                c.close()
        threading.Thread(target=run, daemon=True).start()
    serve("127.0.0.2")
    serve("127.0.0.3")
    dns.names["moving.test"] = ["127.0.0.2"]
    s = start(f"resolver {dns.addr} ipv6=off; upstream u {{ server moving.test:{port} resolve; }}" + SERVE)
    poll(lambda: s.get().text == "127.0.0.2", 20, "the first address")
    dns.names["moving.test"] = ["127.0.0.3"]
    poll(lambda: s.get().text == "127.0.0.3", 20, "the second address")
    assert all(s.get().text == "127.0.0.3" for _ in range(5))
    dns.names["moving.test"] = ["127.0.0.2", "127.0.0.3"]
    poll(lambda: len({s.get().text for _ in range(4)}) == 2, 20, "both addresses")
    for sock in socks:
        sock.close()
