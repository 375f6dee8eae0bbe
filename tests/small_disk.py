"""A disk of a few megabytes in memory, which no other process outside sees and which can be filled."""
import ctypes
import errno
import os

from namespaces import LIBC

MNT_DETACH = 2
CLEAR = "(?i)disk.*full|no space|full.*disk|disk is full"  # what says that it is full


class SmallDisk:
    """Mounted on `folder`, which is there already."""

    def __init__(self, folder, size):
        self.folder, self.ballast = folder, folder / "ballast"
        # Not mount(8), which serves only uid 0 whatever its capabilities.
        if LIBC.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0,
                      f"size={size},mode=700".encode()) != 0:
            raise OSError(ctypes.get_errno(), f"cannot mount on {folder}")

    def unmount(self):
        LIBC.umount2(os.fsencode(self.folder), MNT_DETACH)

    def fill(self, leave_kib=0):
        """Takes all space but `leave_kib`."""
        info = os.statvfs(self.folder)
        with open(self.ballast, "ab", buffering=0) as file:
            left = info.f_bavail * info.f_frsize - (leave_kib << 10)
            try:
                while left > 0:
                    left -= file.write(b"\0" * min(left, 1 << 16))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self):
        self.ballast.unlink()
