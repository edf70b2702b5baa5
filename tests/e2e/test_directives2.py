"""More directives that no other file drives: each with an effect that can be seen, most of them beside the oracle."""
import os
import re
import signal
import socket
import ssl
import subprocess
import time

import pytest

import harness
from harness import ORACLE, build_request, free_port, poll, response

SITE = "server { listen 127.0.0.1:@port@; %s }"


# ---------------------------------------------------------------- who may come in

def test_satisfy(start):
    s = start(SITE % """root @PREFIX@/html; location /in/ { satisfy any; allow 127.0.0.1; deny all; }
        location /out/ { satisfy any; deny all; } location /all/ { satisfy all; deny 127.0.0.1; allow all; }
        location /none/ { satisfy any; }""", files={d + "/f": "x" for d in ("html/in", "html/out", "html/all", "html/none")})
    assert [s.get(f"/{d}/f").status for d in ("in", "out", "all", "none")] == [200, 403, 403, 200]
    s.wait_log("access forbidden by rule", "error.log", count=2)


# ---------------------------------------------------------------- connections

OLD_IE = "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"
SAFARI = "Mozilla/5.0 (Macintosh; U; PPC Mac OS X; en) AppleWebKit/125 (KHTML, like Gecko) Safari/125"


@pytest.mark.parametrize("words,ie,safari", [("", False, True), ("keepalive_disable none;", True, True),
                                             ("keepalive_disable safari;", True, False), ("keepalive_disable msie6 safari;", False, False)])
def test_keepalive_disable(start, words, ie, safari):
    s = start(SITE % (words + " location / { return 200 x; }"))

    def kept(agent, method):
        with s.connect() as c:
            r = c.request("/", method, body=b"x" if method == "POST" else None, headers=[("User-Agent", agent)])
            assert r.status == 200
            return r.get("Connection") != "close"
    assert kept(OLD_IE, "POST") == ie
    assert kept(SAFARI, "GET") == safari
    assert kept("Mozilla/5.0 (compatible; MSIE 10.0)", "POST") and kept("curl/8", "GET")


@pytest.mark.sluice_only("1.27.4")
def test_keepalive_min_timeout(start):
    """At a graceful end an idle connection stays so long, and its next request is answered."""
    s = start(SITE % "location / { keepalive_min_timeout 30s; return 200 x; }"
              + "server { listen 127.0.0.1:@port2@; location / { return 200 y; } }")
    with s.connect() as c, s.connect("port2") as d:
        assert c.request("/").status == d.request("/").status == 200
        s.send_signal(signal.SIGQUIT)
        assert d.closed(10)  # the ordinary grace is over
        with pytest.raises(AssertionError, match="nothing came"):
            c.closed(1)
        r = c.request("/")
        assert r.status == 200 and r.get("Connection") == "close"
        assert c.closed(10)
    s.proc.wait(10 * harness.SLOW)


@pytest.mark.parametrize("how,reset", [("off", True), ("on", True), ("always", False)])
def test_lingering_close(start, how, reset):
    """`always` reads away what comes after the last answer; else a client that goes on writing is reset."""
    s = start(SITE % f"lingering_close {how}; lingering_timeout 20s; location / {{ return 200 x; }}")
    with s.connect() as c:
        c.send(build_request("/", headers=[("Connection", "close")]))
        assert c.read_response().status == 200
        assert c.closed(5)

        def write():
            try:
                c.sock.sendall(b"more")
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True
        if reset:
            poll(write, 10, "a reset")
        else:
            for _ in range(20):
                assert not write()
                time.sleep(0.005)  # room for a reset to come


def keepalive_timers(port):
    """Connections to that port whose kernel timer is the keep-alive one."""
    with open("/proc/net/tcp") as f:
        return [x for x in map(str.split, f.readlines()[1:]) if int(x[2].split(":")[1], 16) == port and x[5].startswith("02:")]


