#!/usr/bin/python3
"""The rules of S3 that clients build on: keys as they are, listings in pages, ranges, conditions, races,
multipart uploads, copies, and that a user's buckets are his own."""
import base64
import hashlib
import os
import sys
import threading
import urllib.error
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from cluster import Cluster, check, run
from raw import Raw
from workload import connect

KIB, MIB = 1 << 10, 1 << 20


def refused(status, code, call, **words):
    """The call must be refused so."""
    try:
        call(**words)
    except ClientError as e:
        found = (e.response["ResponseMetadata"]["HTTPStatusCode"], e.response["Error"]["Code"])
        check(found == (status, code), f"{call.__name__} {words}: {found}, not {status} {code}")
        return
    raise AssertionError(f"{call.__name__} {words} was not refused with {status} {code}")


def keys_as_they_are(s3, raw):
    names = ["a//b", "//", "/", "a/", "a/../b", "..", ".", "./x", "a/./b", "../../etc/passwd",
             "a b", " ", "a+b", "a%2Fb", "%", "%25", "100%", "a%zz", "ä/ö/ü", "日本語", "😀", "a?b",
             "a&b=c", "a#b", "a;b", "a:b", "a\\b", 'a"b', "a'b", "<a>&amp;", "a\tb", "a\nb", "a\rb",
             "a\x01b", "*", "~", "a\u0301", "\u00e1", "\uffff", "x" * 1024, "ü" * 512,
             "list-type=2", "?uploads"]
    s3.create_bucket(Bucket="keys")
    for name in names:
        s3.put_object(Bucket="keys", Key=name, Body=name.encode())
    for name in names:
        got = s3.get_object(Bucket="keys", Key=name)["Body"].read()
        check(got == name.encode(), f"{name!r} holds {got!r}")
    listed = [row["Key"] for page in s3.get_paginator("list_objects_v2").paginate(
        Bucket="keys", PaginationConfig={"PageSize": 7}) for row in page["Contents"]]
    check(listed == sorted(names, key=lambda n: n.encode()), f"listed {listed}")
    # The slash that is none of the path, and bytes that are no text.
    for path, key in [("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb")]:
        check(raw.ask("PUT", "/keys/" + path, body=path.encode()).status == 200, f"put {path}")
        check(raw.ask("GET", "/keys/" + path).body == path.encode(), f"get {path}")
        check(s3.get_object(Bucket="keys", Key=key)["Body"].read() == path.encode(), key)
    answer = raw.ask("PUT", "/keys/%ff%FE", body=b"x")
    check((answer.status, answer.code) == (400, "InvalidURI"), f"not UTF-8: {answer}")
    check(raw.ask("GET", "/keys/%ff%FE").code == "NoSuchKey", "nothing of it stays")
    for name in [*names, "a/b"]:
        s3.delete_object(Bucket="keys", Key=name)
    check(raw.ask("DELETE", "/keys/%FF%fe").status == 204, "delete by bytes")
    s3.delete_bucket(Bucket="keys")


