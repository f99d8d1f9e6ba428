"""Several hosts on one machine: network namespaces behind one bridge, with real processes in them.

    isolate()                     # first thing in a program: it begins anew in namespaces of its own
    with HostCluster(members=3, gateways=[1, 2, 3]) as cluster:
        cluster.cut_off(2)        # host 2 and the other hosts hear nothing of each other
        cluster.heal()

The program runs in a network, a mount and a process namespace of its own. Nothing in there reaches the
machine's networks, and when the program ends, however it does, the kernel ends its processes and takes
bridge, hosts and rules away with it. Hosts are 10.99.0.1 .., the program itself is 10.99.0.254 and reaches
all of them, also those that are cut off: it is the client on either side of a partition."""
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile

from cluster import CAIRN, Failed, cairn, check, wait_until

SUBNET = "10.99.0"
METADATA_PORT, CHUNK_PORT, S3_PORT = 7100, 7200, 9000


def isolate():
    if os.environ.get("CAIRN_TEST_ISOLATED"):
        return
    os.environ["CAIRN_TEST_ISOLATED"] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child",
                          "--mount-proc", sys.executable, *sys.argv])


def run_quietly(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)}: {done.stdout}{done.stderr}")


def address(host):
    return f"{SUBNET}.{host}"


class Network:
    """Hosts 1..count, each a network namespace with one interface on the bridge."""

    def __init__(self, count):
        check(os.environ.get("CAIRN_TEST_ISOLATED"), "isolate() comes first")
        self.count = count
        run_quietly("mount", "-t", "tmpfs", "tmpfs", "/run")  # where namespaces have their names
        run_quietly("ip", "link", "set", "lo", "up")
        run_quietly("ip", "link", "add", "hosts", "type", "bridge")
        run_quietly("ip", "address", "add", f"{address(254)}/24", "dev", "hosts")
        run_quietly("ip", "link", "set", "hosts", "up")
        for host in range(1, count + 1):
            self.add(host)

    @staticmethod
    def add(host):
        name = f"host-{host}"
        run_quietly("ip", "netns", "add", name)
        run_quietly("ip", "link", "add", f"to-{host}", "type", "veth", "peer", "name", "eth0",
                    "netns", name)
        run_quietly("ip", "link", "set", f"to-{host}", "master", "hosts", "up")
        run_quietly("ip", "-n", name, "address", "add", f"{address(host)}/24", "dev", "eth0")
        run_quietly("ip", "-n", name, "link", "set", "lo", "up")
        run_quietly("ip", "-n", name, "link", "set", "eth0", "up")

    def release(self):
        for host in range(1, self.count + 1):
            run_quietly("ip", "link", "delete", f"to-{host}")
            run_quietly("ip", "netns", "delete", f"host-{host}")
        run_quietly("ip", "link", "delete", "hosts")
        run_quietly("umount", "--lazy", "/run")

    @staticmethod
    def in_host(host, *words):
        return ["ip", "netns", "exec", f"host-{host}", *words]

    def cut(self, host, others, hears=False, is_heard=False):
        """Packets between host and the others are dropped, as by a network that says nothing."""
        for other in others:
            if not hears:
                run_quietly(*self.in_host(host, "iptables", "-A", "INPUT", "-s", address(other),
                                          "-j", "DROP"))
            if not is_heard:
                run_quietly(*self.in_host(host, "iptables", "-A", "OUTPUT", "-d", address(other),
                                          "-j", "DROP"))

    def heal(self):
        for host in range(1, self.count + 1):
            run_quietly(*self.in_host(host, "iptables", "-F"))


class Gateway:
    """Enough of a cluster for connect(): the S3 endpoint of one host."""

    def __init__(self, cluster, host):
        self.home = cluster.home
        self.credentials = {**cluster.credentials,
                            "AWS_ENDPOINT_URL": f"http://{address(host)}:{S3_PORT}"}


