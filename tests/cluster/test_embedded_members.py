#!/usr/bin/python3
"""The metadata members of the embedded form: in the places of those whose directories were lost others are
made under other ids, the group is whole again and stands the next loss; one that the group has removed comes
back as nobody; without a quorum nothing is made."""
import json
import os
import shutil
import socket
import sys
import tempfile

from cluster import cairn, check, run, wait_until
from test_embedded import Embedded, bodies, verify


def free_ports(count):
    """The first of so many in a row that nobody listens at, below those of outgoing connections."""
    for first in range(20000 + os.getpid() % 5000, 32000, count):
        held = []
        try:
            for port in range(first, first + count):
                held.append(socket.create_server(("127.0.0.1", port)))
            return first
        except OSError:
            continue
        finally:
            for s in held:
                s.close()
    raise OSError("no free ports")


class Grouped(Embedded):
    def __init__(self, home):
        first = free_ports(6)
        super().__init__(home, "--metadata-listen", f"127.0.0.1:{first}", "--chunk-listen",
                         f"127.0.0.1:{first + 5}")
        self.ports = range(first, first + 5)

    def ask(self, *words, status=0):
        return json.loads(cairn(*words, "--json", status=status,
                                env={**os.environ, "CAIRN_CONFIG": f"{self.directories[0]}/cairn.conf"}))

    def whole(self):
        """The ids of five members that all vote and answer, one of which leads; else nothing."""
        rows = self.ask("raft", "status", status=None)
        roles = sorted(row["role"] for row in rows)
        if roles != ["follower"] * 4 + ["leader"] or not all(row["commit"] for row in rows):
            return None
        ports = sorted(int(row["address"].rpartition(":")[2]) for row in rows)
        check(ports == list(self.ports), f"they listen at {ports}")
        return {row["id"] for row in rows}

    def said(self, text):
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as f:
            return text in f.read()

    def path(self, number, *names):
        return os.path.join(self.home, f"D{number}", *names)

    def wipe(self, number):
        shutil.rmtree(self.path(number))
        os.mkdir(self.path(number))


def put(server, want, name):
    server.s3.put_object(Bucket="bucket", Key=name, Body=b"n" * 300000)
    want[name] = b"n" * 300000


def main():
    home = tempfile.mkdtemp(prefix="cairn-embedded-")
    group, want, ids = Grouped(home), {}, []
    aside = os.path.join(home, "aside")

    def start():
        with group as server:
            server.s3.create_bucket(Bucket="bucket")
            for key, body in bodies().items():
                server.s3.put_object(Bucket="bucket", Key=key, Body=body)
                want[key] = body
            ids.append(wait_until(server.whole, 10, "five members"))
        shutil.copytree(group.path(2, "metadata"), aside)

    def wiped():
        group.wipe(2)
        with group as server:
            verify(server, want)
            ids.append(wait_until(server.whole, 15, "five members again"))
            check(len(ids[-1] - ids[-2]) == 1, f"{ids}: one of them is new")
            check(server.said("made metadata member") and server.said("in none of the directories"),
                  "the log tells of it")
            codes = [one["code"] for one in server.ask("status", status=None)["findings"]]
            check(not any(code.startswith("METADATA") for code in codes), codes)
            put(server, want, "with another member")
            wait_until(server.healed, 15, "the shards are there again, too")

    def two_more():
        for lost in (1, 4):
            group.wipe(lost)
        with group as server:
            verify(server, want)
            ids.append(wait_until(server.whole, 15, "five members again"))
            check(len(ids[-1] - ids[-2]) == 2, f"{ids}: two of them are new")

    def a_removed_one_returns():
        shutil.rmtree(group.path(2, "metadata"))
        shutil.copytree(aside, group.path(2, "metadata"))
        with group as server:
            ids.append(wait_until(server.whole, 15, "five members again"))
            check(not ids[-1] & (ids[0] - ids[1]), "it votes under the id that was removed")
            check(server.said("is not of the group any more"), "the log tells of it")
            check(not os.path.exists(server.path(2, "metadata.removed")), "it is gone")
            verify(server, want)

    def no_quorum():
        for lost in (1, 2, 3):
            shutil.rmtree(group.path(lost, "metadata"))
        group.refused("only 2 of the 5 metadata members")
        for lost in (1, 2, 3):
            check(not os.path.exists(group.path(lost, "metadata")), "one was made")

    try:
        return run([start, wiped, two_more, a_removed_one_returns, no_quorum])
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    sys.exit(main())
