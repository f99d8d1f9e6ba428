#!/usr/bin/python3
"""Every process tells its metrics in the format that Prometheus reads: each line is parsed, and the figures are those
of what has been done."""
import http.client
import json
import os
import re
import socket
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from cluster import Cluster, check, run, wait_until
from test_embedded import Embedded
from workload import connect

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{NAME}=\"(?:[^\"\\\n]|\\[\\n\"])*\",?)+)\}})? (\S+)")
OBJECTS, SIZE, LONG = 10, 200_000, 32 << 20


def fetch(target, path="/metrics", method="GET"):
    request = urllib.request.Request(f"http://{target}{path}", method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def parse(text):
    """{(name, labels): value}; whatever is not as the format wants it fails."""
    values, kinds, family, ended = {}, {}, None, set()
    for line in text.splitlines():
        words = line.split(" ", 3)
        if words[:2] == ["#", "HELP"]:
            check(words[2] not in kinds and words[3], f"a second family: {line}")
            ended.add(family)
            family = words[2]
        elif words[:2] == ["#", "TYPE"]:
            check(words[2] == family and words[3] in ("gauge", "counter"), f"out of place: {line}")
            check((words[3] == "counter") == family.endswith("_total"), f"its name says something else: {line}")
            kinds[family] = words[3]
        else:
            found = SAMPLE.fullmatch(line)
            check(found and found[1] == family and family in kinds, f"no sample: {line}")
            key = (found[1], found[2] or "")
            check(key not in values and float(found[3]) >= 0, f"twice, or no value: {line}")
            values[key] = float(found[3])
    check(text.endswith("\n") and values, "nothing is told")
    return values


def total(values, name, label=""):
    return sum(v for (n, labels), v in values.items() if n == name and label in labels)


class Metrics:
    def __init__(self, cluster):
        with open(os.path.join(cluster.dir, "metrics.json"), encoding="utf-8") as f:
            self.targets = {t["labels"]["name"]: t["targets"][0] for t in json.load(f)}

    def of(self, role):
        values = {}
        for name, target in self.targets.items():
            if name.startswith(role):
                kind, text = fetch(target)
                check(kind.startswith("text/plain; version=0.0.4"), f"{name} sends {kind}")
                values.update(parse(text))
        return values


def check_edge(metrics, s3):
    """What never becomes an operation, and a download that is cancelled."""
    s3.put_object(Bucket="counted", Key="long", Body=bytes(LONG))
    body = s3.get_object(Bucket="counted", Key="long")["Body"]
    body.read(1)
    check(total(metrics.of("gateway"), "cairn_gateway_connections") >= 1, "it is a connection")
    body.close()
    where = urllib.parse.urlsplit(s3.meta.endpoint_url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: gateway\r\n\r\n")
        check(b" 414 " in connection.recv(100), "the target is too long")

    def told():
        now = metrics.of("gateway")
        return (total(now, "cairn_gateway_requests_total", 'operation="GetObject",outcome="gone"') == 1 and
                total(now, "cairn_gateway_edge_refused_total") == 1 and
                total(now, "cairn_gateway_edge_reaped_total") == 0)
    wait_until(told, 20, "the edge's figures are told")


def told_by_all():
    with Cluster(metadata=3, disks=6) as cluster:
        metrics = Metrics(cluster)
        check(len(metrics.targets) == 10, f"{sorted(metrics.targets)}")
        before = metrics.of("chunk")
        check(total(before, "cairn_disk_open") == 6, "six disks are open")
        s3 = connect(cluster)
        s3.create_bucket(Bucket="counted")
        for i in range(OBJECTS):
            s3.put_object(Bucket="counted", Key=f"{i}", Body=os.urandom(SIZE))
        for i in range(OBJECTS):
            s3.get_object(Bucket="counted", Key=f"{i}")["Body"].read()
        try:
            s3.get_object(Bucket="counted", Key="none")
            check(False, "there is no such object")
        except s3.exceptions.NoSuchKey:
            pass
        after, gateway = metrics.of("chunk"), metrics.of("gateway")
        written = total(after, "cairn_disk_written_bytes_total") - total(before, "cairn_disk_written_bytes_total")
        check(OBJECTS * SIZE * 1.5 <= written <= OBJECTS * SIZE * 2, f"{written} bytes were written")
        check(total(after, "cairn_disk_shards") == 6 * OBJECTS, "each disk holds a shard of each")
        check(total(after, "cairn_disk_reads_total") >= 4 * OBJECTS, "four shards of each were read")
        requests = "cairn_gateway_requests_total"
        check(total(gateway, requests, 'operation="PutObject",outcome="answered"') == OBJECTS, f"{gateway}")
        check(total(gateway, requests, 'operation="GetObject",outcome="answered"') == OBJECTS, f"{gateway}")
        check(total(gateway, requests, 'operation="GetObject",outcome="refused"') == 1, f"{gateway}")
        check(total(gateway, "cairn_gateway_request_seconds_total") > 0, f"{gateway}")
        check_edge(metrics, s3)
        metadata = metrics.of("metadata")
        check(total(metadata, "cairn_metadata_up") == 3 and total(metadata, "cairn_metadata_leads") == 1, f"{metadata}")
        check(total(metadata, "cairn_health") == 0, "the cluster is well")
        cluster.kill("chunk-2")

        def told():
            now = metrics.of("metadata-1")
            return total(now, "cairn_health", 'code="DISK_DOWN"') == 1
        wait_until(told, 20, "a disk is told to be down")
        cluster.kill("metadata-2")
        cluster.kill("metadata-3")
        wait_until(lambda: total(metrics.of("metadata-1"), "cairn_health", 'code="METADATA_NO_LEADER"') == 1, 40,
                   "a member that is alone says so")
        target = metrics.targets["gateway-1"]
        for path, method, status in (("/", "GET", 404), ("/metrics", "POST", 405), ("/metrics/x", "GET", 404)):
            try:
                fetch(target, path, method)
                check(False, f"{method} {path} was answered")
            except urllib.error.HTTPError as e:
                check(e.code == status, f"{method} {path}: {e.code}")


        # A reader that keeps its connection keeps no server from ending, nor its port.
        keeps = http.client.HTTPConnection(metrics.targets["gateway-1"], timeout=10)
        keeps.request("GET", "/metrics")
        parse(keeps.getresponse().read().decode())
        cluster.stop("gateway-1")
        cluster.start("gateway-1")
        keeps.close()

        def answers():
            try:
                return parse(fetch(metrics.targets["gateway-1"])[1])
            except OSError:
                return None
        wait_until(answers, 20, "it tells again, at the same address")


def told_by_one():
    with socket.create_server(("127.0.0.1", 0)) as s:
        where = f"127.0.0.1:{s.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="cairn-test-") as home, Embedded(home, "--metrics", where) as server:
        values = parse(fetch(where)[1])
        for directory in server.directories:
            check(total(values, "cairn_disk_registered", f'directory="{directory}/disk"') == 1, f"{directory} is told")
        check(total(values, "cairn_metadata_leads") == 1, "one of its members leads")
        check(total(values, "cairn_process_role") == 3, "it has all roles")


if __name__ == "__main__":
    sys.exit(run([told_by_all, told_by_one]))
