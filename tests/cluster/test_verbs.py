#!/usr/bin/python3
"""The operator's verbs on a real cluster: what they show, what they change, what they refuse, and
`cairn bench`, which puts the objects that the others look at."""
import hashlib
import hmac
import http.client
import os
import re
import sys
import time

sys.dont_write_bytecode = True
from cluster import Cluster, cairn, check, run, wait_until  # noqa: E402

LARGE, SMALL = 1 << 20, 4096


def bench(cluster, *words):
    return cluster.ask("bench", *words, "--dev", cluster.dir, "--concurrency", 2)


def run_of(cluster):
    """The common part of the keys that a bench has left behind, from a listing of its bucket."""
    secret, access = (cluster.credentials[k] for k in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"))
    host = cluster.credentials["AWS_ENDPOINT_URL"].split("//")[1]
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
    payload = hashlib.sha256(b"").hexdigest()
    canonical = (f"GET\n/cairn-bench\n\nhost:{host}\nx-amz-content-sha256:{payload}\n"
                 f"x-amz-date:{stamp}\n\nhost;x-amz-content-sha256;x-amz-date\n{payload}")
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("GET", "/cairn-bench", headers={
        "x-amz-date": stamp, "x-amz-content-sha256": payload,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders="
                         f"host;x-amz-content-sha256;x-amz-date, Signature={signature}"})
    found = re.search(r"<Key>(bench-[0-9a-f]+)/0</Key>", connection.getresponse().read().decode())
    check(found, "the bench left objects behind")
    return found[1]


def flip(cluster, name):
    """One bit in each KiB of a chunkserver's extents, where there is data."""
    folder = os.path.join(cluster.dir, "data", name, "extents")
    for extent in os.listdir(folder):
        with open(os.path.join(folder, extent), "r+b") as f:
            data = f.read()
            for at in range(700, len(data), 1024):
                if data[at - 700:at + 324].strip(b"\0"):
                    f.seek(at)
                    f.write(bytes([data[at] ^ 1]))


def looks_into_a_disk(cluster, name):
    """`cairn chunk` on a disk with rot in it, whose server is killed first."""
    folder = os.path.join(cluster.dir, "data", name)
    for verb in ("verify", "dump", "rebuild-index"):
        check("is open in a server" in cairn("chunk", verb, folder, status=1), f"{verb}: in use")
    cluster.kill(name)
    listed = cluster.ask("chunk", "dump", folder)
    live = [r for r in listed if r["state"] in ("live", "behind")]
    check(len(live) > 3 and all(len(r["chunk"]) == 32 for r in live), f"listed: {listed[:3]}")
    rotten = cluster.ask("chunk", "verify", folder, status=1)
    check(not rotten["sound"] and rotten["faults"]["corrupt"] > 0, f"rotten: {rotten}")
    check("corrupt extent" in cairn("chunk", "verify", folder, status=1), "faults are named")
    made = cluster.ask("chunk", "rebuild-index", folder)
    check(made["shards"] <= len(listed), f"made: {made}, listed: {len(listed)}")
    check("no superblock" in cairn("chunk", "verify", cluster.dir, status=1), "no disk")


def shows_measures_and_mends():
    with Cluster(disks=6, pool="3+2") as cluster:
        status = cluster.ask("status")
        check(status["health"] == "HEALTH_OK" and not status["findings"], f"health: {status}")
        check(status["disks"]["up"] == 6 and status["metadata"]["may_lose"] == 1, "disks, members")

        put = bench(cluster, "put", "--seconds", 1, "--size", LARGE, "--keep")
        check(put["operations"] > 3 and put["errors"] == 0, f"put: {put}")
        check({"metadata-1", "chunk-6", "gateway-1"} <= {s["name"] for s in put["servers"]} and
              put["all_servers"]["cpu_seconds"] > 0, "every process is measured")
        get = bench(cluster, "get", "--seconds", 1, "--size", SMALL, "--objects", 5, "--verify", "all")
        check(get["operations"] > 10 and get["verified"] == get["operations"], f"get: {get}")
        check(cluster.ask("status")["usage"]["objects"] == put["operations"],
              "get deletes what it put, put --keep does not")

        keys = [f"cairn-bench/{run_of(cluster)}/{n}" for n in range(3)]
        shown = cluster.ask("object", "show", keys[0])
        check(shown["whole"] and shown["ok"] == 5 and len(shown["shards"]) == 5, f"shown: {shown}")
        pg = shown["shards"][0]["pg"]
        slots = cluster.ask("pg", "show", pg)
        check([s["disk"] for s in slots] == [s["disk"] for s in shown["shards"]], "pg show agrees")

        # Rot: found by looking, mended by having looked.
        victim = shown["shards"][4]  # parity, which no reader asks for
        disk = [d for d in cluster.ask("disk", "list") if d["id"] == victim["disk"]][0]
        name = "chunk-" + disk["host"].split("-")[1]
        flip(cluster, name)
        rotten = cluster.ask("object", "show", keys[0], status=1)
        check(rotten["corrupt"] == 1 and rotten["chunks_degraded"] == 1, f"rotten: {rotten}")
        wait_until(lambda: cluster.ask("object", "show", keys[0], status=None)["whole"], 20,
                   "the shard is repaired")

        # Lost: the shards of this disk go elsewhere, and only then can it be forgotten.
        check("holds" in cairn("disk", "remove", disk["id"], env=cluster.environment, status=1),
              "a disk in use is not removed")
        looks_into_a_disk(cluster, name)
        cairn("disk", "fail", disk["id"], env=cluster.environment)
        cairn("rebuild", "status", "--watch", "--timeout", "30s", env=cluster.environment)
        for key in keys:
            check(cluster.ask("object", "show", key)["whole"], f"{key} is whole")
        cairn("disk", "remove", disk["id"], env=cluster.environment)
        status = cluster.ask("status")
        check(status["disks"]["count"] == 5 and status["pgs"]["whole"] == status["pgs"]["count"],
              f"five disks hold all: {status}")


def refuses_what_loses_data_and_knows_users():
    with Cluster(metadata=1, disks=3, pool="2+1") as cluster:
        disks = cluster.ask("disk", "list")
        cairn("disk", "fail", disks[0]["id"], env=cluster.environment)
        said = cairn("disk", "fail", disks[1]["id"], env=cluster.environment, status=1)
        check("last copies" in said, f"the second failure is refused: {said}")
        codes = {f["code"] for f in cluster.ask("status")["findings"]}
        check({"DISK_FAILED", "PG_DEGRADED", "PG_STRANDED"} <= codes, f"findings: {codes}")
        cairn("disk", "add", disks[0]["id"], env=cluster.environment)
        cairn("rebuild", "status", "--watch", "--timeout", "30s", env=cluster.environment)
        check(cluster.ask("status")["health"] == "HEALTH_OK", "whole again")

        made = cluster.ask("user", "add", "anna")
        check(len(made["secret_key"]) == 40, f"made: {made}")
        check("already" in cairn("user", "add", "anna", env=cluster.environment, status=1), "twice")
        as_anna = {**cluster.environment, "AWS_ACCESS_KEY_ID": made["access_key"],
                   "AWS_SECRET_ACCESS_KEY": made["secret_key"]}
        cairn("bench", "put", "--seconds", 1, "--bucket", "annas", env=as_anna)
        cairn("user", "remove", "anna", env=cluster.environment)
        check([u["name"] for u in cluster.ask("user", "list")] == ["root"], "only root is left")
        check("no user" in cairn("user", "remove", "anna", env=cluster.environment, status=1), "gone")
        # Without its metadata group a cluster says so, and what to do.
        cluster.kill("metadata-1")
        down = cluster.ask("status", status=1)
        check(down["findings"][0]["code"] == "METADATA_UNREACHABLE", f"findings: {down}")


def refuses_wrong_words():
    for words, text in [
            (["status"], "which cluster?"), (["disk", "fail"], "which disk?"),
            (["disk", "fail", "x"], "no disk's id"), (["pg", "show", "17"], "is not POOL/PG"),
            (["object", "show", "bucket"], "is not BUCKET/KEY"), (["user", "add", "a b"], "letters"),
            (["bench", "put", "--size", "2GiB"], "at most 1GiB"),
            (["bench", "get", "--verify", "some"], "all, sample or none"),
            (["rebuild", "status", "--timeout", "3s"], "--watch"),
            (["chunk", "verify"], "which disk?"), (["chunk", "dump", "a", "b"], "one disk")]:
        plain = {k: v for k, v in os.environ.items() if k != "CAIRN_CONFIG"}
        said = cairn(*words, status=2, env=plain)
        check(text in said, f"{words} says {text}, not {said}")


if __name__ == "__main__":
    sys.exit(run([shows_measures_and_mends, refuses_what_loses_data_and_knows_users,
                  refuses_wrong_words]))
