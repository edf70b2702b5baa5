"""access_log, log_format, error_log, reopening, syslog."""
import gzip
import json
import os
import re
import signal
import socket
import threading
import time

import pytest

from harness import ORACLE, build_request, fd_targets, free_port, poll, response

SITE = 'server { listen 127.0.0.1:@port@; %s location / { return 200 "hello"; } }'


def test_combined(start):
    s = start(SITE % "")
    s.get("/a?b=c", headers={"Referer": "http://r/", "User-Agent": 'ag"ent'})
    m = s.wait_log(r"^(.+)$")
    assert re.fullmatch(r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /a\?b=c HTTP/1\.1" 200 5 '
                        r'"http://r/" "ag\\x22ent"', m.group(1))


FORMATS = [
    ("$status|$body_bytes_sent|$request_method|$uri|$args", "200|5|GET|/p|x=1"),
    ("$http_x_none|$arg_none|-", "-|-|-"),
    ("$request_length|$bytes_sent", r"\d+|\d+"),
    ("$request_time", r"\d+\.\d{3}"),
    ("$msec|$time_iso8601", r"\d+\.\d{3}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"),
    ("$connection|$connection_requests|$pipe", r"\d+|1|\."),
    ("$sent_http_content_type|$sent_http_x_none", "text/plain|-"),
    ("${status}x$$", None),
]


@pytest.mark.parametrize("fmt,want", FORMATS[:-1])
def test_formats(start, fmt, want):
    s = start("log_format f '%s'; access_log @PREFIX@/logs/access.log f; " % fmt + SITE % "")
    s.get("/p?x=1")
    line = s.wait_log(r"^(.+)$").group(1)
    parts, wants = line.split("|"), want.split("|")
    assert len(parts) == len(wants)
    for got, w in zip(parts, wants):
        assert got == w or re.fullmatch(w, got), (got, w)


@pytest.mark.parametrize("words,want", [
    (b"GET /half", '"GET /half" 400 0'),
    (b"GET /half HTTP/1.1\r\nHost: a\r\nX", '"GET /half HTTP/1.1" 400 0'),
    (b"\x16\x03\x01\r\n\r\n", r'"\x16\x03\x01" 400 157'),
    (b"", None)])
def test_what_is_no_request_yet(start, words, want):
    """A client that goes before its head is whole leaves a line; one that says nothing does not."""
    s = start(SITE % "")
    with socket.create_connection(("127.0.0.1", s.port())) as c:
        c.sendall(words)
        c.shutdown(socket.SHUT_WR)
        while c.recv(4096):
            pass
    if want:
        s.wait_log(re.escape(want))
    s.get("/last")
    s.wait_log("GET /last ")
    assert len(s.log().splitlines()) == 1 + bool(want)


def test_escapes(start):
    s = start("""log_format d '$http_x'; log_format j escape=json '{"x":"$http_x","none":"$http_none"}'; log_format n escape=none '$http_x';
        server { listen 127.0.0.1:@port@; access_log @PREFIX@/logs/d.log d; access_log @PREFIX@/logs/j.log j;
        access_log @PREFIX@/logs/n.log n; location / { return 200 x; } }""")
    s.get("/", headers={"X": 'a"b\\c\t\xe9'})
    assert s.wait_log(r"^(.+)$", "d.log").group(1) == r"a\x22b\x5Cc\x09\xE9"
    assert s.wait_log(r"^(.+)$", "n.log").group(1).encode("utf-8", "surrogateescape") == b'a"b\\c\t\xe9'
    line = s.wait_log(r"^(.+)$", "j.log").group(1)
    assert line.startswith(r'{"x":"a\"b\\c\t') and line.endswith('"none":""}')


