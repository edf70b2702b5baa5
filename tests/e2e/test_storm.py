"""A storm: many clients that do what clients do at their worst, servers that do the same, and reloads in between,
all from one seed. What must hold: an answer is the one that was asked for, whole or visibly cut; the process
lives; one line in the log for each request; afterwards counters and descriptors are where they were.

STORM_SEED and STORM_SECONDS make it another or a longer one."""
import os
import random
import re
import socket
import ssl
import struct
import threading
import time

import pytest

from harness import Backend, Closed, Conn, alive, open_fds, poll

pytestmark = [pytest.mark.sluice_only("about our own invariants"), pytest.mark.alone]

SEED = int(os.environ.get("STORM_SEED", "1"))
SECONDS = float(os.environ.get("STORM_SECONDS", "8"))
CLIENTS = 12

HTTP = """
    ssl_certificate %(crt)s; ssl_certificate_key %(key)s;
    log_format storm "$request_uri $status $request_completion";
    access_log @PREFIX@/logs/access.log storm;
    client_header_timeout 3s; client_body_timeout 3s; send_timeout 3s; lingering_timeout 1s; lingering_time 2s;
    client_max_body_size 0; keepalive_timeout 10s;
    upstream back { server @BACK@ max_fails=0; server @BACK2@ max_fails=0; keepalive 8; }
    proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_read_timeout 2s; proxy_send_timeout 2s; proxy_buffers 4 4k; proxy_buffer_size 4k; proxy_busy_buffers_size 8k;
    server {
        listen 127.0.0.1:@port@; listen 127.0.0.1:@portt@ ssl; %(marker)s
        location /bb/ { proxy_pass http://back; }
        location /bs/ { proxy_pass http://back; proxy_buffering off; }
        location /sb/ { proxy_pass http://back; proxy_request_buffering off; error_page 502 504 = @again; }
        location /ss/ { proxy_pass http://back; proxy_request_buffering off; proxy_buffering off; }
        location /file/ { proxy_pass http://back; client_body_buffer_size 1k; }
        location @again { proxy_pass http://back; }
        location /plain { return 200 plain; }
        location /status { stub_status; access_log off; }
    }
"""