@pytest.mark.parametrize("on", [True, False])
def test_proxy_socket_keepalive(start, backend, on):
    b = backend()
    s = start("upstream u { server %s; keepalive 4; }" % b.addr + SITE %
              ('proxy_http_version 1.1; proxy_set_header Connection ""; proxy_socket_keepalive %s; location / { proxy_pass http://u; }' % ("on" if on else "off")))
    assert s.get("/").status == 200
    if on:
        poll(lambda: keepalive_timers(b.port), 10, "the timer")
    else:
        assert not keepalive_timers(b.port)


# ---------------------------------------------------------------- answers

def test_proxy_force_ranges(start, backend):
    b = backend(answer=lambda r: response(b"0123456789"))
    s = start(SITE % "location / { proxy_pass http://%s; } location /f { proxy_force_ranges on; proxy_pass http://%s; }" % (b.addr, b.addr))
    assert s.get("/", headers=[("Range", "bytes=2-3")]).status == 200
    r = s.get("/f", headers=[("Range", "bytes=2-3")])
    assert (r.status, r.body, r.get("Content-Range")) == (206, b"23", "bytes 2-3/10")


@pytest.mark.parametrize("conf", ["", "msie_padding off;"])
def test_msie_padding(start, conf):
    s = start(SITE % conf)
    ie = [("User-Agent", "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.0)")]
    page = s.get("/none", headers=ie).text
    assert ("a padding to disable MSIE and Chrome friendly error page" in page) == ("padding" not in conf)
    assert ("a padding" in s.get("/none", headers=[("User-Agent", "Mozilla/5.0 Chrome/100.0")]).text) == ("padding" not in conf)
    assert "a padding" not in s.get("/none", headers=[("User-Agent", "curl/8")]).text


@pytest.mark.sluice_only("1.29.3")
def test_add_header_inherit(start):
    s = start(SITE % """add_header A 1; add_trailer T 1; location / { add_header B 2; add_trailer U 2; return 200 x; }
        location /m { add_header_inherit merge; add_trailer_inherit merge; add_header B 2; add_trailer U 2; return 200 x; }
        location /off { add_header_inherit off; add_trailer_inherit off; return 200 x; } location /none { return 200 x; }""")

    def seen(path):
        r = s.get(path, headers=[("TE", "trailers")])
        return "".join(n for n in "AB" if r.get(n)) + "".join(sorted(k for k, _ in r.trailers))
    assert [seen("/"), seen("/m"), seen("/off"), seen("/none")] == ["BU", "ABTU", "", "AT"]


# ---------------------------------------------------------------- logs

def test_rewrite_log(start):
    s = start(SITE % "rewrite_log on; location /a { rewrite ^/a(.*)$ /b$1?x=1 last; } location /b { if ($arg_x = 1) { return 200 ok; } }", log_level="notice")
    assert s.get("/a1").text == "ok"
    s.wait_log(r'\[notice\] .*"\^/a\(\.\*\)\$" matches "/a1", client: ', "error.log")
    s.wait_log(r'\[notice\] .*rewritten data: "/b1", args: "x=1", client: ', "error.log")
    s = start(SITE % "location /a { rewrite ^/a(.*)$ /b$1?x=1 last; } location /b { return 200 ok; }", log_level="notice")
    assert s.get("/a1").text == "ok" and "matches" not in s.log("error.log")


@pytest.mark.parametrize("on", [True, False])
def test_uninitialized_variable_warn(start, on):
    s = start(SITE % ("uninitialized_variable_warn %s; if ($arg_a) { set $x 1; } location / { return 200 \"[$x]\"; }" % ("on" if on else "off")))
    assert s.get("/").text == "[]" and s.get("/?a=1").text == "[1]"
    assert ('[warn]' in s.log("error.log") and 'using uninitialized "x" variable' in s.log("error.log")) == on


# ---------------------------------------------------------------- the process

