"""The table of the differential suite: small configurations, each with requests that sluice and nginx both answer.

A case is (name, what stands in http { }, requests, options). @port@ is the server's port, @b@ the echo backend,
@b2@ a second one. A request is a path, or a dict for build_request, or raw bytes. Files: see FILES.

A request that is meant to differ carries `differs=(feature id, why, what sluice does)`: a status, or a function
of (sluice's answer, nginx's answer). See INTENDED.md."""
import base64

FILES = {
    "html/index.html": "index page\n", "html/a.txt": "0123456789" * 10, "html/b.css": "body {}\n", "html/empty": "",
    "html/dir/index.html": "dir index\n", "html/dir/x.txt": "x in dir\n", "html/noindex/y.txt": "y\n",
    "html/sp ace.txt": "space\n", "html/page.html": "<p>page</p>\n", "html/404.html": "custom 404\n", "html/50x.html": "custom 50x\n",
    "html/UPPER.TXT": "upper\n", "html/data.json": "{}\n", "html/pic.JPG": "jpg", "html/noext": "noext\n", "html/deep/er/z.txt": "z\n",
}

OLD = "Sun, 13 Sep 2020 12:26:40 GMT"  # the time of every file


def server(body, extra=""):
    return extra + "server { listen 127.0.0.1:@port@; server_name site.example; root @PREFIX@/html; " + body + " }"


def h(path="/", method="GET", body=None, host="site.example", version="1.1", differs=None, **headers):
    return dict(path=path, method=method, body=body, host=host, version=version, differs=differs,
                headers=[(k.replace("_", "-"), v) for k, v in headers.items()])


def raw(data, differs=None):
    return dict(raw=data if isinstance(data, bytes) else data.encode("latin-1"), differs=differs)


TYPES = "types { text/html html htm; text/plain txt; text/css css; application/json json; image/jpeg jpg; } "

AUTH = {k: "Basic " + base64.b64encode(v).decode() for k, v in {
    "good": b"user:secret", "wrong": b"user:no", "nobody": b"nobody:secret", "colon": b"colon:a:b", "other": b"sha:secret", "comment": b"#no:secret", "last": b"last:secret"}.items()}
FILES["conf/users"] = ("# users\nuser:$apr1$12345678$0lqb/6VUFP8JY/s/jTrIk0:and a comment\n\ncolon:{PLAIN}a:b\r\nsha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"
                       "#no:{PLAIN}secret\nlast:{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0")