def content(tag, n):
    unit = f"<{tag}>".encode()
    return (unit * (n // len(unit) + 1))[:n]


def tag_of(target):
    return target.rsplit("/", 1)[1].split("?")[0]


# ---------------------------------------------------------------- servers

def wire(rnd, tag, n, head_only):
    """An answer's bytes and how they end: "keep" or "close"."""
    body = content(tag, n)
    head = f"HTTP/1.1 200 OK\r\nX-Tag: {tag}\r\n"
    kind = rnd.choice(["length", "length", "chunked", "close"])
    if kind == "length":
        text = (head + f"Content-Length: {n}\r\n\r\n").encode() + (b"" if head_only else body)
    elif kind == "chunked":
        text, at = (head + "Transfer-Encoding: chunked\r\n\r\n").encode(), 0
        while at < n and not head_only:
            k = min(n - at, rnd.choice([1, 10, 1000, 50000]) + (n // 50))
            text += b"%x\r\n" % k + body[at:at + k] + b"\r\n"
            at += k
        text += b"" if head_only else b"0\r\n\r\n"
    else:
        text = (head + "Connection: close\r\n\r\n").encode() + (b"" if head_only else body)
    return b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * rnd.choice([0, 0, 0, 1, 40, 80]) + text, kind


def spoil(rnd, text):
    """Breaks an answer: the client must not take what is left for whole."""
    cut = rnd.randrange(len(text))
    return rnd.choice([text[:cut], text[:min(cut, 200)], b"HTTP/1.1 2x0 OK\r\n\r\n", b"\x00" * 50,
                       re.sub(rb"Content-Length: (\d+)", lambda m: b"Content-Length: %d" % (int(m.group(1)) + 9), text),
                       re.sub(rb"\r\n\r\n[0-9a-f]+\r\n", b"\r\n\r\nzz\r\n", text, count=1)])


def upstream(rnd, lock):
    def pick():
        with lock:
            return random.Random(rnd.random())

    def put(conn, r, text):
        step = r.choice([len(text) or 1, len(text) or 1, 1000, 37])
        if step == 37:
            text, rest = text[:3000], text[3000:]
        else:
            rest = b""
        for i in range(0, len(text), step):
            conn.send(text[i:i + step])
        conn.send(rest)

    def handler(conn):
        while True:
            r = pick()
            q = conn.read_head()
            if q is None:
                return
            tag, n = tag_of(q.target), int(re.search(r"n=(\d+)", q.target).group(1))
            head_only = q.method == "HEAD"
            act = r.choice(["good"] * 8 + ["early", "early", "reset", "close", "spoil", "spoil", "silent", "idle"])
            text, kind = wire(r, tag, n, head_only)
            if act == "spoil" and kind == "close":
                act = "good"  # its end would look right
            if act == "reset":
                conn.reset()
                return
            if act == "close":
                return
            if act != "early":
                body = conn.read_body(q)
                assert body == content("up" + tag, len(body)), f"upload of {tag} is mixed"
                m = re.search(r"up=(\d+)", q.target)
                whole = not m or len(body) == int(m.group(1))
                assert whole, f"upload of {q.target} is cut but looks whole: {len(body)}"
            if act == "silent":
                conn.wait_eof(3)
                return
            put(conn, r, spoil(r, text) if act == "spoil" else text)
            if act in ("spoil", "early") or kind == "close" or head_only and kind == "chunked":
                if r.random() < 0.3:
                    conn.reset()
                return
            if act == "idle":  # the next request meets the end of the connection
                return
    return handler


# ---------------------------------------------------------------- clients

class Storm:
    def __init__(self, seed, server):
        self.rnd, self.lock, self.server = random.Random(seed), threading.Lock(), server
        self.problems, self.count, self.sent, self.whole = [], 0, set(), 0
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def next(self):
        with self.lock:
            self.count += 1
            return random.Random(self.rnd.random()), self.count

    def ask(self, r, number):
        """One request: its bytes, tag, length of the answer, method."""
        tag = f"t{number}x{r.randrange(10 ** 6)}"
        n = r.choice([0, 1, 100, 5000, 40000, 300000, 1500000])
        path = r.choice(["/bb/", "/bs/", "/sb/", "/ss/", "/file/"]) + f"{tag}?n={n}"
        method = r.choice(["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT"])
        body = b""
        extra = ""
        if method in ("POST", "PUT"):
            up = r.choice([1, 500, 20000, 400000])
            body = content("up" + tag, up)
            path += f"&up={up}"
            if r.random() < 0.3:
                extra += "Expect: 100-continue\r\n"
            if r.random() < 0.4:
                extra += "Transfer-Encoding: chunked\r\n"
                k = r.choice([7, 3000, 70000]) + up // 50
                body = b"".join(b"%x\r\n" % len(body[i:i + k]) + body[i:i + k] + b"\r\n"
                                for i in range(0, up, k)) + b"0\r\n\r\n"
            else:
                extra += f"Content-Length: {up}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: storm\r\n{extra}\r\n".encode()
        with self.lock:
            self.sent.add(path)
        return head + body, tag, n, method

    def check(self, resp, tag, n, method):
        if resp.status != 200:
            assert resp.status in (400, 408, 499, 500, 502, 503, 504), resp
            assert resp.get("X-Tag") is None, f"{tag}: {resp}"
            return
        assert resp.get("X-Tag") == tag, f"asked for {tag}, got {resp}"
        if method == "HEAD":
            return
        want = content(tag, n)
        assert resp.body == want[:len(resp.body)], f"{tag}: the body is another's"
        if resp.complete:
            framed = resp.get("Content-Length") is not None or resp.chunks is not None
            assert not framed or len(resp.body) == n, f"{tag}: {len(resp.body)} of {n} bytes look whole"
            with self.lock:
                self.whole += 1

    def client(self, r, number):
        tls = r.random() < 0.3
        c = Conn(("127.0.0.1", self.server.port("portt" if tls else "port")), tls=self.tls if tls else None,
                 timeout=20, rcvbuf=r.choice([None, None, 4096]))
        with c:
            asks = [self.ask(r, number) for _ in range(r.choice([1, 1, 2, 5]))]
            what = r.choice(["read"] * 6 + ["cut", "cut", "dribble", "reset", "half", "never", "garbage", "slow"])
            text = b"".join(a[0] for a in asks)
            if what == "garbage":
                text = asks[0][0] + bytes(r.randrange(256) for _ in range(50)) + b"\r\n\r\n" + text
            if what == "cut":
                text = text[:r.randrange(len(text))]
            if what == "dribble":
                for b in text[:300]:
                    c.send(bytes([b]))
                text = text[300:]
            feeder = threading.Thread(target=self.feed, args=(c, text))
            feeder.start()
            if tls:  # two threads must not use one TLS object
                feeder.join()
            if what == "half":
                feeder.join()
                if not tls:
                    c.half_close()
            if what in ("reset", "never", "cut"):
                if r.random() < 0.5:
                    feeder.join(0.2)
                if what != "never" or r.random() < 0.8:
                    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                c.sock.close()
            else:
                self.read(c, asks, slow=what == "slow")
                c.sock.shutdown(socket.SHUT_RDWR)
            feeder.join()

    @staticmethod
    def feed(c, text):
        try:
            c.sock.sendall(text)
        except (OSError, ValueError):
            pass

    def read(self, c, asks, slow):
        for a in asks:
            if slow:
                for _ in range(10):
                    c.buf += c.sock.recv(200)
            resp = c.read_response(a[3])
            self.check(resp, *a[1:])
            if not resp.complete or resp.get("Connection") == "close":
                return

    def run(self, until):
        while time.monotonic() < until and not self.problems:
            r, number = self.next()
            try:
                self.client(r, number)
            except (OSError, Closed):
                pass  # cut short, and visibly so
            except AssertionError as e:
                self.problems.append(f"client {number}: {e}"[:2000])


def status(s):
    return [int(x) for x in re.findall(r"\d+", s.get("/status").text)]


def idle(s):
    """Nothing but this very request is being dealt with."""
    active, *_, reading, writing, waiting = status(s)
    return active == 1 and reading == 0 and writing == 1 and waiting == 0


@pytest.mark.limit(SECONDS + 60)
def test_storm(start, certs):
    lock, rnd = threading.Lock(), random.Random(SEED)
    with Backend(upstream(rnd, lock)) as a, Backend(upstream(rnd, lock)) as b:
        crt, key = certs.a[0], certs.a[1]
        s = start(HTTP % {"crt": crt, "key": key, "marker": ""}, values={"BACK": a.addr, "BACK2": b.addr})
        pids = s.worker_pids()
        for _ in range(4):
            s.get("/plain")
        before = sum(open_fds(p) for p in pids)
        storm = Storm(SEED, s)
        until = time.monotonic() + SECONDS
        threads = [threading.Thread(target=storm.run, args=(until,)) for _ in range(CLIENTS)]
        for t in threads:
            t.start()
        turn = 0
        while any(t.is_alive() for t in threads):
            threads[turn % CLIENTS].join(0.5)
            turn += 1
            if time.monotonic() < until:
                s.reload(HTTP % {"crt": crt, "key": key, "marker": f"add_header X-Turn {turn};"})
        mixed = [str(e) for back in (a, b) for e in back.errors if isinstance(e, AssertionError)
                 and "upload" in str(e)]
        assert not storm.problems, storm.problems[:3]
        assert not mixed, mixed[:3]
        assert storm.whole > 10, f"{storm.whole} of {storm.count}"
        assert s.worker_pids() == pids and all(alive(p) for p in pids), re.findall(".*BUG at.*", s.log("error.log")) + s.complaints()
        poll(lambda: idle(s), 30, "counters to go back to zero")
        a.close()
        b.close()  # idle connections to the servers end
        poll(lambda: sum(open_fds(p) for p in pids) <= before + 12, 20, "descriptors to go back")
        lines = [x.split(" ")[0] for x in s.log().splitlines()]
        seen = [x for x in lines if x in storm.sent]
        assert len(seen) == len(set(seen)), "a request was logged twice"
