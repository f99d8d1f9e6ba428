#!/usr/bin/python3
"""Where an object is cheaper in the metadata than in shards: each size with inline_max above it and with 0, in a
fresh cluster of `cairn dev` each time. Prints a table in Markdown.

  tests/bench/inline.py [--sizes 1KiB,4KiB,..] [--clients 8] [--seconds 6] [--directory DIR]

CPU time is that of all servers; bytes written are what they gave to the kernel for the disks (/proc/PID/io), of
the PUTs alone, and mostly for the objects' sake."""
import argparse
import contextlib
import glob
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

from bench import bench, cairn, cluster, line, size_of

COLUMNS = ["size", "where", "PUT CPU ms", "PUT p50 ms", "bytes written a PUT", "a byte", "GET CPU ms", "GET p50 ms"]


def configure(options, home, limit):
    with open(os.path.join(home, "conf", "gateway-1.conf"), "a", encoding="utf-8") as f:
        f.write(f"inline_max = {limit}\n")
    with open(os.path.join(home, "conf", "gateway-1.conf"), encoding="utf-8") as f:
        host, port = next(row.split()[-1] for row in f if row.startswith("s3 =")).split(":")
    for verb in ("stop", "start"):
        subprocess.run(cairn(options, "dev", verb, "gateway-1", "--dir", home), check=True, timeout=60,
                       stdout=subprocess.DEVNULL)
    for _ in range(200):
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), 1).close()
            return
        threading.Event().wait(0.05)
    sys.exit("the gateway does not start again")


def written(home):
    total = 0
    for path in glob.glob(os.path.join(home, "run", "*.pid")):
        with open(path, encoding="ascii") as f:
            pid = f.read().strip()
        with open(f"/proc/{pid}/io", encoding="ascii") as f:
            total += next(int(row.split()[1]) for row in f if row.startswith("write_bytes:"))
    return total


def measure(options, scratch, text, limit):
    with cluster(options, scratch) as home:
        configure(options, home, limit)
        bench(options, "put", size_of(text), options.clients, home)  # every thread and file is there
        before = written(home)
        put = bench(options, "put", size_of(text), options.clients, home)
        bytes_a_put = (written(home) - before) / max(put["operations"], 1)
        get = bench(options, "get", size_of(text), options.clients, home)
    if put["errors"] or get["errors"] or get["wrong"]:
        sys.exit(f"{text}: {put} {get}")
    return [text, "inline" if limit != "0" else "shards", f"{put['all_servers']['per_1000_operations']:.2f}",
            f"{put['latency_ms']['p50']:.1f}", f"{bytes_a_put:.0f}", f"{bytes_a_put / size_of(text):.1f}",
            f"{get['all_servers']['per_1000_operations']:.2f}", f"{get['latency_ms']['p50']:.1f}"]


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--sizes", default="1KiB,4KiB,8KiB,16KiB,32KiB,64KiB")
    words.add_argument("--clients", type=int, default=8)
    words.add_argument("--seconds", type=int, default=6, help="of each row")
    words.add_argument("--metadata", type=int, default=3)
    words.add_argument("--disks", type=int, default=8)
    words.add_argument("--directory", help="where the clusters' data goes; a temporary one when not given")
    words.add_argument("--cairn", default="build/release/cairn")
    options = words.parse_args()
    scratch = tempfile.mkdtemp(prefix="cairn-inline-", dir=options.directory)
    print(line(COLUMNS))
    print(line(["---" if c in ("size", "where") else "--:" for c in COLUMNS]), flush=True)
    try:
        for text in options.sizes.split(","):
            for limit in ("64KiB", "0"):
                print(line(measure(options, scratch, text, limit)), flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
