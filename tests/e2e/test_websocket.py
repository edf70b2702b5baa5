"""Upgrades: only when configured, only for what was asked; bytes both ways, half-close, idle."""
import asyncio
import base64
import os
import socket
import threading

import pytest
import websockets

from harness import ORACLE, Closed, Conn, build_request, poll, response

HTTP = """map $http_upgrade $connection_upgrade { default upgrade; '' close; }
server { listen 127.0.0.1:@port@;
    location / { proxy_pass http://@b@; proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; %s }
    location /plain { proxy_pass http://@b@; } }"""

ASK = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
       "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode()}
SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-B: 1\r\n\r\n"


def echo_raw(conn):
    """Switches, then sends back what comes, upper case."""
    if conn.read_request() is None:
        return
    conn.send(SWITCH)
    while True:
        data = conn.c.read_some()
        if not data:
            return
        conn.send(data.upper())


def test_switch_and_bytes(start, backend):
    b = backend(echo_raw)
    s = start(HTTP % "", values={"b": b.addr})
    with s.connect() as c:
        c.send(build_request("/ws", headers=ASK))
        r = c.read_response()
        assert r.status == 101 and r.get("Upgrade").lower() == "websocket" and r.get("Connection").lower() == "upgrade"
        assert r.get("X-B") == "1" and r.get("Content-Length") is None and r.get("Transfer-Encoding") is None
        seen = b.last
        assert seen.get("Upgrade") == "websocket" and seen.get("Connection").lower() == "upgrade"
        for i in range(20):
            c.send(b"hello%d" % i)
            assert c.read_exact(len(b"hello%d" % i)) == b"HELLO%d" % i


@pytest.mark.sluice_only("N43")
@pytest.mark.parametrize("value,any_allowed", [("websocket", True), ("x-own", True), ("h2c", False), ("x-own, h2c", False), ("H2C", False)])
def test_which_upgrades_are_passed(start, backend, value, any_allowed):
    b = backend(answer=response(b"ok"))
    for directive, passed in (("", value == "websocket"), ("proxy_upgrade any;", any_allowed), ("proxy_upgrade off;", False)):
        s = start(HTTP % directive, values={"b": b.addr})
        assert s.get("/", headers={"Upgrade": value, "Connection": "upgrade"}).status == 200
        assert (b.last.get("Upgrade") == value) == passed and (b.last.get("Upgrade") is None) == (not passed)
        assert "upgrade" in (b.last.get("Connection") or "").lower() or not passed


def test_bytes_that_come_with_the_heads(start, backend):
    """Data right behind the request head and right behind the 101 is not lost."""
    def handler(conn):
        conn.read_request()
        conn.send(SWITCH.encode() + b"early")
        conn.send(conn.c.read_exact(3))
    b = backend(handler)
    s = start(HTTP % "", values={"b": b.addr})
    with s.connect() as c:
        c.send(build_request("/ws", headers=ASK))
        assert c.read_response().status == 101
        c.send(b"abc")
        assert c.read_exact(8) == b"earlyabc"


def test_half_close(start, backend):
    def handler(conn):
        conn.read_request()
        conn.send(SWITCH)
        data = conn.c.read_all()
        conn.send(b"got " + data)
    b = backend(handler)
    s = start(HTTP % "proxy_read_timeout 20s;", values={"b": b.addr})
    with s.connect() as c:
        c.send(build_request("/ws", headers=ASK))
        assert c.read_response().status == 101
        c.send(b"all")
        c.half_close()
        if ORACLE:
            c.read_all()
        else:
            assert c.read_all() == b"got all"


def test_ends_are_passed_on(start, backend):
    ended = threading.Event()

    def handler(conn):
        conn.read_request()
        conn.send(SWITCH)
        if conn.wait_eof(10):
            ended.set()
    b = backend(handler)
    s = start(HTTP % "", values={"b": b.addr})
    c = s.connect()
    c.send(build_request("/ws", headers=ASK))
    assert c.read_response().status == 101
    c.close()
    assert ended.wait(10)

    def bye(conn):
        conn.read_request()
        conn.send(SWITCH + "bye")
        conn.close()
    b2 = backend(bye)
    s = start(HTTP % "", values={"b": b2.addr})
    with s.connect() as c:
        c.send(build_request("/ws", headers=ASK))
        assert c.read_response().status == 101
        assert c.read_all() == b"bye"
    s.wait_log(r'"GET /ws HTTP/1.1" 101 ')