def test_off_inheritance_and_if(start):
    s = start("""map $status $bad { ~^[23] 0; default 1; }
        access_log @PREFIX@/logs/access.log; server { listen 127.0.0.1:@port@; location / { return 200 x; }
        location /off { access_log off; return 200 x; } location /own { access_log @PREFIX@/logs/own.log; return 200 x; }
        location /if { access_log @PREFIX@/logs/if.log combined if=$bad; if ($arg_e) { return 404; } return 200 x; } }""")
    for p in ("/off", "/own", "/if", "/if?e=1", "/last"):
        s.get(p)
    s.wait_log("GET /last")
    assert s.log().count("\n") == 1
    assert s.wait_log("GET /own", "own.log") and s.log("own.log").count("\n") == 1
    assert s.wait_log("GET /if\\?e=1", "if.log") and s.log("if.log").count("\n") == 1


def test_buffer_and_flush(start):
    s = start("access_log @PREFIX@/logs/access.log combined buffer=64k flush=1s; " + SITE % "")
    for i in range(10):
        s.get(f"/{i}")
    poll(lambda: s.log().count("\n") == 10, 10, "the lines of all threads")


def test_buffer_is_written_at_the_end(start):
    s = start("access_log @PREFIX@/logs/access.log combined buffer=64k flush=1h; access_log @PREFIX@/logs/z.gz combined gzip buffer=64k; " + SITE % "")
    for i in range(5):
        s.get(f"/{i}")
    assert s.log() == ""
    s.stop(signal.SIGQUIT)
    s.proc, proc = None, s.proc
    assert s.log().count("\n") == 5
    assert gzip.decompress(s.read("logs/z.gz", binary=True)).count(b"\n") == 5


def test_reopen(start):
    s = start(SITE % "", workers=1)
    s.get("/one")
    s.wait_log("/one")
    os.rename(s.path("logs/access.log"), s.path("logs/old.log"))
    os.rename(s.path("logs/error.log"), s.path("logs/old-error.log"))
    s.send_signal(signal.SIGUSR1)
    poll(lambda: os.path.exists(s.path("logs/access.log")) and os.path.exists(s.path("logs/error.log")), 10, "new logs")

    def lands():
        s.get("/two")
        return "/two" in s.log()
    poll(lands, 10, "requests in the new log")
    assert "/one" in s.log("old.log") and "/one" not in s.log()


@pytest.mark.parametrize("main", ["", "master_process off;"], ids=["master", "alone"])
def test_reopen_flushes_first(start, main):
    """What was buffered when the signal came belongs into the file that was moved away: on all threads."""
    if ORACLE and main:
        pytest.skip("the oracle has no worker to wait for")
    s = start("log_format u '$request_uri'; access_log @PREFIX@/logs/access.log u buffer=64k; "
              "server { listen 127.0.0.1:@port@ reuseport; location / { return 200 $request_uri; } }", main=main, start=False)
    s.start(wait=not main)
    poll(lambda: s.log("nginx.pid"), 10, "the pid file")
    for i in range(40):
        assert s.get("/old%d" % i).status == 200
    assert s.log() == ""
    os.rename(s.path("logs/access.log"), s.path("logs/old.log"))
    s.send_signal(signal.SIGUSR1)
    poll(lambda: s.log("old.log").count("\n") == 40, 10, "the buffered lines in the old file")
    poll(lambda: os.path.exists(s.path("logs/access.log")), 10, "the new file")
    poll(lambda: not [t for p in ([s.proc.pid] if main else s.worker_pids()) for t in fd_targets(p) if t.endswith("old.log")], 10,
         "the old file to be let go")
    s.get("/new")
    s.send_signal(signal.SIGUSR1)
    poll(lambda: s.log() == "/new\n", 10, "the line in the new file")


def test_long_lines(start):
    """A line of megabytes is written whole, and the next ones too."""
    s = start("log_format b escape=default '$request_uri $request_body'; access_log @PREFIX@/logs/access.log b; server { listen 127.0.0.1:@port@; "
              "client_max_body_size 0; client_body_buffer_size 2m; location / { proxy_pass http://127.0.0.1:@port@/x; } location /x { return 200; } }")
    body = bytes(range(256)) * 4096
    assert s.get("/up", method="POST", body=body).status == 200
    assert s.get("/next").status == 200
    s.wait_log("^/next ")
    line = poll(lambda: [x for x in s.log().split("\n")[:-1] if x.startswith("/up ")], 10, "the long line")[0]
    assert line.count("\\x00") == 4096 and len(line) > len(body)


