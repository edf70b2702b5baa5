"""Files: root, alias, index, try_files, types, ranges, conditional requests, expires, headers (RFC 9110 13, 14)."""
import email.utils
import os
import time

import pytest

from harness import ORACLE, build_request

BODY = bytes(range(256)) * 40  # 10240 bytes
OLD = 1600000000  # Sun, 13 Sep 2020 12:26:40 GMT
OLD_TEXT = "Sun, 13 Sep 2020 12:26:40 GMT"


def site(start, http, extra=None):
    files = {"html/index.html": "index\n", "html/f.bin": BODY, "html/a.txt": "0123456789", "html/dir/index.html": "dir\n",
             "html/empty": b"", "html/dir2/x.css": "css", "html/sp ace.txt": "space", "html/a.JPG": "jpg"}
    files.update(extra or {})
    s = start(http, files=files)
    for f in ("f.bin", "a.txt", "index.html"):
        os.utime(s.path("html/" + f), (OLD, OLD))
    return s


TYPES = "types { text/plain txt; text/html html; text/css css; image/jpeg jpg jpeg; } default_type application/octet-stream;"


@pytest.fixture
def plain(start):
    return site(start, TYPES + "server { listen 127.0.0.1:@port@; root @PREFIX@/html; }")


def test_file(plain):
    r = plain.get("/f.bin")
    assert r.status == 200 and r.body == BODY
    assert r.get("Content-Type") == "application/octet-stream"
    assert r.get("Last-Modified") == OLD_TEXT
    assert r.get("ETag") == f'"{OLD:x}-{len(BODY):x}"'
    assert r.get("Accept-Ranges") == "bytes" and r.get("Content-Length") == "10240"


def test_types_and_empty(plain):
    assert plain.get("/a.txt").get("Content-Type") == "text/plain"
    assert plain.get("/a.JPG").get("Content-Type") == "image/jpeg"
    assert plain.get("/sp%20ace.txt").body == b"space"
    r = plain.get("/empty")
    assert r.status == 200 and r.body == b"" and r.get("Content-Length") == "0"


def test_head(plain):
    with plain.connect() as c:
        r = c.request("/f.bin", "HEAD")
        assert r.get("Content-Length") == "10240" and r.body == b""
        assert c.request("/a.txt").body == b"0123456789"


def test_index_and_directory_redirect(plain):
    assert plain.get("/").body == b"index\n"
    assert plain.get("/dir/").body == b"dir\n"
    r = plain.get("/dir?a=b", host="example.com")
    assert r.status == 301 and r.get("Location") == f"http://example.com:{plain.port()}/dir/?a=b"
    assert plain.get("/dir2/").status == 403
    assert plain.get("/none").status == 404
    assert plain.get("/a.txt/").status == 404


def test_methods(plain):
    assert plain.get("/a.txt", method="POST", body=b"").status == 405
    assert plain.get("/a.txt", method="PUT", body=b"").status == 405
    assert plain.get("/a.txt", method="DELETE").status == 405


RANGES = [
    ("bytes=0-9", 206, BODY[:10], "bytes 0-9/10240"),
    ("bytes=10-", 206, BODY[10:], "bytes 10-10239/10240"),
    ("bytes=-5", 206, BODY[-5:], "bytes 10235-10239/10240"),
    ("bytes=10230-99999", 206, BODY[10230:], "bytes 10230-10239/10240"),
    ("bytes=-99999", 206, BODY, "bytes 0-10239/10240"),
    ("bytes=0-0", 206, BODY[:1], "bytes 0-0/10240"),
    ("bytes=10240-", 416, None, "bytes */10240"),
    ("bytes=-0", 416, None, "bytes */10240"),
    ("bytes=5-2", 416, None, "bytes */10240"),
    ("lines=1-2", 200, BODY, None),
]


@pytest.mark.parametrize("value,status,body,content_range", RANGES, ids=[r[0] for r in RANGES])
def test_range(plain, value, status, body, content_range):
    r = plain.get("/f.bin", headers={"Range": value})
    if value == "bytes=5-2" and not ORACLE:
        # RFC 9110 14.1.1: an invalid range is no range; nginx says 416
        assert r.status in (200, 416)
        return
    assert r.status == status
    assert r.get("Content-Range") == content_range
    if body is not None:
        assert r.body == body


