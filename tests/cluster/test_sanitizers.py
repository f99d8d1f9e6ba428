#!/usr/bin/python3
"""A small cluster whose processes are built with a sanitizer, on real threads and sockets: clients
write and verify while a metadata member, a chunkserver and the gateway end and come back. No process
may report a data race (TSan), a bad access, undefined behaviour or a leak (ASan, UBSan).

The simulator has one thread: it is blind to races and to what libraries and the kernel do. The
programs are built beforehand: make VARIANT=tsan, make VARIANT=asan."""
import ctypes
import os
import shutil
import sys
import tempfile

import cluster as rig
from cluster import LONG, Cluster, check, run, wait_until
from workload import Workload

ROUNDS = 6 if LONG else 1
METADATA, DISKS = 3, 6
ADDR_NO_RANDOMIZE = 0x0040000


def exercise(cluster):
    with Workload(cluster, clients=3) as work:
        work.progress(operations=10)
        for number in range(ROUNDS):
            # A stop runs what a kill leaves out: every thread is joined, every buffer given back.
            end = cluster.kill if number % 2 else cluster.stop
            for name in (f"metadata-{number % METADATA + 1}", f"chunk-{number % DISKS + 1}"):
                end(name)
                work.progress(operations=5)
                cluster.start(name)
                work.progress(operations=5)
            end("gateway-1")
            cluster.start("gateway-1")
            work.progress(operations=5)
        print(work.counts())
    wait_until(lambda: all(d["up"] == "up" for d in cluster.ask("disk", "list")) and
               cluster.ask("rebuild", "status")["whole"], 60, "all disks up and everything repaired")
    check(all(cluster.processes().values()), "a process has ended by itself")


def under(variant, options):
    rig.CAIRN = os.path.join(rig.ROOT, f"build/{variant}/cairn")
    check(os.path.exists(rig.CAIRN), f"{rig.CAIRN} is missing: make VARIANT={variant}")
    folder = tempfile.mkdtemp(prefix="cairn-reports-")
    before = dict(os.environ)
    for name, words in options.items():
        os.environ[name] = f"{words}:log_path={folder}/report"
    try:
        with Cluster(metadata=METADATA, disks=DISKS) as cluster:
            exercise(cluster)
    finally:
        os.environ.clear()
        os.environ.update(before)
        reports = sorted(os.listdir(folder))
        for name in reports[:8]:
            with open(os.path.join(folder, name), errors="replace") as f:
                print(f"--- {name}\n{f.read(8000)}")
        shutil.rmtree(folder)
    check(not reports, f"{len(reports)} processes have something to report")


def thread_sanitizer():
    # LevelDB is not instrumented and its atomics are invisible.
    under("tsan", {"TSAN_OPTIONS": "ignore_noninstrumented_modules=1"})


def address_sanitizer():
    under("asan", {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"})


if __name__ == "__main__":
    # TSan's shadow does not fit every layout that address randomisation makes. Where a sandbox does
    # not let it be turned off, the layouts of Debian's own kernel fit.
    ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE)
    sys.exit(run([thread_sanitizer, address_sanitizer]))