def task_masks(s):
    out = []
    for pid in s.worker_pids():
        for t in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
            with open(f"/proc/{pid}/task/{t}/status") as f:
                out.append(re.search(r"^Cpus_allowed:\s+(\S+)", f.read(), re.M).group(1).lstrip("0,"))
    return out


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
@pytest.mark.skipif("tsan" in harness.BINARY, reason="TSan has a thread of its own")
def test_worker_cpu_affinity(start):
    main = "worker_processes 2; worker_cpu_affinity %s;"
    for words, want in (("01 10", ["1", "2"]), ("10", ["2", "2"]), ("auto", ["1", "2"])):
        s = start(SITE % "location / { return 200 x; }", main=main % words)
        poll(lambda: sorted(m for m in task_masks(s) if m in ("1", "2")) == want, 5, f"the masks of {words}")


def test_worker_limits(start):
    s = start(SITE % "location / { return 200 x; }", main="worker_rlimit_core 1m; worker_rlimit_nofile 5000; worker_priority 5;")
    pid = s.worker_pids()[0]

    def limits():
        with open(f"/proc/{pid}/limits") as f:
            return f.read()
    poll(lambda: re.search(r"^Max core file size\s+1048576\s+1048576", limits(), re.M), 5, "the core size")
    poll(lambda: re.search(r"^Max open files\s+5000\s+5000", limits(), re.M), 5, "the files")
    poll(lambda: os.getpriority(os.PRIO_PROCESS, pid) == 5, 5, "the priority")