def test_multiple_ranges(plain):
    r = plain.get("/f.bin", headers={"Range": "bytes=0-1,5-6,-2"})
    assert r.status == 206
    kind = r.get("Content-Type")
    assert kind.startswith("multipart/byteranges; boundary=")
    mark = kind.split("boundary=")[1].encode()
    want = b""
    for a, b in ((0, 2), (5, 7), (10238, 10240)):
        want += (b"\r\n--%s\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes %d-%d/10240\r\n\r\n"
                 % (mark, a, b - 1)) + BODY[a:b]
    want += b"\r\n--%s--\r\n" % mark
    assert r.body == want and int(r.get("Content-Length")) == len(want)


def test_max_ranges(start):
    s = site(start, "server { listen 127.0.0.1:@port@; root @PREFIX@/html; max_ranges 2; "
                    "location /none/ { max_ranges 0; alias @PREFIX@/html/; } }")
    assert s.get("/f.bin", headers={"Range": "bytes=0-1,3-4"}).status == 206
    assert s.get("/f.bin", headers={"Range": "bytes=0-1,3-4,6-7"}).status == 200
    r = s.get("/none/f.bin", headers={"Range": "bytes=0-1"})
    assert r.status == 200 and r.get("Accept-Ranges") is None


def later(n=100):
    return email.utils.formatdate(OLD + n, usegmt=True)


def etag(plain, path="/f.bin"):
    return plain.get(path).get("ETag")


def test_if_modified_since(plain):
    r = plain.get("/f.bin", headers={"If-Modified-Since": OLD_TEXT})
    assert r.status == 304 and r.body == b"" and r.get("Content-Length") is None
    assert r.get("ETag") == etag(plain) and r.get("Content-Type") is None
    assert plain.get("/f.bin", headers={"If-Modified-Since": later(-100)}).status == 200
    assert plain.get("/f.bin", headers={"If-Modified-Since": later()}).status == 200  # exact is the default
    assert plain.get("/f.bin", headers={"If-Modified-Since": "nonsense"}).status == 200


def test_if_modified_since_modes(start):
    s = site(start, """server { listen 127.0.0.1:@port@; root @PREFIX@/html;
        location /before/ { alias @PREFIX@/html/; if_modified_since before; }
        location /off/ { alias @PREFIX@/html/; if_modified_since off; } }""")
    assert s.get("/before/f.bin", headers={"If-Modified-Since": later()}).status == 304
    assert s.get("/before/f.bin", headers={"If-Modified-Since": later(-1)}).status == 200
    assert s.get("/off/f.bin", headers={"If-Modified-Since": OLD_TEXT}).status == 200


def test_if_none_match(plain):
    tag = etag(plain)
    for value, status in [(tag, 304), ("W/" + tag, 304), ('"x", ' + tag, 304), ("*", 304), ('"x"', 200)]:
        assert plain.get("/f.bin", headers={"If-None-Match": value}).status == status, value
    # If-None-Match wins over If-Modified-Since
    assert plain.get("/f.bin", headers={"If-None-Match": '"x"', "If-Modified-Since": OLD_TEXT}).status == 200


def test_if_match_and_unmodified(plain):
    tag = etag(plain)
    for value, status in [(tag, 200), ("*", 200), ('"x"', 412), ("W/" + tag, 412)]:
        assert plain.get("/f.bin", headers={"If-Match": value}).status == status, value
    assert plain.get("/f.bin", headers={"If-Unmodified-Since": OLD_TEXT}).status == 200
    assert plain.get("/f.bin", headers={"If-Unmodified-Since": later(-10)}).status == 412


def test_if_range(plain):
    tag = etag(plain)
    for value, status in [(tag, 206), ('"x"', 200), (OLD_TEXT, 206), (later(), 200), ("W/" + tag, 200)]:
        r = plain.get("/f.bin", headers={"Range": "bytes=0-1", "If-Range": value})
        assert r.status == status, value


def test_etag_off(start):
    s = site(start, "server { listen 127.0.0.1:@port@; root @PREFIX@/html; etag off; }")
    assert s.get("/a.txt").get("ETag") is None


def test_alias(start):
    s = site(start, """server { listen 127.0.0.1:@port@;
        location /img/ { alias @PREFIX@/html/dir2/; }
        location = /one { alias @PREFIX@/html/a.txt; }
        location ~ ^/u/(?<who>[a-z]+)/(.*)$ { alias @PREFIX@/html/$who/$2; } }""")
    assert s.get("/img/x.css").body == b"css"
    assert s.get("/one").body == b"0123456789"
    assert s.get("/u/dir/index.html").body == b"dir\n"


