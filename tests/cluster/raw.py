"""S3 spoken by hand over a socket: what a library would not send, or not let a test see.

Signature Version 4 is written out here once more, so that nothing of the product vouches for itself."""
import datetime
import hashlib
import hmac
import re
import socket
import urllib.parse

EMPTY = hashlib.sha256(b"").hexdigest()


def hmac_sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        found = re.search(rb"<Code>([^<]*)</Code>", body)
        self.code = found.group(1).decode() if found else ""
        found = re.search(rb"<Message>([^<]*)</Message>", body)
        self.message = found.group(1).decode() if found else ""

    def __repr__(self):
        return f"{self.status} {self.code or self.body[:200]!r}"


def read_answer(s, head=False):
    """One answer from a socket; None when the connection ended without any."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            piece = b""
        if not piece:
            return None
        data += piece
    top, _, body = data.partition(b"\r\n\r\n")
    lines = top.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    if status == 100:
        return read_answer(s, head)
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    length = 0 if head or status in (204, 304) else int(headers.get("content-length", 0))
    while len(body) < length:
        piece = s.recv(min(1 << 20, length - len(body)))
        if not piece:
            break
        body += piece
    return Answer(status, headers, body)


class Raw:
    """Requests as one likes them, signed unless asked otherwise."""

    def __init__(self, endpoint, access_key, secret, region="us-east-1"):
        self.host = endpoint.split("//", 1)[1]
        self.access_key, self.secret, self.region = access_key, secret, region
        self.signature = self.scope = self.timestamp = None  # of the request signed last

    def connect(self, timeout=30):
        host, port = self.host.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout)

    def signing_key(self):
        key = ("AWS4" + self.secret).encode()
        for word in (self.timestamp[:8], self.region, "s3", "aws4_request"):
            key = hmac_sha256(key, word)
        return key

    def sign(self, method, path, query, headers, payload, skew_s=0):
        """The headers of a signed request. path: as it is sent, encoded."""
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=skew_s)
        self.timestamp = now.strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.timestamp[:8]}/{self.region}/s3/aws4_request"
        all_headers = {"Host": self.host, "x-amz-date": self.timestamp,
                       "x-amz-content-sha256": payload, **headers}
        signed = {k.lower(): " ".join(v.split()) for k, v in all_headers.items()
                  if k.lower() == "host" or k.lower().startswith("x-amz-")}
        names = ";".join(sorted(signed))
        pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
        canonical = "\n".join([
            method, path, "&".join(f"{urllib.parse.quote(k, '-_.~')}={urllib.parse.quote(v, '-_.~')}"
                                   for k, v in pairs),
            *(f"{k}:{signed[k]}" for k in sorted(signed)), "", names, payload])
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{self.timestamp}\n{self.scope}\n{digest}"
        self.signature = hmac_sha256(self.signing_key(), text).hex()
        all_headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{self.scope}, "
            f"SignedHeaders={names}, Signature={self.signature}")
        return all_headers

    def chunk(self, data, previous, spoil=False):
        """One chunk of an aws-chunked body, and its signature."""
        text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", self.timestamp, self.scope, previous, EMPTY,
                          hashlib.sha256(data).hexdigest()])
        signature = hmac_sha256(self.signing_key(), text).hex()
        if spoil:
            signature = "0" * 64
        return (f"{len(data):x};chunk-signature={signature}\r\n".encode() + data + b"\r\n",
                signature)

    @staticmethod
    def head(method, target, headers, extra=()):
        lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), *extra]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def send(self, data, head=False):
        """Bytes as they are, on a connection of their own."""
        with self.connect() as s:
            try:
                s.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before it was read to its end: the answer is there
            return read_answer(s, head)

    def ask(self, method, path, query="", headers=None, body=b"", payload=None, skew_s=0,
            change=None):
        """A signed request. change(headers): what happens to them after they were signed."""
        headers = {"Content-Length": str(len(body)), **(headers or {})}
        payload = payload or hashlib.sha256(body).hexdigest()
        headers = self.sign(method, path, query, headers, payload, skew_s)
        if change:
            change(headers)
        target = path + ("?" + query if query else "")
        return self.send(self.head(method, target, headers) + body, method == "HEAD")