def test_resolver_timeout(start):
    """A name server that is silent: the request ends after that time with the reason in the log."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", free_port(socket.SOCK_DGRAM)))
        s = start(SITE % ("resolver 127.0.0.1:%d; resolver_timeout 300ms; location / { set $n name.example; proxy_pass http://$n; }" % silent.getsockname()[1]))
        begin = time.monotonic()
        assert s.get("/", timeout=20).status == 502
        assert time.monotonic() - begin < 8 * harness.SLOW
        s.wait_log(r"name\.example could not be resolved \(110: Operation timed out\)", "error.log")


# ---------------------------------------------------------------- TLS

TLS = "server { listen 127.0.0.1:@port@ ssl; ssl_certificate %s; ssl_certificate_key %s; %%s location / { return 200 \"$ssl_client_verify $ssl_early_data\"; } }"


def test_ssl_session_timeout(start, certs):
    for value, want in (("", 300), ("ssl_session_timeout 77s;", 77)):
        s = start(TLS % certs.a % (value + " ssl_protocols TLSv1.2;"))
        with s.connect(tls=certs.client_context(high=ssl.TLSVersion.TLSv1_2), sni="a.example") as c:
            assert c.request("/").status == 200
            assert c.sock.session.ticket_lifetime_hint == want


def test_ssl_trusted_certificate(start, certs):
    """An authority that is trusted but not told to clients; names of authorities are told for the other directive."""
    s = start(TLS % certs.a % ("ssl_verify_client on; ssl_trusted_certificate %s; ssl_client_certificate %s;" % (certs.ca_path, certs.b[0])))
    assert s.get("/", tls=certs.client_context(cert=certs.client), sni="a.example").text.startswith("SUCCESS")
    out = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % s.port(), "-servername", "a.example"], input="", text=True,
                         capture_output=True, timeout=20 * harness.SLOW).stdout
    assert "CN = b.example" in out.split("Acceptable client certificate CA names")[1].split("Requested")[0]
    assert "test authority" not in out.split("Acceptable client certificate CA names")[1].split("Requested")[0]


def test_ssl_early_data(start, certs, tmp_path):
    s = start(TLS % certs.a % "ssl_early_data on; ssl_protocols TLSv1.3;")
    base = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % s.port(), "-servername", "a.example", "-tls1_3"]
    sess, early = str(tmp_path / "sess"), str(tmp_path / "early")
    with open(early, "wb") as f:
        f.write(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
    first = subprocess.run([*base, "-sess_out", sess, "-ign_eof"], input=b"GET / HTTP/1.0\r\n\r\n", capture_output=True, timeout=20 * harness.SLOW).stdout
    assert b"NONE \n" in first or b"NONE " in first
    second = subprocess.run([*base, "-sess_in", sess, "-early_data", early, "-ign_eof"], input=b"", capture_output=True, timeout=20 * harness.SLOW).stdout
    assert b"Early data was accepted" in second and b"NONE 1" in second


def chain(certs, folder, server):
    """Root, an authority below it, and a certificate of that one; paths of root, the chain and its key."""
    import datetime
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(cn):
        return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, cn)])

    def sign(cn, issuer, key, by, ca, alt=None):
        now = datetime.datetime.utcnow()
        b = (x509.CertificateBuilder().subject_name(name(cn)).issuer_name(name(issuer)).public_key(key.public_key())
             .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
             .not_valid_after(now + datetime.timedelta(days=9)).add_extension(x509.BasicConstraints(ca=ca, path_length=None), True))
        if alt:
            b = b.add_extension(x509.SubjectAlternativeName([x509.DNSName(alt)]), False)
        return b.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    root = sign("chain root", "chain root", keys[0], keys[0], True)
    middle = sign("chain middle", "chain root", keys[1], keys[0], True)
    leaf = sign("chain leaf", "chain middle", keys[2], keys[1], False, "a.example" if server else None)
    out = []
    for n, data in (("root.pem", root), ("leaf.pem", leaf + middle), ("leaf.key", keys[2].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))):
        path = os.path.join(str(folder), n)
        with open(path, "wb") as f:
            f.write(data)
        out.append(path)
    return out


@pytest.mark.parametrize("depth,want", [("0", "FAILED:certificate chain too long"), ("1", "SUCCESS"), ("", "SUCCESS"), ("2", "SUCCESS")])
def test_ssl_verify_depth(start, certs, tmp_path, depth, want):
    root, crt, key = chain(certs, tmp_path, False)
    s = start(TLS % certs.a % ("ssl_verify_client optional_no_ca; ssl_client_certificate %s; error_page 495 = /; %s"
                               % (root, f"ssl_verify_depth {depth};" if depth else "")))
    got = s.get("/", tls=certs.client_context(cert=(crt, key)), sni="a.example")
    if want == "SUCCESS":
        assert got.text.startswith(want)
    else:
        assert not got.text.startswith("SUCCESS")


def upstream(start, backend, certs, pair, more, **kw):
    b = backend(answer=response(b"secret"), tls=certs.server_context(pair, **kw))
    return start(SITE % ("location / { proxy_pass https://%s; proxy_ssl_name a.example; proxy_ssl_server_name on; %s }" % (b.addr, more)))


@pytest.mark.parametrize("depth,status", [("0", 502), ("1", 200), ("", 200)])
def test_proxy_ssl_verify_depth(start, backend, certs, tmp_path, depth, status):
    root, crt, key = chain(certs, tmp_path, True)
    s = upstream(start, backend, certs, (crt, key), "proxy_ssl_verify on; proxy_ssl_trusted_certificate %s; %s"
                 % (root, f"proxy_ssl_verify_depth {depth};" if depth else ""))
    assert s.get("/").status == status


def test_proxy_ssl_crl(start, backend, certs):
    verify = "proxy_ssl_verify on; proxy_ssl_trusted_certificate %s;" % certs.ca_path
    certs.make("a.example", file="bad-server")
    pair = (certs.dir + "/bad-server.crt", certs.dir + "/bad-server.key")
    assert upstream(start, backend, certs, pair, verify).get("/").status == 200
    keep = open(certs.crl_path).read()
    crl = certs.crl("bad-server")
    try:
        s = upstream(start, backend, certs, pair, verify + " proxy_ssl_crl %s;" % crl)
        assert s.get("/").status == 502
        s.wait_log("certificate verify error: \\(23:certificate revoked\\)", "error.log")
        assert upstream(start, backend, certs, certs.a, verify + " proxy_ssl_crl %s;" % crl).get("/").status == 200
    finally:
        with open(certs.crl_path, "w") as f:
            f.write(keep)


def test_proxy_ssl_password_file(start, backend, certs, tmp_path):
    crt, key = certs.make("locked client", client=True, file="locked", password="right")
    (tmp_path / "pw").write_text("wrong\nright\n")
    s = upstream(start, backend, certs, certs.a, "proxy_ssl_certificate %s; proxy_ssl_certificate_key %s; proxy_ssl_password_file %s;" % (crt, key, tmp_path / "pw"),
                 verify_clients=True, high=ssl.TLSVersion.TLSv1_2)
    assert s.get("/").body == b"secret"


def test_proxy_ssl_conf_command(start, backend, certs):
    b = backend(answer=lambda r: response(b"x"), tls=certs.server_context(certs.a))
    seen = []

    def handler(conn):
        seen.append(conn.sock.cipher()[0])
        conn.read_request()
        conn.send(response(b"x", headers=[("Connection", "close")]))
    b.handler = handler
    s = start(SITE % ("location / { proxy_pass https://%s; proxy_ssl_protocols TLSv1.3; proxy_ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256; }" % b.addr))
    assert s.get("/").status == 200 and seen == ["TLS_CHACHA20_POLY1305_SHA256"]


# ---------------------------------------------------------------- what else a word can say

def test_listen_on_a_range(start):
    first = next(p for p in (free_port() for _ in range(50)) if not [q for q in (p + 1, p + 2) if taken(q)])
    s = start("server { listen 127.0.0.1:%d-%d; location / { return 200 $server_port; } }" % (first, first + 2))
    assert [s.get("/", port=p).text for p in range(first, first + 3)] == [str(p) for p in range(first, first + 3)]


def taken(port):
    with socket.socket() as c:
        try:
            c.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_disable_symlinks_if_not_owner(start):
    s = start(SITE % """root @PREFIX@/html; disable_symlinks if_not_owner; location /f { disable_symlinks on from=$document_root; }""",
              files={"html/a": "x", "html/f/a": "y"})
    os.symlink(s.path("html/a"), s.path("html/own"))
    os.symlink("/etc/hostname", s.path("html/other"))
    os.chown(s.path("html/other"), 65534, 65534, follow_symlinks=False)
    os.symlink(s.path("html/a"), s.path("html/f/l"))
    assert [s.get(p).status for p in ("/a", "/own", "/other", "/f/a", "/f/l")] == [200, 200, 403, 200, 403]


@pytest.mark.sluice_only("1.22 takes it for an answer of HTTP/0.9")
def test_invalid_header_tries_the_next_server(start, backend):
    def bad(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 abc nonsense\r\n\r\n")
        conn.close()
    b, good = backend(bad), backend(answer=response(b"ok"))
    s = start("upstream u { server %s max_fails=0; server %s max_fails=0 backup; }" % (b.addr, good.addr)
              + SITE % """location / { proxy_pass http://u; proxy_next_upstream invalid_header; }
                location /not { proxy_pass http://u; proxy_next_upstream error timeout; }""")
    assert s.get("/").body == b"ok"
    assert s.get("/not").status == 502


def test_client_body_temp_path(start, backend):
    """Long bodies are written below it, without a name; what is kept lies in the folders that its levels say."""
    seen = []

    def answer(r):
        seen.append((len(r.body), [x for p in s.worker_pids() for x in harness.fd_targets(p) if x.startswith(s.path("temp/mine/"))]))
        return response(b"x")

    def files():
        return [os.path.relpath(os.path.join(d, f), s.path("temp/mine")) for d, _, names in os.walk(s.path("temp/mine")) for f in names]
    b = backend(answer=answer)
    s = start(SITE % ("client_body_temp_path @PREFIX@/temp/mine 1 2; client_body_buffer_size 8k; client_max_body_size 0;"
                      " location / { proxy_pass http://%s; } location /keep { client_body_in_file_only on; proxy_pass http://%s; }" % (b.addr, b.addr)),
              temps=False)
    assert s.get("/", method="POST", body=b"z" * 3000000).status == 200
    assert seen[0][0] == 3000000 and len(seen[0][1]) == 1 and not files()
    assert s.get("/keep", method="POST", body=b"z" * 300).status == 200
    name, = files()
    assert re.fullmatch(r"\d/\d\d/\d{10}", name) and os.path.getsize(s.path("temp/mine/" + name)) == 300
