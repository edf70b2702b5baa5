"""The cases of cases.py over HTTP/2 (`listen ... http2`), sluice against Debian's nginx: statuses, headers and bodies; and
what the log says of such requests."""
import re
import socket

import pytest

import cases
from h2raw import H2
from harness import NGINX, ORACLE, Closed, Server
from test_diff import backends, beside, clean, difference, headers, name_of  # noqa: F401  (a fixture)

ONLY_HTTP1 = {"connection", "keep-alive", "upgrade", "te", "transfer-encoding", "http2-settings", "proxy-connection"}


def over_h2(http):
    """The same configuration on ports that speak HTTP/2 in clear; None: it is about something else."""
    if re.search(r"listen[^;]*(ssl|proxy_protocol|unix:)", http):
        return None
    return re.sub(r"(listen 127\.0\.0\.1:@port\w*@)([^;]*);", r"\1\2 http2;", http)


def fields(q, why=[]):
    """None: HTTP/2 cannot say it."""
    if "raw" in q and q["raw"] is not None or q["version"] != "1.1" or not isinstance(q["host"], str):
        return None
    if any(k.lower() in ONLY_HTTP1 for k, _ in q["headers"]) or not isinstance(q["body"], (bytes, type(None))):
        return None
    if not q["path"].startswith("/") or not q["host"] or re.search(r"[^!-~]", q["path"] + q["host"]):
        return None
    return [(":method", q["method"]), (":scheme", "http"), (":authority", q["host"]), (":path", q["path"]),
            *[(k.lower(), str(v)) for k, v in q["headers"]]]


class Answer:
    """An answer as the comparison of HTTP/1 wants it."""

    def __init__(self, s):
        self.status, self.body, self.version = s.status, s.body, "HTTP/2"
        self.headers = [(n, v) for n, v in s.headers if n[0] != ":"]

    def get(self, name, default=None):
        return next((v for n, v in self.headers if n == name.lower()), default)


def send(server, q):
    head = fields(q)
    if q["body"] is not None and not any(k == "content-length" for k, _ in head):
        head.append(("content-length", str(len(q["body"]))))
    with H2(server.port(), timeout=5) as c:
        try:
            n = c.open(head, end=not q["body"])
            if q["body"]:
                for at in range(0, len(q["body"]), 8192):
                    c.data(n, q["body"][at:at + 8192], end=at + 8192 >= len(q["body"]))
                    c.ping()
            s = c.response(n)
        except (Closed, OSError, socket.timeout) as e:
            return {"status": f"none: {type(e).__name__}"}
    r = Answer(s)
    return {"status": r.status, "headers": headers(server, r), "body": clean(server, r.body),
            "end": s.ended, "reset": not s.ended and s.reset is not None, "trailers": s.trailers}


# What sluice does otherwise over HTTP/2, and does over HTTP/1 as nginx does.
def meant(name, q):
    """None, or a function of sluice's answer."""
    if any(v != v.strip() for v in (str(v) for _, v in q["headers"])):
        return lambda s: s["reset"] and not s["headers"]  # RFC 9113 8.2.1: blanks around a value are malformed
    if "#" in q["path"]:
        return lambda s: s["reset"] and not s["headers"]  # 8.3.1: :path has no fragment
    if name == "limits of heads":  # nginx 1.22 counts the whole head only; a field is a line here
        return lambda s: s["status"] in (200, 400, 414)
    if name == "grpc: errors" and (q["method"], q["path"]) == ("POST", "/dead"):
        return lambda s: s["body"].endswith(b"content-length: 1\n\nx")  # nginx announces the body and has lost it
    if name == "grpc: next upstream" and (q["method"], q["path"]) == ("POST", "/non/answer/503"):
        return lambda s: ("x-st", "503, 503") in s["headers"]  # nginx keeps no streamed body; non_idempotent allows it
    return None