def listings(s3, raw):
    s3.create_bucket(Bucket="many")
    names = sorted([f"dir-{i % 40:02}/sub-{i % 7}/file-{i:04}" for i in range(1080)] +
                   ["a", "dir-00", "dir-00/", "dir-00x", "z/", "z/z"])

    def put(part):
        for name in part:
            s3.put_object(Bucket="many", Key=name, Body=b"x")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, [names[i::4] for i in range(4)]))

    def expected(prefix, delimiter, after=""):
        keys, prefixes = [], []
        for name in names:
            if not name.startswith(prefix):
                continue
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                group = name[:cut + len(delimiter)]
                if group > after and group not in prefixes:
                    prefixes.append(group)
            elif name > after:
                keys.append(name)
        return keys, prefixes

    def walked(verb, prefix, delimiter, size):
        words = {"Bucket": "many", "Prefix": prefix, "MaxKeys": size}
        if delimiter:
            words["Delimiter"] = delimiter
        keys, prefixes, pages = [], [], 0
        while True:
            page = getattr(s3, verb)(**words)
            found = len(page.get("Contents", [])) + len(page.get("CommonPrefixes", []))
            check(found <= min(size, 1000), f"a page of {found} when {size} were asked for")
            keys += [row["Key"] for row in page.get("Contents", [])]
            prefixes += [row["Prefix"] for row in page.get("CommonPrefixes", [])]
            pages += 1
            if not page["IsTruncated"]:
                return keys, prefixes
            check(found == min(size, 1000), f"a short page of {found} that is not the last")
            if verb == "list_objects_v2":
                words["ContinuationToken"] = page["NextContinuationToken"]
            elif delimiter:
                words["Marker"] = page["NextMarker"]
            else:
                words["Marker"] = page["Contents"][-1]["Key"]
            check(pages < 2000, "a listing without end")

    for verb in ("list_objects", "list_objects_v2"):
        for prefix, delimiter, size in [("", None, 1000), ("", None, 5000), ("", "/", 1000),
                                        ("", "/", 7), ("dir-0", "/", 3), ("dir-01/", "/", 2),
                                        ("dir-01/", None, 5), ("", "/sub-", 9), ("dir-00/", "/", 1),
                                        ("no", "/", 5), ("z/", "/", 1), ("", "e-0", 100)]:
            found, want = walked(verb, prefix, delimiter, size), expected(prefix, delimiter)
            check(found == want, f"{verb} {prefix!r} {delimiter!r} by {size}: "
                                 f"{len(found[0])} keys {len(found[1])} prefixes, not "
                                 f"{len(want[0])} and {len(want[1])}")
    page = s3.list_objects_v2(Bucket="many", StartAfter="dir-38/sub-9", Delimiter="/")
    check([r["Prefix"] for r in page["CommonPrefixes"]] == ["dir-39/", "z/"], f"{page}")
    page = s3.list_objects_v2(Bucket="many", MaxKeys=0)
    check(page["KeyCount"] == 0 and not page["IsTruncated"], f"max-keys 0: {page}")
    for query, code in [("max-keys=-1", "InvalidArgument"), ("max-keys=x", "InvalidArgument"),
                        ("list-type=2&continuation-token=!", "InvalidArgument"),
                        ("encoding-type=base64", "InvalidArgument")]:
        answer = raw.ask("GET", "/many", query)
        check((answer.status, answer.code) == (400, code), f"{query}: {answer}")
    for i in range(0, len(names), 1000):
        gone = s3.delete_objects(Bucket="many", Delete={
            "Objects": [{"Key": k} for k in names[i:i + 1000]]})
        check(len(gone["Deleted"]) == len(names[i:i + 1000]), f"{len(gone['Deleted'])} deleted")
    s3.delete_bucket(Bucket="many")