@pytest.mark.sluice_only("N19")
def test_alias_never_leaves_its_folder(start):
    s = site(start, "server { listen 127.0.0.1:@port@; location /i { alias @PREFIX@/html/dir/; } }",
             extra={"html/secret": "s"})
    assert s.get("/i../secret").status in (403, 404, 400)


def test_root_with_variables(start):
    s = site(start, "server { listen 127.0.0.1:@port@; root @PREFIX@/html/$arg_d; }")
    assert s.get("/index.html?d=dir").body == b"dir\n"
    assert s.get("/index.html").body == b"index\n"


def test_try_files(start):
    s = site(start, """server { listen 127.0.0.1:@port@; root @PREFIX@/html;
        location /t/ { try_files $uri $uri/ /index.html; }
        location /n/ { try_files /nope @named; }
        location /c/ { try_files /nope =410; }
        location /q/ { try_files /nope /dir/index.html?$args; }
        location /d { root @PREFIX@/html; try_files $uri $uri.html /dir/; }
        location @named { return 200 "named $uri\\n"; } }""", extra={"html/t/x": "tx", "html/t/d/index.html": "tdi"})
    assert s.get("/t/x").body == b"tx"
    assert s.get("/t/d/").body == b"tdi"
    assert s.get("/t/none").body == b"index\n"
    assert s.get("/n/abc").body == b"named /n/abc\n"
    assert s.get("/c/").status == 410
    assert s.get("/q/?a").body == b"dir\n"
    assert s.get("/dxyz").status == 500  # the last word leads back here: a cycle


def test_index_variants(start):
    s = site(start, """server { listen 127.0.0.1:@port@; root @PREFIX@/html; index none.html idx.$arg_k index.html /dir/index.html;
        location /dir2/ { index nope /dir/index.html; } }""", extra={"html/idx.zz": "zz"})
    assert s.get("/?k=zz").body == b"zz"
    assert s.get("/").body == b"index\n"
    assert s.get("/dir2/").body == b"dir\n"


def test_internal_location_after_index(start):
    """An index file is an internal redirect: its location decides."""
    s = site(start, """server { listen 127.0.0.1:@port@; root @PREFIX@/html;
        location = /index.html { add_header X-Loc exact; } }""")
    assert s.get("/").get("X-Loc") == "exact"


def test_expires_and_add_header(start):
    s = site(start, """server { listen 127.0.0.1:@port@; root @PREFIX@/html; add_header X-S s;
        location /e1/ { alias @PREFIX@/html/; expires 1h; }
        location /e2/ { alias @PREFIX@/html/; expires epoch; }
        location /e3/ { alias @PREFIX@/html/; expires max; }
        location /e4/ { alias @PREFIX@/html/; expires -1; add_header X-L "$uri"; add_header X-A a always; }
        location /e5/ { alias @PREFIX@/html/; expires modified +1d; add_header Cache-Control private; } }""")
    r = s.get("/e1/a.txt")
    assert r.get("Cache-Control") == "max-age=3600" and r.get("X-S") == "s"
    gap = email.utils.parsedate_to_datetime(r.get("Expires")) - email.utils.parsedate_to_datetime(r.get("Date"))
    assert gap.total_seconds() == 3600
    r = s.get("/e2/a.txt")
    assert r.get("Cache-Control") == "no-cache" and r.get("Expires") == "Thu, 01 Jan 1970 00:00:01 GMT"
    r = s.get("/e3/a.txt")
    assert r.get("Cache-Control") == "max-age=315360000" and r.get("Expires") == "Thu, 31 Dec 2037 23:55:55 GMT"
    r = s.get("/e4/a.txt")
    assert r.get("Cache-Control") == "no-cache" and r.get("X-L") == "/e4/a.txt" and r.get("X-S") is None
    r = s.get("/e4/none")
    assert r.status == 404 and r.get("X-L") is None and r.get("X-A") == "a"
    r = s.get("/e5/a.txt")
    assert r.get("Expires") == email.utils.formatdate(OLD + 86400, usegmt=True) and "private" in r.all("Cache-Control")