def test_refused_upgrade_is_an_ordinary_answer(start, backend):
    b = backend(answer=response(b"no", 403, reason="Forbidden"))
    s = start(HTTP % "", values={"b": b.addr})
    with s.connect() as c:
        r = c.request("/ws", headers=ASK)
        assert r.status == 403 and r.body == b"no"
        if not ORACLE:
            assert c.request("/x").status == 403


def test_not_configured_not_passed(start, backend):
    b = backend(answer=response(b"x"))
    s = start(HTTP % "", values={"b": b.addr})
    r = s.get("/plain", headers=ASK)
    assert r.status == 200
    assert b.last.get("Upgrade") is None and "upgrade" not in (b.last.get("Connection") or "").lower()


@pytest.mark.sluice_only("N43")
def test_only_websocket(start, backend):
    """h2c (and anything that is not websocket) is not offered to the server behind."""
    b = backend(answer=response(b"x"))
    s = start(HTTP % "", values={"b": b.addr})
    for value in ("h2c", "foo", "websocket, h2c"):
        r = s.get("/ws", headers={"Upgrade": value, "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABk"})
        assert r.status == 200
        assert b.last.get("Upgrade") in (None, "websocket"), value


@pytest.mark.sluice_only("DESIGN: an upgrade that nobody asked for is an error")
def test_101_without_being_asked(start, backend):
    def handler(conn):
        conn.read_request()
        conn.send(SWITCH)
    b = backend(handler)
    s = start(HTTP % "", values={"b": b.addr})
    assert s.get("/plain").status == 502


def test_idle_timeout(start, backend):
    b = backend(echo_raw)
    s = start(HTTP % "proxy_read_timeout 1s;", values={"b": b.addr})
    with s.connect() as c:
        c.send(build_request("/ws", headers=ASK))
        assert c.read_response().status == 101
        for _ in range(3):
            c.send(b"x")
            assert c.read_exact(1) == b"X"
            assert c.quiet(0.4)
        assert c.closed(8)


def test_back_pressure(start, backend):
    """A client that does not read stops the server, and nothing is lost."""
    blob = os.urandom(1 << 20) * 6

    def handler(conn):
        conn.read_request()
        conn.send(SWITCH)
        conn.send(blob)
        conn.close()
    b = backend(handler)
    s = start(HTTP % "", values={"b": b.addr})
    with s.connect(rcvbuf=4096) as c:
        c.send(build_request("/ws", headers=ASK))
        assert c.read_response().status == 101
        assert c.read_all() == blob


def test_tunnels_survive_a_reload(start, backend):
    b = backend(echo_raw)
    s = start(HTTP % "", values={"b": b.addr})
    with s.connect() as c:
        c.send(build_request("/ws", headers=ASK))
        assert c.read_response().status == 101
        s.reload()
        for _ in range(3):
            c.send(b"x")
            assert c.read_exact(1) == b"X"


class WsServer:
    """A real WebSocket server (python websockets) in a thread."""

    def __init__(self, port):
        self.loop = asyncio.new_event_loop()
        self.port = port
        ready = threading.Event()

        async def echo(ws, path=None):
            async for m in ws:
                await ws.send(m)

        async def main():
            self.server = await websockets.serve(echo, "127.0.0.1", port, max_size=None)
            ready.set()
            self.stop = asyncio.Event()
            await self.stop.wait()
            self.server.close()
            await self.server.wait_closed()
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(main()), daemon=True)
        self.thread.start()
        assert ready.wait(10)

    def close(self):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(5)


def test_real_websocket(start):
    from harness import free_port
    w = WsServer(free_port())
    s = start(HTTP % "", values={"b": f"127.0.0.1:{w.port}"})

    async def talk(n):
        async with websockets.connect(f"ws://127.0.0.1:{s.port()}/chat", max_size=None) as ws:
            for i in range(n):
                await ws.send(f"m{i}")
                assert await ws.recv() == f"m{i}"
            big = os.urandom(300000)
            await ws.send(big)
            assert await ws.recv() == big
            await (await ws.ping())

    async def many():
        await asyncio.gather(*[talk(10) for _ in range(20)])
    asyncio.run(many())
    w.close()