CASES = [
    # --- files
    ("static files", server("", TYPES), ["/", "/a.txt", "/b.css", "/empty", "/dir/", "/dir", "/dir/x.txt", "/noindex/", "/noindex", "/none",
                                         "/sp%20ace.txt", "/UPPER.TXT", "/pic.JPG", "/noext", "/a.txt/", "/a.txt?query", "//a.txt", "/./a.txt",
                                         "/dir/../a.txt", "/none/", "/dir/x.txt/y"]),
    ("rewrite break before the location", server('rewrite ^/answer/(.*)$ /named?z=1 break; location / { proxy_pass http://@b@/up/; } location /x/ { proxy_pass http://@b@/up/; }'),
     ["/answer/plain", "/other", "/x/y"]),
    ("x-accel-redirect to a server", server('location /accel/ { proxy_pass http://@b@; } location /files/ { proxy_pass http://@b@/answer/headers?; proxy_ignore_headers X-Accel-Redirect; } '
                                            'location @named { proxy_pass http://@b2@; proxy_ignore_headers X-Accel-Redirect; }'),
     ["/accel/file", "/accel/named", "/accel/none", "/accel/args", h("/accel/file", "HEAD")]),
    ("internal in internal", server('location /dir { internal; location /dir/x { } location ~ index { } } location /a.txt { internal; location ~ txt { } } '
                                    'location /go { rewrite ^ /dir/x.txt; }'), ["/dir/x.txt", "/dir/index.html", "/dir/", "/a.txt", "/go"]),
    ("default type", server("default_type application/x-thing;"), ["/noext", "/a.txt", "/page.html"]),
    ("types by case", server("types { text/x-upper TXT; } default_type text/x-other;"), ["/a.txt", "/UPPER.TXT", "/b.css"]),
    ("types in location", server("location /dir/ { types { } default_type x/y; }", TYPES), ["/dir/x.txt", "/a.txt"]),
    ("head of files", server("", TYPES), [h("/a.txt", "HEAD"), h("/", "HEAD"), h("/none", "HEAD"), h("/dir", "HEAD"), h("/noindex/", "HEAD")]),
    ("methods on files", server(""), [h("/a.txt", m, body=b"") for m in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "UNKNOWNX")]),
    ("ranges", server(""), [h("/a.txt", Range=r) for r in (
        "bytes=0-0", "bytes=0-9", "bytes=90-", "bytes=-10", "bytes=-1000", "bytes=99-200", "bytes=100-", "bytes=200-300", "bytes=-0", "bytes=",
        "bytes=a-b", "bytes 0-1", "items=0-1", "bytes=0-1 ", "bytes= 0-1", "bytes=0 - 1", "bytes=18446744073709551616-")]),
    ("range edge", server(""), [h("/a.txt", Range="bytes=9-2"), h("/empty", Range="bytes=0-"), h("/empty", Range="bytes=0-0"), h("/a.txt", "HEAD", Range="bytes=0-1"),
                                h("/none", Range="bytes=0-1"), h("/a.txt", version="1.0", Range="bytes=0-1")]),
    ("multiple ranges", server(""), [h("/a.txt", Range=r) for r in ("bytes=0-1,5-6", "bytes=0-1, 98-200", "bytes=0-1,500-600", "bytes=500-600,700-", "bytes=0-99,0-99",
                                                                   "bytes=0-0,,5-5", "bytes=1-2,1-2,1-2")]),
    ("max_ranges", server("max_ranges 1; location /dir/ { max_ranges 0; }"), [h("/a.txt", Range="bytes=0-1"), h("/a.txt", Range="bytes=0-1,3-4"),
                                                                              h("/dir/x.txt", Range="bytes=0-1"), "/dir/x.txt"]),
    ("conditional times", server(""), [h("/a.txt", If_Modified_Since=v) for v in (
        OLD, "Sun, 13 Sep 2020 12:26:41 GMT", "Sun, 13 Sep 2020 12:26:39 GMT", "Sunday, 13-Sep-20 12:26:40 GMT", "Sun Sep 13 12:26:40 2020",
        "nonsense", "0", "")] + [h("/a.txt", If_Unmodified_Since=v) for v in (OLD, "Sun, 13 Sep 2020 12:26:39 GMT")]
     + [h("/a.txt", If_Unmodified_Since="bad", differs=("RFC 9110 13.1.4", "an invalid date is no condition", 200))]),
    ("conditional tags", server(""), [h("/a.txt", If_None_Match=v) for v in ("*", '"none"', '"5f5e1000-64"', 'W/"5f5e1000-64"', '"a", "5f5e1000-64"',
                                                                             '"5f5e1000-64', "5f5e1000-64")]
     + [h("/a.txt", If_Match=v) for v in ("*", '"none"', '"5f5e1000-64"', 'W/"5f5e1000-64"', '"x","5f5e1000-64"')]
     + [h("/a.txt", If_None_Match='"x"', If_Modified_Since=OLD), h("/a.txt", If_None_Match="*", If_Modified_Since="bad", differs=("RFC 9110 13.1.3", "If-None-Match alone decides when both are there", 304)),
        h("/a.txt", "HEAD", If_None_Match="*"), h("/none", If_None_Match="*")]),
    ("if-range", server(""), [h("/a.txt", Range="bytes=0-1", If_Range=v) for v in ('"5f5e1000-64"', '"no"', OLD, "Sun, 13 Sep 2020 12:26:39 GMT",
                                                                                  "Sun, 13 Sep 2020 12:26:41 GMT", 'W/"5f5e1000-64"', "")]),
    ("if_modified_since modes", server("location /dir/ { if_modified_since before; } location /deep/ { if_modified_since off; }"),
     [h(p, If_Modified_Since=v) for p in ("/dir/x.txt", "/deep/er/z.txt") for v in (OLD, "Sun, 13 Sep 2020 12:26:41 GMT", "Sun, 13 Sep 2020 12:26:39 GMT")]),
    ("etag off", server("etag off;"), ["/a.txt", h("/a.txt", If_None_Match='"x"'), h("/a.txt", If_Range='"x"', Range="bytes=0-1")]),
    ("index words", server("index nope x.txt index.html; location /noindex/ { index none /a.txt; } location = /dir/x.txt { return 200 moved; }"),
     ["/", "/dir/", "/noindex/", "/deep/"]),
    ("alias", server("""location /al/ { alias @PREFIX@/html/dir/; } location = /one { alias @PREFIX@/html/a.txt; }
        location ~ ^/re/(.+)\\.t$ { alias @PREFIX@/html/dir/$1.txt; } location /no { alias @PREFIX@/html/dir; }"""),
     ["/al/x.txt", "/al/", "/al", "/one", "/one/", "/re/x.t", "/no/x.txt", "/no", "/alx", h("/al/../a.txt")]),
    ("alias traversal", server("location /al { alias @PREFIX@/html/dir/; }"),
     [h("/al../a.txt", differs=("N19", "an alias never crosses a segment boundary with ..", (400, 403, 404))), "/al/x.txt", "/alx.txt"]),
    ("try_files", server("""location /t/ { try_files $uri $uri/ /a.txt; } location /u/ { try_files $uri =404; } location /v/ { try_files $uri @n; }
        location /w/ { try_files /none /dir/index.html; } location /d/ { try_files /dir/ =404; } location /x/ { try_files $uri /none; }
        location @n { return 200 "named $uri $args"; } location /c { try_files /none =204; } location /q/ { try_files $uri /dir/x.txt?a=$arg_a; }"""),
     ["/t/a", "/u/a", "/v/a?b", "/w/a", "/d/", "/x/a", "/c", "/q/z?a=1", h("/v/a", "POST", body=b"x")]),
    ("expires", server("""location /a.txt { expires 1h; } location /b.css { expires -1; } location /dir/ { expires epoch; } location /empty { expires max; }
        location /page.html { expires off; } location /noext { expires modified 1d; } location /none { expires 1h; } location /data.json { expires 0; }"""),
     ["/a.txt", "/b.css", "/dir/x.txt", "/empty", "/page.html", "/noext", "/none", "/data.json"]),
    ("expires and headers", server("expires $e; add_header Cache-Control public; ", 'map $arg_e $e { default off; a 10m; b max; c -5; d epoch; e "modified +2h"; } '),
     ["/a.txt", "/a.txt?e=a", "/a.txt?e=b", "/a.txt?e=c", "/a.txt?e=d", "/a.txt?e=e"]),
    ("add_header", server("""add_header X-S "s $uri"; location /l/ { add_header X-L l; return 200 l; } location /i/ { return 200 i; } location /n { return 404; }
        location /al { add_header X-A a always; add_header X-E ""; return 404; } location /r { return 302 /x; } location /c { return 201; }
        location /lm { add_header Last-Modified "custom"; return 200 x; } location /et { add_header ETag '"mine"'; alias @PREFIX@/html/a.txt; }
        location /m { add_header X-M 1; add_header X-M 2; return 200 m; } location /500 { return 500; }"""),
     ["/l/", "/i/", "/n", "/al", "/r", "/c", "/lm", "/et", "/m", "/500", "/a.txt", "/none", h("/a.txt", If_Modified_Since=OLD), h("/a.txt", Range="bytes=0-1"),
      h("/a.txt", Range="bytes=900-", differs=("documentation", "add_header is for the statuses it names, 416 is none of them", 416))]),
    ("error pages", server("""error_page 404 /404.html; error_page 403 =200 /404.html; error_page 500 502 503 504 /50x.html; error_page 405 =204 /empty; error_page 410 @g;
        error_page 411 = @g; error_page 412 =413 @g; error_page 414 http://else.example/x; error_page 415 =301 http://else.example/y$uri; error_page 406 /none; error_page 416 = /up;
        location @g { return 200 "g $uri"; } location /s { return 200 s; }
        location /410 { return 410; } location /411 { return 411; } location /412 { return 412; } location /415 { return 415; }
        location /406 { return 406; } location /500 { return 500; } location /503 { return 503; } location /up { proxy_pass http://@b@; }"""),
     ["/none", "/noindex/", "/500", "/503", "/410", "/411", "/412", "/415", "/406", h("/a.txt", "POST", body=b"data"), h("/none", "POST", body=b"data"),
      h("/none", "HEAD"), h("/500", "PUT", body=b"x")]),
    ("error page inheritance", server("error_page 404 /404.html; location /a/ { error_page 403 /50x.html; } location /b/ { return 404; } location /a/x { error_page 404 = /b.css; }"),
     ["/a/none", "/b/", "/a/x"]),
    ("error page with variables", server('error_page 404 /dir/$arg_f; error_page 403 =$arg_x /a.txt; location /x { return 404; }'.replace("=$arg_x ", "")),
     ["/x?f=x.txt", "/x", "/noindex/"]),
    ("recursive error pages", server("""recursive_error_pages on; error_page 404 = /one; location = /one { error_page 403 = /two; return 403; } location = /two { return 200 two; }
        location /loop { error_page 404 /loop2; return 404; } location = /loop2 { error_page 404 /loop3; return 404; } location = /loop3 { return 404; }"""), ["/none", "/loop"]),
    ("status pages", server("location ~ ^/s(?<c>\\d+)$ { return 200 $c; } " + " ".join(f"location = /{c} {{ return {c}; }}" for c in (
        400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 421, 429, 500, 501, 502, 503, 504, 505, 507, 204, 304, 418, 599, 299))),
     [f"/{c}" for c in (400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 421, 429, 500, 501, 502, 503, 504, 505, 507, 204, 418, 599, 299)]),
    # --- return, rewrite, if, set, map
    ("return", server("""location /a { return 200; } location /b { return 200 "text $arg_x\\n"; } location /c { return 301 /rel; } location /d { return 302 http://e.example/$request_uri; }
        location /e { return https://only.example/url; } location /f { return 307 /x?y=$args; } location /g { return 308 //p; } location /h { return 204; } location /i { return 204 text; }
        location /j { default_type text/x; return 403 "own text"; } location /k { return 301 ""; } location /l { return 303 $scheme://$host/; } location /m { return 200 ""; }"""),
     ["/a", "/b?x=1", "/c", "/d?q", "/e", "/f?z=1", "/g", "/h", "/i", "/j", "/k", "/l", "/m", h("/b", "HEAD"), h("/b", "POST", body=b"ignored"), h("/c", version="1.0"),
      h("/c", host="other.example:99"), h("/b", version="1.0"), h("/c", version="1.0", host=None)]),
    ("redirect forms", server("""location /a { absolute_redirect off; return 301 /x; } location /b { port_in_redirect off; return 301 /x; } location /c { server_name_in_redirect on; return 301 /x; }
        location /d { return 301 x/y; } location /e { return 301 $uri; }"""), ["/a", "/b", "/c", "/d", "/e/%20z", h("/a", host="h.example"), h("/c", host="h.example")]),
    ("location order", server("""location / { return 200 root; } location = / { return 200 eq; } location ^~ /p/ { return 200 caret; } location /p/long/ { return 200 long; }
        location ~ \\.php$ { return 200 php; } location ~* \\.(JPG|png)$ { return 200 img; } location /q { return 200 q; } location = /q { return 200 q-eq; } location /q/ { return 200 q-slash; }
        location ~ ^/r/(a|b) { return 200 "r $1"; } location ~ ^/r/ { return 200 r; } location /%41 { return 200 pct; } location "/a b" { return 200 space; }"""),
     ["/", "/x", "/p/x.php", "/p/long/x.php", "/p/long/x", "/x.php", "/X.PHP", "/x.jpg", "/x.PNG", "/x.JpG", "/q", "/q/", "/qq", "/q/x.php", "/r/a", "/r/b1", "/r/c", "/%41x", "/A", "/a%20b", "/?x=.php"]),
    ("nested locations", server("""location /a/ { location /a/b/ { return 200 ab; } location ~ \\.x$ { return 200 ax; } location = /a/eq { return 200 aeq; } return 200 a; }
        location ~ ^/re/ { location ~ /in/ { return 200 in; } return 200 re; } location ~ \\.x$ { return 200 x; }"""),
     ["/a/", "/a/b/c", "/a/z.x", "/a/b/z.x", "/a/eq", "/re/", "/re/in/", "/z.x", "/re/z.x"]),
    ("rewrite flags", server("""location /l/ { rewrite ^/l/(.*) /t/$1 last; } location /b/ { rewrite ^/b/(.*) /$1 break; } location /r/ { rewrite ^/r/(.*) /t/$1 redirect; }
        location /p/ { rewrite ^/p/(.*) /t/$1?x=y permanent; } location /u/ { rewrite ^/u/(.*) http://u.example/$1; } location /q/ { rewrite ^/q/(.*) /t/$1? last; }
        location /m/ { rewrite ^/m/(a)?(b)? /t/[$1][$2] last; } location /c/ { rewrite ^/c/ $scheme://x.example/$host; } location /n/ { rewrite ^/n/1 /n/2; rewrite ^/n/2 /t/n last; }
        location /e/ { rewrite ^/e/(.*)$ /t/$1 last; } location /i/ { rewrite (?i)^/I/(.*) /t/$1 last; } location /loop/ { rewrite ^ /loop/ last; }
        location /t/ { return 200 "t:$uri:$args:$request_uri"; }"""),
     ["/l/x?a=1", "/b/a.txt", "/b/none", "/r/x?a=1", "/p/x?a=1", "/u/x?a=1", "/q/x?a=1", "/m/", "/m/a", "/m/ab", "/m/b", "/c/x", "/n/1", "/e/a%20b%2fc", "/e/%3fq", "/i/z", "/loop/", "/r/a%20b",
      "/r/%D0%B0", "/u/a%20b", "/p/x"]),
    ("server rewrite", server("rewrite ^/old$ /new; rewrite ^/gone http://x.example/; if ($arg_stop) { return 403; } location /new { return 200 new; } location / { return 200 $uri; }"),
     ["/old", "/gone", "/x?stop=1", "/old?stop=1"]),
    ("if", server("""location / { if ($arg_a) { return 200 "a $arg_a"; } if ($arg_b = x) { return 201 b; } if ($arg_b != y) { set $c not-y; } if ($http_x ~ ^v(\\d)$) { return 200 "x $1"; }
        if ($http_x ~* ABC) { return 200 nocase; } if ($http_x !~* abc) { set $d no-abc; } if ($request_method = PUT) { return 405; } if (-f $request_filename) { return 200 file; }
        if (-d $request_filename) { return 200 dir; } if (!-e $request_filename) { return 200 "nothing $c $d"; } }"""),
     ["/?a=1", "/?a=0", "/?a=", "/?b=x", "/a.txt", "/dir", "/none", "/none?b=y", h("/", X="v7"), h("/", X="xabcx"), h("/", "PUT", body=b"")]),
    ("if inherits", server("""location /p { add_header X-A 1; if ($arg_v) { add_header X-B 2; } return 200 p; } location /f { if ($arg_v) { expires 1h; } try_files /a.txt =404; }
        location /pp { proxy_set_header X-P p; if ($arg_v) { proxy_pass http://@b2@; } proxy_pass http://@b@; }"""), ["/p", "/p?v=1", "/f", "/f?v=1", "/pp", "/pp?v=1"]),
    ("set and break", server("""set $g outer; location /a { set $g "$g-a"; return 200 $g; } location /b { set $x 1; if ($arg_q) { break; } set $x 2; return 200 "x$x"; }
        location /c { set $y $arg_y$args; return 200 "[$y]"; } location /d { set $u; return 200 d; }""".replace("set $u;", "set $u '';")), ["/a", "/b", "/b?q=1", "/c?y=1&z", "/d"]),
    ("map", server('location / { return 200 "$m1|$m2|$m3|$m4|$m5"; }', """
        map $arg_k $m1 { default def; one 1; Two 2; "" empty; "a b" space; ~^re(.)$ "re:$1"; ~*^CI nocase; \\~tilde t; \\default d; }
        map $host $m2 { hostnames; default -; site.example exact; *.site.example sub; .dot.example dot; www.* tail; ~^re\\. regex; }
        map $arg_a:$arg_b $m3 { x:y xy; ~^x: x; ~:y$ y; } map $m1 $m4 { 1 chained; default $arg_k; } map $args $m5 { volatile; "" none; default some; } """),
     ["/", "/?k=one", "/?k=two", "/?k=TWO", "/?k=rex", "/?k=rexx", "/?k=ciao", "/?k=a%20b", "/?k=~tilde", "/?k=default", "/?a=x&b=y", "/?a=x&b=z", "/?a=w&b=y",
      h("/", host="a.site.example"), h("/", host="dot.example"), h("/", host="q.dot.example"), h("/", host="www.any"), h("/", host="re.x"), h("/", host="other")]),
    ("captures", server("""location ~ ^/(?<first>\\w+)/(?<second>\\w+)/(.*)$ { set $one $1; if ($arg_x ~ (.)(.)) { set $two "$1-$2-$first"; } return 200 "$one|$2|$3|$first|$second|$two"; }"""),
     ["/a/b/c", "/a/b/c?x=yz", "/a/b/", "/a/b/c%20d"]),
    ("variables", server('location / { return 200 "$uri|$args|$is_args|$query_string|$request_uri|$request_method|$server_protocol|$scheme|$host|$http_host|$server_name|$https|$document_uri|$remote_addr'
                         '|$content_length|$content_type|$arg_a|$cookie_c|$http_x_y|$request_completion|$document_root|$request_filename|$proxy_protocol_addr|$status"; }'),
     ["/", "/p?a=1&b", h("/p", host="H.Example:1", Cookie="b=0; c=1; d=2", X_Y="z"), h("/p", "POST", body=b"abc", Content_Type="t/y"), h("/a%20b?a=%20"),
      h("/p", version="1.0"), h("/p", version="1.0", host=None), h("/?A=upper"), h("/?a=1&a=2"), h("/?ba=1&a"), h("/", Cookie="C=1"), h("/", Cookie="c=1;c=2"), h("/", Cookie='c="q"')]),
    ("geo of args", server('location / { return 200 "$a$b"; }', "map $arg_a $a { 1 one; } map $arg_b $b { default $a; } "), ["/?a=1", "/?a=1&b=2", "/"]),
    # --- proxy
    ("proxy uri", server("""location /a/ { proxy_pass http://@b@; } location /b/ { proxy_pass http://@b@/; } location /c/ { proxy_pass http://@b@/x/; } location /d { proxy_pass http://@b@/y; }
        location = /e { proxy_pass http://@b@/z; } location ~ ^/f/(.*) { proxy_pass http://@b@/$1; } location ~ ^/g/ { proxy_pass http://@b@; } location /h/ { proxy_pass http://@b@/q?a=b; }
        location /i/ { proxy_pass http://@b@$request_uri; } location /j/ { rewrite ^/j/(.*) /k/$1 break; proxy_pass http://@b@/no/; } location /l/ { proxy_pass http://@b@/sp%20ace/; }
        location /m/ { set $t @b@; proxy_pass http://$t; } location /n/ { set $t @b@; proxy_pass http://$t/fixed; }"""),
     [p + s for p in ("/a/", "/b/", "/c/", "/d", "/d/", "/g/", "/h/", "/i/", "/j/", "/l/", "/m/", "/n/") for s in ("x", "x/y?q=1", "%20%2F%3f", "..//z", "%41b")]
     + ["/f/x", "/f/x/y?q=1", "/f/..//z", "/f/%41b", h("/f/%20%2F%3f", differs=("N20", "a variable that would put a space into a request line is refused", 500))] + ["/e", "/e?q", "/b", "/c"]),
    ("proxy auto redirect", server("location /app/ { proxy_pass http://@b@; } location /al/ { alias @PREFIX@/html/; }"), ["/app", "/app?x=1", "/app/", "/al"]),
    ("proxy headers out", server("""location / { proxy_pass http://@b@; } location /s { proxy_pass http://@b@; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Accept-Encoding ""; proxy_set_header X-E ""; }
        location /h { proxy_pass http://@b@; proxy_pass_request_headers off; } location /m { proxy_pass http://@b@; proxy_method PUT; } location /sb { proxy_pass http://@b@; proxy_set_body "b:$arg_b"; }
        location /rb { proxy_pass http://@b@; proxy_set_body "<$request_body>"; proxy_set_header X-Body $request_body; proxy_ignore_headers Expires; proxy_ignore_headers Cache-Control Expires; }
        location /nb { proxy_pass http://@b@; proxy_pass_request_body off; }""".replace("proxy_pass_request_body off;", 'proxy_pass_request_body off; proxy_set_header Content-Length "";')),
     [h("/", Accept="a/b", X_Long="v" * 500), h("/", "POST", body=b"body"), h("/s", X_Forwarded_For="192.0.2.1", Accept_Encoding="gzip", X_E="1"), h("/s"), h("/h", X_A="1", Cookie="a=b"),
      h("/h", "POST", body=b"x"), h("/m"), h("/m", "POST", body=b"m"), h("/sb?b=1"), h("/sb", "POST", body=b"orig"), h("/rb", "POST", body=b"orig"), h("/rb"), h("/nb", "POST", body=b"gone"), h("/", version="1.0"), h("/", "DELETE"),
      h("/", "OPTIONS"), h("/", "POST", body=b""), h("/", Keep_Alive="300", Upgrade="h2c"), h("/", Expect="100-continue", method="POST", body=b"e"), h("/", X_1="a", X_2="b")]),
    ("proxy header inheritance", server("proxy_set_header X-Top top; proxy_set_header Host top.example; location /a { proxy_pass http://@b@; } location /b { proxy_set_header X-B b; proxy_pass http://@b@; } "
                                        "location /c { if ($arg_x) { proxy_pass http://@b@; } proxy_set_header X-C c; proxy_pass http://@b@; }"), ["/a", "/b", "/c", "/c?x=1"]),
    ("proxy bodies", server("location / { proxy_pass http://@b@; client_body_buffer_size 8k; } location /u { proxy_pass http://@b@; proxy_request_buffering off; proxy_http_version 1.1; }"),
     [h(p, "POST", body=b"z" * n) for p in ("/", "/u") for n in (0, 1, 8192, 100000)]
     + [raw(b"POST %s HTTP/1.1\r\nHost: site.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n0\r\nT: v\r\n\r\n" % p) for p in (b"/",)]),
    ("proxy answers", server("location / { proxy_pass http://@b@; } location /hide { proxy_pass http://@b@; proxy_hide_header X-Up; proxy_hide_header Set-Cookie; } "
                             "location /pass { proxy_pass http://@b@; proxy_pass_header Server; proxy_pass_header X-Accel-Expires; }"),
     ["/answer/plain", "/answer/chunked", "/answer/close", "/answer/204", "/answer/304", "/answer/404", "/answer/500", "/answer/headers", "/hide/answer/headers", "/pass/answer/headers",
      "/answer/empty", "/answer/big", "/answer/cookies", "/answer/range", "/answer/lf", h("/answer/plain", "HEAD"), h("/answer/chunked", "HEAD"), h("/answer/chunked", version="1.0"), "/answer/status",
      h("/answer/noreason", differs=("design 9", "a missing reason phrase is written as the usual one", 200))]),
    ("proxy unbuffered", server("proxy_buffering off; location / { proxy_pass http://@b@; }"), ["/answer/plain", "/answer/chunked", "/answer/close", "/answer/big", "/answer/empty", "/answer/204",
                                                                                               h("/answer/plain", "HEAD")]),
    ("proxy 1.1 up", server('proxy_http_version 1.1; proxy_set_header Connection ""; location / { proxy_pass http://@b@; }'),
     ["/answer/plain", "/answer/chunked", "/answer/close", "/answer/big", "/answer/204", "/answer/304", h("/answer/plain", "HEAD"), "/x"]),
    ("proxy bad answers", server('location / { proxy_pass http://@b@; }'), ["/answer/nothing", "/answer/cut-head",
                                                                          h("/answer/two-lengths", differs=("design 9", "two different lengths are refused", 502))]),
    ("proxy dead", server("location / { proxy_pass http://127.0.0.1:1; } location /e { proxy_pass http://127.0.0.1:1; error_page 502 /50x.html; } location /n { proxy_pass http://127.0.0.1:1; error_page 502 = @f; }"
                          " location @f { proxy_pass http://@b@; }"), ["/", "/e", "/n/x?y", h("/n/p", "POST", body=b"keep"), h("/", "POST", body=b"x" * 1000)]),
    ("proxy redirect", server("""location /d/ { proxy_pass http://@b@/up/; } location /o/ { proxy_pass http://@b@/up/; proxy_redirect off; }
        location /e/ { proxy_pass http://@b@/up/; proxy_redirect http://@b@/up/ http://new.example/; } location /r/ { proxy_pass http://@b@/up/; proxy_redirect / /rel/; }
        location /x/ { proxy_pass http://@b@/up/; proxy_redirect ~^http://[^/]+/(\\w+)/(.*)$ https://$host/$2-$1; } location /m/ { proxy_pass http://@b@/up/; proxy_redirect http://else.example/ /else/; proxy_redirect default; }"""),
     [p + "redirect/" + k for p in ("/d/", "/o/", "/e/", "/r/", "/x/", "/m/") for k in ("own", "relative", "else", "refresh", "none")]),
    ("proxy cookies", server("""location /d { proxy_pass http://@b@; proxy_cookie_domain back.example front.example; proxy_cookie_path /app/ /; } location /o { proxy_pass http://@b@; }
        location /r { proxy_pass http://@b@; proxy_cookie_domain ~(\\w+)\\.example$ $1.org; proxy_cookie_path ~^/(\\w+)/ /$1-x/; } location /f { proxy_pass http://@b@; proxy_cookie_flags one secure httponly samesite=strict;
        proxy_cookie_flags ~^t nosecure nohttponly nosamesite; }"""), [p + "/answer/cookies" for p in ("/d", "/o", "/r", "/f")]),
    ("proxy intercept", server("""error_page 404 /404.html; error_page 500 =200 /a.txt; location / { proxy_pass http://@b@; proxy_intercept_errors on; } location /404.html { } location /a.txt { }
        location /off { proxy_pass http://@b@; }"""), ["/answer/404", "/answer/500", "/answer/plain", "/off/answer/404", h("/answer/404", "HEAD"), h("/answer/404", "POST", body=b"b")]),
    ("x-accel", server("""location / { proxy_pass http://@b@; } location /files/ { internal; alias @PREFIX@/html/; } location @named { return 200 "named $uri"; }
        location /ign/ { proxy_pass http://@b@; proxy_ignore_headers X-Accel-Redirect; }"""),
     ["/accel/file", "/accel/named", "/accel/none", "/accel/type", "/ign/accel/file", "/files/a.txt", h("/accel/file", Range="bytes=0-3"), h("/accel/file", "HEAD"), h("/accel/file", "POST", body=b"x"), "/accel/args"]),
    ("upstream group", server('location / { proxy_pass http://u; } location /h { proxy_pass http://u/x; proxy_set_header Host $proxy_host; } location /v { set $g u; proxy_pass http://$g; }', "upstream u { server @b@; server @b@ backup; } "),
     ["/x", "/h/y", "/v/z"]),
    ("next upstream", server('location / { proxy_pass http://u; } location /s { proxy_pass http://s; proxy_next_upstream http_500 http_404; } location /o { proxy_pass http://u; proxy_next_upstream off; }',
                             "upstream u { server 127.0.0.1:1; server @b@ backup; } upstream s { server @b2@; server @b@ backup; } "), ["/x", h("/x", "POST", body=b"p"), "/s/answer/500", "/s/answer/404", "/s/answer/plain"]),
    ("host to upstream", server("location / { proxy_pass http://@b@; proxy_set_header Host $http_host; } location /h { proxy_pass http://@b@; proxy_set_header Host $host:$server_port; }"),
     [h("/", host="UP.example:8"), h("/h", host="UP.example:8"), h("/", version="1.0", host=None, differs=("RFC 9112 3.2", "HTTP/1.1 to a server behind has a Host", 200)),
      h("/h", version="1.0", host=None)]),
    ("limit_except and access", server("location / { limit_except GET { deny all; } } location /p { limit_except POST { deny all; } return 200 x; }"), ["/a.txt", h("/a.txt", "HEAD"), h("/a.txt", "POST", body=b""), h("/a.txt", "DELETE"), "/p"]),
    ("internal", server("location /int { internal; return 200 i; } location /go { rewrite ^ /int last; } location /e { error_page 404 /int; return 404; } location /t { try_files /none /int; }"), ["/int", "/go", "/e", "/t"]),
    # --- names
    ("server names", """server { listen 127.0.0.1:@port@; server_name first.example; return 200 first; } server { listen 127.0.0.1:@port@; server_name b.example *.b.example; return 200 "b $host"; }
        server { listen 127.0.0.1:@port@; server_name .c.example; return 200 c; } server { listen 127.0.0.1:@port@; server_name www.d.*; return 200 d; } server { listen 127.0.0.1:@port@; server_name ~^e(\\d+)\\.(?<t>\\w+)$; return 200 "e $1 $t"; }
        server { listen 127.0.0.1:@port@; server_name ""; return 200 none; } server { listen 127.0.0.1:@port@; server_name *.x.b.example; return 200 xb; } """,
     [h("/", host=x) for x in ("first.example", "b.example", "B.EXAMPLE", "q.b.example", "r.q.b.example", "y.x.b.example", "c.example", "z.c.example", "www.d.org", "www.d.co.uk", "e42.net", "e42.net.x", "unknown",
                               "b.example.", "b.example:123", "127.0.0.1", "[::1]", "_")] + [h("/", version="1.0", host=None)]),
    ("default server", """server { listen 127.0.0.1:@port@; server_name a; return 200 a; } server { listen 127.0.0.1:@port@ default_server; server_name b; return 200 b; } """,
     [h("/", host="a"), h("/", host="b"), h("/", host="zz")]),
    ("absolute form", server('location / { return 200 "$host|$uri|$request_uri|$http_host"; }'), [raw("GET http://abs.example/p?q HTTP/1.1\r\nHost: hdr.example\r\n\r\n"), raw("GET http://abs.example:81/ HTTP/1.1\r\nHost: hdr.example\r\n\r\n"),
                                                                                   raw("GET http://abs.example HTTP/1.1\r\nHost: hdr.example\r\n\r\n"), raw("GET HTTPS://abs.example/x HTTP/1.1\r\nHost: hdr.example\r\n\r\n")]),
    # --- the wire
    ("uris", server('location / { return 200 "$uri|$args"; } location /off/ { return 200 x; }'), ["/" + u for u in (
        "a/./b", "a/../b", "a/b/..", "a/b/.", "a//b", "a/%2e%2e/b", "a/%2E/b", "a%2fb", "a%2Fb", "a;b", "a:b", "a@b", "a&b=c", "a+b", "a%2bb", "~a", "a'b", "a(b)", "%D0%90", "a%3Fb", "a%23b", "...", "a/...", ".a",
        "..a", "a/..b", "a/.b", "a?b?c", "a?", "?", "a?%20", "a?b#c", "a|b", "a^b", "a%5cb", "a\"b", "a<b>", "a{b}", "a\\b", "a/../../", "%2e%2e/", "a/%", "a/%1", "a/%zz", "a%00b")]),
    ("merge slashes off", server('merge_slashes off; location / { return 200 $uri; } location //x { return 200 xx; }'), ["//a", "/a//b", "//x", "/a/..//b"]),
    ("malformed", server("location / { return 200 ok; }"), [raw(d) for d in (
        "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / HTTX/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", "G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", "GET \x01 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\n", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\n: x\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n", "GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n")]
     + [raw("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", differs=("design 9", "one space stands between the words of a request line", 400)),
        raw("GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", differs=("design 9", "a header line without a colon is refused", 400)),
        raw("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\r\n\r\n", differs=("design 9", "a bare CR never ends or fills a line", 400)),
        raw("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n")]),
    ("bad chunks", server("location / { proxy_pass http://@b@; }"), [raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + d) for d in (
        b"5\r\nhello\r\n0\r\n\r\n", b"5;e=1\r\nhello\r\n0\r\n\r\n", b"g\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"-1\r\n", b"0\r\n\r\n", b"0\r\nT: v\r\n\r\n", b"00005\r\nhello\r\n000\r\n\r\n", b"A\r\n0123456789\r\n0\r\n\r\n", b"a\r\n0123456789\r\n0\r\n\r\n")]
     + [raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n", differs=("contract", "a lone LF never stands in chunked framing", 400))]),
    ("keep-alive", server("location / { return 200 ok; }"), [h("/"), h("/", Connection="close"), h("/", Connection="keep-alive"), h("/", version="1.0"), h("/", version="1.0", Connection="keep-alive"), h("/none", Connection="close"),
                                                           h("/", "POST", body=b"abc"), h("/", Connection="Close")]),
    ("keep-alive off", server("keepalive_timeout 0; location / { return 200 ok; } location /h { keepalive_timeout 60 30; return 200 h; }"), ["/", "/h", h("/h", version="1.0", Connection="keep-alive")]),
    ("limits of heads", server("location / { return 200 ok; }", "client_header_buffer_size 512; large_client_header_buffers 2 1k; "),
     [h("/" + "a" * n) for n in (400, 900, 1100)] + [h("/", X="b" * n) for n in (400, 900, 1100)] + [h("/", X="b" * 900, Y="c" * 900, Z="d" * 900)]),
    ("limits of bodies", server("client_max_body_size 10; location / { proxy_pass http://@b@; } location /r { return 200 r; } location /z { client_max_body_size 0; proxy_pass http://@b@; }"),
     [h(p, "POST", body=b"x" * n) for p in ("/", "/r", "/z") for n in (10, 11)] + [raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n"),
                                                                                 h("/", "POST", body=b"x" * 5, Expect="100-continue")]),
    ("server tokens", server("server_tokens off; location / { return 404; } location /on { server_tokens on; return 404; }"), ["/", "/on"]),
    ("underscores", server("location / { proxy_pass http://@b@; } ", "underscores_in_headers on; "), [raw("GET / HTTP/1.1\r\nHost: a\r\na_b: 1\r\n\r\n")]),
    ("no underscores", server("location / { proxy_pass http://@b@; } "), [raw("GET / HTTP/1.1\r\nHost: a\r\na_b: 1\r\nX.Y: 2\r\n\r\n")]),
    ("stub_status shape", server("location /s { stub_status; }"), [h("/s", "HEAD"), h("/s", "POST", body=b"")]),
    ("chunked off", server("location / { proxy_pass http://@b@; chunked_transfer_encoding off; }"), ["/answer/chunked", "/answer/plain"]),
    ("charset of types", server("default_type text/plain; location /j { default_type application/json; return 200 '{}'; } location /t { return 200 t; }"), ["/j", "/t", "/noext"]),
    ("quoting", server("""set $a 'it''s'; location /q { return 200 "tab\\tnl\\nq\\"b\\\\e"; } location /d { return 200 "$$"; } location /v { return 200 "${uri}x$host-$args."; } location "/two words" { return 200 two; }
        location /s { return 200 'single $uri "d"'; } location /e { return 200 a\\ b; }""".replace("set $a 'it''s'; ", "").replace('location /d { return 200 "$$"; } ', "")),
     ["/q", "/v?z", "/two%20words", "/s", "/e"]),
    ("named locations", server("""location /a { error_page 404 = @one; return 404; } location @one { rewrite ^/a(.*)$ /b$1 break; return 200 "one $uri"; } location /c { try_files /none @two; }
        location @two { proxy_pass http://@b@; } location /d { error_page 500 @three; return 500; } location @three { root @PREFIX@/html; try_files /a.txt =404; }"""), ["/a/x", "/c/y?z", "/d", h("/c", "POST", body=b"kept")]),
    ("includes", "include @PREFIX@/conf/inc/*.conf; " + server("include @PREFIX@/conf/loc.inc; location / { return 200 main; }"), ["/", "/inc"]),
    ("basic auth", server("""auth_basic "a realm"; auth_basic_user_file users; location /off { auth_basic off; } location /var { auth_basic "r $arg_r \\"x"; }
        location /none { auth_basic_user_file nowhere; } location /deep/ { auth_basic inner; location /deep/er/ { auth_basic_user_file $arg_f; } }
        location /nofile { auth_basic_user_file users2; } location /maybe { auth_basic $arg_r; }""", TYPES),
     [h(p, Authorization=v) for p in ("/", "/a.txt", "/off", "/var?r=1", "/none", "/deep/", "/deep/er/z.txt?f=users", "/nofile", "/maybe?r=off", "/maybe?r=of", "/missing")
      for v in (AUTH["good"], AUTH["wrong"], AUTH["nobody"])]
     + ["/", "/none", "/off", "/maybe?r=off", h("/a.txt", "HEAD"), h("/a.txt", "POST", body=b"x"), h("/a.txt", version="1.0")]
     + [h("/", Authorization=v) for v in ("Basic", "Basic ", "basic " + AUTH["good"][6:], "Basic  " + AUTH["good"][6:], AUTH["good"].rstrip("="), "Basic =", "Basic !!",
                                           "Basic OnNlY3JldA==", "Digest x", AUTH["good"] + " ", AUTH["colon"], AUTH["other"], AUTH["comment"], AUTH["last"])]),
    ("basic auth and satisfy", server("""auth_basic r; auth_basic_user_file users; location /any { satisfy any; allow 127.0.0.1; deny all; } location /dir/ { satisfy any; deny all; }
        location /a.txt { allow all; } location /b.css { deny all; } location /deep/ { satisfy any; } location /page.html { satisfy any; auth_basic off; deny all; }
        location /noext { satisfy any; auth_basic_user_file nowhere; deny all; }""", TYPES),
     [h(p, Authorization=v) for p in ("/any", "/dir/x.txt", "/a.txt", "/b.css", "/deep/er/z.txt", "/page.html", "/noext") for v in (AUTH["good"], AUTH["wrong"])]
     + ["/any", "/dir/x.txt", "/a.txt", "/b.css", "/page.html", "/noext"]),
    ("basic auth and error pages", server("""auth_basic r; auth_basic_user_file users; error_page 401 /404.html; location = /404.html { auth_basic off; } location /x { error_page 401 =200 /404.html; }
        location /n { error_page 401 = @n; } location @n { auth_basic off; return 204; } location /r { error_page 401 http://login.example/; } location /b { error_page 401 =402 /404.html; }
        location /up { auth_basic off; proxy_pass http://@b@; } location /p { proxy_pass http://@b@; } location /q { error_page 401 /up; } location /limit { limit_except POST { auth_basic off; } }"""),
     ["/", "/x", "/n", "/r", "/b", "/up/a", "/p/a", "/q", h("/p/a", Authorization=AUTH["good"]), h("/up/a", Authorization=AUTH["wrong"]), h("/x", "HEAD"), h("/n", "POST", body=b"x"),
      "/limit", h("/limit", "POST", body=b"x")]),
    ("msie_refresh", server(r"""msie_refresh on; location /r { return 302 http://a.example/; } location /e { error_page 404 "http://a.example/?x=1&y=<\">'"; return 404; }
        location /f { error_page 404 =301 https://b.example/$arg_x; } location /g { error_page 404 =307 http://c/; return 404; } location /p { return 301 /q; } location /s { return 303 /q; }
        location /rw { rewrite ^ /z permanent; } location /off { msie_refresh off; return 302 /x; }"""),
     [h(p, User_Agent=ua) for p in ("/r", "/e", "/f?x=a%22b%3cc", "/g", "/p", "/s", "/rw", "/off", "/dir") for ua in ("Mozilla/4.0 (compatible; MSIE 7.0; Windows)", "MSIE 6", "x MSIE 6.0", "MSIE 9.0 Opera", "x")]
     + [h("/r", "HEAD", User_Agent="MSIE 7.0 "), h("/r", "POST", body=b"x", User_Agent="MSIE 7.0 ")]),
    ("map with hostnames given last", server('return 200 "$a $b $c";', 'map $http_host $a { *.example star; x.example exact; hostnames; } map $http_host $b { default d; hostnames; *.example star; } map $http_host $c { *.one one; hostnames; *.example star; }'),
     [h("/", host=n) for n in ("y.example", "x.example", "x.example.", "*.example", "q.one", "*.one", "example")]),
    ("satisfying nothing", server("location / { }"), ["/", "/none", h("/", "PUT", body=b"x")]),
    # --- what the audit of every directive added
    ("more: if files", server('if (-f $request_filename) { set $k f; } if (-d $request_filename) { set $k "${k}d"; } if (-e $request_filename) { set $k "${k}e"; } if (-x $request_filename) { set $k "${k}x"; } if (!-f $request_filename) { set $k "${k}-nf"; } if (!-d $request_filename) { set $k "${k}-nd"; } if (!-e $request_filename) { set $k "${k}-ne"; } if (!-x $request_filename) { set $k "${k}-nx"; } location / { add_header K $k always; return 200 x; }'), ["/a.txt", "/dir", "/dir/", "/none"]),
    ("more: expires kinds", server('location /at { expires @15h30m; root @PREFIX@/html; try_files /a.txt =404; } location /epoch { expires epoch; try_files /a.txt =404; } location /max { expires max; try_files /a.txt =404; } location /mod { expires modified +1h; try_files /a.txt =404; } location /neg { expires -1; try_files /a.txt =404; } location /off { expires off; try_files /a.txt =404; } location /var { expires $arg_e; try_files /a.txt =404; }'), ["/epoch", "/max", "/mod", "/neg", "/off", "/var?e=max", "/var?e=epoch", "/var?e=bad", "/var", "/var?e=-5"]),
    ("more: invalid headers", server("ignore_invalid_headers off; underscores_in_headers off; location / { proxy_pass http://@b@; }"), [h("/x", A_b="1"), raw("GET /x HTTP/1.1\r\nHost: a\r\nA_B: 1\r\nX.Y: 2\r\nOk: 3\r\n\r\n"), raw("GET /x HTTP/1.1\r\nHost: a\r\nA(B: 1\r\nOk: 3\r\n\r\n", differs=("design 9", "a name that is no token is refused", 400)), raw("GET /x HTTP/1.1\r\nHost: a\r\nA B: 1\r\n\r\n")]),
    ("more: invalid headers dropped", server("location / { proxy_pass http://@b@; }"), [raw("GET /x HTTP/1.1\r\nHost: a\r\nA_B: 1\r\nX.Y: 2\r\nOk: 3\r\n\r\n"), raw("GET /x HTTP/1.1\r\nHost: a\r\nA(B: 1\r\nOk: 3\r\n\r\n")]),
    ("more: underscores only", server("underscores_in_headers on; location / { proxy_pass http://@b@; }"), [raw("GET /x HTTP/1.1\r\nHost: a\r\nA_B: 1\r\nOk: 3\r\n\r\n")]),
    ("more: tokens build", server("server_tokens build; location / { return 404; }"), ["/x"]),
    ("more: error pages deep", server('error_page 404 /404.html; error_page 403 =200 /a.txt; error_page 500 502 503 = @n; error_page 410 http://x.example/gone; error_page 401 =302 /login?from=$uri; location @n { return 200 "named $uri $status"; } location /e/ { internal; return 200 in; } location /a403 { deny all; } location /a410 { return 410; } location /a401 { return 401; } location /a503 { return 503; } location /dead { proxy_pass http://127.0.0.1:1; } location /own { error_page 404 /e/x; } location /vars { error_page 404 /$arg_to; }'), ["/none", "/a403", "/a410", "/a401", "/a503", "/dead", "/own/x", "/vars/x?to=a.txt", "/vars/x?to=none", "/e/x",h("/none", "POST",body=b"x"),h("/none", "HEAD")]),
    ("more: rewrites more", server('rewrite ^/perm/(.*)$ /new/$1 permanent; rewrite ^/redir/(.*)$ /new/$1? redirect; rewrite ^/abs$ http://x.example/$uri; rewrite ^/https$ https://x.example/ permanent; rewrite ^/sch$ $scheme://y.example/; location /l/ { rewrite ^/l/(?<n>\\w+)/(\\w+)$ /a.txt?n=$n&two=$2 last; return 403; } location /b/ { rewrite ^/b/(.*)$ /$1 break; } location /loop { rewrite ^ /loop last; } location /enc/ { rewrite ^/enc/(.*)$ /out?x=$1 redirect; } location /s { set $a "x${arg_q}y"; set $a "$a-$a"; return 200 $a; } location /out { return 200 $args; }'), ["/perm/a?q", "/redir/a?q", "/abs?q", "/https?q=1", "/sch", "/l/one/two?z", "/l/x", "/b/a.txt", "/b/none", "/loop", "/enc/a%20b%2Fc%3Fd", "/s?q=1", "/out?a=1"]),
    ("more: location kinds", server('location = /e { return 200 exact; } location ^~ /p/ { return 200 caret; } location ~ \\.(php|txt)$ { return 200 "re $1"; } location ~* \\.JPG$ { return 200 nocase; } location /p/q { return 200 longer; } location / { return 200 root; } location /n/ { location ~ x$ { return 200 nestedre; } location /n/m { return 200 nested; } return 200 n; } location ~ ^/cap/(?<first>[a-z]+)/(\\d+) { return 200 "$first $2"; } location /slash/ { proxy_pass http://@b@; }'), ["/e", "/e/", "/E", "/p/x.php", "/p/q", "/x.php", "/x.PHP", "/a.jpg", "/n/x", "/n/m/y", "/n/q", "/cap/abc/12", "/slash", "/slash?q", "/%65", "/p%2fx"]),
    ("more: returns more", server('location /a { return 204; } location /b { return 301 /x; } location /c { return 302 http://h.example/; } location /d { return 303 x; } location /e { return 307 /$arg_q; } location /f { return 308 https://$host$request_uri; } location /g { return 200 "a$arg_q\\n"; } location /h { return 404 "own 404"; } location /i { return http://i.example/; } location /j { return 418; } location /k { return 599 body; } location /l { return 400; } location /m { return 405; } location /n { default_type application/json; return 200 "{}"; } location /o { types { text/x-o o; } return 200 o; }'), ["/a", "/b", "/c", "/d", "/e?q=z", "/f?q=1", "/g?q=%41", "/h", "/i", "/j", "/k", "/l", "/m", "/n", "/o.o",h("/g", "HEAD"),h("/h", "POST",body=b"b"),h("/b",version="1.0"),h("/b",host="other:81")]),
    ("more: try files more", server('location /a { try_files $uri $uri/ /index.html; } location /b { try_files $uri =403; } location /c { try_files $uri @n; } location @n { return 200 "n $uri $args"; } location /dir { try_files $uri/ =404; } location /d { try_files /none /a.txt?x=1; } location /al/ { alias @PREFIX@/html/dir/; try_files $uri x.txt =404; } location /q { try_files /sp\\ ace.txt =404; }'), ["/a/x?q", "/a.txt", "/b/x", "/c/x?y", "/dir", "/dir/", "/d", "/al/x.txt", "/al/none", "/q"]),
    ("more: alias and regex", server('location /al/ { alias @PREFIX@/html/dir/; } location ~ ^/re/(.+)$ { alias @PREFIX@/html/$1; } location = /one { alias @PREFIX@/html/a.txt; } location /noslash { alias @PREFIX@/html/dir; }'), ["/al/", "/al/x.txt", "/al", "/re/a.txt", "/re/dir/", "/re/dir", "/one", "/noslash/x.txt", "/noslash", "/al/../a.txt"]),
    ("more: proxy next", "upstream u { server @b@ max_fails=0; server @b2@ max_fails=0; } " + server('proxy_next_upstream error timeout invalid_header http_404 http_500; location / { proxy_pass http://u; } location /one { proxy_next_upstream off; proxy_pass http://u; }'), ["/answer/404", "/answer/500", "/answer/cut-head", "/one/answer/404", "/one/answer/cut-head",h("/answer/500", "POST",body=b"x")]),
    ("more: cookie flags", server('proxy_cookie_flags one secure samesite=strict; proxy_cookie_flags two nosecure nohttponly; proxy_cookie_flags ~ee$ httponly; location / { proxy_pass http://@b@; }'), ["/answer/cookies"]),
    ("more: nested ifs", server('set $r ""; if ($arg_a = 1) { set $r "${r}1"; } if ($arg_a != 1) { set $r "${r}n"; } if ($arg_b ~ ^x(.)) { set $r "${r}$1"; } if ($arg_b ~* ^X) { set $r "${r}i"; } if ($arg_b !~ x) { set $r "${r}-"; } if ($arg_c) { return 403 $r; } location / { if ($request_method = POST) { return 200 post$r; } if ($http_x) { set $r "h$r"; } return 200 [$r]; }'), ["/", "/?a=1", "/?a=1&b=xy", "/?b=Xq", "/?c=1", "/?c=0", "/?c=",h("/?a=1", "POST",body=b""),h("/",X="1")]),
    ("more: maps", 'map $arg_k $m { volatile; default d; "" empty; a A; ~^b(.*)$ "B$1"; ~*^C nocase; \\default lit; } map $http_host $h { hostnames; default none; site.example exact; *.example star; .dot.org dot; pre.* pre; } ' + server('return 200 "$m $h\\n";'), ["/", "/?k=a", "/?k=bcd", "/?k=cX", "/?k=default", "/?k=zz",h("/",host="q.example"),h("/",host="dot.org"),h("/",host="w.dot.org"),h("/",host="pre.zz"),h("/",host="SITE.example")]),
    ("more: add_header", server('add_header A 1; add_header B $arg_b; add_header C c always; add_header Last-Modified "x"; add_header Cache-Control no-store; add_trailer T t; location /x { return 404; } location /y { add_header D 1; return 200 y; } location /z { add_header Last-Modified ""; try_files /a.txt =404; }'), ["/a.txt?b=2", "/a.txt", "/x", "/y", "/z"]),
    # --- grpc_pass: @g@ speaks HTTP/2
    ("grpc: requests", server("""location / { grpc_pass grpc://@g@; } location /plain { grpc_pass @g@; } location /host { grpc_set_header Host $http_host; grpc_pass @g@; }
        location /set { grpc_set_header X-A a; grpc_set_header X-B $arg_b; grpc_set_header Content-Length ""; grpc_set_header User-Agent ""; grpc_pass @g@; }
        location /te { grpc_set_header TE ""; grpc_pass @g@; } location /rw { rewrite ^ /other%20path?q=1 break; grpc_pass @g@; } location /up { grpc_pass grpc://up; }""",
                              "upstream up { server @g@; } "),
     ["/", "/a/b?c=d", "/a%20b/%2e./c?d%20e", "/plain", h("/host", differs=("RFC 9113 8.3.1", "grpc_set_header Host becomes :authority", lambda s, n: n["body"].replace(b"http - ", b"http site.example ").replace(b"host: site.example\n", b"") == s["body"])), "/set?b=1", "/set", "/te", "/rw", "/up/x", h("/", "POST", body=b"hello"), h("/", "PUT", body=b"x" * 5000), h("/", "POST", body=b""),
      h("/", "HEAD"), h("/", "OPTIONS"), h("/", TE="trailers"), h("/", TE="gzip"), h("/", Te="trailers, gzip"), h("/", X_One="1", Cookie="a=b; c=d", Authorization="x", Accept_Encoding="gzip"),
      h("/", "POST", body=b"x", Content_Type="application/grpc", grpc_timeout="5S"), h("/", Keep_Alive="5", Upgrade="websocket"), h("/", version="1.0"), h("/", Range="bytes=0-1"),
      h("/", If_None_Match="*", If_Modified_Since=OLD)]),
    ("grpc: answers", server("location / { grpc_pass grpc://@g@; }"),
     [f"/answer/{x}" for x in ("trailers", "only", "headers", "length", "redirect", "204", "404", "500", "503", "418", "reset", "early")]
     + [h(q, m, differs=("RFC 9110 8.6", "no length is made up for an answer without a body", lambda s, n: s["headers"] == [x for x in n["headers"] if x != ("content-length", "0")])) for q, m in (("/answer/304", "GET"), ("/answer/only", "HEAD"))]
     + [h(f"/answer/{x}", "POST", body=b"m") for x in ("trailers", "only", "404", "reset", "early")] + [h("/answer/headers", "HEAD"), h("/answer/trailers", version="1.0"),
        h("/answer/trailers", TE="trailers"), h("/answer/length", Range="bytes=1-2")]),
    ("grpc: fields", server("""location / { grpc_hide_header X-Up; grpc_hide_header ETag; grpc_pass_header Server; grpc_pass_header X-Accel-Expires; grpc_pass @g@; }
        location /ig/ { grpc_ignore_headers X-Accel-Charset Vary; grpc_pass @g@; } location /add/ { add_header X-Mine $upstream_status; add_header X-Ct $upstream_http_content_type; grpc_pass @g@; }"""),
     ["/answer/headers", "/ig/answer/headers", "/add/answer/headers", "/add/answer/only", "/add/answer/404"]),
    ("grpc: errors", server("""error_page 404 /404.html; error_page 502 504 = /50x.html; error_page 503 =200 @named; location @named { return 200 "named $upstream_status"; }
        location / { grpc_pass @g@; } location /in/ { grpc_intercept_errors on; grpc_pass @g@; } location /dead { grpc_pass 127.0.0.1:1; } location /deadtls { grpc_pass grpcs://127.0.0.1:1; }
        location /bare { error_page 418 /404.html; grpc_pass 127.0.0.1:1; } location /slow { grpc_read_timeout 200ms; grpc_pass @silent@; }"""),
     ["/answer/404", "/answer/503", "/answer/reset", "/in/answer/404", "/in/answer/503", "/in/answer/500", "/in/answer/only", "/dead", "/deadtls", "/bare", h("/dead", "POST", body=b"x"), "/slow"]),
    ("grpc: next upstream", server("""location / { grpc_pass grpc://g; } location /n/ { grpc_next_upstream http_503 http_404; grpc_pass grpc://two; } location /off { grpc_next_upstream off; grpc_pass grpc://g; }
        location /non/ { grpc_next_upstream http_503 non_idempotent; grpc_pass grpc://two; } location /tries/ { grpc_next_upstream http_503; grpc_next_upstream_tries 1; grpc_pass grpc://two; }
        location /inv/ { grpc_next_upstream error; grpc_pass grpc://two; } add_header X-St "$upstream_status" always;""",
                                  "upstream g { server 127.0.0.1:1 max_fails=0; server @g@; } upstream two { server @g@ max_fails=0; server @g@ max_fails=0; } "),
     ["/", "/x", h("/", "POST", body=b"m"), "/n/answer/503", "/n/answer/404", "/n/answer/500", h("/n/answer/503", "POST", body=b"m"), h("/non/answer/503", "POST", body=b"m"), "/tries/answer/503",
      h("/inv/answer/reset", differs=("documentation", "RST_STREAM instead of a head is an error while reading the head", lambda s, n: ("x-st", "502, 502") in s["headers"] and ("x-st", "502") in n["headers"]))]),
    # --- upgrades
    ("upgrade: websocket", server("""location / { proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $c; proxy_pass http://@w@; }
        location /no/ { proxy_http_version 1.1; proxy_pass http://@w@; } location /ten/ { proxy_http_version 1.0; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_pass http://@w@; }
        location = /404.html { } location /in/ { proxy_intercept_errors on; error_page 403 /404.html; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_pass http://@w@; }
        location /add/ { add_header X-Mine yes always; proxy_hide_header X-Up; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_pass http://@w@; }""",
                                  "map $http_upgrade $c { default upgrade; '' close; } "),
     [raw(f"GET {p} HTTP/{v}\r\nHost: site.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n",
          differs=("RFC 9110 7.8", "HTTP/1.0 knows no Upgrade", lambda s, n: s["body"] == n["body"].replace(b"websocket ", b"None ")) if p == "/ten/ok" else None)
      for p, v, more in (("/yes", "1.1", ""), ("/refuse", "1.1", ""), ("/in/refuse", "1.1", ""), ("/ok", "1.1", ""), ("/no/yes", "1.1", ""), ("/ten/ok", "1.1", ""), ("/add/yes", "1.1", ""),
                         ("/close", "1.1", ""), ("/ten/ok", "1.0", ""), ("/two", "1.1", "Sec-WebSocket-Protocol: a, b\r\n"))] + ["/ok", "/refuse"]),
]

EXTRA_FILES = {"conf/inc/one.conf": "map $arg_i $i { 1 one; }\n", "conf/inc/two.conf": "# nothing\n", "conf/loc.inc": "location /inc { return 200 \"inc $i\"; }\n"}