def test_combined_is_taken(start):
    r = start("log_format combined x;", start=False).run("-t")
    assert r.returncode == 1 and 'duplicate "log_format" name "combined"' in r.stderr


def test_buffers_of_one_file(start):
    """Two sizes for one file are refused, a size and none are not."""
    conf = "access_log @PREFIX@/logs/a.log combined buffer=4k; access_log @PREFIX@/logs/a.log combined%s;"
    r = start(conf % " buffer=8k", start=False).run("-t")
    assert r.returncode == 1 and "already defined with conflicting parameters" in r.stderr
    assert start(conf % "", start=False).run("-t").returncode == 0


@pytest.mark.parametrize("first, second, ok", [
    ("buffer=4k", "buffer=8k", False), ("buffer=4k", "buffer=4k", True), ("buffer=4k flush=1s", "buffer=4k", False),
    ("buffer=4k", "gzip buffer=4k", False), ("buffer=4k", "", True), ("", "buffer=4k", True)])
def test_buffers_of_one_file_in_two_servers(start, first, second, ok):
    conf = "".join("server { listen 127.0.0.1:%s; access_log @PREFIX@/logs/a.log combined %s; }" % (p, x) for p, x in (("@port@", first), ("@port2@", second)))
    r = start(conf, start=False).run("-t")
    assert (r.returncode == 0) == ok
    assert ok or "already defined with conflicting parameters" in r.stderr


def test_variable_in_path(start):
    s = start('access_log @PREFIX@/logs/$arg_l.log; ' + SITE % "")
    s.get("/?l=red")
    s.get("/?l=blue")
    s.wait_log("l=red", "red.log")
    s.wait_log("l=blue", "blue.log")


def test_variable_in_path_wants_a_root(start):
    """A name that is nobody's folder makes no file: whoever invents names may not fill the disk."""
    s = start("access_log @PREFIX@/logs/$host.log; server { listen 127.0.0.1:@port@; root @PREFIX@/sites/$host; location /x { return 200 x; } }",
              files={"sites/known/a.txt": "a"})
    assert s.get("/x", host="made.up").status == 200
    assert s.get("/x", host="known").status == 200
    s.wait_log("GET /x", "known.log")
    s.wait_log(r'\[error\] .*testing "%s/sites/made\.up" existence failed' % s.prefix, "error.log")
    assert not os.path.exists(s.path("logs/made.up.log"))


@pytest.mark.parametrize("cached", [True, False])
def test_open_log_file_cache(start, cached):
    s = start("access_log @PREFIX@/logs/$arg_l.log; %s" % ("open_log_file_cache max=10 inactive=1h valid=1h min_uses=2;" if cached else "")
              + SITE % "", workers=1)

    def held():
        return sorted(os.path.basename(t) for p in s.worker_pids() for t in fd_targets(p) if t.endswith(("one.log", "two.log")))
    for _ in range(3):
        s.get("/?l=one")
    s.get("/?l=two")
    s.wait_log("l=one", "one.log", count=3)
    s.wait_log("l=two", "two.log")
    assert held() == (["one.log"] if cached else [])
    os.rename(s.path("logs/one.log"), s.path("logs/old.log"))
    s.get("/?l=one")
    s.wait_log("l=one", "old.log" if cached else "one.log", count=4 if cached else 1)
    if ORACLE and cached:
        return  # only `valid` lets go there
    s.send_signal(signal.SIGUSR1)
    poll(lambda: not held() and not [t for p in s.worker_pids() for t in fd_targets(p) if t.endswith("old.log")], 10,
         "the old file to be let go")
    s.get("/?l=one")
    s.wait_log("l=one", "one.log", count=1 if cached else 2)


@pytest.mark.parametrize("text", ["inactive=5s", "max=0", "max=x", "max=1 valid=q"])
def test_open_log_file_cache_mistakes(start, text):
    s = start("open_log_file_cache %s;" % text, start=False)
    r = s.run("-t")
    assert r.returncode == 1 and '"open_log_file_cache"' in r.stderr, r.stderr


def syslog_socket():
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", free_port(socket.SOCK_DGRAM)))
    u.settimeout(10)
    return u


