#!/usr/bin/python3
"""A metadata member's disk fills, on a small file system of its own: what would add to the metadata is
refused with 507 before its body is sent, everything else goes on; the ballast gives way, also to a start;
with room again puts go on."""
import os
import shutil
import subprocess
import sys

from cluster import Cluster, cairn, check, run, wait_until
from raw import Raw
from workload import connect

MIB = 1 << 20
MEMBER = "metadata-3"
SIZE = 400 * MIB  # the mark is an eighth, the ballast a sixteenth; below a quarter of the mark it goes
LOW, ALL_BUT_FULL = 30 * MIB, 6 * MIB


class SmallDisk:
    """The member's directory, moved to a file system that can be filled to what shall be left."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.path = os.path.join(cluster.dir, "data", MEMBER)
        self.filler = os.path.join(self.path, "filler")
        self.ballast = os.path.join(self.path, "ballast")

    def __enter__(self):
        aside = self.path + ".aside"
        self.cluster.stop(MEMBER)
        os.rename(self.path, aside)
        os.mkdir(self.path)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", self.path], check=True)
        try:
            shutil.copytree(aside, self.path, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("ballast"))
            shutil.rmtree(aside)
            self.cluster.start(MEMBER)
            wait_until(lambda: os.path.exists(self.ballast), 10, "the ballast is made")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        if self.cluster.processes()[MEMBER]:
            self.cluster.stop(MEMBER)
        subprocess.run(["umount", self.path], check=True)

    def left(self):
        s = os.statvfs(self.path)
        return s.f_bavail * s.f_frsize

    def fill(self, left):
        with open(self.filler, "ab") as f:
            while self.left() > left:
                f.write(bytes(min(self.left() - left, MIB)))
                f.flush()

    def empty(self):
        os.unlink(self.filler)


def findings(cluster):
    return {f["code"]: f["text"] for f in cluster.ask("status", status=None)["findings"]}


def full(cluster, disk):
    s3 = connect(cluster)
    keys = cluster.credentials
    raw = Raw(keys["AWS_ENDPOINT_URL"], keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    s3.create_bucket(Bucket="room")
    for i in range(60):
        s3.put_object(Bucket="room", Key=f"key-{i}", Body=b"small")
    s3.put_object(Bucket="room", Key="large", Body=bytes(MIB))
    upload = s3.create_multipart_upload(Bucket="room", Key="parts")["UploadId"]
    part = s3.upload_part(Bucket="room", Key="parts", UploadId=upload, PartNumber=1, Body=b"part")

    disk.fill(LOW)
    text = wait_until(lambda: findings(cluster).get("METADATA_DISK_FULL"), 10, "status says so")
    check(" MiB left" in text, text)
    wait_until(lambda: raw.ask("PUT", "/room/new", body=b"x").status == 507, 10, "puts are refused")
    for method, path, query, body in (
            ("PUT", "/room/new", "", b"x"), ("PUT", "/room/new", "", bytes(MIB)), ("PUT", "/other", "", b""),
            ("POST", "/room/new", "uploads=", b""),
            ("PUT", "/room/parts", f"partNumber=2&uploadId={upload}", b"x")):
        answer = raw.ask(method, path, query, body=body)
        check(answer.status == 507 and answer.code == "InsufficientStorage" and
              "nearly full" in answer.message, f"{method} {path}: {answer} {answer.message}")
    check(raw.ask("GET", "/room/new").status == 404, "what was refused is not there")
    check(s3.get_object(Bucket="room", Key="large")["Body"].read() == bytes(MIB), "reads go on")
    s3.complete_multipart_upload(Bucket="room", Key="parts", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    cairn("user", "add", "somebody", env=cluster.environment)
    for i in range(20):
        s3.delete_object(Bucket="room", Key=f"key-{i}")

    disk.fill(ALL_BUT_FULL)
    wait_until(lambda: not os.path.exists(disk.ballast), 10, "the ballast is given away")
    for i in range(20, 40):
        s3.delete_object(Bucket="room", Key=f"key-{i}")
    check(cluster.processes()[MEMBER], "the member runs")
    wait_until(lambda: "the ballast is gone" in findings(cluster)["METADATA_DISK_FULL"], 5,
               "status tells of the ballast")

    disk.empty()
    wait_until(lambda: raw.ask("PUT", "/room/new", body=b"x").status == 200, 10, "puts go on")
    wait_until(lambda: os.path.exists(disk.ballast), 10, "the ballast is made again")
    wait_until(lambda: "METADATA_DISK_FULL" not in findings(cluster), 10, "status is quiet again")


def started_full(cluster, disk):
    """A member that was killed finds its disk full to the last byte: the ballast lets it start."""
    s3 = connect(cluster, attempts=5)
    cluster.kill(MEMBER)
    disk.fill(0)
    for i in range(40, 60):
        s3.delete_object(Bucket="room", Key=f"key-{i}")
    cluster.start(MEMBER)
    wait_until(lambda: not os.path.exists(disk.ballast), 10, "the ballast is given away to start")

    def caught_up():
        rows = cluster.ask("raft", "status", status=None)
        return all(r["answers"] == "yes" for r in rows) and len({r["applied"] for r in rows}) == 1
    wait_until(caught_up, 20, "it has what the others have")
    disk.empty()
    wait_until(lambda: os.path.exists(disk.ballast), 10, "the ballast is made again")


def main():
    with Cluster(disks=6) as cluster, SmallDisk(cluster) as disk:
        def named(f):
            def test():
                f(cluster, disk)
            test.__name__ = f.__name__
            return test
        return run([named(full), named(started_full)])


if __name__ == "__main__":
    sys.exit(main())
