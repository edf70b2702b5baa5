"""Lingering: who is refused while it still sends can read why, and is not listened to for ever."""
import socket
import time

import pytest

import harness

SITE = "server { listen 127.0.0.1:@port@; %s }"


def head(path, length, *fields):
    return ("\r\n".join([f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {length}", *fields]) + "\r\n\r\n").encode()


def send_all(sock, data):
    """Writes first, as simple clients do: they read when all has gone."""
    sock.settimeout(20)
    sock.sendall(data)


def read_whole(sock):
    """The bytes up to the end of the connection; a reset is an error."""
    sock.settimeout(20)
    got = b""
    while piece := sock.recv(65536):
        got += piece
    return got


@pytest.mark.parametrize("size", [1 << 20, 6 << 20])
def test_large_upload_refused(start, size):
    """A megabyte and more is in the sockets when the answer comes, and nothing follows it."""
    s = start(SITE % "client_max_body_size 1k; lingering_timeout 1s; location / { proxy_pass http://127.0.0.1:1; }")
    with s.connect() as c:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        send_all(c.sock, head("/", size) + b"x" * size)
        time.sleep(0.3)  # what is left unread would by now be for good
        got = read_whole(c.sock)
        assert got.startswith(b"HTTP/1.1 413 ") and got.rstrip().endswith(b"</html>")
        time.sleep(1.5 * harness.SLOW)  # the server has closed: the last thing that might reset
        assert c.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_refused_late(start):
    """All of it waits in the socket when the refusal leaves (auth_delay): none of it stays there."""
    s = start(SITE % "location / { auth_basic x; auth_basic_user_file users; auth_delay 1s; lingering_timeout 1s; client_max_body_size 0; }",
              files={"conf/users": "a:{PLAIN}b\n"})
    with s.connect() as c:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        send_all(c.sock, head("/", 1 << 20, "Connection: close") + b"x" * (1 << 20))
        assert read_whole(c.sock).startswith(b"HTTP/1.1 401 ")
        time.sleep(1.5 * harness.SLOW)
        assert c.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def gone_after(sock, pause, limit):
    """How long the other side takes bytes, one each `pause` seconds."""
    began = time.monotonic()
    while time.monotonic() < began + limit:
        try:
            sock.sendall(b"x")
        except (BrokenPipeError, ConnectionResetError):
            break
        time.sleep(pause)
    return time.monotonic() - began


def cut_after_2s(s, status):
    """A client that is answered and says a byte now and then wins no more than lingering_time."""
    with s.connect() as c:
        c.send(head("/", 1 << 20))
        assert c.read_response().status == status
        assert 0.9 < gone_after(c.sock, 0.1, 20) < 4 * harness.SLOW


@pytest.mark.parametrize("where", ["server", "location"])
def test_who_goes_on_is_cut(start, where):
    """lingering_time, of the location."""
    times = "lingering_time 2s; lingering_timeout 1s;"
    s = start(SITE % "client_max_body_size 1k; %s location / { %s return 200; }" % ((times, "") if where == "server" else ("", times)))
    cut_after_2s(s, 413)


def test_unread_body_is_cut(start):
    """The same while the rest of a body is read away for the sake of a connection that shall live."""
    s = start(SITE % "lingering_time 2s; lingering_timeout 1s; location / { return 200 x; }")
    cut_after_2s(s, 200)


def test_who_stops_is_left(start):
    """lingering_timeout of the location, not of the server."""
    s = start(SITE % "client_max_body_size 1k; lingering_timeout 60s; location / { lingering_timeout 1s; return 200; }")
    with s.connect() as c:
        c.send(head("/", 1 << 20))
        assert c.read_response().status == 413
        time.sleep(3 * harness.SLOW)
        assert gone_after(c.sock, 0.05, 5) < 2  # the first byte meets nobody