def ranges(s3, raw):
    s3.create_bucket(Bucket="ranges")
    for size in (10 * KIB, 700 * KIB + 13):
        body = os.urandom(size)
        s3.put_object(Bucket="ranges", Key="key", Body=body)
        for text, want in [("bytes=0-0", body[:1]), ("bytes=5-9", body[5:10]),
                           (f"bytes={size - 1}-", body[-1:]), ("bytes=-1", body[-1:]),
                           ("bytes=-5000", body[-5000:]), (f"bytes=-{size * 2}", body),
                           (f"bytes=0-{size * 2}", body), (f"bytes={size // 2}-", body[size // 2:]),
                           ("bytes=4095-8192", body[4095:8193])]:
            got = s3.get_object(Bucket="ranges", Key="key", Range=text)
            check(got["Body"].read() == want, f"{text} of {size}")
            check(got["ResponseMetadata"]["HTTPStatusCode"] == 206, f"{text}: a partial answer")
            check(got["ContentRange"].endswith(f"/{size}"), got["ContentRange"])
        for text in (f"bytes={size}-", f"bytes={size}-{size + 5}", "bytes=-0"):
            refused(416, "InvalidRange", s3.get_object, Bucket="ranges", Key="key", Range=text)
        for text in ("bytes=9-5", "bytes=0-1,4-5", "lines=1-2", "bytes=x-y"):
            got = raw.ask("GET", "/ranges/key", headers={"Range": text})
            check(got.status == 200 and got.body == body, f"{text}: all of it: {got.status}")
        head = s3.head_object(Bucket="ranges", Key="key", Range="bytes=1-2")
        check(head["ContentLength"] == 2, f"{head}")
    s3.put_object(Bucket="ranges", Key="empty", Body=b"")
    refused(416, "InvalidRange", s3.get_object, Bucket="ranges", Key="empty", Range="bytes=0-")
    check(s3.get_object(Bucket="ranges", Key="empty")["Body"].read() == b"", "empty")


def conditions(s3, raw):
    s3.create_bucket(Bucket="when")
    put = s3.put_object(Bucket="when", Key="key", Body=b"one")
    etag = put["ETag"]
    modified = s3.head_object(Bucket="when", Key="key")["LastModified"]
    year = modified.replace(year=modified.year + 1)
    past = modified.replace(year=2000)
    get, other = s3.get_object, '"00000000000000000000000000000000"'
    at = {"Bucket": "when", "Key": "key"}
    check(get(**at, IfMatch=etag)["Body"].read() == b"one", "if-match")
    check(get(**at, IfNoneMatch=other)["Body"].read() == b"one", "if-none-match")
    check(get(**at, IfUnmodifiedSince=year)["Body"].read() == b"one", "if-unmodified-since")
    refused(412, "PreconditionFailed", get, **at, IfMatch=other)
    refused(304, "304", get, **at, IfNoneMatch=etag)
    refused(304, "304", get, **at, IfModifiedSince=modified)
    refused(412, "PreconditionFailed", get, **at, IfUnmodifiedSince=past)

    def write(method="PUT", path="/when/key", **headers):
        answer = raw.ask(method, path, body=b"two",
                         headers={k.replace("_", "-"): v for k, v in headers.items()})
        return answer.status, answer.code
    check(write(If_None_Match="*") == (412, "PreconditionFailed"), "there is one")
    check(write(If_Match=other) == (412, "PreconditionFailed"), "another is there")
    check(write(path="/when/none", If_Match=other) == (404, "NoSuchKey"), "none is there")
    check(write(If_None_Match=etag)[0] == 501, "only * is known")
    check(get(**at)["Body"].read() == b"one", "unchanged")
    check(write(If_Match=etag) == (200, ""), "the one that is there")
    check(get(**at)["Body"].read() == b"two", "changed")
    for size in (10, 200 * KIB):
        for key in (f"race-{size}-{i}" for i in range(3)):
            start = threading.Barrier(10)

            def race(i):
                body = bytes([i]) * size
                start.wait(10)
                answer = raw.ask("PUT", f"/when/{key}", headers={"If-None-Match": "*"}, body=body)
                return answer.status, body
            with ThreadPoolExecutor(10) as pool:
                results = list(pool.map(race, range(10)))
            winners = [body for status, body in results if status == 200]
            check(len(winners) == 1, f"{key}: {[status for status, _ in results]}")
            check(all(status in (200, 409, 412) for status, _ in results), f"{results}")
            check(get(Bucket="when", Key=key)["Body"].read() == winners[0], "the winner's bytes")


def races(s3, raw):
    """Writers, deleters and readers of one key: every read is one of the values, or none."""
    s3.create_bucket(Bucket="races")
    values = {hashlib.sha256(b).digest(): b for b in
              (os.urandom(n) for n in (100, 20 * KIB, 100 * KIB, 300 * KIB))}

    def writer(i):
        for body in list(values.values()) * 4:
            answer = raw.ask("PUT", "/races/key", body=body)
            check(answer.status == 200, f"put: {answer}")

    def deleter(i):
        for _ in range(16):
            check(raw.ask("DELETE", "/races/key").status == 204, "delete")

    def reader(i):
        for _ in range(30):
            answer = raw.ask("GET", "/races/key")
            check(answer.status in (200, 404), f"get: {answer}")
            check(answer.status == 404 or hashlib.sha256(answer.body).digest() in values,
                  f"a body of {len(answer.body)} bytes that nobody wrote")
    with ThreadPoolExecutor(7) as pool:
        for done in [pool.submit(f, i) for i, f in enumerate(
                [writer, writer, writer, deleter, reader, reader, reader])]:
            done.result()
    last = os.urandom(50 * KIB)
    s3.put_object(Bucket="races", Key="key", Body=last)
    check(s3.get_object(Bucket="races", Key="key")["Body"].read() == last, "the last one stays")


def multipart(s3, raw):
    s3.create_bucket(Bucket="parts")
    at = {"Bucket": "parts", "Key": "key"}

    def begin():
        return {**at, "UploadId": s3.create_multipart_upload(
            **at, Metadata={"a": "b"}, ContentType="text/x")["UploadId"]}

    def put(upload, number, body):
        return {"PartNumber": number, "ETag": s3.upload_part(
            **upload, PartNumber=number, Body=body)["ETag"]}

    def complete(upload, parts):
        return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    def spoiled(status, code, upload, parts):
        refused(status, code, s3.complete_multipart_upload, **upload,
                MultipartUpload={"Parts": parts})
    big, tail = os.urandom(5 * MIB), os.urandom(100 * KIB)
    upload = begin()
    one, two = put(upload, 1, big), put(upload, 2, tail)
    three = put(upload, 3, tail)
    spoiled(400, "EntityTooSmall", upload, [one, two, three])
    spoiled(400, "InvalidPart", upload, [one, {**two, "ETag": '"' + "0" * 32 + '"'}])
    spoiled(400, "InvalidPart", upload, [one, {**two, "PartNumber": 9}])
    spoiled(400, "InvalidPartOrder", upload, [two, one])
    spoiled(400, "InvalidPartOrder", upload, [one, one])
    refused(404, "NoSuchKey", s3.get_object, **at)
    rows = s3.list_parts(**upload, MaxParts=2)
    check([(r["PartNumber"], r["Size"]) for r in rows["Parts"]] == [(1, len(big)), (2, len(tail))]
          and rows["IsTruncated"] and rows["NextPartNumberMarker"] == 2, f"parts: {rows}")
    rows = s3.list_parts(**upload, PartNumberMarker=2)
    check([r["PartNumber"] for r in rows["Parts"]] == [3] and not rows["IsTruncated"], f"{rows}")
    again = os.urandom(70 * KIB)
    new = put(upload, 2, again)
    spoiled(400, "InvalidPart", upload, [one, two])
    second = begin()
    rows = s3.list_multipart_uploads(Bucket="parts")["Uploads"]
    check({r["UploadId"] for r in rows} == {upload["UploadId"], second["UploadId"]}, f"{rows}")
    page = s3.list_multipart_uploads(Bucket="parts", MaxUploads=1)
    check(len(page["Uploads"]) == 1 and page["IsTruncated"], f"one upload: {page}")
    rest = s3.list_multipart_uploads(Bucket="parts", KeyMarker=page["NextKeyMarker"],
                                     UploadIdMarker=page["NextUploadIdMarker"])["Uploads"]
    check(len(rest) == 1 and rest[0]["UploadId"] != page["Uploads"][0]["UploadId"], f"{rest}")
    done = complete(upload, [one, new])
    md5 = hashlib.md5(hashlib.md5(big).digest() + hashlib.md5(again).digest()).hexdigest()
    check(done["ETag"] == f'"{md5}-2"', f"{done['ETag']}")
    got = s3.get_object(**at)
    check(got["Body"].read() == big + again, "the parts' bytes")
    check(got["Metadata"] == {"a": "b"} and got["ContentType"] == "text/x", f"{got}")
    check(s3.get_object(**at, PartNumber=2)["Body"].read() == again, "one part")
    check(s3.get_object(**at, Range=f"bytes={len(big) - 3}-{len(big) + 2}")["Body"].read() ==
          big[-3:] + again[:3], "a range over the seam")
    check(complete(upload, [one, new])["ETag"] == done["ETag"], "complete twice")
    refused(404, "NoSuchUpload", s3.upload_part, **upload, PartNumber=1, Body=b"late")
    put(second, 1, tail)
    s3.abort_multipart_upload(**second)
    refused(404, "NoSuchUpload", s3.list_parts, **second)
    refused(404, "NoSuchUpload", s3.upload_part, **second, PartNumber=1, Body=b"late")
    spoiled(404, "NoSuchUpload", second, [one])
    check(not s3.list_multipart_uploads(Bucket="parts").get("Uploads"), "no upload is left")
    for number in (0, 10001):
        refused(400, "InvalidArgument", s3.upload_part, **begin(), PartNumber=number, Body=b"x")
    third = begin()
    with ThreadPoolExecutor(4) as pool:  # one part from many at once: it is one of them
        bodies = [bytes([i]) * (80 * KIB) for i in range(8)]
        etags = list(pool.map(lambda b: put(third, 1, b)["ETag"], bodies))
    stays = s3.list_parts(**third)["Parts"][0]["ETag"]
    check(stays in etags, "the part is one of those sent")
    complete(third, [{"PartNumber": 1, "ETag": stays}])
    check(s3.get_object(**at)["Body"].read() == bodies[etags.index(stays)], "its bytes")


def odd_metadata(s3, raw):
    """What is stored with an object never keeps it from being read."""
    s3.create_bucket(Bucket="odd")
    at = {"Bucket": "odd", "Key": "key"}
    metadata = {"a": "", "b": "with  blanks", "c": "x"}
    for size in (10, 200 * KIB):
        s3.put_object(**at, Body=b"x" * size, Metadata=metadata)
        got = s3.get_object(**at)
        check(got["Body"].read() == b"x" * size and got["Metadata"] == metadata, f"{got}")
        check(s3.head_object(**at)["Metadata"] == metadata, "head")
    s3.copy_object(Bucket="odd", Key="copy", CopySource=at)
    check(s3.get_object(Bucket="odd", Key="copy")["Metadata"] == metadata, "a copy")
    answer = raw.ask("GET", "/odd/key", "response-content-type=&response-expires=")
    check(answer.status == 200 and answer.headers["content-type"] == "binary/octet-stream" and
          "expires" not in answer.headers, f"empty overrides: {answer.status} {answer.headers}")


def copies(s3, raw):
    s3.create_bucket(Bucket="copies")
    body = os.urandom(300 * KIB)
    s3.put_object(Bucket="copies", Key="a b/ü+%", Body=body, Metadata={"x": "1"},
                  ContentType="text/x")
    source = {"Bucket": "copies", "Key": "a b/ü+%"}
    s3.copy_object(Bucket="copies", Key="copy", CopySource=source)
    got = s3.get_object(Bucket="copies", Key="copy")
    check(got["Body"].read() == body and got["Metadata"] == {"x": "1"}, "a copy")
    refused(400, "InvalidRequest", s3.copy_object, Bucket="copies", Key="a b/ü+%",
            CopySource=source)
    s3.copy_object(Bucket="copies", Key="a b/ü+%", CopySource=source, Metadata={"y": "2"},
                   ContentType="text/y", MetadataDirective="REPLACE")
    got = s3.get_object(**source)
    check(got["Body"].read() == body and got["Metadata"] == {"y": "2"} and
          got["ContentType"] == "text/y", f"onto itself: {got['Metadata']} {got['ContentType']}")
    s3.delete_object(**source)
    check(s3.get_object(Bucket="copies", Key="copy")["Body"].read() == body, "the copy stays")
    refused(404, "NoSuchKey", s3.copy_object, Bucket="copies", Key="k", CopySource=source)
    refused(404, "NoSuchBucket", s3.copy_object, Bucket="copies", Key="k",
            CopySource={"Bucket": "no-such-bucket", "Key": "k"})
    refused(412, "PreconditionFailed", s3.copy_object, Bucket="copies", Key="k",
            CopySource={"Bucket": "copies", "Key": "copy"}, CopySourceIfMatch='"0"')


def presigned(cluster, s3, raw):
    """URLs as current SDKs presign them: what would be headers about checksums stands in the query."""
    s3.create_bucket(Bucket="signed")
    at = {"Bucket": "signed", "Key": "key"}
    keys = cluster.credentials
    s3 = boto3.client("s3", endpoint_url=keys["AWS_ENDPOINT_URL"], region_name="us-east-1",
                      aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
                      aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
                      config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"))

    def ask(verb, method, query, body=None):
        def add(request, **_):
            request.params = {**(request.params or {}), **query}
        s3.meta.events.register("before-sign.s3", add)
        url = s3.generate_presigned_url(verb, Params=at)
        s3.meta.events.unregister("before-sign.s3", add)
        check("X-Amz-Signature" in url and all(key in url for key in query), url)
        request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": ""})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()
    crc = base64.b64encode(zlib.crc32(b"some bytes").to_bytes(4, "big")).decode()
    put = {"x-id": "PutObject", "x-amz-sdk-checksum-algorithm": "CRC32"}
    wrong = ask("put_object", "PUT", {**put, "x-amz-checksum-crc32": crc}, b"other bytes")
    check(wrong[0] == 400 and b"BadDigest" in wrong[1], f"a wrong checksum: {wrong}")
    for value in (crc, "AAAAAA=="):
        found = ask("put_object", "PUT", {**put, "x-amz-checksum-crc32": value}, b"some bytes")
        check(found[0] == 200, f"checksum {value}: {found}")
    found = ask("get_object", "GET", {"x-id": "GetObject", "x-amz-checksum-mode": "ENABLED"})
    check(found == (200, b"some bytes"), f"{found}")


def users(cluster, s3, raw):
    """Whoever is not root sees and touches only what is his own."""
    bob = cluster.ask("user", "add", "bob")
    check(bob["root"] is False, f"{bob}")
    his = boto3.client("s3", endpoint_url=cluster.credentials["AWS_ENDPOINT_URL"],
                       region_name="us-east-1", aws_access_key_id=bob["access_key"],
                       aws_secret_access_key=bob["secret_key"],
                       config=Config(s3={"addressing_style": "path"},
                                     retries={"total_max_attempts": 1}))
    s3.create_bucket(Bucket="hers")
    s3.put_object(Bucket="hers", Key="key", Body=b"hers")
    upload = s3.create_multipart_upload(Bucket="hers", Key="key")["UploadId"]
    his.create_bucket(Bucket="his-own")
    his.put_object(Bucket="his-own", Key="key", Body=b"his")
    check([b["Name"] for b in his.list_buckets()["Buckets"]] == ["his-own"], "he sees his own")
    hers, key = {"Bucket": "hers"}, {"Bucket": "hers", "Key": "key"}
    for call, words in [
            (his.get_object, key), (his.get_object, {"Bucket": "hers", "Key": "none"}),
            (his.put_object, {**key, "Body": b"x"}), (his.delete_object, key),
            (his.list_objects, hers), (his.list_objects_v2, hers), (his.delete_bucket, hers),
            (his.get_bucket_location, hers), (his.list_multipart_uploads, hers),
            (his.delete_objects, {**hers, "Delete": {"Objects": [{"Key": "key"}]}}),
            (his.create_multipart_upload, key), (his.list_parts, {**key, "UploadId": upload}),
            (his.upload_part, {**key, "UploadId": upload, "PartNumber": 1, "Body": b"x"}),
            (his.abort_multipart_upload, {**key, "UploadId": upload}),
            (his.copy_object, {"Bucket": "his-own", "Key": "k", "CopySource": key}),
            (his.copy_object, {**key, "CopySource": {"Bucket": "his-own", "Key": "key"}}),
            (his.complete_multipart_upload, {**key, "UploadId": upload, "MultipartUpload": {
                "Parts": [{"PartNumber": 1, "ETag": '"0"'}]}})]:
        refused(403, "AccessDenied", call, **words)
    refused(403, "403", his.head_object, **key)
    refused(403, "403", his.head_bucket, **hers)
    refused(409, "BucketAlreadyExists", his.create_bucket, **hers)
    check(s3.get_object(**key)["Body"].read() == b"hers", "untouched")
    check(s3.get_object(Bucket="his-own", Key="key")["Body"].read() == b"his", "root may")


def main():
    with Cluster(metadata=1, disks=3, pool="2+1") as cluster:
        keys = cluster.credentials
        raw = Raw(keys["AWS_ENDPOINT_URL"], keys["AWS_ACCESS_KEY_ID"],
                  keys["AWS_SECRET_ACCESS_KEY"])
        s3 = connect(cluster)

        def named(f, *args):
            def test():
                f(*args, s3, raw)
            test.__name__ = f.__name__
            return test
        return run([named(f) for f in (keys_as_they_are, listings, ranges, conditions, races,
                                       multipart, odd_metadata, copies)] +
                   [named(presigned, cluster), named(users, cluster)])


if __name__ == "__main__":
    sys.exit(main())
