#!/usr/bin/python3
"""One chunkserver is killed with SIGKILL again and again, at random moments under a load of puts, of which each is
acknowledged only with a shard on its disk. No acknowledged shard is lost, and it opens its disk as quickly as ever."""
import glob
import hashlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time

from cluster import CAIRN, LONG, Cluster, cairn, check, run, wait_until
from workload import connect

KILLS = 1000 if LONG else 20
VICTIM, DISKS = "chunk-1", 3
SAMPLE = 300


class Load:
    """`cairn bench put`, begun anew for as long as it is wanted."""

    def __init__(self, cluster):
        self.cluster, self.over, self.done, self.fault = cluster, threading.Event(), 0, None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set() and not self.fault:
            load = subprocess.run([CAIRN, "bench", "put", "--size", "100KiB", "--concurrency", "4", "--seconds", "5",
                                   "--bucket", "load", "--keep", "--json"], env=self.cluster.environment,
                                  capture_output=True, text=True, timeout=120, check=False)
            if load.returncode not in (0, 1) or not load.stdout:
                self.fault = load.stderr
            else:
                self.done += json.loads(load.stdout)["operations"]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.over.set()
        self.thread.join()


def opened(log, offset):
    with open(log, encoding="utf-8", errors="replace") as f:
        f.seek(offset)
        return "store opened" in f.read()


def restart(cluster, log):
    """Seconds until the disk is open."""
    offset, began = os.path.getsize(log), time.monotonic()
    cluster.start(VICTIM)
    wait_until(lambda: opened(log, offset), 60, f"{VICTIM} opens its disk")
    return time.monotonic() - began


def listed(s3):
    objects = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="load"):
        objects.update({o["Key"]: o["ETag"].strip('"') for o in page.get("Contents", [])})
    return objects


def complaints(cluster):
    """Shards that a server has missed."""
    found = []
    for path in glob.glob(os.path.join(cluster.dir, "log", "chunk-*.log")):
        with open(path, encoding="utf-8", errors="replace") as f:
            found += re.findall(r".*(?:its repair is ordered|had lost are rebuilt).*", f.read())
    return found


def killed_at_any_moment():
    rng, pause, times = random.Random(1), threading.Event(), []
    with Cluster(metadata=1, disks=DISKS, pool="2+1") as cluster:
        log = os.path.join(cluster.dir, "log", VICTIM + ".log")
        s3 = connect(cluster, attempts=5)
        with Load(cluster) as load:
            for _ in range(KILLS):
                pause.wait(rng.random() ** 2)  # a moment at random, of which there is nothing to wait for
                cluster.kill(VICTIM)
                times.append(restart(cluster, log))
                check(not load.fault, f"the load: {load.fault}")
        wait_until(lambda: all(d["up"] == "up" for d in cluster.ask("disk", "list")), 30, "all disks are up")
        wait_until(lambda: cluster.ask("rebuild", "status")["whole"], 60, "nothing moves or misses")
        objects = listed(s3)
        check(len(objects) >= load.done > KILLS, f"{len(objects)} objects, {load.done} were acknowledged")
        # Each object is one chunk, and each of its shards is on another disk; those of puts that were never
        # acknowledged are beside them.
        wait_until(lambda: all(d["shards"] >= len(objects) for d in cluster.ask("disk", "list")), 10,
                   f"{len(objects)} shards on every disk")
        check(not complaints(cluster), f"shards were missed: {complaints(cluster)[:3]}")
        for key in rng.sample(sorted(objects), min(SAMPLE, len(objects))):
            data = s3.get_object(Bucket="load", Key=key)["Body"].read()
            check(hashlib.md5(data).hexdigest() == objects[key], f"{key} came back with other bytes")
        for i in range(1, DISKS + 1):
            cluster.stop(f"chunk-{i}")
            cairn("chunk", "verify", os.path.join(cluster.dir, "data", f"chunk-{i}"), timeout=900)
        part = max(len(times) // 10, 5)
        first, last = statistics.median(times[:part]), statistics.median(times[-part:])
        print(f"  {KILLS} kills, {load.done} puts acknowledged, opened in {first:.3f} s at first, {last:.3f} s at last, "
              f"{max(times):.3f} s at most")
        check(last < 3 * first + 0.5, "opening the disk takes longer and longer")


if __name__ == "__main__":
    sys.exit(run([killed_at_any_moment]))
