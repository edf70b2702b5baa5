#!/usr/bin/python3
"""sluice, Debian's nginx and Debian's HAProxy side by side in one run: same origin, same load, one thread each.

The proxy under test has a core for itself; origin and load generator share the other. What counts is CPU time
per request of the proxy's processes (user, system), because throughput on a shared machine measures the machine.
Rounds are interleaved, medians are printed (user and system CPU by their share of all rounds). bench.json in --out has all numbers."""
import argparse
import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests"))
from h2raw import H2  # noqa: E402
from harness import alive, children, free_port, poll  # noqa: E402

NGINX, HAPROXY, WRK = "/usr/sbin/nginx", "/usr/sbin/haproxy", "/usr/bin/wrk"
H2LOAD, H2O = "/usr/bin/h2load", "/usr/bin/h2o"
TICK = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count()


def raise_limit():
    for n in (65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (n, max(n, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
            return n
        except (ValueError, OSError):
            continue
    return 1024


LIMIT = raise_limit()  # descriptors
HERE = os.path.dirname(os.path.abspath(__file__))

# name, wrk arguments, scheme, path, peers that take part
CASES = [
    ("proxy 1 KiB", ["-c64"], "http", "/1k", "all"),
    ("proxy 1 KiB, TLS", ["-c64"], "https", "/1k", "all"),
    ("proxy 1 KiB, 1000 connections", ["-c1000"], "http", "/1k", "all"),
    ("proxy 1 KiB, new connection each", ["-c64", "-H", "Connection: close"], "http", "/1k", "all"),
    ("static 1 KiB", ["-c64"], "http", "/files/1k", "files"),
    ("static 100 KiB", ["-c64"], "http", "/files/100k", "files"),
    ("proxy 100 KiB", ["-c64"], "http", "/100k", "all"),
    ("proxy 10 MiB", ["-c8"], "http", "/10m", "all"),
    ("upload 16 KiB", ["-c64", "-s", os.path.join(HERE, "upload.lua")], "http", "/upload", "all"),
    # HTTP/2 over TLS, with h2load
    ("h2 static 1 KiB", ["-c16", "-m10"], "h2", "/files/1k", "files"),
    ("h2 static 100 KiB", ["-c16", "-m10"], "h2", "/files/100k", "files"),
    ("h2 proxy 1 KiB", ["-c16", "-m10"], "h2", "/1k", "all"),
    ("h2 proxy 100 KiB", ["-c16", "-m10"], "h2", "/100k", "all"),
]
# What issues 2 and 4 want of sluice: total CPU relative to the better peer, or to one; user CPU relative to nginx.
WANTED = {
    "proxy 1 KiB": ("best", 0.80, 0.5), "proxy 1 KiB, TLS": ("nginx", 0.9, None),
    "proxy 1 KiB, 1000 connections": ("nginx", 0.9, None), "proxy 1 KiB, new connection each": ("nginx", 0.9, None),
    "static 1 KiB": ("nginx", 0.9, None), "static 100 KiB": ("nginx", 0.9, None),
    "proxy 100 KiB": ("haproxy", 1.0, None), "proxy 10 MiB": ("haproxy", 1.0, None), "upload 16 KiB": ("haproxy", 1.0, None),
    "h2 static 1 KiB": ("nginx", 0.8, None), "h2 static 100 KiB": ("nginx", 0.9, None),
    "h2 proxy 1 KiB": ("nginx", 0.8, None), "h2 proxy 100 KiB": ("nginx", 0.9, None),
}


def pin(core, argv):
    return ["taskset", "-c", str(core), *argv] if CORES > 1 else argv


def family(pid):
    out = [pid]
    for c in children(pid):
        out += family(c)
    return out


def cpu(pids):
    user = system = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            parts = f.read().rsplit(")", 1)[1].split()
        user, system = user + int(parts[11]), system + int(parts[12])
    return user / TICK, system / TICK


def pss_kb(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    return total


class Peer:
    def __init__(self, name, argv, ports):
        self.name, self.argv, self.ports = name, argv, ports

    def start(self, core=0):
        self.log = tempfile.TemporaryFile()
        self.proc = subprocess.Popen(pin(core, self.argv), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

        def up():
            if self.proc.poll() is not None:
                self.log.seek(0)
                raise RuntimeError(f"{self.name} ended: {self.log.read().decode()[-2000:]}")
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.ports["http"])) == 0
        poll(up, 10, self.name)
        return self

    def pids(self):
        return family(self.proc.pid)

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()


def compiled(folder, name):
    """A program of this folder, built."""
    subprocess.run(["gcc", "-O2", "-Wall", "-o", f"{folder}/{name}", os.path.join(HERE, f"{name}.c")], check=True)
    return f"{folder}/{name}"


def origin(folder):
    port = free_port()
    p = Peer("origin", [compiled(folder, "origin"), str(port), f"{folder}/files"], {"http": port})
    return p.start(1)


def temps(folder, tag, names):
    return " ".join(f"{n}_temp_path {folder}/temp-{tag}-{n};" for n in names)


def nginx_like(name, binary, folder, origin_port, top="", access_log="off"):
    ports = {"http": free_port(), "https": free_port(), "h2": free_port()}
    tag = name
    listen_h2 = f"listen 127.0.0.1:{ports['h2']} ssl" + ("; http2 on" if name == "sluice" else " http2") + ";"
    tls = f"ssl_protocols TLSv1.3; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;"
    places = f"""location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }}
    location /files/ {{ root {folder}; }}"""
    names = ("client_body", "proxy") if name == "sluice" else ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    conf = f"""{top} daemon off; worker_processes 1; pid {folder}/{tag}.pid; error_log {folder}/{tag}.log error; worker_rlimit_nofile {LIMIT};
events {{ worker_connections {LIMIT // 2}; }}
http {{ access_log {access_log}; sendfile on; tcp_nopush on; keepalive_requests 100000000; keepalive_timeout 600s; client_max_body_size 0;
  default_type application/octet-stream; {temps(folder, tag, names)}
  upstream origin {{ server 127.0.0.1:{origin_port}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{ports['http']} backlog=4096; listen 127.0.0.1:{ports['https']} ssl backlog=4096;
    {tls} {places} }}
  server {{ {listen_h2} {tls} {places} }} }}
"""
    path = f"{folder}/{tag}.conf"
    with open(path, "w") as f:
        f.write(conf)
    return Peer(name, [binary, "-p", folder + "/", "-c", path, "-e", f"{folder}/{tag}.log"], ports)


def haproxy(folder, origin_port):
    ports = {"http": free_port(), "https": free_port(), "h2": free_port()}
    with open(f"{folder}/both.pem", "w") as f:
        for name in ("cert.pem", "key.pem"):
            with open(f"{folder}/{name}") as g:
                f.write(g.read())
    conf = f"""global
    nbthread 1
    maxconn {LIMIT // 2 - 200}
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode http
    timeout connect 10s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
    http-reuse always
frontend f
    bind 127.0.0.1:{ports['http']} backlog 4096
    bind 127.0.0.1:{ports['https']} backlog 4096 ssl crt {folder}/both.pem
    bind 127.0.0.1:{ports['h2']} backlog 4096 ssl crt {folder}/both.pem alpn h2
    default_backend b
backend b
    server o 127.0.0.1:{origin_port} pool-max-conn 256
"""
    path = f"{folder}/haproxy.cfg"
    with open(path, "w") as f:
        f.write(conf)
    return Peer("haproxy", [HAPROXY, "-f", path, "-db"], ports)


def h2o(folder, origin_port):
    ports = {"http": free_port(), "h2": free_port()}
    conf = f"""num-threads: 1
user: root
pid-file: {folder}/h2o.pid
error-log: {folder}/h2o.log
file.send-compressed: OFF
listen: {{host: 127.0.0.1, port: {ports['http']}}}
listen: {{host: 127.0.0.1, port: {ports['h2']}, ssl: {{certificate-file: {folder}/cert.pem, key-file: {folder}/key.pem}}}}
hosts:
  default:
    paths:
      /files: {{file.dir: {folder}/files}}
      /: {{proxy.reverse.url: "http://127.0.0.1:{origin_port}/", proxy.preserve-host: OFF}}
"""
    path = f"{folder}/h2o.conf"
    with open(path, "w") as f:
        f.write(conf)
    return Peer("h2o", [H2O, "-c", path], ports)


FLOOR_CASES = ("proxy 1 KiB", "proxy 1 KiB, 1000 connections")


def floor(folder, origin_port):
    """What the kernel takes for itself: bench/floor.c parses nothing."""
    port = free_port()
    return Peer("floor", [compiled(folder, "floor"), str(port), str(origin_port)], {"http": port})


UNITS = {"us": 1, "ms": 1000, "s": 1000000}


def wrk(url, args, seconds):
    p = subprocess.run(pin(1, [WRK, "-t1", *args, f"-d{seconds}s", "--latency", "--timeout", "10s", url]), capture_output=True, text=True,
                       timeout=seconds + 60)
    out = p.stdout
    n = int(re.search(r"(\d+) requests in", out).group(1))
    m = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", (re.search(r"Socket errors:.*", out) or [""])[0])))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return {"requests": n, "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
            "p99_us": float(m.group(1)) * UNITS[m.group(2)] if m else 0, "errors": errors + (int(bad.group(1)) if bad else 0)}


def h2load(url, args, seconds):
    """Runs for so long and counts what succeeded; requests cut off by the end are no errors."""
    out = subprocess.run(pin(1, [H2LOAD, "-t1", *args, "-D", str(seconds), "--warm-up-time", "0", url]), capture_output=True, text=True,
                         timeout=seconds + 60).stdout
    m = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", out)
    codes = list(map(int, re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out).groups()))
    late = re.search(r"time for request:\s+\S+\s+([\d.]+)(us|ms|s)", out)
    return {"requests": codes[0], "rps": float(m.group(1)) if m else 0, "errors": sum(codes[1:]),
            "p99_us": float(late.group(1)) * UNITS[late.group(2)] if late else 0}


def measure(peer, args, scheme, path, seconds):
    load = h2load if scheme == "h2" else wrk
    url = f"{'https' if scheme == 'h2' else scheme}://127.0.0.1:{peer.ports[scheme]}{path}"
    load(url, args, 1)
    pids = peer.pids()
    before = cpu(pids)
    r = load(url, args, seconds)
    after = cpu(pids)
    n = max(r["requests"], 1)
    r["user_us"] = (after[0] - before[0]) * 1e6 / n
    r["system_us"] = (after[1] - before[1]) * 1e6 / n
    r["cpu_us"] = r["user_us"] + r["system_us"]
    return r


def idle_memory(peer, scheme, n):
    """PSS per connection that has had one request and now waits: between n/10 and n connections."""
    ctx = None
    if scheme == "https":
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    conns = []

    def more(count):
        while len(conns) < count:
            if scheme == "h2":
                c = H2(peer.ports["h2"], tls=True, timeout=20)
                conns.append(c)
                c.get("/1k", scheme="https")
                continue
            s = socket.create_connection(("127.0.0.1", peer.ports[scheme]), 20)
            if ctx:
                s = ctx.wrap_socket(s)
            conns.append(s)
            s.sendall(b"GET /1k HTTP/1.1\r\nHost: bench\r\n\r\n")
            got = b""
            while len(got) < 1024 or b"\r\n\r\n" not in got:
                got += s.recv(8192)

    def settled():
        """The memory when it stays the same over half a second."""
        last = pss_kb(peer.pids())
        for _ in range(20):
            time.sleep(0.5)
            now = pss_kb(peer.pids())
            if abs(now - last) < 64:
                break
            last = now
        return now
    try:
        more(n // 10)
        low = settled()
        more(n)
        return (settled() - low) * 1024 / (n - n // 10)
    finally:
        for s in conns:
            s.close()


def make_folder():
    folder = tempfile.mkdtemp(prefix="sluice-bench-")
    os.chmod(folder, 0o755)
    os.mkdir(f"{folder}/files")
    for name, size in (("1k", 1024), ("100k", 100 << 10), ("10m", 10 << 20)):
        with open(f"{folder}/files/{name}", "wb") as f:
            f.write(os.urandom(size))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{folder}/key.pem",
                    "-out", f"{folder}/cert.pem", "-subj", "/CN=bench", "-days", "2"], check=True, capture_output=True)
    return folder


def middle(rounds):
    """Medians; but user and system by their share of all rounds, because the kernel tells them apart by where a few hundred ticks a
    second find the process."""
    r = {k: (sum if k == "errors" else statistics.median)(x[k] for x in rounds) for k in rounds[0]}
    user, system = (sum(x[k] * x["requests"] for x in rounds) for k in ("user_us", "system_us"))
    r["user_us"] = r["cpu_us"] * user / max(user + system, 1)
    r["system_us"] = r["cpu_us"] - r["user_us"]
    return r


def report(results, memory, names):
    lines = [f"{'':34} {'peer':8} {'CPU us':>8} {'user':>7} {'system':>7} {'req/s':>9} {'p99 ms':>8} {'errors':>6}"]
    verdicts = []
    for case, per in results.items():
        for i, name in enumerate(n for n in names if n in per):
            r = per[name]
            lines.append(f"{case if i == 0 else '':34} {name:8} {r['cpu_us']:8.2f} {r['user_us']:7.2f} {r['system_us']:7.2f} {r['rps']:9.0f} "
                         f"{r['p99_us'] / 1000:8.2f} {r['errors']:6d}")
        if "sluice" in per and case in WANTED:
            against, limit, user = WANTED[case]
            others = {n: r["cpu_us"] for n, r in per.items() if n not in ("sluice", "floor")}
            base = min(others.values()) if against == "best" else others.get(against)
            if base:
                ratio = per["sluice"]["cpu_us"] / base
                least = f"; the floor is {per['floor']['cpu_us'] / base:.2f}" if "floor" in per else ""
                verdicts.append((f"{case}: CPU {ratio:.2f} of {against} (wanted {limit}{least})", ratio <= limit))
            if user and "nginx" in per:
                ratio = per["sluice"]["user_us"] / max(per["nginx"]["user_us"], 0.01)
                verdicts.append((f"{case}: user CPU {ratio:.2f} of nginx (wanted {user})", ratio <= user))
    if memory:
        lines.append("")
        lines.append(f"{'bytes per idle connection':34} {'':8} {'plain':>8} {'TLS':>8} {'h2 TLS':>8}")
        for name, m in memory.items():
            lines.append(f"{'':34} {name:8} {m['http']:8.0f} {m.get('https', 0):8.0f} {m['h2']:8.0f}")
        if "sluice" in memory and "nginx" in memory:
            ratio = memory["sluice"]["h2"] / max(memory["nginx"]["h2"], 1)
            verdicts.append((f"idle HTTP/2 connection: {ratio:.2f} of nginx (wanted 0.5)", ratio <= 0.5))
        if "sluice" in memory:
            verdicts.append((f"idle plain connection: {memory['sluice']['http']:.0f} bytes (wanted 512)", memory["sluice"]["http"] <= 512))
            verdicts.append((f"idle TLS connection: {memory['sluice']['https']:.0f} bytes (wanted 10240)", memory["sluice"]["https"] <= 10240))
    if verdicts:
        lines.append("")
        lines += [f"{'ok  ' if good else 'MISS'} {text}" for text, good in verdicts]
    return "\n".join(lines)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--sluice", default="build/sluice")
    ap.add_argument("--out", default="build")
    ap.add_argument("--quick", action="store_true", help="one short round")
    ap.add_argument("--only", help="cases whose name contains this")
    ap.add_argument("--peers", default="sluice,nginx,haproxy,h2o,floor")
    ap.add_argument("--rounds", type=int)
    ap.add_argument("--seconds", type=int)
    ap.add_argument("--no-memory", action="store_true")
    a = ap.parse_args()
    rounds, seconds = a.rounds or (1 if a.quick else 3), a.seconds or (2 if a.quick else 4)
    folder = make_folder()
    o = origin(folder)
    peers = []
    try:
        wanted = a.peers.split(",")
        if "sluice" in wanted and os.access(a.sluice, os.X_OK):
            peers.append(nginx_like("sluice", os.path.abspath(a.sluice), folder, o.ports["http"]))
        elif "sluice" in wanted:
            print(f"(no {a.sluice}: only the peers)", file=sys.stderr)
        if "nginx" in wanted:
            peers.append(nginx_like("nginx", NGINX, folder, o.ports["http"]))
        if "haproxy" in wanted:
            peers.append(haproxy(folder, o.ports["http"]))
        if "h2o" in wanted and os.access(H2O, os.X_OK):
            peers.append(h2o(folder, o.ports["http"]))
        if "floor" in wanted:
            peers.append(floor(folder, o.ports["http"]))
        results = {}
        for name, args, scheme, path, who in CASES:
            if a.only and a.only not in name:
                continue
            rows = {p.name: [] for p in peers if (who == "all" or p.name != "haproxy") and (p.name != "floor" or name in FLOOR_CASES)
                    and (p.name != "h2o" or scheme == "h2")}
            if scheme == "h2" and not os.access(H2LOAD, os.X_OK):
                continue
            for _ in range(rounds):
                for p in peers:
                    if p.name not in rows:
                        continue
                    p.start()
                    try:
                        rows[p.name].append(measure(p, args, scheme, path, seconds))
                    finally:
                        p.stop()
            results[name] = {n: middle(rs) for n, rs in rows.items()}
            print(f"{name}: " + ", ".join(f"{n} {r['cpu_us']:.2f} us" for n, r in results[name].items()), file=sys.stderr, flush=True)
        memory = {}
        if not a.no_memory and not a.only:
            plain = min(2000 if a.quick else 10000, LIMIT // 2 - 1000)
            for p in (p for p in peers if p.name != "floor"):
                p.start()
                try:
                    memory[p.name] = {"http": idle_memory(p, "http", plain)}
                finally:
                    p.stop()
                p.start()
                try:
                    memory[p.name]["h2"] = idle_memory(p, "h2", min(plain, 1000 if a.quick else 4000))
                finally:
                    p.stop()
                if "https" not in p.ports:
                    continue
                p.start()
                try:
                    memory[p.name]["https"] = idle_memory(p, "https", min(plain, 1000 if a.quick else 4000))
                finally:
                    p.stop()
        text = report(results, memory, [p.name for p in peers])
        print(text)
        os.makedirs(a.out, exist_ok=True)
        with open(os.path.join(a.out, "bench.json"), "w") as f:
            json.dump({"results": results, "memory": memory, "rounds": rounds, "seconds": seconds}, f, indent=1)
    finally:
        o.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
