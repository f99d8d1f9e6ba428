#!/usr/bin/python3
"""One disk answers in 200 ms and one not at all, under load: both are found out, no client is told an error,
and once they are, requests take as long as before. The delays are made by `cairn drill slow-disk`."""
import json
import signal
import subprocess
import sys

from cluster import CAIRN, LONG, Cluster, check, run, wait_until

CLIENTS = 16
SECONDS, SIZES = (20, ("64KiB", "1MiB")) if LONG else (3, ("64KiB",))
DISKS = 9
FIND_WITHIN = 60


def bench(cluster, operation, size, seconds):
    done = subprocess.run([CAIRN, "bench", operation, "--size", size, "--concurrency", str(CLIENTS), "--seconds",
                           str(seconds), "--json"], env=cluster.environment, capture_output=True, text=True,
                          timeout=300, check=False)
    check(done.returncode in (0, 1) and done.stdout, f"bench: {done.stdout}{done.stderr}")
    found = json.loads(done.stdout)
    check(found["errors"] == 0 and found["wrong"] == 0, f"{operation} {size}: {found.get('first_error')}")
    check(found["operations"] > 0, f"{operation} {size}: nothing was done")
    return found["latency_ms"]


def drill(cluster, disk, *words):
    return subprocess.Popen([CAIRN, "drill", "slow-disk", str(disk), *words, "--json"], env=cluster.environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def slow(cluster):
    return {d["id"] for d in cluster.ask("disk", "list") if d["up"] == "slow"}


def measure(cluster):
    return {(operation, size): bench(cluster, operation, size, SECONDS)
            for size in SIZES for operation in ("put", "get")}


def one_crawls_and_one_hangs():
    with Cluster(metadata=1, disks=DISKS) as cluster:
        usual = measure(cluster)
        hold = "600s" if LONG else "60s"
        drills = [drill(cluster, 2, "--hold", hold), drill(cluster, 5, "--hang", "--hold", hold)]
        try:
            # Until they are found out it takes longer, and nobody is refused.
            wait_until(lambda: bench(cluster, "put", "64KiB", 1) and slow(cluster) == {2, 5}, FIND_WITHIN,
                       "the slow disks are suspect")
            codes = {f["code"] for f in cluster.ask("status")["findings"]}
            check("DISK_SUSPECT" in codes, f"status says {codes}")
            found = measure(cluster)
        finally:
            for process in drills:
                process.send_signal(signal.SIGINT)
                process.wait(30)
        for what, times in found.items():
            ratio = times["p99"] / usual[what]["p99"]
            print(f"  {what[0]} {what[1]}: p99 {usual[what]['p99']:.1f} ms, then {times['p99']:.1f} ms ({ratio:.2f})")
            # What takes the slow disk's time is ten times as slow; on a busy machine the rest is noise.
            check(times["p50"] < 150 + 2 * usual[what]["p50"], f"{what}: {times}, was {usual[what]}")
            check(not LONG or ratio <= 2, f"{what}: p99 was {usual[what]['p99']}, is {times['p99']}")


def found_out_and_well_again():
    with Cluster(metadata=1, disks=7) as cluster:
        done = drill(cluster, 3)
        out, err = done.communicate(timeout=300)
        check(done.returncode == 0 and json.loads(out)["held"], f"the drill: {out}{err}")
        refused = subprocess.run([CAIRN, "drill", "slow-disk", "99"], env=cluster.environment, capture_output=True,
                                 text=True, check=False)
        check(refused.returncode == 1 and "cairn disk list" in refused.stderr, f"no such disk: {refused.stderr}")


if __name__ == "__main__":
    sys.exit(run([one_crawls_and_one_hangs] + ([found_out_and_well_again] if LONG else [])))
