#!/usr/bin/python3
"""Disks on small file systems of their own, ext4 and, in the long form, xfs: clients fill them until they are
refused, others' files take the last byte, a server is killed and opens such a disk, or waits until it can. Deletes go
on, and in the long form bring the service back by themselves; nothing that was acknowledged is lost."""
import itertools
import sys

from botocore.exceptions import BotoCoreError, ClientError

from cluster import LONG, check, run, wait_until
from small_disks import DISKS, IMAGE, MIB, SmallDisks
from workload import connect, digest, read

ROOM = 120 * MIB  # of each, that is left to clients
SIZES = [3 * MIB, 100_000, 1 * MIB, 20_000]
REFUSED_IN_A_ROW = 4


def body_of(number):
    return (number.to_bytes(8, "little") * (SIZES[number % len(SIZES)] // 8 + 1))[:SIZES[number % len(SIZES)]]


def put_until_refused(s3, kept, numbers, codes):
    """All that is acknowledged is kept in mind, and the codes of what was not."""
    in_a_row = 0
    while in_a_row < REFUSED_IN_A_ROW:
        number = next(numbers)
        key, body = f"object-{number}", body_of(number)
        try:
            s3.put_object(Bucket="room", Key=key, Body=body)
            kept[key] = digest(body)
            in_a_row = 0
        except (ClientError, BotoCoreError) as e:
            codes.add(e.response["Error"]["Code"] if isinstance(e, ClientError) else type(e).__name__)
            in_a_row += 1
        check(number < 5000, "the disks do not fill")


def check_all(s3, kept):
    for key, value in kept.items():
        check(digest(read(s3, "room", key)) == value, f"{key} came back with other bytes")


def delete(s3, kept, count):
    for key in list(kept)[:count]:
        s3.delete_object(Bucket="room", Key=key)
        del kept[key]


def codes(cluster):
    return {f["code"] for f in cluster.ask("status", status=None)["findings"]}


def whole(cluster):
    status = cluster.ask("rebuild", "status")
    return status["whole"]


def fill_and_delete(kind):
    with SmallDisks(kind, metadata=1, pool="2+1") as cluster:
        s3, kept = connect(cluster), {}
        s3.create_bucket(Bucket="room")
        for i in range(1, DISKS + 1):
            cluster.take(i, ROOM)
        numbers, refused = itertools.count(1), set()

        def full():  # what a refused put had written is given back: there may be room again
            put_until_refused(s3, kept, numbers, refused)
            return "DISK_FULL" in codes(cluster)
        wait_until(full, 60, "status says that disks are full")
        check(len(kept) > 50, f"only {len(kept)} objects fit")
        check_all(s3, kept)
        # To the last byte, and a server is killed and has to open such a disk.
        for i in range(1, DISKS + 1):
            cluster.fill(i)
            check(cluster.left(i) < MIB, f"{cluster.left(i)} bytes are left on disk {i}")
        wait_until(lambda: all(cluster.ballast(i) < IMAGE // 64 * 3 // 4 for i in range(1, DISKS + 1)), 20,
                   "the ballasts give way")
        for i in range(1, DISKS + 1):
            cluster.fill(i)  # what they gave, too
        cluster.kill("chunk-2")
        wait_until(lambda: "DISK_DOWN" in codes(cluster), 30, "its disk is down")
        cluster.start("chunk-2")
        wait_until(lambda: not codes(cluster) & {"DISK_DOWN", "DISK_MISSING"}, 30, "all disks are up")
        check_all(s3, kept)
        # Without a ballast there is no room to open it: it waits until there is some.
        cluster.kill("chunk-3")
        cluster.drop_ballast(3)
        cluster.fill(3)
        cluster.start("chunk-3")
        wait_until(lambda: "DISK_MISSING" in codes(cluster), 30, "a disk cannot be opened")
        check_all(s3, kept)
        # Deletes free room, a minute later, while the others' files stay.
        before = sum(cluster.left(i) for i in range(1, DISKS + 1))
        delete(s3, kept, len(kept) // 2)
        if LONG:
            wait_until(lambda: sum(cluster.left(i) for i in range(1, DISKS + 1)) > before + ROOM // 2, 120,
                       "deletes give room back")
        for i in range(1, DISKS + 1):
            cluster.empty(i)
        wait_until(lambda: not codes(cluster) & {"DISK_FULL", "DISK_MISSING"}, 120, "no disk is full any more")

        def put():
            try:
                s3.put_object(Bucket="room", Key="afterwards", Body=body_of(1))
                return True
            except ClientError:
                return False
        wait_until(put, 60, "puts go on")
        kept["afterwards"] = digest(body_of(1))
        check_all(s3, kept)
        wait_until(lambda: whole(cluster), 60, "everything has all its shards")
        print(f"  {kind}: {len(kept)} objects left; puts were refused with {', '.join(sorted(refused))}")


def ext4():
    fill_and_delete("ext4")


def xfs():
    fill_and_delete("xfs")


if __name__ == "__main__":
    sys.exit(run([ext4, xfs] if LONG else [ext4]))
