"""Every case of cases.py against sluice and Debian's nginx: statuses, headers and bodies compared."""
import contextlib
import os
import re

import pytest

import cases
from h2_backend import H2Backend
from harness import NGINX, ORACLE, Backend, Closed, Conn, Server, build_request, chunked, response

HERE = os.path.dirname(os.path.abspath(__file__))
STAMP = 0x5f5e1000


def answer(r):
    """The scripted echo backend of all cases."""
    path = r.target.split("?")[0]
    tail = path.split("/answer/")[-1] if "/answer/" in path else None
    body = b"answer body\n"
    own = f"http://127.0.0.1:{r.port}"
    if tail == "plain" or tail == "status":
        return response(body, 200 if tail == "plain" else 299, [("Content-Type", "text/x-up"), ("X-Up", "1")], "Fine")
    if tail == "noreason":
        return b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"
    if tail == "lf":
        return b"HTTP/1.1 200 OK\nContent-Length: 2\nX-Lf: y\n\nok"
    if tail == "chunked":
        if r.version == "HTTP/1.0":
            return b"HTTP/1.0 200 OK\r\nX-Up: 1\r\n\r\n" + body * 2
        return b"HTTP/1.1 200 OK\r\nX-Up: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + (chunked(body, body) if r.method != "HEAD" else b"")
    if tail == "close":
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body, True
    if tail == "204":
        return b"HTTP/1.1 204 No Content\r\nX-Up: 1\r\n\r\n"
    if tail == "304":
        return b"HTTP/1.1 304 Not Modified\r\nETag: \"u\"\r\n\r\n"
    if tail in ("404", "500"):
        return response(b"up " + tail.encode(), int(tail), [("Content-Type", "text/plain")], "Not Fine")
    if tail == "empty":
        return response(b"")
    if tail == "big":
        return response(b"0123456789abcdef" * 20000)
    if tail == "nothing":
        return None
    if tail == "cut-head":
        return b"HTTP/1.1 200 OK\r\nContent-", True
    if tail == "two-lengths":
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", True
    if tail == "range":
        return response(body[:3], 206, [("Content-Range", "bytes 0-2/12"), ("Accept-Ranges", "bytes"), ("ETag", '"t"'), ("Last-Modified", cases.OLD)], "Partial Content")
    if tail == "headers":
        return response(body, headers=[("Server", "up/1"), ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("X-Up", "1"), ("X-Up", "2"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"),
                                       ("X-Pad", "p"), ("X-Accel-Expires", "0"), ("X-Accel-Limit-Rate", "0"), ("X-Accel-Buffering", "yes"), ("X-Accel-Charset", "utf-8"), ("Keep-Alive", "timeout=1"),
                                       ("Cache-Control", "private"), ("Expires", "0"), ("Vary", "Accept"), ("Via", "1.0 up"), ("Content-Type", "text/html; charset=x"), ("X-Powered-By", "p"),
                                       ("ETag", 'W/"e"'), ("Last-Modified", cases.OLD), ("Accept-Ranges", "none"), ("Link", "</x>")])
    if tail == "cookies":
        return response(body, headers=[("Set-Cookie", "one=1; Domain=back.example; Path=/app/x; HttpOnly"), ("Set-Cookie", "two=2; path=/; domain=.sub.back.example; Secure"),
                                       ("Set-Cookie", "three=3"), ("Set-Cookie", "four=4; Max-Age=1; Path=/other/")])
    if "redirect/" in path:
        kind = path.rsplit("/", 1)[1]
        where = {"own": own + "/up/there?x=1", "relative": "/up/there", "else": "http://else.example/z", "none": "", "refresh": ""}[kind]
        heads = [("Location", where)] if where else []
        if kind == "refresh":
            heads = [("Refresh", f"3; url={own}/up/later")]
        return response(b"", 302 if where else 200, heads, "Found")
    if "/accel/" in path:
        kind = path.rsplit("/", 1)[1]
        to = {"file": "/files/a.txt", "named": "@named", "none": "/files/none", "type": "/files/noext", "args": "/files/a.txt?x=1"}[kind]
        heads = [("X-Accel-Redirect", to), ("X-Gone", "1"), ("Set-Cookie", "k=v")]
        if kind == "type":
            heads += [("Content-Type", "text/x-accel"), ("Content-Disposition", "attachment"), ("Cache-Control", "no-store"), ("Expires", "0")]
        return response(b"hidden", headers=heads)
    # what came, in an order that does not matter; not the protocol version and Connection (FEATURES N42)
    lines = sorted(f"{k.lower()}: {v}" for k, v in r.headers if k.lower() != "connection")
    text = f"{r.method} {r.target}\n" + "\n".join(lines) + "\n\n"
    return response(text.encode("latin-1") + r.body, headers=[("Content-Type", "text/plain")])


def make_backend():
    def handler(conn):
        while True:
            r = conn.read_request()
            if r is None:
                return
            r.port = b.port
            out = answer(r)
            if out is None:
                return
            close = False
            if isinstance(out, tuple):
                out, close = out
            if r.method == "HEAD" and b"\r\n\r\n" in out:
                out = out.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
            conn.send(out)
            if close or (r.get("Connection") or "").lower() == "close" or r.version == "HTTP/1.0":
                return
    b = Backend(handler)
    return b


def grpc_answer(c, r):
    """The HTTP/2 backend of grpc_pass: what came, or what the path asks for."""
    path = r.get(":path").split("?")[0]
    tail = path.split("/answer/")[-1] if "/answer/" in path else None
    kind = [("content-type", "application/grpc")]
    message = b"\0\0\0\0\5hello"
    if tail == "trailers":
        c.respond(r.stream, headers=kind, body=message, trailers=[("grpc-status", "0"), ("grpc-message", "fine"), ("x-tail", "1")])
    elif tail == "only":
        c.respond(r.stream, headers=kind + [("grpc-status", "5"), ("grpc-message", "no%20such")])
    elif tail == "headers":
        c.respond(r.stream, headers=kind + [("server", "up/1"), ("date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("x-up", "1"), ("x-up", "2"), ("set-cookie", "a=1"), ("set-cookie", "b=2"),
                                            ("x-accel-expires", "0"), ("x-accel-redirect-not", "1"), ("vary", "Accept"), ("etag", 'W/"e"'),
                                            ("last-modified", cases.OLD), ("x-powered-by", "p")], body=b"body", trailers=[("grpc-status", "0")])
    elif tail == "length":
        c.respond(r.stream, headers=kind + [("content-length", "4")], body=b"body")
    elif tail == "redirect":
        c.respond(r.stream, 302, headers=[("location", "http://else.example/x")])
    elif tail and tail.isdigit():
        c.respond(r.stream, int(tail), headers=[("content-type", "text/plain"), ("x-up", "1")], body=b"" if tail in ("204", "304") else b"up " + tail.encode())
    elif tail == "reset":
        c.reset(r.stream, 2)
    elif tail == "early":
        c.respond(r.stream, 413, headers=kind, body=b"too much")
    else:
        lines = sorted(f"{k.lower()}: {v}" for k, v in r.headers if not k.startswith(":"))
        first = " ".join(r.get(k, "-") for k in (":method", ":scheme", ":authority", ":path"))
        c.respond(r.stream, headers=[("content-type", "text/plain")],
                  body="\n".join([first, *lines, "", ""]).encode("latin-1") + r.body + "".join(f"\n{k}: {v}" for k, v in r.trailers).encode())


def websocket(conn):
    """Switches when asked to, says what it got, and echoes."""
    r = conn.read_request()
    if r is None:
        return
    kind = r.target.rsplit("/", 1)[1]
    if kind == "close":
        return
    if kind == "refuse":
        return conn.send(response(b"no", 403, [("X-Up", "1")], "Forbidden"))
    if kind == "ok" or (r.get("Upgrade") or "").lower() != "websocket":
        return conn.send(response(f"{r.get('Upgrade')} {r.get('Sec-WebSocket-Key')}".encode()))
    conn.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Up: 1\r\n"
              b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello")
    data = conn.sock.recv(100)
    conn.send(data.upper())


@pytest.fixture(scope="module")
def backends():
    with make_backend() as a, make_backend() as b, H2Backend(on_request=grpc_answer) as g:
        with Backend(handler=lambda conn: conn.wait_eof(30)) as silent, Backend(handler=websocket) as w:
            yield a, b, g, silent, w


def values_of(backends):
    """What configurations call them."""
    return {name: b.addr for name, b in zip(("b", "b2", "g", "silent", "w"), backends)}


def send(server, q):
    """One request; gives what is compared, or a word when there was no answer."""
    data = q.get("raw")
    method = "GET"
    if data is None:
        method = q["method"]
        data = build_request(q["path"], method, q["headers"], q["body"], q["host"], q["version"])
    elif data.split()[0:1]:
        method = data.split()[0].decode("latin-1")
    with server.connect() as c:
        try:
            c.send(data)
            r = c.read_response(method)
        except (Closed, OSError):
            return {"status": "closed without an answer"}
        except AssertionError as e:
            return {"status": f"bad answer: {e}"}
        if r.status == 101:
            c.send(b"echo me")
            return {"status": 101, "headers": headers(server, r), "body": c.read_exact(12), "closes": c.closed(5)}
        # A connection that is announced as kept must be kept.
        want_close = r.get("Connection") == "close" or (r.version == "HTTP/1.1" and not r.complete)
        closes = c.closed(5) if want_close else None
    return {"status": r.status, "reason": r.reason, "version": r.version, "headers": headers(server, r), "body": clean(server, r.body), "trailers": sorted(r.trailers),
            "complete": r.complete, "closes": closes}


IGNORED = {"date", "server"}


def clean(server, data):
    """What differs because two servers have two names, ports and folders."""
    for name, port in sorted(server.ports.items(), key=lambda x: -x[1]):
        data = data.replace(str(port).encode(), name.upper().encode())
    data = data.replace(server.prefix.encode(), b"PREFIX")
    data = re.sub(rb"<center>(nginx|sluice)(/[\d.]+)?</center>", lambda m: b"<center>SERVER" + (b"/V" if m.group(2) else b"") + b"</center>", data)
    return re.sub(rb"(?m)^--[0-9a-zA-Z]{10,}(--)?\r$", rb"--BOUNDARY\1\r", data)


def headers(server, r):
    out = []
    for k, v in r.headers:
        k = k.lower()
        if k in IGNORED or (k == "connection" and v == "keep-alive" and r.version == "HTTP/1.1"):
            continue
        v = clean(server, v.encode("latin-1")).decode("latin-1")
        if v.startswith("multipart/byteranges"):
            v = re.sub(r"boundary=.*", "boundary=B", v)
        if k == "content-length" and "multipart" in (r.get("Content-Type") or ""):
            continue
        if k == "content-length" and r.status >= 300 and b"<center>" in r.body:
            continue  # the length of an error page depends on the server's name
        if k == "expires" and r.get("Cache-Control", "").startswith("max-age"):
            continue  # counted from now
        out.append((k, v))
    return sorted(out)


def name_of(q):
    return q["raw"][:60] if "raw" in q and q["raw"] else f"{q['method']} {q['path']} {q['headers']}"


@contextlib.contextmanager
def beside(name, http, backends):
    """The case's configuration and files in nginx and in sluice."""
    files = dict(cases.FILES)
    if name == "includes":
        files.update(cases.EXTRA_FILES)
    values = values_of(backends)
    with Server(http, files=files, values=values, workers=1, binary=NGINX, log_level="error") as theirs, \
            Server(http, files=files, values=values, workers=1, log_level="error") as ours:
        for s in (theirs, ours):
            for f in files:
                os.utime(s.path(f), (STAMP, STAMP))
        yield theirs, ours


def difference(q, n, s):
    """In words: what nginx answered to q, and what sluice did."""
    keys = [k for k in set(n) | set(s) if n.get(k) != s.get(k)]
    return f"{name_of(q)}\n" + "\n".join(f"    {k}: nginx {n.get(k)!r:.400}\n    {' ' * len(k)}  sluice {s.get(k)!r:.400}" for k in keys)


@pytest.mark.parametrize("case", cases.CASES, ids=[c[0] for c in cases.CASES])
def test_case(case, backends):
    name, http, requests = case
    requests = [cases.h(q) if isinstance(q, str) else q for q in requests]
    bad = []
    with beside(name, http, backends) as (theirs, ours):
        for q in requests:
            n, s = send(theirs, q), send(ours, q)
            differs = q.get("differs")
            if differs is None or ORACLE:
                if n != s:
                    bad.append(difference(q, n, s))
                continue
            want = differs[2]
            ok = want(s, n) if callable(want) else s["status"] in (want if isinstance(want, tuple) else (want,))
            if not ok:
                bad.append(f"{name_of(q)}: {differs[0]}: sluice should give {want}, gave {s}")
    if bad:
        pytest.fail(f"{len(bad)} of {len(requests)} differ:\n" + "\n".join(bad), pytrace=False)


def test_intended_differences_are_listed():
    with open(os.path.join(HERE, "INTENDED.md")) as f:
        text = f.read()
    for case in cases.CASES:
        for q in case[2]:
            if isinstance(q, dict) and q.get("differs"):
                assert q["differs"][0] in text and q["differs"][1] in text, q["differs"]


def test_the_table_is_large():
    assert len(cases.CASES) >= 60
    assert len({c[0] for c in cases.CASES}) == len(cases.CASES)