class HostCluster:
    """Members on hosts 1..members, a chunkserver on each of the hosts `disks`, a gateway on each of the
    hosts `gateways`."""

    def __init__(self, members, disks=(1, 2, 3), gateways=(1,), hosts=None, pool="2+1", extra=""):
        self.members, self.disks, self.gateways = members, disks, gateways
        self.pool, self.extra = pool, extra
        self.hosts = hosts or max(members, *disks, *gateways)
        self.running = {}
        self.network = None

    # ---- making ----

    def __enter__(self):
        self.home = tempfile.mkdtemp(prefix="cairn-hosts-")
        try:
            self.network = Network(self.hosts)
            self.write_files()
            self.up()
        except BaseException:
            self.close(keep_logs=True)
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.close(keep_logs=kind is not None)

    def path(self, *names):
        return os.path.join(self.home, *names)

    def write_private(self, name, text):
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT, 0o600), "w",
                  encoding="utf-8") as f:
            f.write(text)

    def write_files(self):
        self.write_private("cluster.key", f"1 {secrets.token_hex(32)}\n")
        self.credentials = {"AWS_ACCESS_KEY_ID": "CAIRNTESTCAIRNTEST23",
                            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20)}
        self.write_private("credentials.env",
                           "".join(f"{k}={v}\n" for k, v in self.credentials.items()))
        self.credentials["AWS_ENDPOINT_URL"] = f"http://{address(self.gateways[0])}:{S3_PORT}"
        self.knows(range(1, self.members + 1))
        self.environment = {**os.environ, "CAIRN_CONFIG": self.path("cairn.conf")}

    @staticmethod
    def member_address(host):
        return f"{address(host)}:{METADATA_PORT}"

    def knows(self, hosts):
        """On which hosts processes that are started from now on, and tools, look for members."""
        self.known = [self.member_address(host) for host in hosts]
        self.write_conf("cairn", "")

    def write_conf(self, name, text):
        listed = " ".join(self.known)
        with open(self.path(f"{name}.conf"), "w", encoding="utf-8") as f:
            f.write(f"cluster_key = {self.path('cluster.key')}\nmetadata = {listed}\n"
                    f"{text}{self.extra if text else ''}")
        return self.path(f"{name}.conf")

    def up(self):
        self.start_member(1, "--bootstrap", "true")
        for host in range(2, self.members + 1):
            self.start_member(host, "--join", "true")
        for host in self.disks:
            self.start(f"chunk-{host}", host, f"roles = chunk\ndata = {self.directory('chunk', host)}\n"
                       f"chunk_listen = {address(host)}:{CHUNK_PORT}\nhost = host-{host}\n")
        for host in self.gateways:
            self.start(f"gateway-{host}", host, f"roles = gateway\ns3 = {address(host)}:{S3_PORT}\n")
        wait_until(self.healthy, 40, "the cluster is healthy")

    def directory(self, role, host):
        path = self.path(f"{role}-{host}")
        os.makedirs(path, exist_ok=True)
        return path

    def start_member(self, host, *words):
        self.start(f"metadata-{host}", host,
                   f"roles = metadata\nmetadata_dir = {self.directory('metadata', host)}\n"
                   f"metadata_listen = {address(host)}:{METADATA_PORT}\npool = {self.pool}\n"
                   f"root_credentials = {self.path('credentials.env')}\n", *words)

    # ---- processes ----

    def start(self, name, host, text, *words):
        conf = self.write_conf(name, text)
        with open(self.path(f"{name}.log"), "ab") as log:
            self.running[name] = subprocess.Popen(
                self.network.in_host(host, CAIRN, "server", "--config", conf, *words),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self, name):
        process = self.running.pop(name)
        process.kill()
        process.wait(10)

    def freeze(self, name):
        self.running[name].send_signal(signal.SIGSTOP)

    def thaw(self, name):
        self.running[name].send_signal(signal.SIGCONT)

    def stop(self, name, seconds=20):
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        check(process.wait(seconds) == 0, f"{name}: status {process.returncode}")

    def all_run(self):
        for name, process in self.running.items():
            check(process.poll() is None, f"{name} has ended by itself: {process.returncode}")

    def close(self, keep_logs=False):
        for process in self.running.values():
            process.kill()
        for process in self.running.values():
            process.wait(10)
        if keep_logs:
            for name in sorted(os.listdir(self.home)):
                if name.endswith(".log"):
                    with open(self.path(name), errors="replace", encoding="utf-8") as f:
                        print(f"--- {name}\n" + "".join(f.readlines()[-15:]), end="")
        if self.network:
            self.network.release()
        shutil.rmtree(self.home, ignore_errors=True)

    # ---- asking ----

    def ask(self, *words, **options):
        return json.loads(cairn(*words, "--json", env=self.environment, **options))

    def healthy(self):
        try:
            status = self.ask("status", status=None)
        except ValueError:
            return False
        return (status["health"] == "HEALTH_OK" and
                status["metadata"]["voters"] == self.members and
                status["disks"]["up"] == len(self.disks))

    def raft(self):
        """Host -> its row of `cairn raft status`."""
        return {int(row["address"].split(":")[0].rsplit(".", 1)[1]): row
                for row in self.ask("raft", "status", status=None)}

    def leader(self, among=None):
        """The host of the leader, as it says of itself; of those only, when given."""
        def look():
            rows = self.raft()
            return [h for h, row in rows.items()
                    if row["role"] == "leader" and (among is None or h in among)]
        return wait_until(look, 30, "there is a leader")[0]

    # ---- faults ----

    def cut_off(self, host, **one_way):
        self.network.cut(host, [h for h in range(1, self.hosts + 1) if h != host], **one_way)

    def split(self, side):
        """The hosts of one side and all others hear nothing of each other."""
        others = [h for h in range(1, self.hosts + 1) if h not in side]
        for host in side:
            self.network.cut(host, others)

    def heal(self):
        self.network.heal()
