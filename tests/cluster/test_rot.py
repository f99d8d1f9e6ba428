#!/usr/bin/python3
"""One byte of every extent of two disks is flipped: all reads stay right, the bad shards are
reported and repaired."""
import glob
import os
import random
import sys

from cluster import Cluster, check, run, wait_until
from workload import connect, digest, read

OBJECTS, SIZE = 40, 700_000


def flip(path, rng):
    """Changes a byte among those that were ever written; the tail of an extent is empty."""
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        for _ in range(1000):
            at = rng.randrange(size)
            f.seek(at)
            byte = f.read(1)[0]
            if byte != 0:
                f.seek(at)
                f.write(bytes([byte ^ 0x40]))
                return True
    return False


def every_extent_of_two_disks():
    rng = random.Random(7)
    with Cluster(metadata=1, disks=7) as cluster:
        s3 = connect(cluster)
        s3.create_bucket(Bucket="rot")
        want = {}
        for i in range(OBJECTS):
            body = rng.randbytes(SIZE)
            s3.put_object(Bucket="rot", Key=f"object-{i}", Body=body)
            want[f"object-{i}"] = digest(body)
        flipped = 0
        for name in ("chunk-1", "chunk-2"):
            cluster.stop(name)
            for path in glob.glob(os.path.join(cluster.dir, "data", name, "extents", "*")):
                flipped += flip(path, rng)
            cluster.start(name)
        check(flipped >= 2, "no extent had a byte to flip")
        for key, value in want.items():
            check(digest(read(s3, "rot", key)) == value, f"{key} came back with other bytes")

        def whole():
            for key in want:
                check(digest(read(s3, "rot", key)) == want[key], f"{key} has other bytes")
            shown = [cluster.ask("object", "show", f"rot/{key}", status=None) for key in want]
            return all(object_["whole"] for object_ in shown)
        wait_until(whole, 60, "every shard verifies again")


if __name__ == "__main__":
    sys.exit(run([every_extent_of_two_disks]))
