#!/usr/bin/python3
"""The shop's two applications: shop.py product NAME PORT, shop.py order NAME PORT. Many requests at a time."""
import html
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

GOODS = {"gate": ("Sluice gate", 120, "Cast iron, hand crank, opens either way."),
         "lock": ("Canal lock", 890, "Two chambers. Boats not included."),
         "weir": ("Weir board", 35, "Oak, 2 m, holds back almost anything."),
         "boots": ("Rubber boots", 29, "For whoever reads the logs.")}

STYLE = """body { font: 17px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; color: #123; background: #f4f9fa }
h1 a { color: inherit; text-decoration: none } .card { background: #fff; border: 1px solid #cde; border-radius: 10px; padding: .8rem 1.2rem; margin: .8rem 0 }
.price { float: right; font-weight: 600 } a, button { color: #046 } button { font: inherit; padding: .3rem .9rem } footer { color: #678; font-size: 14px; margin-top: 2rem }"""


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kind = name = ""

    def page(self, title, body, status=200):
        seen = f"answered by <b>{self.name}</b> &middot; Host {html.escape(self.headers.get('Host', '-'))} &middot; X-Real-IP {html.escape(self.headers.get('X-Real-IP', '-'))}"
        text = (f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title><style>{STYLE}</style>"
                f"<h1><a href=/>The Sluice Shop</a></h1>{body}<footer>{seen}</footer></html>\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Backend", self.name)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def do_GET(self):
        path = urlparse(self.path).path.strip("/").split("/")
        if self.kind == "product" and path in ([""], ["products"]):
            cards = "".join(f"<div class=card><span class=price>{p} &euro;</span><a href=/products/{k}>{n}</a><br>{t}</div>" for k, (n, p, t) in GOODS.items())
            return self.page("The Sluice Shop", "<p>Fine things for flowing water.</p>" + cards)
        if self.kind == "product" and path[0] == "products" and len(path) == 2 and path[1] in GOODS:
            n, p, t = GOODS[path[1]]
            return self.page(n, f"<div class=card><span class=price>{p} &euro;</span><h2>{n}</h2><p>{t}</p><form method=post action=/checkout/>"
                                f"<input type=hidden name=item value={path[1]}><button>Buy</button></form></div><p><a href=/>All goods</a></p>")
        if self.kind == "order" and path[0] == "checkout":
            return self.page("Checkout", "<p>Choose something first: <a href=/>the goods</a>.</p>")
        self.page("Not here", "<p>There is no such page.</p>", 404)

    do_HEAD = do_GET

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
        item = GOODS.get(form.get("item", [""])[0])
        if self.kind != "order" or not item:
            return self.page("Not here", "<p>There is no such thing to order.</p>", 404)
        self.page("Thank you", f"<div class=card><h2>Thank you!</h2><p>Your {item[0]} for {item[1]} &euro; is on its way.</p></div><p><a href=/>Back to the shop</a></p>")

    def log_message(self, *a):
        pass


if __name__ == "__main__":
    Shop.kind, Shop.name = sys.argv[1], sys.argv[2]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started us ends us with TERM
    ThreadingHTTPServer.request_queue_size = 256
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[3])), Shop).serve_forever()
