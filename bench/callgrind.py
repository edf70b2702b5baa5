#!/usr/bin/python3
"""See callgrind.sh."""
import datetime
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests"))
from harness import NGINX, Conn, Server, alive, build_request, children, free_port, poll  # noqa: E402

N = 1000


def run(binary, n, path, origin_port):
    """Total instructions of the process over its life with n requests on one connection."""
    folder = tempfile.mkdtemp(prefix="sluice-cg-")
    os.chmod(folder, 0o777)
    port = free_port()
    os.mkdir(folder + "/html")
    with open(folder + "/html/1k", "w") as f:
        f.write("x" * 1024)
    extra = "".join(f"{t}_temp_path {folder}/t{t}; " for t in ("fastcgi", "uwsgi", "scgi")) if binary == NGINX else ""
    with open(folder + "/c.conf", "w") as f:
        f.write(f"""daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/log error;
events {{ worker_connections 256; }} http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; {extra}
upstream o {{ server 127.0.0.1:{origin_port}; keepalive 8; keepalive_requests 1000000; }} server {{ listen 127.0.0.1:{port}; root {folder}/html;
location /p {{ proxy_pass http://o/1k; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }} }} }}""")
    p = subprocess.Popen(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", binary, "-p", folder + "/", "-c", folder + "/c.conf",
                          "-e", folder + "/log"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    poll(lambda: os.path.exists(folder + "/pid") and open(folder + "/pid").read().strip(), 60, "the pid file")
    with Conn(port, timeout=60) as c:
        for _ in range(n):
            assert c.request(path).status == 200
    p.send_signal(signal.SIGTERM)
    err = p.communicate(timeout=60)[1].decode()
    return int(re.search(r"Collected : (\d+)", err).group(1))


def main():
    binary = os.path.abspath(sys.argv[1])
    with Server('access_log off; keepalive_requests 1000000; server { listen 127.0.0.1:@port@; location /1k { return 200 "%s"; } }' % ("x" * 1024),
                binary=NGINX, log_level="error") as origin:
        row = {}
        for what, path in (("proxied 1 KiB", "/p"), ("static 1 KiB", "/1k")):
            row[what] = (run(binary, 2 * N, path, origin.port()) - run(binary, N, path, origin.port())) / N
            print(f"{what}: {row[what]:.0f} instructions per request")
    if "--record" in sys.argv:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        with open(os.path.join(HERE, "INSTRUCTIONS.md"), "a") as f:
            f.write(f"| {datetime.date.today()} | {commit} | {row['proxied 1 KiB']:.0f} | {row['static 1 KiB']:.0f} |\n")


if __name__ == "__main__":
    main()