def test_sendfile_large(start):
    big = os.urandom(1 << 20) * 5
    s = site(start, """sendfile on; tcp_nopush on; server { listen 127.0.0.1:@port@; root @PREFIX@/html;
        location /nosf/ { alias @PREFIX@/html/; sendfile off; } }""", extra={"html/big": big})
    with s.connect() as c:
        assert c.request("/big").body == big
        assert c.request("/nosf/big").body == big
        assert c.request("/big", headers={"Range": "bytes=1000000-4000000"}).body == big[1000000:4000001]


def test_file_replaced_while_sent(start):
    """A file that is truncated while it is being sent ends the connection, not the server."""
    big = b"z" * (8 << 20)
    s = site(start, "server { listen 127.0.0.1:@port@; root @PREFIX@/html; }", extra={"html/big": big})
    with s.connect(rcvbuf=8192) as c:
        c.send(build_request("/big"))
        c.read_exact(1000)
        os.truncate(s.path("html/big"), 1000)
        c.read_all()
    assert s.get("/a.txt").status == 200


def test_open_file_cache(start):
    s = site(start, """open_file_cache max=100 inactive=20s; open_file_cache_valid 1s; open_file_cache_errors on;
        server { listen 127.0.0.1:@port@; root @PREFIX@/html; }""")
    for _ in range(3):
        assert s.get("/a.txt").body == b"0123456789"
    s.write("html/new.tmp", "second")
    os.rename(s.path("html/new.tmp"), s.path("html/a.txt"))
    begin = time.monotonic()
    while s.get("/a.txt").body != b"second":
        assert time.monotonic() - begin < 10
        time.sleep(0.05)


def test_disable_symlinks(start):
    s = site(start, """server { listen 127.0.0.1:@port@; root @PREFIX@/html;
        location /on/ { alias @PREFIX@/html/; disable_symlinks on; } }""")
    os.symlink(s.path("html/a.txt"), s.path("html/link.txt"))
    assert s.get("/link.txt").status == 200
    assert s.get("/on/link.txt").status == 403
    assert s.get("/on/a.txt").status == 200


def test_unreadable(start):
    s = site(start, "server { listen 127.0.0.1:@port@; root @PREFIX@/html; }", extra={"html/no": "x"})
    os.chmod(s.path("html/no"), 0)
    if os.getuid() == 0:  # then the worker runs as nobody
        assert s.get("/no").status == 403


def test_special_files(start):
    s = site(start, "server { listen 127.0.0.1:@port@; root @PREFIX@/html; }")
    os.mkfifo(s.path("html/fifo"))
    assert s.get("/fifo").status in (403, 404, 500)
    assert s.get("/a.txt").status == 200


def test_error_pages(start):
    s = site(start, """server { listen 127.0.0.1:@port@; root @PREFIX@/html;
        error_page 404 /a.txt; error_page 403 =200 /a.txt; error_page 410 = @g; error_page 418 http://x.example/t;
        error_page 500 502 /none.html;
        location /gone { return 410; } location /tea { return 418; } location /err { return 500; }
        location /three { error_page 404 =301 http://y.example/z; }
        location @g { return 203 gone; } }""")
    r = s.get("/none")
    assert r.status == 404 and r.body == b"0123456789"
    r = s.get("/dir2/")
    assert r.status == 200 and r.body == b"0123456789"
    r = s.get("/gone")
    assert r.status == 203 and r.body == b"gone"
    r = s.get("/tea")
    assert r.status == 302 and r.get("Location") == "http://x.example/t"
    assert s.get("/err").status == 404  # the page itself is missing
    r = s.get("/three")
    assert r.status == 301 and r.get("Location") == "http://y.example/z"


def test_recursive_error_pages(start):
    s = start("""server { listen 127.0.0.1:@port@; recursive_error_pages on; error_page 404 = /second;
        location / { return 404; } location = /second { error_page 403 = @third; return 403; }
        location @third { return 200 third; } location = /loop { error_page 404 = /loop; return 404; } }
        server { listen 127.0.0.1:@port2@; error_page 404 = /second; location / { return 404; }
        location = /second { error_page 403 = @third; return 403; } location @third { return 200 third; } }""")
    assert s.get("/x").body == b"third"
    assert s.get("/loop").status in (404, 500)
    assert s.get("/x", port="port2").status == 403


def test_pipelined_files(plain):
    with plain.connect() as c:
        c.send(build_request("/a.txt") + build_request("/f.bin") + build_request("/none") + build_request("/a.txt"))
        assert c.read_response().body == b"0123456789"
        assert c.read_response().body == BODY
        assert c.read_response().status == 404
        assert c.read_response().body == b"0123456789"
