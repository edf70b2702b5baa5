"""TLS towards clients: certificates by name, protocols, sessions, client certificates, plain HTTP on a TLS port."""
import os
import re
import socket
import ssl
import subprocess
import time

import pytest

from harness import BINARY, ORACLE, SLOW, Conn, build_request, poll, proxy_v1, request, response

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def serve(certs, more="", pair=None, loc='return 200 "$ssl_protocol $ssl_server_name $scheme $https\\n";'):
    crt, key = pair or certs.a
    if ORACLE and "ssl_protocols" not in more:
        more += " ssl_protocols TLSv1.2 TLSv1.3;"  # 1.3 is in the default only since 1.23
    return ("server { listen 127.0.0.1:@port@ ssl; server_name a.example; ssl_certificate %s; ssl_certificate_key %s; %s "
            "location / { %s } }" % (crt, key, more, loc))


def test_versions(start, certs):
    s = start(serve(certs))
    for v, name in ((TLS12, "TLSv1.2"), (TLS13, "TLSv1.3")):
        ctx = certs.client_context(low=v, high=v)
        assert s.get("/", tls=ctx, sni="a.example").text == f"{name} a.example https on\n"


def test_protocols_directive(start, certs):
    s = start(serve(certs, "ssl_protocols TLSv1.3;"))
    assert s.get("/", tls=certs.client_context(), sni="a.example").status == 200
    with pytest.raises(ssl.SSLError):
        s.get("/", tls=certs.client_context(high=TLS12), sni="a.example")


def test_many_requests_and_sizes(start, certs, backend):
    body = bytes(range(256)) * 8000
    b = backend(answer=lambda r: response(r.body or body))
    s = start(serve(certs, loc="proxy_pass http://%s; client_max_body_size 0;" % b.addr))
    with s.connect(tls=certs.client_context(), sni="a.example") as c:
        for _ in range(5):
            assert c.request("/").body == body
        up = body[:300000]
        assert c.request("/", "POST", body=up).body == up
        c.send(build_request("/1") + build_request("/2"))
        assert c.read_response().body == body
        assert c.read_response().body == body


def peer_cn(sock):
    cert = sock.getpeercert()
    return dict(x[0] for x in cert["subject"])["commonName"]


def test_sni(start, certs):
    crt, key = certs.b
    s = start(serve(certs) + """server { listen 127.0.0.1:@port@ ssl; server_name b.example *.wild.example;
        ssl_certificate %s; ssl_certificate_key %s; location / { return 200 b; } }""" % (crt, key))
    ctx = certs.client_context()
    ctx.check_hostname = False
    for name, cn in (("a.example", "a.example"), ("b.example", "b.example"), ("x.wild.example", "b.example"),
                     ("B.EXAMPLE", "b.example"), ("other.example", "a.example"), (None, "a.example")):
        with s.connect(tls=ctx, sni=name) as c:
            assert peer_cn(c.sock) == cn, name
            assert c.request("/", host=name or "x").status == 200


def test_reject_handshake(start, certs):
    s = start("server { listen 127.0.0.1:@port@ ssl default_server; ssl_reject_handshake on; } " + serve(certs))
    assert s.get("/", tls=certs.client_context(), sni="a.example", host="a.example").status == 200
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        s.get("/", tls=certs.client_context(verify=False), sni="other.example")


