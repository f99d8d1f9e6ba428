#!/usr/bin/python3
"""`cairn dev`: processes come up, are found, end and come again; what it refuses it says."""
import os
import signal
import socket
import stat
import sys

sys.dont_write_bytecode = True
from cluster import Cluster, cairn, check, run, wait_until  # noqa: E402


def comes_up_and_down():
    with Cluster(metadata=1, disks=3, pool="2+1") as cluster:
        pids = cluster.processes()
        check(sorted(pids) == ["chunk-1", "chunk-2", "chunk-3", "gateway-1", "metadata-1"],
              f"processes are {pids}")
        check(all(pids.values()), f"all run: {pids}")
        for name, pid in pids.items():
            with open(os.path.join(cluster.dir, "run", name + ".pid"), encoding="ascii") as f:
                check(int(f.read()) == pid, f"the pid file of {name}")
        for name in ("cluster.key", "credentials.env"):
            mode = stat.S_IMODE(os.stat(os.path.join(cluster.dir, name)).st_mode)
            check(mode == 0o600, f"{name} has mode {mode:o}")
        port = int(cluster.credentials["AWS_ENDPOINT_URL"].rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            check(s.recv(12).startswith(b"HTTP/1.1 403"), "a stranger is refused")
        cluster.kill("chunk-2")
        check(cluster.processes()["chunk-2"] is None, "killed")
        check("does not run" in cairn("dev", "kill", "chunk-2", "--dir", cluster.dir, status=1),
              "killing twice is refused")
        cluster.start("chunk-2")
        check("runs already" in cairn("dev", "start", "chunk-2", "--dir", cluster.dir, status=1),
              "starting twice is refused")
        cluster.stop("gateway-1")
        os.kill(cluster.processes()["chunk-1"], signal.SIGKILL)
        wait_until(lambda: cluster.processes()["chunk-1"] is None, 10, "its end is seen")
        cluster.up()  # starts what is missing
        check(all(cluster.processes().values()), "all run again")
        cairn("dev", "down", "--dir", cluster.dir)
        check(not any(cluster.processes().values()), "none runs after down")
        cluster.up()
        check(all(cluster.processes().values()), "the same cluster starts again")


def refuses_wrong_words():
    for words, text in [
            (["up"], "--dir is missing"),
            (["up", "--dir", "/tmp/x", "--metadata", "2"], "an odd number"),
            (["up", "--dir", "/tmp/x", "--pool", "4-2"], "is not K+M"),
            (["up", "--dir", "/tmp/x", "--disks", "5"], "needs as many as it has shards"),
            (["up", "--dir", "/tmp/x", "--s3-port", "70000"], "at most 65535"),
            (["start", "--dir", "/tmp"], "which process?"),
            (["dance"], "no verb")]:
        check(text in cairn("dev", *words, status=2), f"{words} says {text}")
    check("holds no cluster" in cairn("dev", "list", "--dir", "/tmp", status=1), "no cluster there")


if __name__ == "__main__":
    sys.exit(run([refuses_wrong_words, comes_up_and_down]))
