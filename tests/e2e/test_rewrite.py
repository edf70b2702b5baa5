"""rewrite, return, set, if, break, map, locations and their order."""
import pytest

from harness import ORACLE, echo_lines


def server(body, before=""):
    return before + "server { listen 127.0.0.1:@port@; server_name x.example; %s }" % body


def test_return_forms(start):
    s = start(server("""location /a { return 204; } location /b { return 200 text; } location /c { return http://y/z; }
        location /d { return 301 /rel?$args; } location /e { return 307 https://$host$request_uri; }
        location /f { return 418 "tea $arg_k"; } location /g { return 404; } location /h { default_type text/css; return 200 "c"; }
        location /i { return 302 ""; } location /j { return 303 other; }"""))
    port = s.port()
    assert s.get("/a").status == 204
    r = s.get("/b")
    assert r.body == b"text" and r.get("Content-Type") == "text/plain"
    r = s.get("/c")
    assert (r.status, r.get("Location")) == (302, "http://y/z")
    r = s.get("/d?q=1", host="h.example")
    assert (r.status, r.get("Location")) == (301, f"http://h.example:{port}/rel?q=1")
    r = s.get("/e?z", host="h.example")
    assert (r.status, r.get("Location")) == (307, "https://h.example/e?z")
    r = s.get("/f?k=v")
    assert (r.status, r.body) == (418, b"tea v")
    assert s.get("/g").status == 404
    assert s.get("/h").get("Content-Type") == "text/css"
    assert s.get("/j", host="h.example").get("Location") == "other"


def test_redirect_options(start):
    s = start(server("""location /a { absolute_redirect off; return 301 /x; } location /b { port_in_redirect off; return 301 /x; }
        location /c { server_name_in_redirect on; return 301 /x; }"""))
    assert s.get("/a").get("Location") == "/x"
    assert s.get("/b", host="h").get("Location") == "http://h/x"
    assert s.get("/c", host="h").get("Location") == f"http://x.example:{s.port()}/x"


LOCATIONS = """location = / { return 200 exact-root; } location / { return 200 root; } location /images/ { return 200 images; }
    location ^~ /static/ { return 200 static; } location ~ \\.(gif|jpg)$ { return 200 regex; } location ~* \\.PNG$ { return 200 nocase; }
    location /static/deep/ { return 200 deep; } location = /exact.gif { return 200 exact; } location /nest/ {
        location /nest/in/ { return 200 inner; } location ~ \\.txt$ { return 200 nest-txt; } return 200 nest; }
    location ~ ^/order/1 { return 200 first; } location ~ ^/order/ { return 200 second; } location "/sp ace" { return 200 space; }"""


@pytest.mark.parametrize("path,want", [
    ("/", "exact-root"), ("/x", "root"), ("/images/a", "images"), ("/images/a.gif", "regex"), ("/static/a.gif", "static"),
    ("/static/deep/a.gif", "regex"), ("/static/deep/a", "deep"), ("/a.png", "nocase"), ("/a.PNG", "nocase"), ("/a.GIF", "root"),
    ("/exact.gif", "exact"), ("/exact.gif?x", "exact"), ("/nest/x", "nest"), ("/nest/in/x", "inner"), ("/nest/x.txt", "nest-txt"),
    ("/nest/in/x.txt", "nest-txt"), ("/nest/x.gif", "regex"), ("/order/1", "first"), ("/order/2", "second"),
    ("/sp%20acey", "space"), ("/imag%65s/x", "images"), ("//images//x", "images"), ("/x/../static/y", "static")])
def test_location_order(start, path, want):
    s = start(server(LOCATIONS))
    assert s.get(path).text == want


def test_rewrite_flags(start):
    s = start(server("""location /l/ { rewrite ^/l/(.*)$ /target/$1 last; return 200 not-reached; }
        location /b/ { rewrite ^/b/(.*)$ /target/$1 break; return 200 "never"; }
        location /n/ { rewrite ^/n/(.*)$ /m/$1; rewrite ^/m/(.*)$ /target/$1; rewrite ^/target/x /target/y; }
        location /r/ { rewrite ^/r/(.*)$ /target/$1 redirect; } location /p/ { rewrite ^/p/(.*)$ /target/$1 permanent; }
        location /a/ { rewrite ^/a/(.*)$ http://y.example/$1; } location /q/ { rewrite ^/q/(.*)$ /target/$1? last; }
        location /q2/ { rewrite ^/q2/(.*)$ /target/$1?own=1 last; }
        location /target/ { return 200 "t $uri $is_args$args"; }
        location /miss/ { rewrite ^/none$ /x last; return 200 miss; }"""), files={"html/target/z": "file"})
    assert s.get("/l/1?a=b").text == "t /target/1 ?a=b"
    assert s.get("/b/z").status in (200, 404)
    assert s.get("/n/x").text == "t /target/y "
    r = s.get("/r/1?a=b", host="h")
    assert (r.status, r.get("Location")) == (302, f"http://h:{s.port()}/target/1?a=b")
    assert s.get("/p/1").status == 301
    r = s.get("/a/1?q")
    assert (r.status, r.get("Location")) == (302, "http://y.example/1?q")
    assert s.get("/q/1?a=b").text == "t /target/1 "
    assert s.get("/q2/1?a=b").text == "t /target/1 ?own=1&a=b"
    assert s.get("/miss/").text == "miss"


