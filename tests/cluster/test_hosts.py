#!/usr/bin/python3
"""Hosts with networks of their own (hosts.py): partitions, and members that come and go, under load that
is judged by its history."""
import collections
import sys
import threading

from botocore.exceptions import BotoCoreError, ClientError

from cluster import LONG, cairn, check, run, wait_until
from history import History
from hosts import Gateway, HostCluster, isolate
from workload import Client, connect

ROUNDS = 12 if LONG else 2
KINDS = ("asleep", "unheard", "cut off")


class Load:
    """Clients at several gateways, on the same keys; leaving it judges what they were told."""

    def __init__(self, cluster, gateways, clients=1, keys=4):
        self.cluster = cluster
        connect(cluster, attempts=10).create_bucket(Bucket="load")
        self.history = History(cluster.path("load.jsonl"))
        names = [f"key-{i}" for i in range(keys)]
        self.clients = [Client(Gateway(cluster, host), "load", i * len(gateways) + k, names,
                               self.history)
                        for i in range(clients) for k, host in enumerate(gateways)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def check(self):
        faults = [c.fault for c in self.clients if c.fault]
        check(not faults, "; ".join(faults))
        self.cluster.all_run()

    def progress(self, operations=5, seconds=60):
        """So many more answers to every client."""
        begin = [c.writes + c.reads for c in self.clients]
        wait_until(lambda: any(c.fault for c in self.clients) or all(
            c.writes + c.reads >= b + operations for c, b in zip(self.clients, begin)),
            seconds, f"{operations} more answers to each client")
        self.check()

    def __exit__(self, kind, value, trace):
        for client in self.clients:
            client.stop.set()
        for client in self.clients:
            client.join()
        if kind is not None:
            return
        self.check()
        client = self.clients[0]
        client.connect(attempts=10)
        for key in client.keys:
            client.get(key)
        client.list()
        print("  " + ", ".join(f"{c.writes} writes {c.reads} reads {c.refused} refused"
                               for c in self.clients))
        print("  " + self.history.judge())


class Counter:
    """A key that counts up through one gateway, and is read through another: never less than what was
    acknowledged before the read began."""

    def __init__(self, cluster, writer, reader):
        self.put_s3 = connect(Gateway(cluster, writer))
        self.get_s3 = connect(Gateway(cluster, reader))
        self.acknowledged = self.answers = self.refused = 0
        self.fault = None
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.guarded, args=(f,))
                        for f in (self.count, self.read)]
        connect(cluster, attempts=10).create_bucket(Bucket="counter")  # again is no error
        self.put_s3.put_object(Bucket="counter", Key="counter", Body=b"0")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if kind is None:
            check(not self.fault, self.fault)

    def guarded(self, step):
        try:
            while not self.stop.is_set() and not self.fault:
                try:
                    step()
                except (ClientError, BotoCoreError):
                    self.refused += 1
                    self.stop.wait(0.02)
        except Exception as e:
            self.fault = repr(e)

    def count(self):
        n = self.acknowledged + 1
        self.put_s3.put_object(Bucket="counter", Key="counter", Body=str(n).encode())
        self.acknowledged = n

    def read(self):
        least = self.acknowledged
        found = int(self.get_s3.get_object(Bucket="counter", Key="counter")["Body"].read())
        self.answers += 1
        if found < least:
            self.fault = f"{least} was acknowledged, then {found} was read"


def no_stale_read():
    """The leader is cut off from the other hosts, but not from the gateway beside it: whoever asks there
    gets what is acknowledged on the other side, or an error."""
    with HostCluster(members=3, disks=(1, 2, 3, 4), gateways=(1, 2, 3)) as cluster:
        with Load(cluster, (1, 2, 3)) as load:
            load.progress()
            for number in range(ROUNDS):
                old = cluster.leader()
                others = [h for h in (1, 2, 3) if h != old]
                with Counter(cluster, writer=others[0], reader=old) as counter:
                    wait_until(lambda: counter.answers >= 5 or counter.fault, 20,
                               "the counter is read")
                    kind = KINDS[number % len(KINDS)]
                    if kind == "asleep":  # it wakes up cut off, and still thinks that it leads
                        cluster.freeze(f"metadata-{old}")
                    cluster.cut_off(old, hears=kind == "unheard")
                    before = counter.acknowledged
                    wait_until(lambda: counter.acknowledged >= before + 20 or counter.fault, 30,
                               "the other side counts on")
                    new = cluster.leader(among=others)
                    if kind == "asleep":
                        cluster.thaw(f"metadata-{old}")
                        asked = counter.answers + counter.refused
                        wait_until(lambda: counter.answers + counter.refused >= asked + 2 or
                                   counter.fault, 30, "it is asked again")
                cluster.heal()
                print(f"  leader on host {old}, {kind}; then on host {new}: {counter.acknowledged} "
                      f"counted, {counter.answers} answers, {counter.refused} refused")
                load.progress()


def all_replaced():
    """Every member of a group of five goes, one after another, for a new one on another host; servers and
    clients find the group by what they learn on the way."""
    old, new = range(1, 6), range(6, 11)
    with HostCluster(members=5, disks=(11, 12, 13, 14), gateways=(11, 12)) as cluster:
        with Load(cluster, (11, 12), clients=2) as load:
            load.progress()
            for gone, host in zip(old, new):
                cluster.start_member(host, "--join", "true")
                wait_until(lambda: cluster.raft().get(host, {}).get("votes") == "yes", 40,
                           f"the member on host {host} votes")
                led = cluster.leader() == gone
                cairn("raft", "remove", cluster.member_address(gone), env=cluster.environment)
                wait_until(lambda: gone not in cluster.raft(), 20, f"host {gone} is no member")
                cluster.kill(f"metadata-{gone}")
                cluster.knows([*range(gone + 1, 6), *range(6, host + 1)])
                print(f"  host {gone} gone{', it led' if led else ''}, host {host} in its place")
                load.progress()
            check(sorted(cluster.raft()) == list(new), f"members: {sorted(cluster.raft())}")
            check(cluster.healthy(), "healthy")
        refused = sum((c.codes for c in load.clients), collections.Counter())
        print(f"  refused: {dict(refused)}")
        check(set(refused) <= {"503"}, f"refused with more than 503: {refused}")


def main():
    isolate()
    return run([no_stale_read, all_replaced])


if __name__ == "__main__":
    sys.exit(main())
