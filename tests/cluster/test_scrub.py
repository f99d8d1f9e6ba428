#!/usr/bin/python3
"""Bytes rot where nobody reads: the scrubber finds them, they are repaired; `cairn scrub` says so."""
import glob
import os
import random
import sys

from cluster import Cluster, check, run, wait_until
from test_rot import flip
from workload import connect, digest, read

OBJECTS, SIZE = 10, 700_000


def verbs_find_and_heal():
    rng = random.Random(11)
    with Cluster(metadata=1, disks=6) as cluster:
        s3 = connect(cluster)
        s3.create_bucket(Bucket="scrub")
        want = {}
        for i in range(OBJECTS):
            body = rng.randbytes(SIZE)
            s3.put_object(Bucket="scrub", Key=f"object-{i}", Body=body)
            want[f"object-{i}"] = digest(body)
        cluster.stop("chunk-2")
        flipped = sum(flip(path, rng) for _ in range(20) for path in
                      glob.glob(os.path.join(cluster.dir, "data", "chunk-2", "extents", "*")))
        check(flipped >= 20, "no extent had a byte to flip")
        cluster.start("chunk-2")

        def begun():
            told = cluster.ask("scrub", "start", "--deep", status=None)
            return told["begun"] == 6 and told["failed"] == 0
        wait_until(begun, 20, "every disk begins")

        def passed():
            rows = cluster.ask("scrub", "status")
            return len(rows) == 6 and all(int(row["deep"]) > 0 and row["now"] is None
                                          for row in rows)
        wait_until(passed, 30, "a pass over every disk is complete")
        found = [int(row["bad"]) for row in cluster.ask("scrub", "status")]
        check(sum(found) > 0, "the scrubber found nothing")
        check(sum(1 for n in found if n) == 1, f"more than one disk is bad: {found}")
        groups = cluster.ask("scrub", "groups")
        check(len(groups) == 128 and all(int(g["deep"]) > 0 and int(g["light"]) > 0 and int(g["read"]) == 6
                                         for g in groups), f"some group was not read: {groups[:3]}")
        check(sum(int(g["bad"]) for g in groups) == sum(found), f"the groups tell of other bad shards: {found}")

        def repaired():
            return cluster.ask("status").get("health") != "HEALTH_ERR" and all(
                cluster.ask("object", "show", f"scrub/{key}", status=None)["whole"]
                for key in want)
        wait_until(repaired, 30, "every shard verifies again")
        check(cluster.ask("scrub", "start", "1")["deep"] is False, "a light pass of one disk")
        for key, value in want.items():
            check(digest(read(s3, "scrub", key)) == value, f"{key} came back with other bytes")


if __name__ == "__main__":
    sys.exit(run([verbs_find_and_heal]))