def test_server_rewrite_and_cycle(start):
    s = start(server("rewrite ^/old/(.*)$ /new/$1; location /new/ { return 200 \"new $uri\"; } location /loop { rewrite ^ /loop2 last; }"
                     " location /loop2 { rewrite ^ /loop last; } location / { return 200 root; }"))
    assert s.get("/old/a").text == "new /new/a"
    assert s.get("/loop").status == 500
    s.wait_log("rewrite or internal redirection cycle", "error.log")


def test_captures_and_encoding(start):
    s = start(server("""location ~ ^/c/(?<name>[^/]+)/(\\d+)$ { return 200 "$name $2 $1"; }
        location /e/ { rewrite ^/e/(.*)$ /show/$1 last; } location /show/ { return 200 "$uri"; }
        location /re/ { rewrite ^/re/(.*)$ /x/$1 redirect; }"""))
    assert s.get("/c/ab/17").text == "ab 17 ab"
    assert s.get("/e/a%20b").text == "/show/a b"
    assert s.get("/re/a%20b").get("Location").endswith("/x/a%20b")


def test_if_conditions(start):
    s = start(server("""set $r ""; if ($arg_a) { set $r "${r}set,"; } if ($arg_a = one) { set $r "${r}one,"; }
        if ($arg_a != one) { set $r "${r}notone,"; } if ($http_user_agent ~ Moz(.*)) { set $r "${r}re$1,"; }
        if ($http_user_agent ~* moz) { set $r "${r}nocase,"; } if ($http_user_agent !~ Moz) { set $r "${r}nomatch,"; }
        if (-f @PREFIX@/html/file) { set $r "${r}file,"; } if (!-e @PREFIX@/html/nofile) { set $r "${r}noexist,"; }
        if (-d @PREFIX@/html) { set $r "${r}dir,"; } if ($request_method = POST) { return 405 post; }
        location / { return 200 $r; } location /in { if ($arg_x) { return 202 in; } if ($arg_y) { set $r y; } return 200 "o$r"; }"""),
              files={"html/file": "x"})
    assert s.get("/").text == "notone,nomatch,file,noexist,dir,"
    assert s.get("/?a=one", headers={"User-Agent": "Mozilla"}).text == "set,one,reilla,nocase,file,noexist,dir,"
    assert s.get("/?a=0").text == "notone,nomatch,file,noexist,dir,"
    assert s.get("/?a=two").text.startswith("set,notone,")
    r = s.get("/", method="POST", body=b"")
    assert (r.status, r.body) == (405, b"post")
    assert s.get("/in?x=1").status == 202
    assert s.get("/in?y=1").text == "oy"


def test_if_is_a_location(start, backend):
    b = backend(answer=echo_lines)
    s = start(server("""location / { proxy_set_header X-A outer; if ($arg_v = 1) { proxy_pass http://%s; } proxy_pass http://%s/o$uri; }
        location /h { add_header X-H out; if ($arg_v) { add_header X-I in; } return 204; }""" % (b.addr, b.addr)))
    assert "X-A: outer" in s.get("/?v=1").text
    assert s.get("/q").text.startswith("GET /o/q ")
    r = s.get("/h?v=1")
    assert r.status == 204


def test_break(start):
    s = start(server("""location / { set $a 1; if ($arg_b) { break; } set $a 2; return 200 two; }
        location /f { root @PREFIX@/html; break; return 200 no; }"""), files={"html/f": "file"})
    assert s.get("/x").text == "two"
    assert s.get("/f").text == "file"


def test_map(start):
    s = start(server('location / { return 200 "$m|$n|$o|$c"; }', before="""
        map $arg_k $m { default d; a A; ~^b(?<rest>.*)$ "re $rest"; "~*^CASE" nocase; \\~x tilde; "" empty; }
        map $http_host $n { hostnames; default none; *.example.com sub; example.org exact; www.* www; .both.net both; }
        map $arg_k $o { volatile; a 1; } map $arg_x$arg_y $c { ab yes; include @PREFIX@/conf/more.map; }"""),
              files={"conf/more.map": "cd included;\n"})
    assert s.get("/?k=a", host="a.example.com").text == "A|sub|1|"
    assert s.get("/?k=bcd&x=a&y=b", host="example.org").text == "re cd|exact||yes"
    assert s.get("/?k=cAsE&x=c&y=d", host="www.foo").text == "nocase|www||included"
    assert s.get("/?k=~x", host="both.net").text == "tilde|both||"
    assert s.get("/?k=zz", host="x.both.net").text == "d|both||"
    assert s.get("/", host="nope").text == "empty|none||"
    assert s.get("/?k=A").text.split("|")[0] == "A"  # strings are compared without case


def test_named_and_internal(start):
    s = start(server("""location / { try_files /nope @n; } location @n { return 200 "named $uri"; }
        location /int { internal; return 200 secret; } location /go { rewrite ^ /int last; }
        location /ep { error_page 403 /int; return 403; }"""))
    assert s.get("/a").text == "named /a"
    assert s.get("/int").status == 404
    assert s.get("/go").text == "secret"
    assert s.get("/ep").body == b"secret"


def test_set_captures_inside_quotes(start):
    s = start(server("""location / { set $v "a;b"; set $w 'c"d'; set $x "e\\"f"; return 200 "$v $w $x ${v}z"; }"""))
    assert s.get("/").text == 'a;b c"d e"f a;bz'


def test_satisfy_and_limit_except(start):
    s = start(server("location /l { limit_except GET { deny all; } return 200 x; } location / { limit_except GET POST { deny all; } root @PREFIX@/html; }"),
              files={"html/index.html": "i"})
    assert s.get("/").status == 200
    assert s.get("/", method="DELETE").status == 403
