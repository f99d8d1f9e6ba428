"""A cluster whose chunkservers' directories are small file systems of their own, in images."""
import contextlib
import os
import shutil
import subprocess

from cluster import CAIRN, Cluster, wait_until

MIB = 1 << 20
DISKS, IMAGE = 4, 320 * MIB  # xfs takes no less than 300


class SmallDisks(Cluster):
    """Every chunkserver's directory is a file system in an image."""

    def __init__(self, kind, **plan):
        super().__init__(disks=DISKS, **plan)
        self.kind, self.mounted = kind, []

    def path(self, number):
        return os.path.join(self.dir, "data", f"chunk-{number}")

    def up(self):
        super().up()
        for i in range(1, DISKS + 1):
            image, path = self.image(i), self.path(i)
            with open(image, "wb") as f:
                f.truncate(IMAGE)
            make = ["mkfs.ext4", "-q", "-m", "0", "-e", "remount-ro", image] if self.kind == "ext4" else ["mkfs.xfs", "-q", image]
            subprocess.run(make, check=True)
            self.stop(f"chunk-{i}")
            os.rename(path, path + ".aside")
            os.mkdir(path)
            self.mount(i)
            shutil.copytree(path + ".aside", path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("ballast"))
            shutil.rmtree(path + ".aside")
            self.start(f"chunk-{i}")
        wait_until(lambda: all(d["up"] == "up" and d["capacity"] < 2 * IMAGE for d in self.ask("disk", "list")), 30,
                   "the disks are small")

    def close(self, keep_logs=False):
        # The servers first: what they have open cannot be unmounted.
        subprocess.run([CAIRN, "dev", "down", "--dir", self.dir], capture_output=True, timeout=120, check=False)
        while self.mounted:
            subprocess.run(["umount", self.mounted.pop()], check=True)
        super().close(keep_logs)

    def image(self, number):
        return os.path.join(self.home, f"image-{number}")

    def mount(self, number):
        subprocess.run(["mount", "-o", "loop", self.image(number), self.path(number)], check=True)
        self.mounted.append(self.path(number))

    def unmount(self, number):
        """At once, whoever has files open there."""
        subprocess.run(["umount", "-l", self.path(number)], check=True)
        self.mounted.remove(self.path(number))

    def device(self, number):
        """The loop device of the image, None when there is none (any more)."""
        found = subprocess.run(["losetup", "-n", "-O", "NAME", "-j", self.image(number)], check=True,
                               capture_output=True, text=True).stdout.split()
        return os.path.basename(found[0]) if found else None

    def left(self, number):
        s = os.statvfs(self.path(number))
        return s.f_bavail * s.f_frsize

    def take(self, number, room):
        """Somebody else's file takes what there is, but for so much."""
        with open(os.path.join(self.path(number), "others"), "wb") as f:
            os.posix_fallocate(f.fileno(), 0, self.left(number) - room)

    def ballast(self, number):
        path = os.path.join(self.path(number), "ballast")
        return os.path.getsize(path) if os.path.exists(path) else 0

    def drop_ballast(self, number):
        if self.ballast(number):
            os.unlink(os.path.join(self.path(number), "ballast"))

    def fill(self, number):
        """.. and now all of it."""
        with open(os.path.join(self.path(number), "others"), "ab") as f, contextlib.suppress(OSError):
            for step in (MIB, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(f.fileno(), bytes(step))

    def empty(self, number):
        os.unlink(os.path.join(self.path(number), "others"))
