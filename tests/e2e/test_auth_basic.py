"""auth_basic: forms of hashes, changes of the file, satisfy, challenges, proxies, and the loop that goes on meanwhile."""
import base64
import os
import shutil
import subprocess
import threading
import time

import pytest

from harness import ORACLE, SLOW, echo_lines, poll, response

HASHES = {
    "des": "abNANd1rDfiNc",
    "md5": "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1",
    "apr1": "$apr1$12345678$0lqb/6VUFP8JY/s/jTrIk0",
    "bcrypt": "$2y$04$OD8HpnXMAbvRLJuCYZuZ4.u3zLjiIQ/inXdMvU6vZ2wylN66QYVj.",
    "sha256": "$5$rounds=1000$abcdefgh$XIppta5rT8zJUu4vAOKQXrwq9uY4Ijlz6VjyOmkx5i4",
    "sha512": "$6$rounds=1000$abcdefgh$nhYjN017qxiYztzyUpZtPnUQcnLy62KsunSLHNeLahp2EHPlAKmFFlrjEwSXGo2kgY5hR2.peKEg2VGUqIJJu1",
    "yescrypt": "$y$j75$k2XAnEHBqQ1Ct2aMXFKNa/$Tg4ZRR7tz/WRlmYbADZh9OJYakPewgSPQqW55EXAJ14",
    "sha": "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "ssha": "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
    "plain": "{PLAIN}secret",
}
# about 0.3 s of one core, password "secret"
SLOW_HASH = "$2b$12$zOxYRa0n9Otvu1UGBIhlZed7zIi.L6Bun60ovCVOomv1ndfRs8zjO"

SERVER = 'server { listen 127.0.0.1:@port@; root @PREFIX@/html; auth_basic "the realm"; auth_basic_user_file users; %s }'


def basic(user, password="secret"):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def auth(user, password="secret"):
    return {"Authorization": basic(user, password)}


def users(**more):
    return {"conf/users": "".join(f"{k}:{v}\n" for k, v in more.items()), "html/index.html": "page"}


def test_every_form_of_hash(start):
    s = start(SERVER % "", files=users(**HASHES))
    for name in HASHES:
        assert s.get("/", headers=auth(name)).body == b"page", name
        for wrong in ("Secret", "secret2", "secre", "", "secret" * 40):
            r = s.get("/", headers=auth(name, wrong))
            assert r.status == 401, (name, wrong)
            assert r.get("WWW-Authenticate") == 'Basic realm="the realm"'
            assert "401 Authorization Required" in r.text
    s.wait_log(r'\[error\] .*user "sha": password mismatch, client: 127.0.0.1, server: , request: "GET / HTTP/1.1"', "error.log")


@pytest.mark.sluice_only("nginx says that it is the wrong password")
def test_unknown_form_is_said(start):
    s = start(SERVER % "", files=users(a="$argon2id$v=19$x", b="*", c=""))
    for name in "abc":
        assert s.get("/", headers=auth(name)).status == 401
        s.wait_log(r'\[error\] .*user "%s": the form of the hash in ".*/conf/users" is not known' % name, "error.log")


def test_lines_of_the_file(start):
    text = ("# a comment:{PLAIN}secret\n\nuser:{PLAIN}one\nuser2:{PLAIN}two:a comment\nuser:{PLAIN}three\r\n"
            ":{PLAIN}none\nwin:{PLAIN}four\r\nlast:{PLAIN}five")
    s = start(SERVER % "", files={"conf/users": text, "html/index.html": "page"})
    for name, password, status in [
            ("user", "one", 200), ("user", "three", 401), ("user2", "two", 200), ("user2", "two:a comment", 401), ("win", "four", 200),
            ("last", "five", 200), ("# a comment", "secret", 401), ("", "none", 401), ("use", "r:{PLAIN}one", 401), ("us", "one", 401),
            ("last", "fiv", 401), ("nobody", "x", 401)]:
        assert s.get("/", headers=auth(name, password)).status == status, (name, password)
    s.wait_log(r'\[error\] .*user "nobody" was not found in ".*/conf/users"', "error.log")


@pytest.mark.parametrize("value", [
    None, "", "Basic", "Basic ", "Basic %%%", "Basic dXNlcg==", "Digest username=x", "Bearer dXNlcjpzZWNyZXQ=", "Basic OnNlY3JldA=="])
