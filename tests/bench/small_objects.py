#!/usr/bin/python3
"""Many small objects in a cluster of `cairn dev`: what they take on the disks and in memory, and how long a
chunkserver needs to open a disk that holds its share of them, with its index and without.

  tests/bench/small_objects.py [--objects 1000000] [--size 20KiB] [--clients 16] [--disks 8] [--directory DIR]

Prints a table in Markdown. It takes some 20 minutes and 40 GiB on two cores."""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CAIRN = os.environ.get("CAIRN", os.path.join(ROOT, "build/release/cairn"))
MIB = 1 << 20
VICTIM = "chunk-1"
OPEN_WITHIN_S = 1800


def cairn(*words, accept=(0,), env=None):
    done = subprocess.run([CAIRN, *map(str, words)], capture_output=True, text=True, env=env, check=False)
    if done.returncode not in accept:
        sys.exit(f"cairn {' '.join(map(str, words))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def used(directory):
    """Files and the bytes that they take of the file system, holes left out."""
    files = taken = 0
    for path, _, names in os.walk(directory):
        for name in names:
            try:
                status = os.stat(os.path.join(path, name))
            except FileNotFoundError:
                continue  # LevelDB removes tables meanwhile
            files += 1
            taken += status.st_blocks * 512
    return files, taken


def memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024


def memories(home, kind):
    rows = json.loads(cairn("dev", "list", "--dir", home, "--json"))
    return max(memory(row["pid"]) for row in rows if row["name"].startswith(kind))


def start_and_time(home):
    """Seconds until the victim says that its disk is open, and how many shards it has found there."""
    log = os.path.join(home, "log", VICTIM + ".log")
    before = os.path.getsize(log)
    began = time.monotonic()
    pause = threading.Event()
    cairn("dev", "start", VICTIM, "--dir", home)
    while time.monotonic() - began < OPEN_WITHIN_S:
        with open(log, encoding="utf-8", errors="replace") as f:
            f.seek(before)
            opened = re.search(r"store opened .*shards=(\d+)", f.read())
        if opened:
            return time.monotonic() - began, int(opened.group(1))
        pause.wait(0.02)
    sys.exit(f"{VICTIM} does not open its disk")


def measure(options, home):
    began = time.monotonic()
    got = json.loads(cairn("bench", "get", "--dev", home, "--size", options.size, "--objects",
                           options.objects, "--concurrency", options.clients, "--seconds", 10, "--keep",
                           "--json", accept=(0, 1)))
    filled = time.monotonic() - began - 10
    data = os.path.join(home, "data")
    files, taken = map(sum, zip(*(used(d) for d in glob.glob(f"{data}/chunk-*"))))
    meta_files, meta_taken = used(os.path.join(data, "metadata-1"))
    stored = options.objects * got["size"]
    rows = [("objects", f"{options.objects:,} of {options.size}"),
            ("writing them", f"{filled:.0f} s, {options.objects / filled:.0f}/s by {options.clients} clients"),
            ("files of all disks", f"{files:,}"),
            ("bytes of all disks / bytes stored", f"{taken / stored:.3f}"),
            ("one metadata member's files, bytes an object", f"{meta_files}, {meta_taken / options.objects:.0f}"),
            ("memory of a chunkserver, a metadata server (largest)",
             f"{memories(home, 'chunk'):.0f} MiB, {memories(home, 'metadata'):.0f} MiB"),
            ("GET of random ones", f"{got['operations_per_s']:.0f}/s, p99 {got['latency_ms']['p99']:.1f} ms")]
    cairn("dev", "stop", VICTIM, "--dir", home)
    seconds, shards = start_and_time(home)
    rows.append((f"opening a disk of {shards:,} shards, closed before", f"{seconds:.2f} s"))
    cairn("dev", "kill", VICTIM, "--dir", home)
    seconds, _ = start_and_time(home)
    rows.append(("opening it, killed before", f"{seconds:.2f} s"))
    cairn("dev", "stop", VICTIM, "--dir", home)
    began = time.monotonic()
    cairn("chunk", "rebuild-index", os.path.join(data, VICTIM))
    rows.append(("making its index anew from its extents", f"{time.monotonic() - began:.1f} s"))
    seconds, again = start_and_time(home)
    rows.append(("opening it then", f"{seconds:.2f} s, {again:,} shards"))
    return rows


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--objects", type=int, default=1_000_000)
    words.add_argument("--size", default="20KiB")
    words.add_argument("--clients", type=int, default=16)
    words.add_argument("--disks", type=int, default=8)
    words.add_argument("--directory", help="where the cluster's data goes; a temporary one when not given")
    options = words.parse_args()
    top = tempfile.mkdtemp(prefix="cairn-small-", dir=options.directory)
    home = os.path.join(top, "cluster")
    try:
        cairn("dev", "up", "--dir", home, "--disks", options.disks, "--s3-port", 0)
        for name, value in measure(options, home):
            print(f"| {name} | {value} |", flush=True)
    finally:
        subprocess.run([CAIRN, "dev", "down", "--dir", home], capture_output=True, check=False)
        shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    main()