@pytest.mark.parametrize("case", cases.CASES, ids=[c[0] for c in cases.CASES])
def test_case(case, backends):  # noqa: F811
    name, http, requests = case
    http = over_h2(http)
    requests = [cases.h(q) if isinstance(q, str) else q for q in requests]
    requests = [q for q in requests if fields(q) and not q.get("differs")]
    if not http or not requests:
        pytest.skip("nothing of it can be said in HTTP/2")
    bad = []
    with beside(name, http, backends) as (theirs, ours):
        for q in requests:
            n, s = send(theirs, q), send(ours, q)
            want = None if ORACLE else meant(name, q)
            if want:
                if not want(s):
                    bad.append(f"{name_of(q)}: meant to differ, but not so: {s}")
            elif n != s:
                bad.append(difference(q, n, s))
    if bad:
        pytest.fail(f"{len(bad)} of {len(requests)} differ:\n" + "\n".join(bad), pytrace=False)


VARIABLES = """request status http2 server_protocol connection_requests body_bytes_sent request_method request_uri uri args is_args
host http_host scheme https content_length content_type http_cookie cookie_a http_x pipe request_completion sent_http_content_type
sent_http_content_length sent_http_connection sent_http_transfer_encoding sent_http_x request_body remote_addr server_name
ssl_protocol upstream_status upstream_addr document_root request_filename request_length bytes_sent""".split()
# HPACK leaves room for choices, and the names of the servers differ; nginx says "close" of a field that it does not send.
DIFFER = {"bytes_sent", "sent_http_connection"}
LOGGED = """log_format all '%s'; access_log @PREFIX@/logs/h2.log all; default_type text/plain;
server { listen 127.0.0.1:@port@ http2; server_name site.example; root @PREFIX@/html; keepalive_requests 100000;
    location /r { return 200 "body"; } location /301 { return 301 /x; } location /444 { return 444; } location /204 { return 204; }
    location /x { add_header X y; return 201 "0123456789$http2"; } location /empty { return 200; }
    location /up/ { proxy_pass http://@b@/; } location /down { proxy_pass http://127.0.0.1:1; } }
""" % "|".join(f"{v}=${v}" for v in VARIABLES)


def logged(binary, b):
    """The lines of a run of requests, and the variables whose values cannot be the same."""
    big = "0123456789abcdef" * 2000
    with Server(LOGGED, files={**cases.FILES, "html/big": big}, values={"b": b.addr}, workers=1, log_level="error", **binary) as s:
        with H2(s.port(), timeout=5) as c:
            ids = []

            def ask(path, method="GET", body=None, more=()):
                n = c.open(c.fields(path, method=method, authority="site.example:77", more=more), end=body is None)
                if body is not None:
                    c.data(n, body, end=True)
                ids.append(n)
                c.response(n)
                c.ping()
            ask("/r?a=b&c")
            ask("/a.txt", more=[("cookie", "a=1"), ("cookie", "b=2"), ("x", "y")])
            ask("/a.txt", "HEAD")
            ask("/none")
            ask("/301")
            ask("/204")
            ask("/x")
            ask("/empty")
            ask("/up/echo?q", "POST", b"hello", [("content-type", "a/b"), ("content-length", "5")])
            ask("/up/echo", "PUT", b"hello")
            ask("/up/answer/chunked")
            ask("/down")
            ask("/big")
            ask("/a.txt", more=[("range", "bytes=0-4")])
            ask("/a.txt", more=[("if-modified-since", cases.OLD)])
        s.wait_log("^request=", "h2.log", count=len(ids))
        text = clean(s, s.log("h2.log").encode()).decode()
        return [dict(f.split("=", 1) for f in line.split("|")) for line in text.splitlines()]


def test_log_lines(backends):  # noqa: F811
    theirs, ours = logged({"binary": NGINX}, backends[0]), logged({}, backends[0])
    assert len(theirs) == len(ours)
    bad = [f"{n['request']}: {k}: nginx {n[k]!r}, sluice {s[k]!r}" for n, s in zip(theirs, ours) for k in VARIABLES
           if n[k] != s[k] and k not in DIFFER]
    bad += [f"{n['request']}: bytes_sent: nginx {n['bytes_sent']}, sluice {s['bytes_sent']}" for n, s in zip(theirs, ours)
            if abs(int(n["bytes_sent"]) - int(s["bytes_sent"])) > 30]
    assert not bad, "\n" + "\n".join(bad)
