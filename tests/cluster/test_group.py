#!/usr/bin/env python3
"""The metadata group of real processes with short logs: a member that was away installs a snapshot, and
members are removed, added, made leader and told to compact."""
import os
import sys

from cluster import Cluster, cairn, check, run, wait_until

SHORT = "log_bytes = 256KiB\nlog_segment = 64KiB\ncheckpoint_entries = 100\n"
MEMBERS = ("metadata-1", "metadata-2", "metadata-3")


def conf_path(cluster, name):
    return os.path.join(cluster.dir, "conf", f"{name}.conf")


def address(cluster, name):
    with open(conf_path(cluster, name), encoding="utf-8") as f:
        for line in f:
            if line.startswith("metadata_listen"):
                return line.split("=")[1].strip()
    raise KeyError(name)


def status(cluster):
    """address -> row."""
    return {row["address"]: row for row in cluster.ask("raft", "status")}


def member(cluster, name):
    return status(cluster).get(address(cluster, name))


def leads(cluster, name):
    return member(cluster, name)["role"] == "leader"


def replace(cluster, name):
    """As if its disk were lost: removed for good, and another one started in its place. Its log is
    short from the first segment on."""
    old = member(cluster, name)["id"]
    cluster.kill(name)
    removed = cluster.ask("raft", "remove", old)
    check(removed["removed"] == old, removed)
    check(len(status(cluster)) == 2, "two members are left")
    with open(conf_path(cluster, name), "a", encoding="utf-8") as f:
        f.write(SHORT)
    cluster.wipe(name)
    cluster.start(name)
    added = cluster.ask("raft", "add", address(cluster, name), "--timeout", "60s")
    check(added["added"] != old, "it is another member")


def write(cluster, seconds):
    """Small objects, which are kept in the metadata."""
    done = cluster.ask("bench", "put", "--seconds", seconds, "--size", "1KiB", "--concurrency", 16)
    rows = done if isinstance(done, list) else [done]
    check(all(not row.get("errors") for row in rows), rows)


def a_snapshot_and_the_verbs():
    with Cluster(metadata=3, disks=4, pool="2+1") as cluster:
        for name in MEMBERS:
            replace(cluster, name)
        check(len(status(cluster)) == 3, "three members")

        away = next(name for name in MEMBERS if not leads(cluster, name))
        cluster.kill(away)
        write(cluster, 3)
        cluster.start(away)

        def installed():
            rows = status(cluster)
            row = rows[address(cluster, away)]
            leader = max(r["commit"] or 0 for r in rows.values())
            return row["applied"] and row["applied"] + 100 > leader and row["snapshot"]
        wait_until(installed, 30, f"{away} has installed a snapshot: {status(cluster)}")

        rows = cluster.ask("raft", "snapshot")
        check(len(rows) == 3 and all(r["done"] == "yes" and r["index"] > 100 for r in rows), rows)
        check(all(r["log_bytes"] <= 1 << 20 for r in rows), rows)
        led = cluster.ask("raft", "transfer", address(cluster, away))
        check(led["leader"] == member(cluster, away)["id"], led)
        check(leads(cluster, away), "the member with the snapshot leads")
        write(cluster, 1)
        cairn("raft", "remove", "0000000000000001", env=cluster.environment, status=1)
        cairn("raft", "remove", env=cluster.environment, status=2)
        cairn("raft", "add", "nowhere", env=cluster.environment, status=2)


if __name__ == "__main__":
    sys.exit(run([a_snapshot_and_the_verbs]))
