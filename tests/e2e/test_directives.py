"""Directives that no other file drives: each with an effect that can be seen."""
import glob
import gzip
import os
import socket
import ssl
import struct
import subprocess
import threading

import pytest

from harness import ORACLE, build_request, poll, response

BIG = bytes(range(256)) * 8192  # 2 MiB
SITE = "server { listen 127.0.0.1:@port@; %s }"


def test_dhparam(start, tmp_path):
    """With parameters from a file a client that can do nothing but DHE gets in; the default offers no DHE."""
    crt, key, dh = (str(tmp_path / n) for n in ("rsa.crt", "rsa.key", "dh.pem"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a.example",
                    "-keyout", key, "-out", crt], check=True, capture_output=True)
    subprocess.run(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", dh],
                   check=True, capture_output=True)
    base = ("server { listen 127.0.0.1:@port@ ssl; ssl_certificate %s; ssl_certificate_key %s; ssl_ciphers ALL; %%s "
            "location / { return 200 $ssl_cipher; } }" % (crt, key))
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    ctx.maximum_version = ssl.TLSVersion.TLSv1_2
    ctx.set_ciphers("DHE-RSA-AES128-GCM-SHA256")
    s = start(base % f"ssl_dhparam {dh};")
    assert s.get("/", tls=ctx, sni="a.example").text == "DHE-RSA-AES128-GCM-SHA256"
    s = start(base % "")
    with pytest.raises(ssl.SSLError):
        s.get("/", tls=ctx, sni="a.example")


@pytest.mark.parametrize("size", ["1k", "4k", "16k"])
def test_ssl_buffer_size(start, certs, size):
    crt, key = certs.a
    s = start("server { listen 127.0.0.1:@port@ ssl; ssl_certificate %s; ssl_certificate_key %s; ssl_buffer_size %s; root html; }"
              % (crt, key, size))
    with open(s.path("html/big"), "wb") as f:
        f.write(BIG)
    assert s.get("/big", tls=certs.client_context(), sni="a.example").body == BIG


def test_ssl_verify_depth_refuses_nothing_that_is_signed_directly(start, certs):
    crt, key = certs.a
    s = start("server { listen 127.0.0.1:@port@ ssl; ssl_certificate %s; ssl_certificate_key %s; ssl_verify_client on; ssl_verify_depth 1; "
              "ssl_client_certificate %s; location / { return 200 $ssl_client_verify; } }" % (crt, key, certs.ca_path))
    assert s.get("/", tls=certs.client_context(cert=certs.client), sni="a.example").text == "SUCCESS"


def test_proxy_buffers_in_every_size(start, backend):
    """Odd and tiny sizes are clamped (N31), never a start-up error, and never change a byte."""
    b = backend(answer=lambda r: response(BIG))
    sizes = ["proxy_buffer_size 1k; proxy_buffers 2 1k;", "proxy_buffer_size 64k; proxy_buffers 4 64k; proxy_busy_buffers_size 128k;",
             "proxy_buffers 8 16k; proxy_temp_file_write_size 32k; proxy_max_temp_file_size 0;"]
    if ORACLE:
        sizes = sizes[1:2]
    for more in sizes:
        s = start(SITE % (more + " location / { proxy_pass http://%s; }" % b.addr))
        assert s.get("/").body == BIG, more


def test_proxy_temp_path_is_where_a_slow_client_s_answer_goes(start, backend):
    sent = threading.Event()

    def handler(conn):
        conn.read_request()
        conn.send(response(BIG * 4, headers=[("Connection", "close")]))
        conn.close()
        sent.set()
    b = backend(handler)
    s = start(SITE % ("proxy_temp_path @PREFIX@/temp/mine 1 2; location / { proxy_pass http://%s; }" % b.addr))
    assert os.path.isdir(s.path("temp/mine"))
    with s.connect(rcvbuf=4096) as c:
        c.send(build_request("/"))
        assert sent.wait(20)
        assert c.read_response().body == BIG * 4
    assert not [f for f in glob.glob(s.path("temp/mine/**"), recursive=True) if os.path.isfile(f)]


def test_tcp_nodelay_and_nopush_change_no_byte(start):
    for more in ("tcp_nodelay off; tcp_nopush off; sendfile off;", "tcp_nodelay on; tcp_nopush on; sendfile on; sendfile_max_chunk 64k;"):
        s = start(SITE % (more + " root html;"))
        with open(s.path("html/big"), "wb") as f:
            f.write(BIG)
        assert s.get("/big").body == BIG


def segments_in(sock):
    """Packets with data that the client's TCP got: tcpi_data_segs_in."""
    return struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 152)[0]


def test_tcp_nopush_puts_head_and_file_into_one_packet(start):
    """On loopback a packet holds 64 KB."""
    s = start(SITE % "root html; sendfile on; location /a { tcp_nopush on; } location /b { tcp_nopush off; }")
    for d in "ab":
        os.makedirs(s.path("html/" + d))
        with open(s.path("html/%s/f" % d), "wb") as f:
            f.write(b"x" * 30000)
    for d, want in (("a", 1), ("b", 2)):
        with s.connect() as c:
            assert len(c.request("/%s/f" % d).body) == 30000
            assert segments_in(c.sock) == want, d


def test_gzip_log(start):
    s = start("log_format u '$request_uri'; access_log @PREFIX@/logs/z.gz u gzip=1 buffer=4k flush=100ms; "
              + SITE % "location / { return 200 x; }")
    for i in range(50):
        s.get("/%d" % i)

    def lines():
        with open(s.path("logs/z.gz"), "rb") as f:
            data = f.read()
        try:
            return gzip.decompress(data).decode().splitlines()
        except EOFError:
            return []
    poll(lambda: len(lines()) == 50, 10, "the lines")
    assert sorted(lines()) == sorted("/%d" % i for i in range(50))  # each thread has its own buffer


def test_working_directory(start):
    s = start(SITE % "location / { return 200 x; }", main="working_directory /tmp;")
    for pid in s.worker_pids():
        assert os.readlink("/proc/%d/cwd" % pid) == "/tmp"