def test_syslog(start):
    u = syslog_socket()
    s = start("access_log syslog:server=127.0.0.1:%d,facility=local7,tag=web,severity=info combined; "
              "error_log syslog:server=127.0.0.1:%d,tag=errs warn; " % (u.getsockname()[1], u.getsockname()[1])
              + "server { listen 127.0.0.1:@port@; location / { return 200 x; } location /up { proxy_pass http://127.0.0.1:1; } }")
    s.get("/sys")
    m = u.recv(4096).decode()
    assert re.match(r"<190>\w{3} [ \d]\d \d\d:\d\d:\d\d \S+ web: 127\.0\.0\.1 - - \[", m)
    s.get("/up")
    seen = [u.recv(4096).decode(), u.recv(4096).decode()]
    assert any(re.match(r"<187>\w{3} .* errs: .*connect\(\) failed", x) for x in seen), seen
    u.close()


def test_error_log_line(start):
    s = start("server { listen 127.0.0.1:@port@; server_name x.example; location / { proxy_pass http://127.0.0.1:@portdead@/u; } }")
    s.get("/p?q", host="h.example")
    line = s.wait_log(r"^.*connect\(\) failed.*$", "error.log").group(0)
    assert re.fullmatch(r'\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[error\] \d+#\d+: \*\d+ connect\(\) failed \(111: Connection refused\) while '
                        r'connecting to upstream, client: 127\.0\.0\.1, server: x\.example, request: "GET /p\?q HTTP/1\.1", '
                        rf'upstream: "http://127\.0\.0\.1:{s.port("portdead")}/up\?q", host: "h\.example".*', line)


def test_error_log_levels(start):
    s = start("server { listen 127.0.0.1:@port@; root @PREFIX@/html; error_log @PREFIX@/logs/site.log crit; }"
              " server { listen 127.0.0.1:@port2@; root @PREFIX@/html; error_log @PREFIX@/logs/two.log error;"
              " location /q { log_not_found off; } }")
    s.get("/missing")
    s.get("/missing2", port="port2")
    s.get("/q/missing3", port="port2")
    assert 'open() "' in s.wait_log(r"^.*missing2.*$", "two.log").group(0)
    assert "missing" not in s.log("site.log") and "missing3" not in s.log("two.log")


def test_nothing_secret_in_logs(start, certs):
    s = start("server { listen 127.0.0.1:@port@ ssl; ssl_certificate %s; ssl_certificate_key %s; location / { return 200 x; } }" % certs.a,
              log_level="debug")
    s.get("/", tls=certs.client_context(), sni="a.example", headers={"Authorization": "Basic c2VjcmV0"})
    with open(certs.a[1]) as f:
        key = f.read().split("\n")[1]
    assert key not in s.log("error.log")
    assert "c2VjcmV0" not in s.log()


@pytest.mark.sluice_only("reasons")
def test_reasons(start, backend):
    def handler(conn):
        conn.read_request()
        conn.close()
    b = backend(handler)
    s = start("""log_format r '$status $upstream_error|$request_end_reason'; access_log @PREFIX@/logs/access.log r;
        server { listen 127.0.0.1:@port@; location /dead { proxy_pass http://127.0.0.1:@portdead@; }
        location /cut { proxy_pass http://%s; } location /ok { return 200 x; } }""" % b.addr)
    s.get("/dead")
    s.get("/cut")
    s.get("/ok")
    assert s.wait_log(r"^502 (\S+)\|(\S*)$").group(1) not in ("", "-")
    s.wait_log(r"^502 .*$", count=2)
    s.wait_log(r"^200 -\|.*$")


def test_log_under_parallel_load(start):
    s = start(SITE % "")

    def many(k):
        with s.connect() as c:
            for i in range(50):
                assert c.request(f"/t{k}-{i}").status == 200
    threads = [threading.Thread(target=many, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    s.wait_log("GET /t", count=400)
    lines = s.log().splitlines()
    assert len(lines) == 400 and all(re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET /t\d-\d+ HTTP/1\.1" 200 5 "-" "-"', x) for x in lines)
