"""A GOAWAY that says what was wrong, when the socket is full at that moment: whoever reads within a while hears it, whoever
does not loses the connection all the same. Clients, and servers behind."""
import socket
import struct
import threading
import time

import pytest

from h2raw import DATA, H2, INITIAL_WINDOW, PROTOCOL_ERROR, SETTINGS, WINDOW_UPDATE, RawServer, frame
from harness import SLOW, poll

WIDE = 0x7fffffff
PATIENCE = 5  # seconds that are given to who reads late
# what breaks the connection, and the code of the GOAWAY
ERRORS = {"data on stream 0": (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
          "a wrong window": (frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), PROTOCOL_ERROR),
          "settings of 5 bytes": (frame(SETTINGS, 0, 0, b"12345"), 6)}


def established(s, ports):
    """Sockets of the worker between these ports that are connections still, or wait to be closed by it."""
    n = 0
    with open("/proc/net/tcp") as f:
        for line in list(f)[1:]:
            _, local, remote, state = line.split()[:4]
            a, b = (int(x.split(":")[1], 16) for x in (local, remote))
            n += (a, b) == ports and state in ("01", "08")
    return n


# ---------------------------------------------------------------- clients

def stuck_client(s, tls=False):
    """A client that has asked for much, has given it all the room of the protocol, and reads none of it."""
    port = s.port("ports" if tls else "port")
    c = H2(port, settings={INITIAL_WINDOW: WIDE}, window=WIDE - 65535, rcvbuf=4096, tls=tls)
    for _ in range(3):
        c.open(c.fields("/big"))
    me = c.sock.getsockname()[1]
    poll(lambda: sent_and_stuck(port, me), what="the socket is full")
    return c, (port, me)


def sent_and_stuck(port, peer):
    """Our side of the connection has bytes that do not go, the same at two looks."""
    def look():
        with open("/proc/net/tcp") as f:
            for line in list(f)[1:]:
                _, local, remote, state, queues = line.split()[:5]
                if (int(local.split(":")[1], 16), int(remote.split(":")[1], 16)) == (port, peer):
                    return int(queues.split(":")[0], 16)
        return 0
    first = look()
    if first < 10000:
        return False
    for _ in range(10):
        time.sleep(0.02)  # two looks need time between them
        if look() != first:
            return False
    return True


def big_conf(certs):
    return ("server { listen 127.0.0.1:@port@; listen 127.0.0.1:@ports@ ssl; ssl_certificate %s; ssl_certificate_key %s; "
            "http2 on; send_timeout 60s; location / { root @PREFIX@/html; } "
            "location /small { return 200 ok; } }" % certs.a)


@pytest.fixture
def big(start, certs):
    s = start(big_conf(certs), files={"html/big": b"x" * (8 << 20)}, workers=1)
    return s


@pytest.mark.sluice_only("lingers longer")
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("wait", [0, 1])
@pytest.mark.parametrize("tls", [False, True])
def test_client_reads_late(big, name, wait, tls):
    bad, code = ERRORS[name]
    c, ports = stuck_client(big, tls)
    c.send(bad)
    time.sleep(wait)  # it reads that late
    c.wait_closed()
    assert c.goaways and c.goaways[-1][1] == code, c.goaways
    assert sum(len(st.body) for st in c.streams.values()) < 8 << 20  # what was under way was not finished for it
    poll(lambda: not established(big, ports))
    c.close()
    assert big.get("/small").status == 200


@pytest.mark.sluice_only("lingers longer")
def test_client_never_reads(big):
    bad, _ = ERRORS["data on stream 0"]
    c, ports = stuck_client(big)
    began = time.monotonic()
    c.send(bad)
    poll(lambda: not established(big, ports), 20)
    assert time.monotonic() - began > PATIENCE - 1
    # its requests have ended at once, not with the connection
    assert big.wait_log('"GET /big HTTP/2.0" 200', count=3)
    c.close()


