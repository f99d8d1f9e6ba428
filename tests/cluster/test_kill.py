#!/usr/bin/python3
"""Every kind of process is killed in turn, and started again, while clients write and verify: no
acknowledged object is lost or changed, no unacknowledged one is half visible."""
import itertools
import sys

from cluster import LONG, Cluster, check, run, wait_until
from workload import Workload

ROUNDS = 20 if LONG else 3
METADATA, DISKS = 3, 8


def healthy(cluster):
    """Every disk is up again and nothing waits for repair."""
    def look():
        disks = cluster.ask("disk", "list")
        return all(d["up"] == "up" for d in disks) and cluster.ask("rebuild", "status")["whole"]
    wait_until(look, 90, "all disks up and everything repaired")


def killed_in_turn():
    with Cluster(metadata=METADATA, disks=DISKS) as cluster:
        members = itertools.cycle(f"metadata-{i}" for i in range(1, METADATA + 1))
        chunks = itertools.cycle(f"chunk-{i}" for i in range(1, DISKS + 1))
        with Workload(cluster) as work:
            work.progress()
            for _ in range(ROUNDS):
                for victims in ([next(members)], [next(chunks), next(chunks)], ["gateway-1"]):
                    for name in victims:
                        cluster.kill(name)
                    if victims != ["gateway-1"]:
                        work.progress(operations=5)
                    for name in victims:
                        cluster.start(name)
                    work.progress(operations=5)
                healthy(cluster)
            print(f"{ROUNDS} rounds: {work.counts()}")
        check(all(cluster.processes().values()), "a process has ended by itself")


if __name__ == "__main__":
    sys.exit(run([killed_in_turn]))
