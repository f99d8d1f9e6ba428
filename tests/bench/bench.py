#!/usr/bin/python3
"""Measures a cluster of `cairn dev` with `cairn bench`, each row beside the yardstick (yardstick.c) run
just before it: on a machine that others use too, the ratio of CPU times is the figure to trust.

  tests/bench/run.sh [--sizes 4KiB,64KiB,..] [--clients 1,8,32] [--operations put,get] [--seconds 4]
                     [--metadata 3] [--disks 8] [--directory DIR] [--json build/bench/bench.json]

Prints a table in Markdown and writes all rows as JSON."""
import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

MIB = 1 << 20
UNITS = {"KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30}
YARDSTICK_BYTES = 512 * MIB
YARDSTICK_OBJECTS = 300
COLUMNS = ["size", "clients", "", "ops/s", "MB/s", "p50 ms", "p99 ms", "CPU s/GiB", "CPU ms/op",
           "bare CPU ms/op", "ratio", "slow down"]


def size_of(text):
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return int(text[:-len(unit)]) * factor
    return int(text)


def run_json(words, accept=(0,)):
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    if done.returncode not in accept or not done.stdout.strip():
        sys.exit(f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def yardstick(operation, size, clients, directory):
    objects = max(1, min(YARDSTICK_BYTES // size // clients, YARDSTICK_OBJECTS))
    return run_json(["build/bench/yardstick", operation, str(size), str(objects), str(clients),
                     directory])


def cairn(options, *words):
    return [options.cairn, *words]


def bench(options, operation, size, clients, home):
    # Status 1 is said for errors, too; they are in the row.
    return run_json(cairn(options, "bench", operation, "--size", str(size), "--concurrency",
                          str(clients), "--seconds", str(options.seconds), "--dev", home,
                          "--keep", "--json"), accept=(0, 1))


def cells(row):
    measured, bare = row["cairn"], row["yardstick"]
    cost = measured["all_servers"]
    bare_ms = bare["cpu_per_1000"]
    ratio = cost["per_1000_operations"] / bare_ms if bare_ms else 0
    return [row["size"], str(row["clients"]), row["operation"].upper(),
            f"{measured['operations_per_s']:.0f}" if measured["operations_per_s"] >= 100
            else f"{measured['operations_per_s']:.1f}",
            f"{measured['mb_per_s']:.0f}", f"{measured['latency_ms']['p50']:.1f}",
            f"{measured['latency_ms']['p99']:.1f}", f"{cost['per_gib']:.2f}",
            f"{cost['per_1000_operations']:.2f}", f"{bare_ms:.2f}", f"{ratio:.2f}",
            str(measured["slow_downs"])]


def line(values):
    return "| " + " | ".join(values) + " |"


@contextlib.contextmanager
def cluster(options, scratch):
    """Fresh for each size, and nothing is deleted in it: the collector's work for one row would be
    paid by the next."""
    home = os.path.join(scratch, "cluster")
    up = subprocess.run(cairn(options, "dev", "up", "--dir", home, "--metadata",
                              str(options.metadata), "--disks", str(options.disks),
                              "--s3-port", "0"), stdout=subprocess.DEVNULL, timeout=120, check=False)
    try:
        if up.returncode:
            sys.exit("no cluster came up")
        yield home
    finally:
        subprocess.run(cairn(options, "dev", "down", "--dir", home), stdout=subprocess.DEVNULL,
                       timeout=120, check=False)
        shutil.rmtree(home, ignore_errors=True)


def measure(options, scratch, rows):
    print(line(COLUMNS))
    print(line(["--:" if c not in ("", "size") else "---" for c in COLUMNS]), flush=True)
    for text in options.sizes.split(","):
        with cluster(options, scratch) as home:
            for clients in map(int, options.clients.split(",")):
                for operation in options.operations.split(","):
                    size = size_of(text)
                    row = {"size": text, "clients": clients, "operation": operation,
                           "yardstick": yardstick(operation, size, clients, scratch),
                           "cairn": bench(options, operation, size, clients, home)}
                    rows.append(row)
                    print(line(cells(row)), flush=True)


def main():
    parser = argparse.ArgumentParser(description="the benchmark")
    parser.add_argument("--sizes", default="4KiB,64KiB,1MiB,16MiB,64MiB")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--operations", default="put,get")
    parser.add_argument("--seconds", type=int, default=4, help="of each row")
    parser.add_argument("--metadata", type=int, default=3)
    parser.add_argument("--disks", type=int, default=8)
    parser.add_argument("--directory", default=os.environ.get("TMPDIR", "/tmp"),
                        help="where the cluster's and the yardstick's files go for the while")
    parser.add_argument("--json", default="build/bench/bench.json", help="the file to write")
    parser.add_argument("--cairn", default="build/release/cairn")
    options = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix="cairn-bench-", dir=options.directory)
    rows = []
    try:
        measure(options, scratch, rows)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(rows, f, indent=1)
    print(f"\nall figures: {options.json}")
    return int(any(r["cairn"]["errors"] or r["cairn"]["wrong"] for r in rows))


if __name__ == "__main__":
    sys.exit(main())
