"""A full disk under PostgreSQL: clear errors, nothing acknowledged is lost, and it goes on with space."""
import os
import pwd

from grid import AS_ROOT, main
from namespaces import enter_namespace
from postgres import PostgresTest
from small_disk import CLEAR, SmallDisk

SIZE = "24m"  # a new database takes 8


class PostgresDiskFullTest(PostgresTest):
    def prepare(self):
        """The grid's tables are on a small disk, the server's log of changes is not."""
        folder = self.postgres.folder / "small"
        folder.mkdir(mode=0o700)
        self.disk = SmallDisk(folder, SIZE)
        self.addCleanup(self.disk.unmount)
        self.addCleanup(self.postgres.stop)
        tables = folder / "tables"
        tables.mkdir(mode=0o700)
        if AS_ROOT:
            user = pwd.getpwnam("postgres")
            for path in (folder, tables):
                os.chown(path, user.pw_uid, user.pw_gid)
        self.postgres.psql("postgres", f"CREATE TABLESPACE small LOCATION '{tables}'")
        self.postgres.psql("postgres", "ALTER DATABASE grid SET TABLESPACE small")
        self.grid.store = self.url

    def job_of(self, noise):
        return self.grid.job_file(["sh", "-c", f"echo shard 0 > out # {os.urandom(noise).hex()}"],
                                  outputs=["out"], redundancy={"replicas": 2, "quorum": 2})

    def test_clear_errors_and_nothing_lost(self):
        running = self.grid.submit(self.hello(shards=6, seconds=2))
        self.disk.fill()
        acknowledged, refused = {}, None
        for i in range(200):  # the last free bytes within the tables' files
            reply = self.grid.cli("job", "submit", self.job_of(noise=8000), "--key", f"key {i}")
            if reply.code != 0:
                refused = reply
                break
            acknowledged[f"key {i}"] = reply.json()["job_id"]
        self.assertIsNotNone(refused, "200 jobs fitted on a full disk")
        self.assertRegex(refused.err, CLEAR)
        self.assertIsNone(self.grid.running["scheduler"].poll(), "the scheduler gave up")
        self.assertEqual(self.grid.job(running)["id"], running)

        self.disk.free()
        self.check(running, shards=6)
        for job_id in [*acknowledged.values(), self.grid.submit(self.job_of(noise=8000))]:
            self.check(job_id, shards=1)
        listed = self.grid.ok("job", "list", "--limit", 1000).json()["jobs"]
        self.assertEqual(len(listed), len(acknowledged) + 2)


if __name__ == "__main__":
    enter_namespace("m")
    main()
