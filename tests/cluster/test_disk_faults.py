#!/usr/bin/python3
"""Disks that fail, each in its own way, while clients write and read: the status names it by its own code, no
client is told an error, and afterwards everything is whole. First by `cairn drill`, then file systems that are
unmounted under their server, or turn read-only."""
import json
import os
import random
import signal
import subprocess
import sys
import threading

from botocore.exceptions import BotoCoreError, ClientError

from cluster import CAIRN, LONG, Cluster, check, run, wait_until
from small_disks import SmallDisks
from workload import connect, read

DISKS = 8
HOLD = "20s" if LONG else "0s"
SIZES = (3000, 200_000, 1_500_000)
DRILLS = {"missing-disk": "DISK_MISSING", "full-disk": "DISK_FULL", "bitrot": "CORRUPT_SHARDS",
          "read-errors": "DISK_READ_ERRORS", "read-only-disk": "DISK_READ_ONLY", "disk-failure": "DISK_FAILED"}


class Load(threading.Thread):
    """Writes objects and reads them back, and some older one, as long as it lasts."""

    def __init__(self, cluster):
        super().__init__()
        self.s3, self.kept, self.trouble = connect(cluster), {}, []
        self.over = threading.Event()
        self.s3.create_bucket(Bucket="load")

    def once(self, number):
        key, body = f"object-{number}", random.Random(number).randbytes(SIZES[number % len(SIZES)])
        self.s3.put_object(Bucket="load", Key=key, Body=body)
        self.kept[key] = number
        for k, n in ((key, number), random.choice(list(self.kept.items()))):
            if read(self.s3, "load", k) != random.Random(n).randbytes(SIZES[n % len(SIZES)]):
                self.trouble.append(f"{k} came back with other bytes")

    def run(self):
        number = 0
        while not self.over.is_set() and number < 20_000:
            try:
                self.once(number)
            except (ClientError, BotoCoreError) as e:
                self.trouble.append(f"object-{number}: {e}")
            number += 1
            self.over.wait(0.03)

    def __enter__(self):
        self.start()
        wait_until(lambda: len(self.kept) >= 30 or self.trouble, 30, "the load runs")
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(60)

    def check(self, what):
        check(not self.trouble, f"{what}: {self.trouble[:3]}")

    def check_all(self):
        for key, n in random.sample(list(self.kept.items()), min(len(self.kept), 5000 if LONG else 200)):
            check(read(self.s3, "load", key) == random.Random(n).randbytes(SIZES[n % len(SIZES)]), f"{key} is lost")


def codes(cluster):
    return {f["code"] for f in cluster.ask("status", status=None)["findings"]}


def drills():
    with Cluster(metadata=1, disks=DISKS) as cluster:
        with Load(cluster) as load:
            for disk, (name, code) in enumerate(DRILLS.items(), 1):
                wait_until(lambda: cluster.ask("rebuild", "status")["whole"], 60, "the cluster is whole")
                seen = set()
                drill = subprocess.Popen([CAIRN, "drill", name, str(disk), "--hold", HOLD, "--json"],
                                         env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         text=True)

                def over():
                    seen.update(codes(cluster))
                    return drill.poll() is not None
                wait_until(over, 300, f"{name} ends")
                out, err = drill.communicate(timeout=10)
                found = json.loads(out) if out else {}
                check(drill.returncode == 0 and found.get("held"), f"{name}: {out}{err}")
                check(found["code"] == code, f"{name}: {found}")
                check(code in seen, f"{name}: status has said {sorted(seen)} and not {code}")
                load.check(name)
                print(f"  {name}: found after {found['found_s']:.1f} s, well {found['well_s']:.1f} s and whole "
                      f"{found['whole_s']:.1f} s after its end")
            interrupted(cluster)
        load.check_all()
        refused = subprocess.run([CAIRN, "drill", "bitrot", "99"], env=cluster.environment, capture_output=True,
                                 text=True, check=False)
        check(refused.returncode == 1 and "cairn disk list" in refused.stderr, f"no such disk: {refused.stderr}")


def interrupted(cluster):
    """A drill whose operator gives up: the disk that failed for it alone is in use again all the same."""
    drill = subprocess.Popen([CAIRN, "drill", "disk-failure", "2", "--hold", "5m"], env=cluster.environment,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: "DISK_FAILED" in codes(cluster), 30, "the disk is given up")
    drill.send_signal(signal.SIGINT)
    _, err = drill.communicate(timeout=120)
    check(drill.returncode == 1 and "takes disk 2 back" in err, f"interrupted: {drill.returncode}, {err}")
    state = {d["id"]: (d["up"], d["state"]) for d in cluster.ask("disk", "list")}[2]
    check(state == ("up", "in"), f"after the interrupted drill disk 2 is {state}")


def unmounted_and_read_only():
    with SmallDisks("ext4", metadata=1, pool="2+2") as cluster:
        with Load(cluster) as load:
            cluster.unmount(3)
            wait_until(lambda: "DISK_MISSING" in codes(cluster), 30, "the directory is missed")
            wait_until(lambda: "DISK_FAILED" not in codes(cluster) and cluster.device(3) is None, 30,
                       "its server has let it go")
            load.check("a file system was unmounted")
            check(os.listdir(cluster.path(3)) == [], f"where it was mounted there is {os.listdir(cluster.path(3))}")
            cluster.mount(3)
            wait_until(lambda: "DISK_MISSING" not in codes(cluster) and all(
                d["up"] == "up" for d in cluster.ask("disk", "list")), 30, "the disk is used again")
            wait_until(lambda: cluster.ask("rebuild", "status")["whole"], 60, "everything has all its shards")
            with open(f"/sys/fs/ext4/{cluster.device(2)}/trigger_fs_error", "w", encoding="ascii") as f:
                f.write("1")
            wait_until(lambda: "DISK_READ_ONLY" in codes(cluster), 30, "the disk is called read-only")
            load.check("a file system is read-only")
        load.check_all()


if __name__ == "__main__":
    sys.exit(run([drills, unmounted_and_read_only]))