@pytest.mark.sluice_only("lingers longer")
def test_client_goes_while_it_should_read(big):
    bad, _ = ERRORS["data on stream 0"]
    c, ports = stuck_client(big)
    c.send(bad)
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
    poll(lambda: not established(big, ports), 3)


@pytest.mark.sluice_only("lingers longer")
def test_requests_end_when_the_error_comes(big):
    """Not when the client has read, or the time is up: what they hold is free at once."""
    bad, _ = ERRORS["data on stream 0"]
    c, _ = stuck_client(big)
    c.send(bad)
    big.wait_log('"GET /big HTTP/2.0" 200', count=3, timeout=PATIENCE / 2 / SLOW)
    c.wait_closed()
    assert c.goaways[-1][1] == PROTOCOL_ERROR


# ---------------------------------------------------------------- servers

class Stuck(RawServer):
    """A server that opens its windows wide and stops reading when the request's body begins; then it breaks a rule."""

    def __init__(self, bad, late=None, never=None):
        self.bad, self.late, self.never = bad, late, never
        self.broken, self.said, self.ended = threading.Event(), threading.Event(), threading.Event()
        super().__init__(on_head=self.head, on_data=self.data, started=self.begin)

    def begin(self, c):
        c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, WIDE)) +
               frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WIDE - 65535)))

    def head(self, c, stream, fields, end):
        if dict(fields)[":path"] != "/big":
            c.answer(stream)

    def data(self, c, stream, data, end):
        if self.said.is_set():
            return
        me = c.sock.getpeername()[1]
        self.ports = (me, self.port)
        poll(lambda: sent_and_stuck(me, self.port), 3, what="the socket is full")
        self.broken.set()
        c.send(self.bad)
        self.said.set()
        if self.never:
            self.never.wait(30 * SLOW)
        else:
            time.sleep(self.late)  # it reads that late


def up_conf(b):
    to = "http://" + b.addr
    return ("server { listen 127.0.0.1:@port@; client_max_body_size 0; proxy_http_version 2; location / { proxy_pass %s; "
            "proxy_next_upstream off; } location /small { proxy_pass %s; } }" % (to, to))


UPSTREAM = pytest.mark.sluice_only("proxy_http_version 2")


def upload(s, out):
    out.append(s.get("/big", method="POST", body=b"y" * (16 << 20)).status)


@UPSTREAM
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("late", [0, 1])
def test_server_reads_late(start, name, late):
    bad, code = ERRORS[name]
    with Stuck(bad, late) as b:
        s = start(up_conf(b), workers=1)
        assert s.get("/small").status == 200
        got = []
        t = threading.Thread(target=upload, args=(s, got))
        t.start()
        assert b.said.wait(20 * SLOW)
        t.join()
        assert got == [502]
        s.wait_log("upstream broke the rules of HTTP/2", "error.log")
        poll(lambda: b.raw[0].goaways, what="the server hears GOAWAY")
        assert b.raw[0].goaways[-1][1] == code
        poll(lambda: not established(s, b.ports))
        assert s.get("/small").status == 200 and b.accepted == 2


@UPSTREAM
def test_server_never_reads(start):
    never = threading.Event()
    with Stuck(ERRORS["data on stream 0"][0], never=never) as b:
        s = start(up_conf(b), workers=1)
        assert s.get("/small").status == 200
        got = []
        began = time.monotonic()
        upload(s, got)
        assert got == [502]
        assert established(s, b.ports) == 1
        b2 = s.get("/small")  # another connection serves others meanwhile
        assert b2.status == 200 and b.accepted == 2
        poll(lambda: not established(s, b.ports), 20)
        assert time.monotonic() - began > PATIENCE - 1
        never.set()


@UPSTREAM
def test_worker_ends_meanwhile(start):
    never = threading.Event()
    with Stuck(ERRORS["data on stream 0"][0], never=never) as b:
        s = start(up_conf(b), workers=1)
        upload(s, got := [])
        assert got == [502] and established(s, b.ports) == 1
        began = time.monotonic()
        s.stop()
        assert time.monotonic() - began < PATIENCE * SLOW
        never.set()
