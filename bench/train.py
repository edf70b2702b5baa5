#!/usr/bin/python3
"""Puts load on a binary that counts (-Db_pgo=generate): what a proxy does all day. See `./dev release`.

usage: bench/train.py BINARY"""
import os
import shutil
import sys

import bench


def main():
    binary = os.path.abspath(sys.argv[1])
    folder = bench.make_folder()
    top = "user root;" if os.getuid() == 0 else ""  # the worker writes its counts into the build's folder
    o = bench.origin(folder)
    try:
        p = bench.nginx_like("sluice", binary, folder, o.ports["http"], top, f"{folder}/access.log").start()
        try:
            for name, args, scheme, path, _ in bench.CASES:
                m = bench.measure(p, args, scheme, path, 1)
                if not m["requests"] or m["errors"]:
                    sys.exit(f"train: {name}: {m['requests']} requests, {m['errors']} errors")
        finally:
            p.stop()
    finally:
        o.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