def test_no_credentials(start, value):
    s = start(SERVER % "", files=users(user="{PLAIN}secret"))
    r = s.get("/", headers={"Authorization": value} if value is not None else {})
    assert r.status == 401 and r.get("WWW-Authenticate") == 'Basic realm="the realm"'
    s.wait_log(r"\[info\] .*no user/password was provided for basic authentication", "error.log")


def test_spelling_of_the_scheme(start):
    s = start(SERVER % "", files=users(user="{PLAIN}secret"))
    for value in ("basic dXNlcjpzZWNyZXQ=", "BASIC   dXNlcjpzZWNyZXQ=", "Basic dXNlcjpzZWNyZXQ"):
        assert s.get("/", headers={"Authorization": value}).status == 200, value


@pytest.mark.sluice_only("nginx compares up to the zero byte")
def test_zero_byte_does_not_end_a_password(start):
    s = start(SERVER % "", files=users(user=HASHES["md5"]))
    assert s.get("/", headers=auth("user", "secret")).status == 200
    assert s.get("/", headers=auth("user", "secret\0x")).status == 401


def test_changes_of_the_file_count_at_once(start):
    s = start(SERVER % "", files=users(user="{PLAIN}secret"))
    for i in range(30):
        now = i % 3
        text = ["user:{PLAIN}secret\n", "user:{PLAIN}secreu\n", "user:{PLAIN}secrev\n"][now]  # of the same length
        if i % 2:
            s.write("conf/users.new", text)
            os.rename(s.path("conf/users.new"), s.path("conf/users"))
        else:
            s.write("conf/users", text)
        for k in range(2):
            for j, password in enumerate(("secret", "secreu", "secrev")):
                assert s.get("/", headers=auth("user", password)).status == (200 if j == now else 401), (i, j)


