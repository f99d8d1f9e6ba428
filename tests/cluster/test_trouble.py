#!/usr/bin/python3
"""What goes wrong around a cluster: wrong configuration, disks that are lost, full or another's, a
metadata minority, a gateway that ends in mid upload. A clear error in bounded time, nothing lost."""
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from cluster import CAIRN, Cluster, cairn, check, run, wait_until
from raw import Raw
from workload import connect

KIB, MIB = 1 << 10, 1 << 20


def raw_of(cluster):
    keys = cluster.credentials
    return Raw(keys["AWS_ENDPOINT_URL"], keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])


def within(seconds, what, call):
    begin = time.monotonic()
    answer = call()
    took = time.monotonic() - begin
    print(f"  {what}: {answer} {answer.message if answer else ''} after {took:.1f} s")
    check(took < seconds, f"{what}: {took:.1f} s, not within {seconds}")
    return answer


def unavailable(seconds, what, call):
    answer = within(seconds, what, call)
    check(answer is not None and answer.status == 503 and
          answer.code in ("ServiceUnavailable", "SlowDown"), f"{what}: {answer}, not 503")
    return answer


def server_says(text, *words, status, seconds=20, **options):
    """`cairn server` ends by itself with this status, and one line of what is wrong."""
    done = subprocess.run([CAIRN, "server", *map(str, words)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=seconds, **options)
    said = [line for line in done.stderr.splitlines() if line.startswith("cairn")]
    check(done.returncode == status, f"{words}: status {done.returncode}: {done.stderr}")
    check(len(said) == 1 and text in said[0], f"{words}: {text!r} is not in {done.stderr}")


def conf(cluster, name, without=(), **changes):
    """A copy of a process's configuration, changed."""
    lines = []
    with open(os.path.join(cluster.dir, "conf", name + ".conf"), encoding="utf-8") as f:
        for line in f:
            key = line.split("=")[0].strip()
            if key not in changes and key not in without:
                lines.append(line)
    lines += [f"{k} = {v}\n" for k, v in changes.items()]
    path = os.path.join(cluster.home, "changed.conf")
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(lines)
    return path


def configuration(cluster):
    def says(text, status, name="chunk-1", **changes):
        server_says(text, "--config", conf(cluster, name, **changes), status=status)
    says('unknown key "dta"', 2, dta="/tmp/x")
    says('buffer_memory: "lots"', 2, name="gateway-1", buffer_memory="lots")
    says('"0.0.0:99999" is not', 2, name="gateway-1", s3="0.0.0:99999")
    server_says("unknown", "--nonsense", "1", status=2)
    server_says("/no/such/file", "--config", "/no/such/file", status=2)
    address = cluster.credentials["AWS_ENDPOINT_URL"].split("//")[1]
    says(f"{address}: address in use", 1, name="gateway-1", s3=address)
    key = os.path.join(cluster.home, "other.key")
    says(key, 1, name="gateway-1", cluster_key=key)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        empty = os.path.join(cluster.home, "empty")
        os.makedirs(empty, exist_ok=True)
        says(f"127.0.0.1:{port}: address in use", 1, data=empty,
             chunk_listen=f"127.0.0.1:{port}")


def directories(cluster):
    def says(text, path):
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
        server_says(text, "--config", conf(cluster, "chunk-1", data=path,
                                           chunk_listen=f"127.0.0.1:{port}"), status=1)
    missing = os.path.join(cluster.home, "missing")
    says(f"{missing}: ", missing)
    check(not os.path.exists(missing), "a missing directory was made: it may be one not mounted")
    full = os.path.join(cluster.home, "letters")
    os.mkdir(full)
    with open(os.path.join(full, "dear"), "w", encoding="utf-8") as f:
        f.write("aunt")
    says("letters", full)
    check(os.listdir(full) == ["dear"], f"it holds {os.listdir(full)}")
    says("chunk-2", os.path.join(cluster.dir, "data", "chunk-2"))  # open elsewhere
    theirs = [os.path.join(cluster.home, f"theirs-{i}") for i in (1, 2, 3)]
    with subprocess.Popen([CAIRN, "server", "--data", *theirs, "--pool", "2+1", "--s3",
                           "127.0.0.1:1"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as other:
        superblock = os.path.join(theirs[0], "disk", "superblock")
        try:
            wait_until(lambda: os.path.exists(superblock), 20, "another cluster's disk is made")
        finally:
            other.kill()
    with open(superblock, "rb") as f:
        before = f.read()
    says("is a disk of another cluster", os.path.join(theirs[0], "disk"))
    with open(superblock, "rb") as f:
        check(f.read() == before, "the other cluster's disk was changed")


def too_many_lost(cluster):
    """4+2 with three of six gone: 503 that says what is missing; all bytes again with one back."""
    s3, raw = connect(cluster), raw_of(cluster)
    s3.create_bucket(Bucket="lost")
    bodies = {f"key-{size}": os.urandom(size) for size in (40 * KIB, 500 * KIB, 6 * MIB)}
    bodies["tiny"] = b"inline"
    for key, body in bodies.items():
        s3.put_object(Bucket="lost", Key=key, Body=body)
    gone = ["chunk-2", "chunk-4", "chunk-5"]
    for name in gone:
        cluster.kill(name)
    for key in ("key-40960", "key-6291456"):
        answer = unavailable(15, f"get {key}, 3 of 6 lost", lambda: raw.ask("GET", f"/lost/{key}"))
        check("chunk " in answer.message and "disk" in answer.message, answer.message)
    check(raw.ask("GET", "/lost/tiny").body == b"inline", "what metadata holds is there")
    unavailable(25, "put, 3 of 6 lost", lambda: raw.ask("PUT", "/lost/new", body=bodies["key-512000"]))
    check(raw.ask("GET", "/lost/new").status == 404, "the refused one is not visible")
    check(raw.ask("PUT", "/lost/small", body=b"s").status == 200, "inline writes go on")
    wait_until(lambda: "PG_UNAVAILABLE" in codes(cluster), 15, "status says so")
    # Even so no wrong bytes, from any of them, while disks come and go.
    cluster.start(gone[0])
    for key, body in bodies.items():
        wait_until(lambda: raw.ask("GET", f"/lost/{key}").body == body, 20,
                   f"{key} can be read again")
    for name in gone[1:]:
        cluster.start(name)
    wait_until(lambda: raw.ask("PUT", "/lost/new", body=b"n" * MIB).status == 200, 20,
               "writes go on")


def codes(cluster):
    return [f["code"] for f in cluster.ask("status", status=None)["findings"]]


def metadata_minority(cluster):
    s3, raw = connect(cluster), raw_of(cluster)
    s3.create_bucket(Bucket="minority")
    s3.put_object(Bucket="minority", Key="key", Body=b"before")
    members = ["metadata-1", "metadata-2", "metadata-3"]
    for name in members[:2]:
        cluster.kill(name)
    asks = [("GET", "/minority/key", b""), ("PUT", "/minority/new", b"new"),
            ("GET", "/minority", b"")]
    with ThreadPoolExecutor(len(asks)) as pool:
        for done in [pool.submit(unavailable, 12, f"{method} {path}, 2 of 3 members stopped",
                                 lambda m=method, p=path, b=body: raw_of(cluster).ask(m, p, body=b))
                     for method, path, body in asks]:
            done.result()
    check("METADATA_NO_LEADER" in codes(cluster), f"status says {codes(cluster)}")
    cluster.start(members[0])
    wait_until(lambda: raw.ask("PUT", "/minority/after", body=b"after").status == 200, 20,
               "service again")
    check(raw.ask("GET", "/minority/key").body == b"before", "nothing lost")
    answer = raw.ask("GET", "/minority/new")
    check(answer.status == 404 or answer.body == b"new", f"all or nothing: {answer}")
    cluster.start(members[1])


def gateway_in_mid_upload(cluster):
    s3, raw = connect(cluster), raw_of(cluster)
    s3.create_bucket(Bucket="upload")
    upload = s3.create_multipart_upload(Bucket="upload", Key="parts")["UploadId"]
    at = {"Bucket": "upload", "Key": "parts", "UploadId": upload}
    body = os.urandom(5 * MIB)
    one = s3.upload_part(**at, PartNumber=1, Body=body)["ETag"]
    headers = raw.sign("PUT", "/upload/cut", "", {"Content-Length": str(4 * MIB)},
                       "UNSIGNED-PAYLOAD")
    with raw.connect() as s:
        s.sendall(raw.head("PUT", "/upload/cut", headers) + body[:2 * MIB])
        cluster.kill("gateway-1")
    cluster.start("gateway-1")
    check(wait_until(lambda: answered(raw, "/upload/cut"), 10, "it serves again").status == 404,
          "the cut upload is not visible")
    s3 = connect(cluster, attempts=5)
    two = s3.upload_part(**at, PartNumber=2, Body=b"end")["ETag"]
    s3.complete_multipart_upload(**at, MultipartUpload={"Parts": [
        {"PartNumber": 1, "ETag": one}, {"PartNumber": 2, "ETag": two}]})
    check(s3.get_object(Bucket="upload", Key="parts")["Body"].read() == body + b"end",
          "the parts of before and after")


def answered(raw, path):
    try:
        answer = raw.ask("GET", path)
    except OSError:
        return None
    return answer if answer and answer.status < 500 else None


def full_disk(cluster):
    """A small file system in the place of a disk fills: writes go on without it, deletes work."""
    small = os.path.join(cluster.dir, "data", "chunk-6")
    cluster.stop("chunk-6")
    cluster.wipe("chunk-6")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", small], check=True)
    try:
        cluster.start("chunk-6")
        fill(cluster)
    finally:
        cluster.stop("chunk-6")
        subprocess.run(["umount", small], check=True)


def fill(cluster):
    s3 = connect(cluster, attempts=4)
    lost = wait_until(lambda: next((d["id"] for d in cluster.ask("disk", "list")
                                    if d["up"] == "down"), None), 15, "the former disk is down")
    cairn("disk", "fail", lost, env=cluster.environment)
    s3.create_bucket(Bucket="full")
    want = {}
    while "DISK_FULL" not in codes(cluster):
        check(len(want) < 120, f"not full after {len(want)} objects: {cluster.ask('disk', 'list')}")
        for _ in range(3):
            key, body = f"key-{len(want)}", os.urandom(4 * MIB)
            s3.put_object(Bucket="full", Key=key, Body=body)
            want[key] = body
    print(f"  full after {len(want)} objects")
    for i in range(3):  # and on, without it
        want[f"more-{i}"] = os.urandom(2 * MIB)
        s3.put_object(Bucket="full", Key=f"more-{i}", Body=want[f"more-{i}"])
    for key, body in want.items():
        check(s3.get_object(Bucket="full", Key=key)["Body"].read() == body, f"{key} differs")
    for key in list(want):
        s3.delete_object(Bucket="full", Key=key)
    check(not s3.list_objects_v2(Bucket="full").get("Contents"), "all are deleted")
    check(cluster.processes()["chunk-6"], "its chunkserver runs")


def main():
    with Cluster(disks=6) as cluster:
        def named(f):
            def test():
                f(cluster)
            test.__name__ = f.__name__
            return test
        return run([named(f) for f in (configuration, directories, too_many_lost,
                                         metadata_minority, gateway_in_mid_upload, full_disk)])


if __name__ == "__main__":
    sys.exit(main())
