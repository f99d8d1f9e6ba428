#!/usr/bin/python3
"""The S3 clients of Debian against a real cluster: each stores files of many sizes, fetches them
byte-equal, lists, copies and deletes them, and the gateway's memory does not grow with the objects.

In the long form the sizes go up to 1 GiB."""
import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/cluster"))
from cluster import LONG, Cluster, check, run  # noqa: E402

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZES = [0, 1, 4 * KIB, 100 * KIB, 5 * MIB, 20 * MIB]
LONG_SIZES = [0, 1, 4 * KIB, 100 * KIB, 5 * MIB, 100 * MIB, GIB]
GATEWAY_BYTES_MAX = 128 * MIB


def make_files(folder, sizes):
    """Files whose bytes do not compress and do not repeat; name -> path."""
    os.makedirs(folder)
    files = {}
    for size in sizes:
        name = f"file-{size}"
        files[name] = os.path.join(folder, name)
        with open(files[name], "wb") as f:
            left = size
            while left > 0:
                piece = os.urandom(min(left, 4 * MIB))
                f.write(piece)
                left -= len(piece)
    return files


def digest(path):
    d = hashlib.sha256()
    with open(path, "rb") as f:
        for piece in iter(lambda: f.read(4 * MIB), b""):
            d.update(piece)
    return d.hexdigest()


