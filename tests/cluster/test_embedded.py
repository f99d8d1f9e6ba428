#!/usr/bin/python3
"""The embedded form, one process over six directories: what was acknowledged survives kill -9, one
directory may be lost, and directories that do not belong together are refused before a byte is
written."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cluster import CAIRN, check, run, wait_until

KIB, MIB = 1 << 10, 1 << 20
SECRETS = "AWS_ACCESS_KEY_ID=EMBEDDED\nAWS_SECRET_ACCESS_KEY=not-so-secret\n"


class Embedded:
    """with Embedded(home) as server: a server over home/D1 .. D6; leaving it kills."""

    def __init__(self, home, *more):
        self.home, self.more = home, more
        self.directories = [os.path.join(home, f"D{i}") for i in range(1, 7)]
        with socket.create_server(("127.0.0.1", 0)) as s:
            self.address = f"127.0.0.1:{s.getsockname()[1]}"
        self.secrets = os.path.join(home, "root.env")
        with open(self.secrets, "w", encoding="utf-8") as f:
            f.write(SECRETS)

    def words(self):
        return [CAIRN, "server", "--data", *self.directories, "--s3", self.address,
                "--root-credentials", self.secrets, *self.more]

    def __enter__(self):
        self.log = open(os.path.join(self.home, "log"), "a+", encoding="utf-8")
        self.process = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        self.s3 = boto3.client("s3", endpoint_url=f"http://{self.address}",
                               region_name="us-east-1", aws_access_key_id="EMBEDDED",
                               aws_secret_access_key="not-so-secret",
                               config=Config(s3={"addressing_style": "path"}, read_timeout=15,
                                             retries={"total_max_attempts": 1}))
        try:
            wait_until(self.serves, 20, "the embedded server serves")
        except BaseException as e:
            self.__exit__(type(e), e, None)
            raise
        return self

    def serves(self):
        check(self.process.poll() is None, "the server has ended")
        try:
            return self.s3.list_buckets()
        except (ClientError, BotoCoreError):
            return None

    def healed(self):
        """Whether the log has said so since what was lost was given up."""
        self.log.seek(0)
        text = self.log.read().rpartition("its data is rebuilt")
        return text[1] and "nothing is left to fill" in text[2]

    def __exit__(self, kind, value, trace):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        if kind is not None:
            self.log.seek(0)
            print("".join(self.log.readlines()[-25:]), end="")
        self.log.close()

    def refused(self, text, seconds=10):
        """It does not start: status 1 and one line that holds the text."""
        done = subprocess.run(self.words(), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=seconds)
        said = [line for line in done.stderr.splitlines() if line.startswith("cairn")]
        check(done.returncode == 1 and len(said) == 1 and text in said[0],
              f"{text!r}: status {done.returncode}, {done.stderr[-2000:]}")


def bodies():
    return {f"key-{i}-{size}": os.urandom(size) for i in range(3)
            for size in (0, 10, 20 * KIB, 300 * KIB, 2 * MIB)}


def verify(server, want):
    found = [row["Key"] for row in server.s3.list_objects_v2(Bucket="bucket")["Contents"]]
    check(found == sorted(want), f"listed {found}")
    for key, body in want.items():
        got = server.s3.get_object(Bucket="bucket", Key=key)["Body"].read()
        check(got == body, f"{key} has other bytes")


def main():
    home = tempfile.mkdtemp(prefix="cairn-embedded-")
    want = {}

    def killed():
        with Embedded(home) as server:
            server.s3.create_bucket(Bucket="bucket")
            for key, body in bodies().items():
                server.s3.put_object(Bucket="bucket", Key=key, Body=body)
                want[key] = body
            verify(server, want)
            members = [d for d in server.directories if os.path.isdir(d + "/metadata")]
            check(len(members) == 5, f"metadata members in {members}")
        with Embedded(home) as server:
            verify(server, want)
            server.s3.put_object(Bucket="bucket", Key="later", Body=b"l" * MIB)
            want["later"] = b"l" * MIB

    def one_directory_lost():
        """Its place is taken by an empty one: everything is read, then whole again."""
        lost = os.path.join(home, "D3")
        shutil.rmtree(lost)
        server = Embedded(home)
        server.refused(f"{lost}: no such directory")
        check(not os.path.exists(lost), "it was made")
        os.mkdir(lost)
        with Embedded(home) as server:
            verify(server, want)
            server.s3.put_object(Bucket="bucket", Key="new", Body=b"n" * MIB)
            want["new"] = b"n" * MIB
            verify(server, want)

            wait_until(server.healed, 15, "what was lost is rebuilt")
        for disk in (1, 6):  # with what was lost before these would be three
            shutil.rmtree(os.path.join(home, f"D{disk}"))
            os.mkdir(os.path.join(home, f"D{disk}"))
        with Embedded(home) as server:
            verify(server, want)

    def do_not_belong_together():
        other = tempfile.mkdtemp(prefix="cairn-embedded-")
        try:
            with Embedded(other) as server:
                server.s3.create_bucket(Bucket="bucket")
            mixed = Embedded(home)
            mixed.directories[5] = os.path.join(other, "D6")
            mixed.refused("belong to different clusters")
            mixed.directories = [os.path.join(other, "D6"), os.path.join(home, "empty")]
            mixed.refused("metadata is in none of these directories")
            check(not os.path.exists(os.path.join(home, "empty")), "it was made")
            mixed.directories = [os.path.join(home, f"D{i}") for i in (1, 2)]
            mixed.refused("metadata members are in these directories")
            mixed.directories = [os.path.join(home, f"empty-{i}") for i in (1, 2)]
            mixed.refused("4+2 needs 6 directories")
            letters = os.path.join(home, "letters")
            os.mkdir(letters)
            with open(os.path.join(letters, "dear"), "w", encoding="utf-8") as f:
                f.write("aunt")
            mixed.directories = [letters]
            mixed.refused("it holds dear")
            check(os.listdir(letters) == ["dear"], f"it holds {os.listdir(letters)}")
            with Embedded(home) as server:
                verify(server, want)
                Embedded(home).refused("in use")
        finally:
            shutil.rmtree(other)

    try:
        return run([killed, one_directory_lost, do_not_belong_together])
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    sys.exit(main())
