#!/usr/bin/python3
"""run.py SLUICE [prefix]: the demo. Everything it writes lies under ./run. Ctrl-C ends all."""
import os
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
APPS = [("product", "product-1"), ("product", "product-2"), ("order", "order-1")]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def wait(what, fn, proc):
    deadline = time.monotonic() + 20
    while not fn():
        if proc.poll() is not None:
            sys.exit(f"{what} ended with {proc.returncode}")
        if time.monotonic() > deadline:
            sys.exit(f"{what} did not start within 20 s")
        time.sleep(0.02)


def prepare(prefix, ports):
    for d in ("logs", "temp", "conf"):
        os.makedirs(os.path.join(prefix, d), exist_ok=True)
    crt, key = (os.path.join(prefix, "conf", "shop." + x) for x in ("crt", "key"))
    if not os.path.exists(crt):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "365", "-keyout", key,
                        "-out", crt, "-subj", "/CN=shop.example.com", "-addext", "subjectAltName=DNS:shop.example.com,DNS:localhost,IP:127.0.0.1"],
                       check=True, capture_output=True)
    with open(os.path.join(HERE, "nginx.conf")) as f:
        text = f.read()
    for i, port in enumerate(ports, 1):
        text = text.replace(f"@PORT{i}@", str(port))
    with open(os.path.join(prefix, "conf", "nginx.conf"), "w") as f:
        f.write(text)


def main():
    sluice = os.path.abspath(sys.argv[1])
    prefix = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else "run")
    for port in (8443, 8080):
        if listening(port):
            sys.exit(f"port {port} is in use; the demo needs 8443 and 8080")
    ports = [free_port() for _ in APPS]
    prepare(prefix, ports)
    running = []
    proxy = None
    signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))
    try:
        for (kind, name), port in zip(APPS, ports):
            p = subprocess.Popen(["/usr/bin/python3", os.path.join(HERE, "shop.py"), kind, name, str(port)], stdin=subprocess.DEVNULL)
            running.append(p)
            wait(name, lambda: listening(port), p)
        # Its own group: Ctrl-C reaches us, and we end it in order.
        proxy = subprocess.Popen([sluice, "-p", prefix + "/", "-c", "conf/nginx.conf", "-e", "logs/error.log"], stdin=subprocess.DEVNULL, start_new_session=True)
        wait("sluice", lambda: listening(8443), proxy)
        print(f"""
The shop is open:

    https://localhost:8443/    (a self-signed certificate: your browser will ask)
    http://localhost:8080/     (answers with a redirect to the first)
    curl -k --resolve shop.example.com:8443:127.0.0.1 https://shop.example.com:8443/

Behind it: product backends with pids {running[0].pid} and {running[1].pid}, the order backend {running[2].pid}. Kill one product backend: nobody notices.
The configuration is {os.path.relpath(prefix)}/conf/nginx.conf; after an edit: kill -HUP {proxy.pid}
Logs: {os.path.relpath(prefix)}/logs. Ctrl-C ends everything.
""", flush=True)
        sys.exit(proxy.wait())
    except KeyboardInterrupt:
        print()
    finally:
        if proxy and proxy.poll() is None:
            proxy.send_signal(signal.SIGQUIT)
            try:
                proxy.wait(5)
            except subprocess.TimeoutExpired:
                proxy.terminate()
                proxy.wait()
        for p in running:
            p.terminate()
            p.wait()


if __name__ == "__main__":
    main()