@pytest.mark.sluice_only("nginx hashes each time")
def test_what_was_right_is_not_hashed_again(start):
    """And is hashed again at once when the file has changed."""
    s = start(SERVER % "", files=users(user=SLOW_HASH))

    def cpu():
        return sum(float(x) for p in s.worker_pids() for x in open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")

    def cost(n, password="secret", status=200):
        before = cpu()
        for _ in range(n):
            assert s.get("/", headers=auth("user", password)).status == status
        return cpu() - before

    cost(1, "wrong", 401)  # whatever is done once
    one = cost(2, "wrong", 401) / 2
    assert one > 0.05
    poll(lambda: time.time() > os.stat(s.path("conf/users")).st_ctime + 2.5, 10, "a file that has settled")
    cost(1)
    assert cost(100) < 10 * one
    assert cost(4, "wrong", 401) > 2 * one  # what was wrong is
    s.write("conf/users", "user:" + SLOW_HASH + "\n")
    assert cost(4) > 2 * one


@pytest.mark.sluice_only("nginx stands still")
def test_others_go_on_while_a_password_is_hashed(start):
    s = start(SERVER % "keepalive_requests 10000000; location /free { auth_basic off; return 200 free; }", files=users(user=SLOW_HASH), workers=1)
    done = []
    threads = [threading.Thread(target=lambda: done.append(s.get("/", headers=auth("user", "wrong"), timeout=60 * SLOW).status)) for _ in range(6)]
    for t in threads:
        t.start()
    s.wait_log("password mismatch", "error.log")
    n = 0
    with s.connect() as c:
        while len(done) < len(threads):
            c.send(b"GET /free HTTP/1.1\r\nHost: x\r\n\r\n")
            assert c.read_response().body == b"free"
            n += 1
    for t in threads:
        t.join()
    assert done == [401] * 6
    assert n >= 20  # a loop that hashes would have answered one or two per hash
    s.wait_log("password mismatch", "error.log", count=6)


@pytest.mark.sluice_only("nginx has no queue")
def test_client_that_leaves_and_a_quick_end(start):
    """Neither waits for all the hashes that were asked for."""
    s = start(SERVER % "", files=users(user=SLOW_HASH), workers=1)
    conns = [s.connect() for _ in range(100)]
    for c in conns:
        c.send(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {basic('user', 'wrong')}\r\n\r\n".encode())
    s.wait_log("password mismatch", "error.log")
    for c in conns[:50]:
        c.close()
    s.stop(timeout=10)
    for c in conns[50:]:
        c.close()


def test_missing_and_unreadable_file(start):
    s = start("""server { listen 127.0.0.1:@port@; root @PREFIX@/html; auth_basic r;
        location /none { auth_basic_user_file none; } location /dir { auth_basic_user_file folder; } location /var { auth_basic_user_file $arg_f; }
        location /nofile { } }""", files={"html/index.html": "page", "html/nofile": "n"})
    os.mkdir(s.path("conf/folder"))
    r = s.get("/none", headers=auth("user"))
    assert r.status == 403 and r.get("WWW-Authenticate") is None
    s.wait_log(r'\[error\] .*open\(\) ".*/conf/none" failed \(2: No such file or directory\), client', "error.log")
    assert s.get("/none").status == 401  # who asks without credentials is asked first
    assert s.get("/dir", headers=auth("user")).status == 500
    assert s.get("/nofile").status == 200  # without a file there is nothing to ask for
    s.write("conf/by-variable", "user:{PLAIN}secret\n")
    s.write("html/var", "var")
    assert s.get(f"/var?f={s.path('conf/by-variable')}", headers=auth("user")).body == b"var"
    assert s.get("/var?f=/none", headers=auth("user")).status == 403


def test_inheritance_and_off(start):
    s = start("""auth_basic outer; auth_basic_user_file users; server { listen 127.0.0.1:@port@; root @PREFIX@/html;
        location /in { auth_basic inner; location /in/er { auth_basic_user_file more; try_files none /index.html; } }
        location /off { auth_basic off; try_files none /index.html; } location /free { auth_basic off; try_files none =204; } location /var { auth_basic $arg_r; try_files none =204; }
        location /put { limit_except GET { auth_basic off; } } }""",
              files={"html/put": "p", "conf/more": "more:{PLAIN}secret\n", **users(user="{PLAIN}secret")})
    assert s.get("/").get("WWW-Authenticate") == 'Basic realm="outer"'
    assert s.get("/", headers=auth("user")).status == 200
    assert s.get("/in/er").get("WWW-Authenticate") == 'Basic realm="inner"'
    assert s.get("/in/er", headers=auth("user")).status == 401
    assert s.get("/free").status == 204
    assert s.get("/off").status == 401  # the last one of try_files is another location
    assert s.get("/var?r=off").status == 204
    assert s.get("/var?r=x%20y").get("WWW-Authenticate") == 'Basic realm="x%20y"'
    assert s.get("/put").status == 401
    assert s.get("/put", method="POST", body=b"").status == 405  # of files


def test_satisfy(start):
    s = start("""server { listen 127.0.0.1:@port@; root @PREFIX@/html; auth_basic r; auth_basic_user_file users;
        location /any-allow { satisfy any; allow 127.0.0.1; deny all; try_files none =204; }
        location /any-deny { satisfy any; deny all; try_files none =204; }
        location /all-allow { allow 127.0.0.1; deny all; try_files none =204; }
        location /all-deny { satisfy all; deny all; try_files none =204; } }""", files=users(user="{PLAIN}secret"))
    good, bad = auth("user"), auth("user", "x")
    for path, none, wrong, right in [("/any-allow", 204, 204, 204), ("/any-deny", 401, 401, 204), ("/all-allow", 401, 401, 204), ("/all-deny", 403, 403, 403)]:
        for headers, status in (({}, none), (bad, wrong), (good, right)):
            r = s.get(path, headers=headers)
            assert r.status == status, (path, headers)
            assert (r.get("WWW-Authenticate") is not None) == (status == 401)


def test_head_and_body(start):
    s = start(SERVER % "location /p { proxy_pass http://127.0.0.1:1; }", files=users(user="{PLAIN}secret"))
    with s.connect() as c:
        c.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        r = c.read_response("HEAD")
        assert r.status == 401 and int(r.get("Content-Length")) > 100 and r.get("WWW-Authenticate")
        # a body that nobody wants does not become the next request
        c.send(b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\nHost:xGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.read_response().status == 401
        assert c.read_response().status == 401
    assert "smuggled" not in s.log()


def test_error_page(start, backend):
    b = backend(answer=lambda r: response("from behind", headers=[("X-Up", r.get("Authorization") or "-")]))
    s = start("""server { listen 127.0.0.1:@port@; root @PREFIX@/html; auth_basic r; auth_basic_user_file users;
        location /a { error_page 401 /sorry; } location = /sorry { auth_basic off; return 200 sorry; }
        location /b { error_page 401 =200 /sorry; } location /c { error_page 401 = @up; } location @up { auth_basic off; proxy_pass http://@b@; }
        location /d { error_page 401 =302 http://login.example/; } location /e { error_page 401 /index.html; } }""",
              values={"b": b.addr}, files=users(user="{PLAIN}secret"))
    for path, status, body in [("/a", 401, b"sorry"), ("/b", 200, b"sorry"), ("/c", 200, b"from behind"), ("/d", 302, None), ("/e", 401, None)]:
        r = s.get(path)
        assert r.status == status, path
        assert body is None or r.body == body
        # nginx says it again when the page is refused too
        assert r.all("WWW-Authenticate") == ['Basic realm="r"'] * (2 if ORACLE and path == "/e" else 1), path
    assert s.get("/d").get("Location") == "http://login.example/"


def test_credentials_go_on_to_the_backend(start, backend):
    b = backend(answer=echo_lines)
    s = start(SERVER % "location /p { proxy_pass http://@b@; } location /hide { proxy_set_header Authorization ''; proxy_pass http://@b@; }",
              values={"b": b.addr}, files=users(user="{PLAIN}secret"))
    assert basic("user") in s.get("/p", headers=auth("user")).text
    assert "uthorization" not in s.get("/hide", headers=auth("user")).text


def test_remote_user(start):
    s = start("""log_format u "[$remote_user] $status"; access_log @PREFIX@/logs/u.log u;
        server { listen 127.0.0.1:@port@; auth_basic r; auth_basic_user_file users; location / { try_files none =204; } }
        server { listen 127.0.0.1:@port2@; location / { return 200 "<$remote_user>"; } }""", files=users(user="{PLAIN}secret"))
    assert s.get("/", headers=auth("user")).status == 204
    assert s.get("/", headers=auth("other")).status == 401
    assert s.get("/").status == 401
    for line in ("[user] 204", "[other] 401", "[-] 401"):
        poll(lambda: line in s.log("u.log").splitlines(), 10, line)
    assert s.get("/", "port2", headers=auth("who")).text == "<who>"
    assert s.get("/", "port2", headers=auth("")).text == "<>"


def test_auth_delay(start):
    s = start(SERVER % "auth_delay 400ms; location /any { satisfy any; deny all; } location /deny { auth_basic off; deny all; }",
              files=users(user="{PLAIN}secret"))

    def took(path, status, headers):
        begin = time.monotonic()
        assert s.get(path, headers=headers).status == status
        return time.monotonic() - begin

    for path in ("/", "/any"):
        assert took(path, 401, {}) >= 0.39
        assert took(path, 401, auth("user", "x")) >= 0.39
    assert min(took("/", 200, auth("user")) for _ in range(3)) < 0.39
    assert min(took("/deny", 403, {}) for _ in range(3)) < 0.39
    s.wait_log(r"\[info\] .*delaying unauthorized request", "error.log", count=4)


@pytest.mark.sluice_only("nginx's debug log has all")
def test_secrets_are_not_logged(start):
    s = start(SERVER % "", files=users(user="{PLAIN}hush-hush", other="{PLAIN}not-the-same"), log_level="debug")
    s.get("/", headers=auth("user", "hush-hush"))
    s.get("/", headers=auth("user", "hash-hash"))
    s.get("/", headers=auth("nobody", "hash-hash"))
    s.wait_log('"nobody" was not found', "error.log")
    for name in ("access.log", "error.log"):
        for secret in ("hush-hush", "hash-hash", "not-the-same", basic("user", "hush-hush")[6:]):
            assert secret not in s.log(name)


@pytest.mark.parametrize("conf, message", [
    ("auth_basic;", 'invalid number of arguments in "auth_basic" directive'),
    ("auth_basic a b;", 'invalid number of arguments in "auth_basic" directive'),
    ("auth_basic_user_file a; auth_basic_user_file b;", '"auth_basic_user_file" directive is duplicate'),
    ("auth_basic a; auth_basic b;", '"auth_basic" directive is duplicate'),
    ("auth_delay x;", '"auth_delay" directive invalid value'),
    ("satisfy some;", 'invalid value "some"'),
])
def test_mistakes(start, conf, message):
    s = start("server { listen 127.0.0.1:@port@; " + conf + " }", start=False)
    r = s.run("-t")
    assert r.returncode != 0 and message in r.stderr


# ---------------------------------------------------------------- a forward proxy

PROXY = """server { listen 127.0.0.1:@port@; auth_basic proxy; auth_basic_user_file users; tunnel_pass;
    location / { proxy_pass http://$http_host$request_uri; } }"""


def ask(s, data, method="GET"):
    with s.connect() as c:
        c.send(data)
        return c.read_response(method)


@pytest.mark.sluice_only("tunnel_pass")
def test_proxy_credentials(start, backend):
    """CONNECT and absolute targets are for a proxy: 407, Proxy-Authenticate, Proxy-Authorization (RFC 9110 11.7)."""
    b = backend(answer=echo_lines)
    s = start(PROXY, files=users(user="{PLAIN}secret"))
    connect = f"CONNECT {b.addr} HTTP/1.1\r\nHost: {b.addr}\r\n"
    absolute = f"GET http://{b.addr}/x HTTP/1.1\r\nHost: {b.addr}\r\n"
    good, wrong = basic("user"), basic("user", "x")
    for head in (connect, absolute):
        for more in ("", f"Proxy-Authorization: {wrong}\r\n", f"Authorization: {good}\r\n"):
            r = ask(s, (head + more + "\r\n").encode())
            assert r.status == 407 and r.get("Proxy-Authenticate") == 'Basic realm="proxy"'
            assert r.get("WWW-Authenticate") is None
    assert b.accepted == 0
    with s.connect() as c:
        c.send((connect + f"Proxy-Authorization: {good}\r\n\r\n").encode())
        assert c.read_response("HEAD").status == 200
        c.send(b"GET /inside HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        r = c.read_response()
        assert "/inside" in r.text and "roxy-" not in r.text
    r = ask(s, (absolute + f"Proxy-Authorization: {good}\r\nAuthorization: Basic b3JpZ2luOng=\r\n\r\n").encode())
    assert r.status == 200 and "/x" in r.text
    assert "roxy-" not in r.text and good not in r.text  # was for us
    assert "Basic b3JpZ2luOng=" in r.text                # is for the origin
    # a request for us as an origin is what it always is
    r = s.get("/", headers={"Proxy-Authorization": good})
    assert r.status == 401 and r.get("WWW-Authenticate") == 'Basic realm="proxy"'
    s.wait_log(r'"CONNECT %s HTTP/1.1" 407' % b.addr)
    s.wait_log(r' - user \[.*"CONNECT %s HTTP/1.1" 200' % b.addr)


@pytest.mark.sluice_only("tunnel_pass")
def test_proxy_satisfy_any(start, backend):
    b = backend(answer=echo_lines)
    s = start(PROXY.replace("tunnel_pass;", "tunnel_pass; satisfy any; allow 127.0.0.2; deny all;"), files=users(user="{PLAIN}secret"))
    assert ask(s, f"CONNECT {b.addr} HTTP/1.1\r\nHost: {b.addr}\r\n\r\n".encode()).status == 407
    with s.connect(source=("127.0.0.2", 0)) as c:
        c.send(f"CONNECT {b.addr} HTTP/1.1\r\nHost: {b.addr}\r\n\r\n".encode())
        assert c.read_response("HEAD").status == 200


@pytest.mark.sluice_only("tunnel_pass")
@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_proxy_with_curl(start, backend):
    b = backend(answer=lambda r: response("hello"))
    s = start(PROXY, files=users(user="{PLAIN}secret"))
    proxy = f"http://127.0.0.1:{s.port()}"
    for tunnel in ((), ("-p",)):
        for more, ok in ((("-U", "user:secret"), True), (("-U", "user:secret", "--proxy-anyauth"), True), (("-U", "user:x"), False), ((), False)):
            p = subprocess.run(["curl", "-s", "-f", "-m", "20", *tunnel, "-x", proxy, *more, f"http://{b.addr}/"], capture_output=True, text=True)
            assert (p.returncode == 0 and p.stdout == "hello") == ok, (tunnel, more, p)
