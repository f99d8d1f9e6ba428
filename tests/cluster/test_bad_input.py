#!/usr/bin/python3
"""What is wrong with a request is said with its S3 code, and nothing of it stays: neither a visible
object nor a shard on a disk."""
import base64
import hashlib
import os
import struct
import sys
import zlib

from cluster import Cluster, check, run, wait_until
from raw import Raw
from workload import connect

KIB, MIB = 1 << 10, 1 << 20
BODY = os.urandom(300 * KIB)


def expect(answer, status, code, what):
    check(answer is not None, f"{what}: no answer")
    check((answer.status, answer.code) == (status, code),
          f"{what}: {answer}, not {status} {code}: {answer.message}")


def b64(data):
    return base64.b64encode(data).decode()


def main():
    with Cluster(metadata=1, disks=3, pool="2+1") as cluster:
        s3 = connect(cluster)
        keys = cluster.credentials
        endpoint = keys["AWS_ENDPOINT_URL"]
        raw = Raw(endpoint, keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="good", Body=b"good")

        marks = []

        def names():
            return [r["Key"] for r in s3.list_objects_v2(Bucket="bucket").get("Contents", [])]

        def nothing_there(what):
            """No object, no upload, no shard but of those written here: a mark with three shards says
            that the disks' reports are of after what was refused."""
            marks.append(f"mark-{len(marks)}")
            s3.put_object(Bucket="bucket", Key=marks[-1], Body=BODY)
            check(names() == ["good", *marks], f"{what}: the bucket holds {names()}")
            uploads = s3.list_multipart_uploads(Bucket="bucket").get("Uploads", [])
            check(not uploads, f"{what}: uploads {uploads}")
            wait_until(lambda: all(int(d["shards"]) == len(marks)
                                   for d in cluster.ask("disk", "list")),
                       10, f"{what}: no shard is left on a disk")

        def unknown_names():
            expect(raw.ask("GET", "/no-such-bucket/key"), 404, "NoSuchBucket", "get, no bucket")
            expect(raw.ask("GET", "/no-such-bucket"), 404, "NoSuchBucket", "list, no bucket")
            expect(raw.ask("PUT", "/no-such-bucket/key", body=BODY), 404, "NoSuchBucket",
                   "put, no bucket")
            expect(raw.ask("DELETE", "/no-such-bucket"), 404, "NoSuchBucket", "delete, no bucket")
            expect(raw.ask("GET", "/bucket/no-such-key"), 404, "NoSuchKey", "get, no key")
            check(raw.ask("HEAD", "/bucket/no-such-key").status == 404, "head, no key")
            check(raw.ask("DELETE", "/bucket/no-such-key").status == 204, "delete, no key")
            for method, query, body in [
                    ("GET", "uploadId=none", b""), ("DELETE", "uploadId=none", b""),
                    ("PUT", "partNumber=1&uploadId=none", BODY),
                    ("POST", "uploadId=none", b"<CompleteMultipartUpload><Part><PartNumber>1"
                     b"</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>")]:
                expect(raw.ask(method, "/bucket/key", query, body=body), 404, "NoSuchUpload",
                       f"{method} with an unknown upload")
            expect(raw.ask("PUT", "/Bad_Bucket"), 400, "InvalidBucketName", "a bad bucket name")
            expect(raw.ask("DELETE", "/bucket"), 409, "BucketNotEmpty", "delete a full bucket")

        def who_asks():
            other = Raw(endpoint, raw.access_key, "not-the-secret")
            expect(other.ask("PUT", "/bucket/key", body=BODY), 403, "SignatureDoesNotMatch",
                   "another secret")
            other = Raw(endpoint, "NOSUCHKEY", raw.secret)
            expect(other.ask("GET", "/bucket/good"), 403, "InvalidAccessKeyId", "an unknown key")
            other = Raw(endpoint, raw.access_key, raw.secret, "eu-west-7")
            wrong = other.ask("GET", "/bucket/good")
            expect(wrong, 400, "AuthorizationHeaderMalformed", "another region")
            check(b"<Region>us-east-1</Region>" in wrong.body, "the right region is named")
            for skew in (-3600, 3600):
                expect(raw.ask("GET", "/bucket/good", skew_s=skew), 403, "RequestTimeTooSkewed",
                       f"a clock {skew} s off")
            expect(raw.ask("GET", "/bucket/good", change=lambda h: h.pop("Authorization")), 403,
                   "AccessDenied", "no signature")
            expect(raw.ask("GET", "/bucket/good",
                           change=lambda h: h.update({"Authorization": "AWS4-HMAC-SHA256 x=y"})),
                   400, "AuthorizationHeaderMalformed", "a signature that is none")
            expect(raw.ask("GET", "/bucket/good",
                           change=lambda h: h.update({"x-amz-request-payer": "requester"})), 403,
                   "AccessDenied", "a header added after signing")
            expect(raw.ask("GET", "/bucket/good", change=lambda h: h.update(
                {"Host": "elsewhere"})), 403, "SignatureDoesNotMatch", "another host")

        def digests_that_differ():
            other = os.urandom(len(BODY))
            expect(raw.ask("PUT", "/bucket/key", body=BODY,
                           payload=hashlib.sha256(other).hexdigest()), 400,
                   "XAmzContentSHA256Mismatch", "another sha256")
            for size in (0, 100, len(BODY), 3 * MIB):
                body = os.urandom(size)
                for name, value in [
                        ("Content-MD5", hashlib.md5(other).digest()),
                        ("x-amz-checksum-sha256", hashlib.sha256(other).digest()),
                        ("x-amz-checksum-sha1", hashlib.sha1(other).digest()),
                        ("x-amz-checksum-crc32", struct.pack(">I", zlib.crc32(other))),
                        ("x-amz-checksum-crc32c", b"\1\2\3\4"),
                        ("x-amz-checksum-crc64nvme", b"\1\2\3\4\5\6\7\x08")]:
                    expect(raw.ask("PUT", "/bucket/key", headers={name: b64(value)}, body=body),
                           400, "BadDigest", f"another {name} of {size} bytes")
            expect(raw.ask("PUT", "/bucket/key", headers={"Content-MD5": "no digest"}, body=BODY),
                   400, "InvalidDigest", "a Content-MD5 that is none")
            expect(raw.ask("PUT", "/bucket/key", headers={"x-amz-checksum-sha256": "AAAA"},
                           body=BODY), 400, "InvalidRequest", "a checksum of the wrong length")
            upload = s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
            expect(raw.ask("PUT", "/bucket/parts", f"partNumber=1&uploadId={upload}", body=BODY,
                           headers={"Content-MD5": b64(hashlib.md5(other).digest())}), 400,
                   "BadDigest", "a part with another MD5")
            parts = s3.list_parts(Bucket="bucket", Key="parts", UploadId=upload).get("Parts", [])
            check(not parts, f"the refused part is listed: {parts}")
            s3.abort_multipart_upload(Bucket="bucket", Key="parts", UploadId=upload)
            nothing_there("bodies that differ from their digests")

        def cut_off():
            """The connection ends, or is reset, in the middle of the body."""
            for size, sent, linger in [(300 * KIB, 100 * KIB, False), (8 * KIB, 1, False),
                                       (9 * MIB, 5 * MIB, False), (9 * MIB, 9 * MIB - 1, True)]:
                headers = raw.sign("PUT", "/bucket/key", "", {"Content-Length": str(size)},
                                   "UNSIGNED-PAYLOAD")
                with raw.connect() as s:
                    s.sendall(raw.head("PUT", "/bucket/key", headers) + os.urandom(sent))
                    if linger:
                        s.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: a reset
            upload = s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
            query = f"partNumber=1&uploadId={upload}"
            headers = raw.sign("PUT", "/bucket/parts", query, {"Content-Length": str(MIB)},
                               "UNSIGNED-PAYLOAD")
            with raw.connect() as s:
                s.sendall(raw.head("PUT", f"/bucket/parts?{query}", headers) + BODY)
            check(not s3.list_parts(Bucket="bucket", Key="parts", UploadId=upload).get("Parts"),
                  "the cut part is listed")
            s3.abort_multipart_upload(Bucket="bucket", Key="parts", UploadId=upload)
            nothing_there("uploads cut off")

        def streamed(data, spoil=None, announced=None, last=True):
            length = len(data) if announced is None else announced
            pieces = [data[i:i + 64 * KIB] for i in range(0, len(data), 64 * KIB)]
            pieces += [b""] if last else []
            headers = {"Transfer-Encoding": "chunked", "Content-Encoding": "aws-chunked",
                       "x-amz-decoded-content-length": str(length)}
            headers = raw.sign("PUT", "/bucket/key", "", headers,
                               "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
            signature, body = raw.signature, b""
            for i, piece in enumerate(pieces):
                chunk, signature = raw.chunk(piece, signature, spoil == i)
                body += chunk
            # One HTTP chunk holds it all.
            framed = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
            return raw.send(raw.head("PUT", "/bucket/key", headers) + framed)

        def signed_in_pieces():
            answer = streamed(BODY)
            check(answer.status == 200, f"a good stream: {answer}")
            check(s3.get_object(Bucket="bucket", Key="key")["Body"].read() == BODY, "its bytes")
            s3.delete_object(Bucket="bucket", Key="key")
            for spoil, what in [(0, "first"), (2, "third"), (len(BODY) // (64 * KIB) + 1, "last")]:
                expect(streamed(BODY, spoil), 403, "SignatureDoesNotMatch",
                       f"a bad signature of the {what} chunk")
            expect(streamed(BODY, announced=len(BODY) + 1), 400, "IncompleteBody",
                   "one byte less than announced")
            answer = streamed(BODY, announced=len(BODY) - 1)
            check(answer.status == 400, f"one byte more than announced: {answer}")
            expect(streamed(BODY, last=False), 400, "IncompleteBody", "a stream without its end")
            # The good one was deleted: its shards go when the queue says so, so they are not counted.
            check(names() == ["good", *marks], f"after streams: {names()}")

        def too_long():
            expect(raw.ask("PUT", "/bucket/" + "k" * 1025, body=b"x"), 400, "KeyTooLongError",
                   "a key of 1025 bytes")
            check(raw.ask("PUT", "/bucket/" + "k" * 1024, body=b"x").status == 200, "1024 are fine")
            check(raw.ask("GET", "/bucket/" + "k" * 1024).body == b"x", "and read")
            s3.delete_object(Bucket="bucket", Key="k" * 1024)
            expect(raw.ask("PUT", "/bucket/key", headers={"x-amz-meta-a": "v" * 2048}, body=b"x"),
                   400, "MetadataTooLarge", "2049 bytes of metadata")
            answer = raw.ask("GET", "/bucket/good", headers={"X-Filler": "f" * 9000})
            check(answer.status == 431, f"9 KiB of headers: {answer}")
            answer = raw.ask("GET", "/bucket/" + "k" * 9000)
            check(answer.status == 414, f"a target of 9 KiB: {answer}")
            expect(raw.ask("POST", "/bucket", "delete", body=b"<Delete>" + b" " * (3 * MIB) +
                           b"</Delete>"), 400, "MaxMessageLengthExceeded", "3 MiB of XML")
            expect(raw.ask("PUT", "/bucket/key", headers={"Content-Length": str(6 << 30)}), 400,
                   "EntityTooLarge", "6 GiB announced")

        def not_xml():
            upload = s3.create_multipart_upload(Bucket="bucket", Key="key")["UploadId"]
            for body in [b"", b"hello", b"<CompleteMultipartUpload>", b"<Delete></Delete>",
                         b"<CompleteMultipartUpload></CompleteMultipartUpload>",
                         b"<CompleteMultipartUpload><Part><PartNumber>one</PartNumber>"
                         b"<ETag>x</ETag></Part></CompleteMultipartUpload>",
                         b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><CompleteMultipartUpload><Part>"
                         b"<PartNumber>1</PartNumber><ETag>&a;</ETag></Part>"
                         b"</CompleteMultipartUpload>"]:
                expect(raw.ask("POST", "/bucket/key", f"uploadId={upload}", body=body), 400,
                       "MalformedXML", f"complete with {body[:30]!r}")
            s3.abort_multipart_upload(Bucket="bucket", Key="key", UploadId=upload)
            many = b"<Object><Key>k</Key></Object>" * 1001
            for body in [b"", b"<Delete>", b"<Delete></Delete>", b"\0\1\2", b"<a></a>",
                         b"<Delete><Object></Object></Delete>",
                         b"<Delete>" + many + b"</Delete>"]:
                expect(raw.ask("POST", "/bucket", "delete", body=body), 400, "MalformedXML",
                       f"delete with {body[:30]!r}")
            expect(raw.ask("PUT", "/bucket-x", body=b"<nonsense"), 400, "MalformedXML",
                   "create with nonsense")

        def not_there():
            for method, path, query in [
                    ("GET", "/bucket/good", "torrent"), ("PUT", "/bucket", "replication"),
                    ("POST", "/bucket/good", "select&select-type=2"),
                    ("GET", "/bucket", "inventory"), ("GET", "/bucket/good", "nonsense=1"),
                    ("GET", "/bucket", "versions"), ("GET", "/bucket/good", "versionId=1"),
                    ("PUT", "/bucket", "versioning"), ("PUT", "/bucket/good", "tagging")]:
                expect(raw.ask(method, path, query), 501, "NotImplemented",
                       f"{method} {path}?{query}")
            expect(raw.ask("GET", "/bucket/good", headers={"x-amz-unheard-of": "1"}), 501,
                   "NotImplemented", "an unknown x-amz header")
            expect(raw.ask("PUT", "/bucket/key", headers={
                "x-amz-server-side-encryption": "AES256"}, body=b"x"), 501, "NotImplemented",
                "encryption, which would not be done")
            expect(raw.ask("PATCH", "/bucket/good"), 405, "MethodNotAllowed", "a method of none")

        def ambiguous():
            """What two readers of the same bytes could understand differently."""
            for extra in (["Content-Length: 3"], ["Content-Length: 30"],
                          ["Transfer-Encoding: chunked"]):
                headers = raw.sign("PUT", "/bucket/key", "", {"Content-Length": "3"},
                                   "UNSIGNED-PAYLOAD")
                answer = raw.send(raw.head("PUT", "/bucket/key", headers, extra) + b"abc")
                check(answer.status == 400, f"a length and {extra}: {answer}")
            for line in ("X-Thing : 1", " folded", "Content-Length: -1", "Content-Length: 3x"):
                headers = raw.sign("PUT", "/bucket/key", "", {}, "UNSIGNED-PAYLOAD")
                answer = raw.send(raw.head("PUT", "/bucket/key", headers, [line]) + b"abc")
                check(answer is None or answer.status == 400, f"{line!r}: {answer}")
            headers = raw.sign("PUT", "/bucket/key", "", {}, "UNSIGNED-PAYLOAD")
            expect(raw.send(raw.head("PUT", "/bucket/key", headers)), 411, "MissingContentLength",
                   "a body of unknown length")
            answer = raw.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(64) +
                              b"\r\n\r\n")
            check(answer is None or answer.status == 400, f"TLS to a plain port: {answer}")

        def at_the_end():
            check(names() == ["good", *marks], f"the bucket holds {names()}")
            check(s3.get_object(Bucket="bucket", Key="good")["Body"].read() == b"good", "intact")
            check(all(cluster.processes().values()), "a process has ended")

        return run([unknown_names, who_asks, digests_that_differ, cut_off, signed_in_pieces,
                    too_long, not_xml, not_there, ambiguous, at_the_end])


if __name__ == "__main__":
    sys.exit(main())