class Command:
    """A client that is a program."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.endpoint = cluster.credentials["AWS_ENDPOINT_URL"]
        self.address = self.endpoint.split("//", 1)[1]
        self.key = cluster.credentials["AWS_ACCESS_KEY_ID"]
        self.secret = cluster.credentials["AWS_SECRET_ACCESS_KEY"]
        # Nothing of the surroundings that could make the client behave unlike a fresh one.
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": cluster.home,
                            "AWS_EC2_METADATA_DISABLED": "true", **cluster.credentials}

    def run(self, *words, timeout=600):
        done = subprocess.run(words, env=self.environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout)
        check(done.returncode == 0, f"{' '.join(words)}: exit status {done.returncode}\n"
                                    f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout


class Aws(Command):
    def aws(self, *words):
        return self.run("/usr/bin/aws", "--endpoint-url", self.endpoint, "s3", *words)

    def make_bucket(self, bucket):
        self.aws("mb", f"s3://{bucket}")

    def put(self, bucket, key, path):
        self.aws("cp", "--only-show-errors", path, f"s3://{bucket}/{key}")

    def get(self, bucket, key, path):
        self.aws("cp", "--only-show-errors", f"s3://{bucket}/{key}", path)

    def list(self, bucket):
        lines = self.aws("ls", "--recursive", f"s3://{bucket}").splitlines()
        return {line.split()[3]: int(line.split()[2]) for line in lines if line.strip()}

    def copy(self, bucket, key, to):
        self.aws("cp", "--only-show-errors", f"s3://{bucket}/{key}", f"s3://{bucket}/{to}")

    def delete_all(self, bucket):
        self.aws("rm", "--only-show-errors", "--recursive", f"s3://{bucket}")
        self.aws("rb", f"s3://{bucket}")


class S3cmd(Command):
    def s3cmd(self, *words):
        return self.run("/usr/bin/s3cmd", "--no-ssl", "--no-progress", f"--host={self.address}",
                        f"--host-bucket={self.address}", f"--access_key={self.key}",
                        f"--secret_key={self.secret}", "--region=us-east-1", *words)

    def make_bucket(self, bucket):
        self.s3cmd("mb", f"s3://{bucket}")

    def put(self, bucket, key, path):
        self.s3cmd("put", path, f"s3://{bucket}/{key}")

    def get(self, bucket, key, path):
        self.s3cmd("get", "--force", f"s3://{bucket}/{key}", path)

    def list(self, bucket):
        rows = [line.split(None, 3) for line in self.s3cmd("ls", "-r", f"s3://{bucket}").splitlines()]
        return {row[3].split("/", 3)[3]: int(row[2]) for row in rows if len(row) == 4}

    def copy(self, bucket, key, to):
        self.s3cmd("cp", f"s3://{bucket}/{key}", f"s3://{bucket}/{to}")

    def delete_all(self, bucket):
        self.s3cmd("del", "--recursive", "--force", f"s3://{bucket}/")
        self.s3cmd("rb", f"s3://{bucket}")


class Rclone(Command):
    def __init__(self, cluster):
        super().__init__(cluster)
        self.environment.update({
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_CAIRN_TYPE": "s3",
            "RCLONE_CONFIG_CAIRN_PROVIDER": "Other",
            "RCLONE_CONFIG_CAIRN_ACCESS_KEY_ID": self.key,
            "RCLONE_CONFIG_CAIRN_SECRET_ACCESS_KEY": self.secret,
            "RCLONE_CONFIG_CAIRN_ENDPOINT": self.endpoint,
            "RCLONE_CONFIG_CAIRN_REGION": "us-east-1",
        })

    def rclone(self, *words):
        return self.run("/usr/bin/rclone", *words)

    def make_bucket(self, bucket):
        self.rclone("mkdir", f"cairn:{bucket}")

    def put(self, bucket, key, path):
        self.rclone("copyto", path, f"cairn:{bucket}/{key}")

    def get(self, bucket, key, path):
        self.rclone("copyto", f"cairn:{bucket}/{key}", path)

    def list(self, bucket):
        rows = [line.split(";") for line in
                self.rclone("lsf", "-R", "--format", "ps", f"cairn:{bucket}").splitlines()]
        return {row[0]: int(row[1]) for row in rows if not row[0].endswith("/")}

    def copy(self, bucket, key, to):
        self.rclone("copyto", f"cairn:{bucket}/{key}", f"cairn:{bucket}/{to}")

    def delete_all(self, bucket):
        self.rclone("purge", f"cairn:{bucket}")


class Boto3(Command):
    def __init__(self, cluster, user=None):
        super().__init__(cluster)
        import boto3
        if user:
            self.key, self.secret = user["access_key"], user["secret_key"]
        from botocore.config import Config
        self.s3 = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1",
                               aws_access_key_id=self.key, aws_secret_access_key=self.secret,
                               config=Config(s3={"addressing_style": "path"}))

    def make_bucket(self, bucket):
        self.s3.create_bucket(Bucket=bucket)

    def put(self, bucket, key, path):
        self.s3.upload_file(path, bucket, key, ExtraArgs={"Metadata": {"origin": "boto3"}})

    def get(self, bucket, key, path):
        head = self.s3.head_object(Bucket=bucket, Key=key)
        check(head["Metadata"] == {"origin": "boto3"}, f"metadata of {key}: {head['Metadata']}")
        self.s3.download_file(bucket, key, path)

    def list(self, bucket):
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": 3})
        return {row["Key"]: row["Size"] for page in pages for row in page.get("Contents", [])}

    def copy(self, bucket, key, to):
        self.s3.copy({"Bucket": bucket, "Key": key}, bucket, to)

    def delete_all(self, bucket):
        keys = [{"Key": key} for key in self.list(bucket)]
        gone = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
        check(not gone.get("Errors"), f"not deleted: {gone.get('Errors')}")
        self.s3.delete_bucket(Bucket=bucket)


def exercise(cluster, files, client, bucket):
    client.make_bucket(bucket)
    back = os.path.join(cluster.home, "back")
    for name, path in files.items():
        client.put(bucket, f"dir/{name}", path)
        client.get(bucket, f"dir/{name}", back)
        check(digest(back) == digest(path), f"{name} came back with other bytes")
        os.unlink(back)
    name = f"file-{100 * KIB}"
    client.copy(bucket, f"dir/{name}", "copy")
    client.get(bucket, "copy", back)
    check(digest(back) == digest(files[name]), "the copy has other bytes")
    os.unlink(back)
    want = {f"dir/{n}": os.path.getsize(p) for n, p in files.items()}
    want["copy"] = 100 * KIB
    found = client.list(bucket)
    check(found == want, f"listed {found}, not {want}")
    client.delete_all(bucket)


def bucket_made_again(clients, bucket):
    """The gateway remembers a bucket's id and owner for small writes: a bucket that has gone takes none,
    one of the same name takes them as if it had been the first, whoever has made it."""
    for owner, other in (clients, clients[::-1], clients):
        owner.s3.create_bucket(Bucket=bucket)
        owner.s3.put_object(Bucket=bucket, Key="small", Body=b"some bytes")
        found = owner.s3.get_object(Bucket=bucket, Key="small")["Body"].read()
        check(found == b"some bytes", f"came back as {found}")
        owner.delete_all(bucket)
        for client in (owner, other):
            try:
                client.s3.put_object(Bucket=bucket, Key="small", Body=b"some bytes")
                code = "none"
            except client.s3.exceptions.ClientError as error:
                code = error.response["Error"]["Code"]
            check(code == "NoSuchBucket", f"a write to a bucket that has gone: {code}")
        owner.s3.create_bucket(Bucket=bucket)
        owner.s3.put_object(Bucket=bucket, Key="small", Body=b"some bytes")
        owner.delete_all(bucket)  # remembered as the owner's while the next round begins


def main():
    with Cluster(disks=6, metadata=1) as cluster:
        files = make_files(os.path.join(cluster.home, "files"), LONG_SIZES if LONG else SIZES)
        gateway = cluster.processes()["gateway-1"]

        def aws():
            exercise(cluster, files, Aws(cluster), "bucket-aws")

        def s3cmd():
            exercise(cluster, files, S3cmd(cluster), "bucket-s3cmd")

        def rclone():
            exercise(cluster, files, Rclone(cluster), "bucket-rclone")

        def boto3():
            exercise(cluster, files, Boto3(cluster), "bucket-boto3")

        def made_again():
            second = cluster.ask("user", "add", "second")
            bucket_made_again((Boto3(cluster), Boto3(cluster, second)), "bucket-again")

        def gateway_memory():
            with open(f"/proc/{gateway}/status", encoding="utf-8") as f:
                peak = next(int(line.split()[1]) * KIB for line in f if line.startswith("VmHWM"))
            print(f"the gateway's resident memory went up to {peak / MIB:.0f} MiB")
            check(peak < GATEWAY_BYTES_MAX, f"{peak} bytes, more than {GATEWAY_BYTES_MAX}")

        return run([aws, s3cmd, rclone, boto3, made_again, gateway_memory])


if __name__ == "__main__":
    sys.exit(main())