def test_rsa_and_ecdsa(start, certs):
    more = "ssl_certificate %s; ssl_certificate_key %s;" % certs.a_rsa
    s = start(serve(certs, more))
    for suites, kind in (("ECDHE-RSA-AES128-GCM-SHA256", "RSA"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA")):
        ctx = certs.client_context(high=TLS12, ciphers=suites)
        with s.connect(tls=ctx, sni="a.example") as c:
            assert c.sock.cipher()[0] == suites


def test_ciphers_and_preference(start, certs):
    s = start(serve(certs, "ssl_prefer_server_ciphers on; ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256;"))
    ctx = certs.client_context(high=TLS12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    with s.connect(tls=ctx, sni="a.example") as c:
        assert c.sock.cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
    with pytest.raises(ssl.SSLError):
        s.connect(tls=certs.client_context(high=TLS12, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"), sni="a.example")


def resumed(s, certs, version):
    ctx = certs.client_context(low=version, high=version)
    ctx.check_hostname = False

    def visit(session=None):
        raw = socket.create_connection(("127.0.0.1", s.port()), 10 * SLOW)
        with ctx.wrap_socket(raw, server_hostname="a.example", session=session) as c:
            c.sendall(build_request("/", headers={"Connection": "close"}))
            while c.recv(4096):
                pass
            return c.session, c.session_reused
    session, _ = visit()
    return any(visit(session)[1] for _ in range(3))


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("more,want", [("ssl_session_tickets on;", True),
                                       ("ssl_session_cache shared:S:1m; ssl_session_tickets off;", True),
                                       ("ssl_session_cache off; ssl_session_tickets off;", False)])
def test_resumption(start, certs, version, more, want):
    s = start(serve(certs, more))
    got = resumed(s, certs, version)
    if want is False and version == TLS13 and not got:
        return
    assert got == want


def test_resumption_over_a_reload(start, certs):
    """Ticket keys given in a file stay; sluice's own keys stay as well."""
    key = b"k" * 80
    s = start(serve(certs, "ssl_session_ticket_key @PREFIX@/conf/t.key;"), files={"conf/t.key": key})
    ctx = certs.client_context(high=TLS12)
    ctx.check_hostname = False
    raw = socket.create_connection(("127.0.0.1", s.port()), 10)
    with ctx.wrap_socket(raw, server_hostname="a.example") as c:
        c.sendall(build_request("/"))
        c.recv(100)
        session = c.session
    s.reload()
    raw = socket.create_connection(("127.0.0.1", s.port()), 10)
    with ctx.wrap_socket(raw, server_hostname="a.example", session=session) as c:
        c.sendall(build_request("/"))
        c.recv(100)
        assert c.session_reused


CLIENT = '"$ssl_client_verify|$ssl_client_s_dn|$ssl_client_i_dn|$ssl_client_serial|$ssl_client_fingerprint"'


def test_client_certificate(start, certs):
    s = start(serve(certs, f"ssl_verify_client on; ssl_client_certificate {certs.ca_path};", loc=f"return 200 {CLIENT};"))
    good = certs.client_context(cert=certs.client, high=TLS12)
    r = s.get("/", tls=good, sni="a.example")
    parts = r.text.split("|")
    assert parts[0] == "SUCCESS" and parts[1] == "CN=good client,O=sluice tests"
    assert parts[2] == "CN=test authority,O=sluice tests"
    assert int(parts[3], 16) == certs.serials["client"] and re.fullmatch("[0-9a-f]{40}", parts[4])
    r = s.get("/", tls=certs.client_context(), sni="a.example")
    assert r.status == 400 and "No required SSL certificate was sent" in r.text
    r = s.get("/", tls=certs.client_context(cert=certs.expired), sni="a.example")
    assert r.status == 400 and "The SSL certificate error" in r.text


def test_client_certificate_optional(start, certs):
    s = start(serve(certs, f"ssl_verify_client optional; ssl_client_certificate {certs.ca_path};", loc=f"return 200 {CLIENT};"))
    assert s.get("/", tls=certs.client_context(), sni="a.example").text.startswith("NONE||")
    assert s.get("/", tls=certs.client_context(cert=certs.client), sni="a.example").text.startswith("SUCCESS|")
    s = start(serve(certs, "ssl_verify_client optional_no_ca;", loc=f"return 200 {CLIENT};"))
    assert s.get("/", tls=certs.client_context(cert=certs.client), sni="a.example").text.startswith("FAILED:")


def test_crl(start, certs):
    s = start(serve(certs, f"ssl_verify_client on; ssl_client_certificate {certs.ca_path}; ssl_crl {certs.crl_path};",
                    loc=f"return 200 {CLIENT};"))
    assert s.get("/", tls=certs.client_context(cert=certs.client), sni="a.example").status == 200
    assert s.get("/", tls=certs.client_context(cert=certs.revoked), sni="a.example").status == 400


def test_error_pages_496_495(start, certs):
    s = start(serve(certs, f"ssl_verify_client on; ssl_client_certificate {certs.ca_path}; error_page 496 =403 @no;",
                    loc="return 200 x; } location @no { return 403 nocert;"))
    r = s.get("/", tls=certs.client_context(), sni="a.example")
    assert r.status == 403 and r.body == b"nocert"


def test_client_cert_variable(start, certs):
    s = start(serve(certs, f"ssl_verify_client on; ssl_client_certificate {certs.ca_path};",
                    loc="return 200 $ssl_client_escaped_cert;"))
    from urllib.parse import unquote
    with open(certs.client[0]) as f:
        assert unquote(s.get("/", tls=certs.client_context(cert=certs.client), sni="a.example").text) == f.read()


def test_plain_http_on_tls_port(start, certs):
    s = start(serve(certs))
    r = s.get("/")
    assert r.status == 400 and "The plain HTTP request was sent to HTTPS port" in r.text
    s = start(serve(certs, "error_page 497 =301 https://$host:@port@$request_uri;"))
    r = s.get("/x?y", host="a.example")
    assert r.status == 301 and r.get("Location") == f"https://a.example:{s.port()}/x?y"


def test_tls_on_plain_port(start, certs):
    s = start("server { listen 127.0.0.1:@port@; location / { return 200 x; } }")
    with pytest.raises((ssl.SSLError, OSError)):
        s.get("/", tls=certs.client_context(verify=False), sni="a.example")
    assert s.get("/").status == 200


def test_encrypted_key(start, certs):
    crt, key = certs.make("locked.example", password="s3cret words")
    s = start(serve(certs, "ssl_password_file @PREFIX@/conf/pw;", pair=(crt, key)), files={"conf/pw": "wrong\ns3cret words\n"})
    ctx = certs.client_context(verify=False)
    assert s.get("/", tls=ctx, sni="a.example").status == 200
    assert "s3cret" not in s.log("error.log") + s.log("stderr")


def test_ssl_variables(start, certs):
    s = start(serve(certs, loc='return 200 "$ssl_cipher|$ssl_curve|$ssl_session_reused|$ssl_session_id|$ssl_alpn_protocol";'))
    text = s.get("/", tls=certs.client_context(high=TLS12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256", alpn=["http/1.1"]),
                 sni="a.example").text
    parts = text.split("|")
    assert parts[0] == "ECDHE-ECDSA-AES128-GCM-SHA256" and parts[2] == "." and parts[4] == "http/1.1"
    assert parts[1]


def test_ecdh_curve_and_conf_command(start, certs):
    s = start(serve(certs, "ssl_ecdh_curve secp384r1; ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;",
                    loc='return 200 "$ssl_curve $ssl_cipher";'))
    assert s.get("/", tls=certs.client_context(), sni="a.example").text == "secp384r1 TLS_CHACHA20_POLY1305_SHA256"


def test_handshake_in_pieces_and_cut(start, certs):
    s = start(serve(certs))
    bio_in, bio_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    obj = certs.client_context().wrap_bio(bio_in, bio_out, server_hostname="a.example")
    with pytest.raises(ssl.SSLWantReadError):
        obj.do_handshake()
    hello = bio_out.read()
    for n in (1, 5, 6, 50, len(hello) - 1):
        with s.connect() as c:
            c.send(hello[:n])
    with s.connect() as c:
        for byte in hello:
            c.send(bytes([byte]))
        assert c.read_some()[:1] == b"\x16"
    with s.connect() as c:
        c.send(hello + b"\x17\x03\x03\x00\x05junk!")
        c.read_all()
    assert s.get("/", tls=certs.client_context(), sni="a.example").status == 200


def test_close_notify(start, certs):
    """A close without truncation: the TLS end is signed off."""
    s = start(serve(certs))
    ctx = certs.client_context()
    ctx.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    raw = socket.create_connection(("127.0.0.1", s.port()), 10)
    with ctx.wrap_socket(raw, server_hostname="a.example", suppress_ragged_eofs=False) as c:
        c.sendall(build_request("/", headers={"Connection": "close"}))
        while c.recv(4096):
            pass


def test_handshake_timeout(start, certs):
    s = start(serve(certs, "client_header_timeout 1s;"))
    with s.connect() as c:
        c.send(b"\x16\x03\x01")
        assert c.closed(10) or c.read_all()


def test_tls_with_proxy_protocol(start, certs):
    s = start("""server { listen 127.0.0.1:@port@ ssl proxy_protocol; ssl_protocols TLSv1.3; ssl_certificate %s; ssl_certificate_key %s;
        location / { return 200 "$proxy_protocol_addr $ssl_protocol"; } }""" % certs.a)
    r = s.get("/", tls=certs.client_context(), sni="a.example", proxy=proxy_v1("192.0.2.77"))
    assert r.text == "192.0.2.77 TLSv1.3"


def test_missing_certificate_is_reported(start, certs):
    s = start("server { listen 127.0.0.1:@port@ ssl; ssl_certificate /nonexistent/x.crt; ssl_certificate_key %s; }" % certs.a[1],
              start=False)
    p = s.run("-t")
    assert p.returncode == 1 and "/nonexistent/x.crt" in p.stderr and "[emerg]" in p.stderr
    s = start(serve(certs, pair=(certs.a[0], certs.b[1])), start=False)
    p = s.run("-t")
    assert p.returncode == 1 and "[emerg]" in p.stderr and "key values mismatch" in p.stderr


def test_new_certificate_after_reload(start, certs):
    s = start(serve(certs), files={})
    crt, key = certs.b
    s.reload(http=serve(certs, pair=(crt, key)))
    ctx = certs.client_context()
    ctx.check_hostname = False

    def now():
        with s.connect(tls=ctx, sni="a.example") as c:
            return peer_cn(c.sock) == "b.example"
    poll(now, 10, "the new certificate")


def test_openssl_client(start, certs):
    s = start(serve(certs))
    p = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.port()}", "-servername", "a.example", "-CAfile",
                        certs.ca_path, "-verify_return_error", "-quiet"], input=build_request("/", headers={"Connection": "close"}),
                       capture_output=True, timeout=30)
    assert b"200 OK" in p.stdout


def test_keepalive_over_tls_times_out(start, certs):
    s = start(serve(certs, "keepalive_timeout 1s;"))
    with s.connect(tls=certs.client_context(), sni="a.example") as c:
        assert c.request("/").status == 200
        assert c.closed(8)


def shown(s, ctx, sni):
    with s.connect(tls=ctx, sni=sni) as c:
        assert c.request("/").status == 200
        return c.sock.getpeercert()["serialNumber"]


def given(s, certs, *names):
    """The files of these certificates, where the worker's user may read them."""
    for n in names:
        for end in ("crt", "key"):
            with open("%s/%s.%s" % (certs.dir, n, end)) as f:
                s.write("conf/certs/%s.%s" % (n, end), f.read())
    return s


BY_NAME = ("server { listen 127.0.0.1:@port@ ssl; server_name *.example; ssl_certificate certs/$ssl_server_name.crt; "
           "ssl_certificate_key certs/$ssl_server_name.key; %s location / { return 200 $ssl_server_name; } }")


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_certificate_by_variable(start, certs, version):
    s = given(start(BY_NAME % ("ssl_protocols TLSv1.2 TLSv1.3;" if ORACLE else ""), start=False), certs, "a.example", "b.example").start()
    ctx = certs.client_context(low=version, high=version)
    for _ in range(3):
        for name in ("a.example", "b.example"):
            assert int(shown(s, ctx, name), 16) == certs.serials[name]
    for name in ("none.example", "x/a.example"):
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            shown(s, certs.client_context(verify=False, low=version, high=version), name)
    s.wait_log(r'\[error\].* cannot load certificate "%s/conf/certs/none\.example\.crt".*client: 127\.0\.0\.1' % s.prefix, "error.log")
    assert int(shown(s, ctx, "a.example"), 16) == certs.serials["a.example"]


def test_certificate_by_variable_is_read_again(start, certs):
    """A renewed certificate is shown without a reload."""
    s = given(start(BY_NAME % "", start=False), certs, "a.example").start()
    ctx = certs.client_context()
    before = shown(s, ctx, "a.example")
    crt, key = certs.make("a.example", file="renewed")
    for src, dst in ((key, "key"), (crt, "crt")):
        with open(src) as f:
            s.write("conf/certs/new", f.read())
        os.rename(s.path("conf/certs/new"), s.path("conf/certs/a.example." + dst))
    after = shown(s, ctx, "a.example")
    assert before != after and int(after, 16) == certs.serials["renewed"]
    s.reload()
    assert shown(s, ctx, "a.example") == after


def test_certificate_as_data(start, certs):
    """data: with the text in the configuration, in a variable and in both; never in a log."""
    text = {}
    for n in ("a.example", "b.example"):
        for end in ("crt", "key"):
            with open("%s/%s.%s" % (certs.dir, n, end)) as f:
                text[n, end] = f.read()
    s = start('map $ssl_server_name $crt { default "%s"; b.example "%s"; } map $ssl_server_name $key { default "data:%s"; b.example "data:%s"; } '
              "server { listen 127.0.0.1:@port@ ssl; ssl_certificate data:$crt; ssl_certificate_key $key; location / { return 200 x; } }"
              % (text["a.example", "crt"], text["b.example", "crt"], text["a.example", "key"], text["b.example", "key"])
              + 'server { listen 127.0.0.1:@port2@ ssl; ssl_certificate "data:%s"; ssl_certificate_key "data:%s"; location / { return 200 x; } }'
              % (text["a.example", "crt"], text["a.example", "key"])
              + 'server { listen 127.0.0.1:@port3@ ssl; server_name c.example; set $bad x; ssl_certificate "data:%s"; ssl_certificate_key "data:%s$bad"; }'
              % (text["a.example", "crt"], text["a.example", "key"].replace("BEGIN", "BEGN")), log_level="debug")
    for name in ("a.example", "b.example"):
        assert int(shown(s, certs.client_context(), name), 16) == certs.serials[name]
    with s.connect("port2", tls=certs.client_context(), sni="a.example") as c:
        assert c.request("/").status == 200
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        s.connect("port3", tls=certs.client_context(verify=False), sni="c.example")
    s.wait_log("cannot load certificate key", "error.log")
    for n in ("a.example", "b.example"):
        if not ORACLE:
            assert text[n, "key"].split("\n")[1] not in s.log("error.log")


def test_certificate_by_any_variable(start, certs):
    """Whatever variable stands there, also one that knows nothing yet: no crash, the fallback of the map is used."""
    names = ["$remote_addr", "$server_name", "$host", "$request_uri", "$arg_x", "$upstream_addr", "$request_id", "$uri", "$args", "$status",
             "$sent_http_x", "$http_x", "$cookie_x", "$request", "$request_body", "$document_root", "$realpath_root", "$connection", "$pid"]
    if not ORACLE:
        names += ["$ssl_" + n for n in ("protocol", "cipher", "ciphers", "curve", "curves", "sigalg", "sigalgs", "session_id", "session_reused",
                                        "server_name", "alpn_protocol", "early_data", "client_cert", "client_raw_cert", "client_escaped_cert",
                                        "client_s_dn", "client_i_dn", "client_serial", "client_fingerprint", "client_verify", "client_v_start",
                                        "client_v_end", "client_v_remain", "client_sigalg")]
    s = given(start("".join('map "%s" $m%d { default a; } ' % (n, i) for i, n in enumerate(names))
                    + "".join("server { listen 127.0.0.1:@port@ ssl; server_name n%d.example; ssl_certificate certs/$m%d.example.crt; "
                              "ssl_certificate_key certs/a.example.key; location / { return 200 x; } }" % (i, i) for i in range(len(names))),
                    start=False), certs, "a.example").start()
    ctx = certs.client_context(verify=True)
    ctx.check_hostname = False
    for i in range(len(names)):
        assert int(shown(s, ctx, "n%d.example" % i), 16) == certs.serials["a.example"], names[i]
