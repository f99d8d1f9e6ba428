"""Clients that write, read, list and fight for the same keys, and record what they were told.

Values follow from random numbers; what was read is compared with its ETag, and the ETags make up a
history (history.py) that has to be linearizable: no acknowledged write is lost, none that was refused
is seen, no read is stale, however the processes end and come back."""
import collections
import hashlib
import os
import random
import threading

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cluster import check, wait_until
from history import History

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


def etag_of(data):
    return hashlib.md5(data).hexdigest()


class Client(threading.Thread):
    """Odd ones retry as an SDK does: under one invocation id, so that it is one operation."""

    def __init__(self, cluster, bucket, number, keys, history):
        super().__init__(name=f"client-{number}")
        self.cluster, self.bucket, self.number, self.keys = cluster, bucket, number, keys
        self.history = history
        self.random = random.Random(number)
        self.seen = {}
        self.headers = {}
        self.connect(attempts=3 if number % 2 else 1)
        self.stop = threading.Event()
        self.fault = None
        self.writes = self.reads = self.refused = 0
        self.codes = collections.Counter()  # of what was refused: HTTP status, or kind of exception

    def connect(self, attempts):
        self.s3 = connect(self.cluster, attempts)
        # By hand, since not every version of the library knows conditions on writes.
        for name in ("PutObject", "DeleteObject"):
            self.s3.meta.events.register(
                f"before-call.s3.{name}",
                lambda params, **_: params["headers"].update(self.headers))

    def run(self):
        try:
            while not self.stop.is_set() and not self.fault:
                self.step()
        except Exception as e:  # a fault of the test itself must not pass for silence
            self.fault = repr(e)

    def step(self):
        key = self.random.choice(self.keys)
        dice = self.random.random()
        try:
            if dice < 0.3:
                self.put(key)
            elif dice < 0.38:
                self.put(key, if_absent=True)
            elif dice < 0.5:
                self.put(key, if_match=self.seen.get(key))
            elif dice < 0.6:
                self.delete(key)
            elif dice < 0.65:
                self.list()
            else:
                self.get(key)
        except (ClientError, BotoCoreError) as e:
            self.refused += 1
            self.codes[str(e.response["ResponseMetadata"]["HTTPStatusCode"])
                       if isinstance(e, ClientError) else type(e).__name__] += 1
            if isinstance(e, ClientError) and e.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                self.fault = f"{key}: {e}"
            self.stop.wait(0.05)

    def write(self, operation, call, conditional):
        """Ends the operation unless its outcome is not known; whether it took effect."""
        try:
            call()
        except ClientError as e:
            status = e.response["ResponseMetadata"]["HTTPStatusCode"]
            if not conditional or status not in (404, 412):
                raise
            operation.refused()
            self.reads += 1
            return False
        finally:
            self.headers = {}
        operation.done()
        self.writes += 1
        return True

    def put(self, key, if_absent=False, if_match=None):
        data = value_of(self.random.getrandbits(48))
        etag = etag_of(data)
        conditions = {}
        if if_absent:
            conditions["if_absent"] = True
            self.headers = {"If-None-Match": "*"}
        if if_match:
            conditions["if_match"] = if_match
            self.headers = {"If-Match": f'"{if_match}"'}
        with self.history.operation(self.number, "put", key, value=etag, **conditions) as operation:
            done = self.write(operation, lambda: self.s3.put_object(
                Bucket=self.bucket, Key=key, Body=data), bool(conditions))
        if done:
            self.seen[key] = etag

    def delete(self, key):
        with self.history.operation(self.number, "delete", key) as operation:
            self.write(operation, lambda: self.s3.delete_object(Bucket=self.bucket, Key=key), False)
        self.seen.pop(key, None)

    def get(self, key):
        with self.history.operation(self.number, "get", key) as operation:
            try:
                answer = self.s3.get_object(Bucket=self.bucket, Key=key)
                data = answer["Body"].read()
            except ClientError as e:
                if e.response["Error"]["Code"] != "NoSuchKey":
                    raise
                data = None
            etag = None if data is None else etag_of(data)
            operation.done(value=etag)
        if etag and answer["ETag"] != f'"{etag}"':
            self.fault = f"{key}: {len(data)} bytes are not those of ETag {answer['ETag']}"
        self.seen[key] = etag
        self.reads += 1

    def list(self):
        after = ""
        size = self.random.choice((2, 1000))
        while after is not None:
            with self.history.operation(self.number, "list", prefix="", after=after,
                                        until=None) as operation:
                page = self.s3.list_objects_v2(Bucket=self.bucket, MaxKeys=size, StartAfter=after)
                keys = {o["Key"]: o["ETag"].strip('"') for o in page.get("Contents", [])}
                after = max(keys) if page["IsTruncated"] else None
                operation.done(keys=keys, until=after)
        self.reads += 1


class Workload:
    """with Workload(cluster, clients=4) as w: .. faults ..; leaving it reads everything back and
    judges the history."""

    def __init__(self, cluster, clients=4, keys=6, bucket="workload"):
        self.cluster = cluster
        self.bucket = bucket
        self.keys = [f"key-{i}" for i in range(keys)]
        connect(cluster, attempts=5).create_bucket(Bucket=bucket)
        self.history = History(os.path.join(cluster.home, f"{bucket}.jsonl"))
        self.clients = [Client(cluster, bucket, i, self.keys, self.history)
                        for i in range(clients)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def progress(self, operations=20, seconds=60):
        """Waits until so many more operations of every client have been answered."""
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
        client = self.clients[0]
        client.connect(attempts=10)
        for key in self.keys:
            client.get(key)
        client.list()
        check(not self.faults(), "; ".join(self.faults()))
        print(self.history.judge())
