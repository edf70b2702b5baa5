"""Real applications behind: gunicorn with Flask, node."""
import json
import os

import pytest

from harness import ORACLE, ROOT, Process, build_request, free_port

APPS = os.path.join(ROOT, "tests", "apps")
FRONT = """server { listen 127.0.0.1:@port@; client_max_body_size 0; proxy_http_version 1.1; location / { proxy_pass http://@b@; proxy_set_header Host $host;
    proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; } }"""


@pytest.fixture(scope="module", params=["sync", "gthread"])
def gunicorn(request):
    port = free_port()
    with Process(["/usr/bin/python3", "-m", "gunicorn", "-w", "2", "-k", request.param, "--threads", "4", "-b", f"127.0.0.1:{port}", "wsgi:app"],
                 port, cwd=APPS) as p:
        yield p


@pytest.fixture(scope="module")
def node():
    port = free_port()
    with Process(["node", os.path.join(APPS, "server.js"), str(port)], port) as p:
        yield p


def test_gunicorn(start, gunicorn):
    s = start(FRONT, values={"b": gunicorn.addr})
    with s.connect() as c:
        for _ in range(5):
            assert c.request("/hello").body == b"hello\n"
        got = json.loads(c.request("/echo?a=b", "POST", body=b"data", host="shop.example", headers={"Content-Type": "text/plain"}).body)
        assert got == {"method": "POST", "host": "shop.example", "args": {"a": "b"}, "body": "data", "for": "127.0.0.1", "scheme": "http"}
        assert c.request("/stream").body == b"".join(b"line %d\n" % i for i in range(1000))
        r = c.request("/cookie")
        assert r.get("Set-Cookie") == "session=abc; HttpOnly; Path=/app"
        assert c.request("/none").status == 404
        assert c.request("/hello", "HEAD").status == 200


def test_gunicorn_upload(start, gunicorn):
    s = start(FRONT, values={"b": gunicorn.addr})
    data = os.urandom(700000)
    body = (b'--B\r\nContent-Disposition: form-data; name="file"; filename="f.bin"\r\nContent-Type: application/octet-stream\r\n\r\n'
            + data + b"\r\n--B--\r\n")
    r = s.get("/upload", method="POST", body=body, headers={"Content-Type": "multipart/form-data; boundary=B"})
    assert json.loads(r.body) == {"name": "f.bin", "size": 700000}


def test_node(start, node):
    s = start(FRONT, values={"b": node.addr})
    with s.connect() as c:
        for i in range(5):
            got = json.loads(c.request(f"/p/{i}", "PUT", body=b"x" * 1000, host="n.example").body)
            assert got["method"] == "PUT" and got["size"] == 1000 and got["headers"]["host"] == "n.example"
        assert c.request("/chunks").body == b"".join(b"chunk %d\n" % i for i in range(100))
        if not ORACLE:
            assert c.request("/early").body == b"final"
        c.send(build_request("/a") + build_request("/b") + build_request("/c"))
        assert [json.loads(c.read_response().body)["url"] for _ in range(3)] == ["/a", "/b", "/c"]
