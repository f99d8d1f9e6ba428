"""Clients that write, read back and know what each key may hold.

Each thread owns its keys, so its history is sequential: after an acknowledged write a key holds that
value; after one whose outcome is not known it holds one of several. A read decides which. A value
that was acknowledged and is not there, or other bytes, is a fault."""
import hashlib
import random
import threading

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cluster import check, wait_until

SIZES = [0, 1, 4096, 20000, 100_000, 300_000, 1_500_000]


def connect(cluster, attempts=1):
    return boto3.client("s3", endpoint_url=cluster.credentials["AWS_ENDPOINT_URL"],
                        region_name="us-east-1",
                        aws_access_key_id=cluster.credentials["AWS_ACCESS_KEY_ID"],
                        aws_secret_access_key=cluster.credentials["AWS_SECRET_ACCESS_KEY"],
                        config=Config(s3={"addressing_style": "path"}, connect_timeout=5,
                                      read_timeout=30, retries={"total_max_attempts": attempts}))


def value_of(seed):
    """A value follows from its number: None stands for no object."""
    if seed is None:
        return None
    return random.Random(seed).randbytes(SIZES[seed % len(SIZES)])


def digest(data):
    return None if data is None else hashlib.sha256(data).hexdigest()


def read(s3, bucket, key):
    """The bytes, or None when there is no such key. Raises when it cannot be said now."""
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as e:
        if e.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise


class Client(threading.Thread):
    def __init__(self, cluster, bucket, number, keys=8):
        super().__init__(name=f"client-{number}")
        self.s3 = connect(cluster)
        self.bucket = bucket
        self.random = random.Random(number)
        self.keys = {f"client-{number}/key-{i}": [None] for i in range(keys)}
        self.stop = threading.Event()
        self.fault = None
        self.writes = self.reads = self.refused = 0

    def run(self):
        try:
            while not self.stop.is_set() and not self.fault:
                self.step()
        except Exception as e:  # a fault of the test itself must not pass for silence
            self.fault = repr(e)

    def step(self):
        key = self.random.choice(list(self.keys))
        dice = self.random.random()
        try:
            if dice < 0.5:
                self.write(key, self.random.getrandbits(48))
            elif dice < 0.6:
                self.write(key, None)
            else:
                self.verify(key)
        except (ClientError, BotoCoreError) as e:
            self.refused += 1
            if isinstance(e, ClientError):
                status = e.response["ResponseMetadata"]["HTTPStatusCode"]
                if status < 500:
                    self.fault = f"{key}: {e}"
            self.stop.wait(0.05)

    def write(self, key, seed):
        """Until it is acknowledged the key may hold either."""
        if len(self.keys[key]) > 16:
            return self.verify(key)
        self.keys[key] = [*self.keys[key], seed]
        if seed is None:
            self.s3.delete_object(Bucket=self.bucket, Key=key)
        else:
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=value_of(seed))
        self.keys[key] = [seed]
        self.writes += 1

    def verify(self, key):
        found = digest(read(self.s3, self.bucket, key))
        for seed in self.keys[key]:
            if digest(value_of(seed)) == found:
                self.keys[key] = [seed]
                self.reads += 1
                return
        self.fault = f"{key} holds none of the {len(self.keys[key])} values it may hold"


class Workload:
    """with Workload(cluster, clients=4) as w: .. faults ..; leaving it reads everything back."""

    def __init__(self, cluster, clients=4, bucket="workload"):
        self.cluster = cluster
        self.bucket = bucket
        connect(cluster, attempts=5).create_bucket(Bucket=bucket)
        self.clients = [Client(cluster, bucket, i) for i in range(clients)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def progress(self, operations=20, seconds=60):
        """Waits until so many more operations of every client have been acknowledged."""
        begin = [c.writes + c.reads for c in self.clients]
        wait_until(lambda: self.faults() or all(
            c.writes + c.reads >= b + operations for c, b in zip(self.clients, begin)),
            seconds, f"{operations} more operations of every client; so far {self.counts()}")
        check(not self.faults(), "; ".join(self.faults()))

    def faults(self):
        return [c.fault for c in self.clients if c.fault]

    def counts(self):
        return ", ".join(f"{c.writes} writes {c.reads} reads {c.refused} refused"
                         for c in self.clients)

    def __exit__(self, kind, value, trace):
        for client in self.clients:
            client.stop.set()
        for client in self.clients:
            client.join()
        if kind is not None:
            return
        check(not self.faults(), "; ".join(self.faults()))
        for client in self.clients:
            client.s3 = connect(self.cluster, attempts=10)
            for key in client.keys:
                client.verify(key)
        check(not self.faults(), "; ".join(self.faults()))
