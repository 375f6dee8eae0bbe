"""Bundles that were changed, signed by strangers or packed to do harm: agents refuse them."""
import io
import pathlib
import sqlite3
import subprocess
import tarfile

from grid import BIN, GridTest, main, processes

OUTSIDE = "/var/tmp/corpgrid-escaped"
SCRIPT = "#!/bin/sh\necho good > out\n"


def archive(*members):
    """A tar of (name, type, link or bytes)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o755
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content
            if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
                info.devmajor, info.devminor = 1, 3
            data = content if kind == tarfile.REGTYPE else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def lying_about_size():
    """The header says 1 TiB, then the archive ends."""
    data = bytearray(archive(("big", tarfile.REGTYPE, b"")))
    data[124:136] = b"\x80" + (1 << 40).to_bytes(11, "big")
    data[148:156] = b"        "
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data[:512]) + b"x" * 4096


FILE, DIR = tarfile.REGTYPE, tarfile.DIRTYPE
HOSTILE = {
    "a path that climbs out": archive(("../../../../../.." + OUTSIDE, FILE, b"x")),
    "a path that climbs out later": archive(("a/../../b", FILE, b"x")),
    "an absolute path": archive((OUTSIDE, FILE, b"x")),
    "a link out": archive(("link", tarfile.SYMTYPE, "/etc/passwd")),
    "a link to climb through": archive(("d", tarfile.SYMTYPE, "/var/tmp"),
                                       ("d/corpgrid-escaped", FILE, b"x")),
    "a hard link": archive(("passwd", tarfile.LNKTYPE, "/etc/passwd")),
    "a device": archive(("null", tarfile.CHRTYPE, b"")),
    "a block device": archive(("disk", tarfile.BLKTYPE, b"")),
    "a pipe": archive(("pipe", tarfile.FIFOTYPE, b"")),
    "an entry twice": archive(("same", FILE, b"1"), ("same", FILE, b"2")),
    "a file below a file": archive(("file", FILE, b"1"), ("file/below", FILE, b"2")),
    "too deep": archive(("/".join("d" * 1 for _ in range(200)) + "/file", FILE, b"x")),
    "a size that lies": lying_about_size(),
    "no archive at all": bytes(range(256)) * 64,
    "half an archive": archive(("file", FILE, b"x" * 100_000))[:50_000],
}


class BundleTest(GridTest):
    agents, slots = 2, 6

    def setUp(self):
        pathlib.Path(OUTSIDE).unlink(missing_ok=True)
        super().setUp()

    def tearDown(self):
        self.assertFalse(pathlib.Path(OUTSIDE).exists())
        self.run_ok(self.grid.job_file(["./run.sh"], bundle={"run.sh": SCRIPT}, outputs=["out"]))
        super().tearDown()

    def submit_archive(self, data, mode="signed", key=None):
        path = self.grid.folder / "archive.tar"
        path.write_bytes(data)
        key = key or self.grid.data / "submitter.key"
        return subprocess.run([str(BIN / "rogue_submitter"), str(self.grid.data), str(key),
                               str(path), mode, "true"],
                              capture_output=True, text=True, timeout=60)

    def why_failed(self, job_id, seconds=60, state="faulted"):
        """The reasons of a job that no agent would run."""
        self.grid.wait_job(job_id, seconds, "failed")
        attempts = [a for shard in self.grid.shards(job_id) for a in shard["attempts"]]
        self.assertTrue(attempts)
        for attempt in attempts:
            self.assertEqual(attempt["state"], state, attempt)
            self.assertTrue(attempt["detail"], attempt)
        return " ".join(self.grid.ok("job", "why", job_id).json()["sentences"])

    def without_agents(self, change):
        """Submits nothing itself: lets `change` work while no agent looks, then starts them."""
        for name in ("agent-1", "agent-2"):
            self.grid.terminate(name)
        job_ids = change()
        for name in ("agent-1", "agent-2"):
            self.grid.start_agent(name)
        return job_ids

    def restart_scheduler_after(self, edit):
        self.grid.terminate("scheduler")
        edit()
        self.grid.start_scheduler()

    def big_job(self, letter):
        """A job whose bundle is kept as a chunk in a file, of the same size for each letter."""
        return self.grid.submit(self.grid.job_file(
            ["./run.sh"], bundle={"run.sh": SCRIPT, "ballast": letter * 200_000}, outputs=["out"],
            name=f"job-{letter}"))

    def test_bit_flipped_in_the_store(self):
        def change():
            job_id = self.big_job("a")
            chunks = [p for p in (self.grid.data / "scheduler/objects/chunks").rglob("*")
                      if p.is_file() and b"a" * 1000 in p.read_bytes()]
            self.assertEqual(len(chunks), 1)
            data = bytearray(chunks[0].read_bytes())
            data[len(data) // 2] ^= 1
            chunks[0].write_bytes(data)
            return job_id
        why = self.why_failed(self.without_agents(change))
        self.assertRegex(why, "(?i)hash|damaged|corrupt|not what")

    def test_store_that_serves_another_bundle(self):
        """Every chunk is whole, the object is another: only the agent's own check can tell."""
        def change():
            jobs = [self.big_job("a"), self.big_job("b")]
            def edit():
                with sqlite3.connect(self.grid.data / "scheduler/objects/index.db") as index:
                    rows = index.execute("SELECT object, chunk FROM object_chunks").fetchall()
                    self.assertEqual(len(rows), 2)
                    for (bundle, _), (_, chunk) in zip(rows, reversed(rows)):
                        index.execute("UPDATE object_chunks SET chunk=? WHERE object=?",
                                      (chunk, bundle))
            self.restart_scheduler_after(edit)
            return jobs
        for job_id in self.without_agents(change):
            self.assertRegex(self.why_failed(job_id), "(?i)hash")

    def test_scheduler_that_swaps_two_jobs_specs(self):
        """Both specs were signed, but each with its own bundle."""
        def change():
            jobs = [self.big_job("a"), self.big_job("b")]
            def edit():
                with sqlite3.connect(self.grid.data / "scheduler/state.db") as state:
                    rows = state.execute("SELECT id, spec, spec_hash FROM jobs").fetchall()
                    self.assertEqual(len(rows), 2)
                    for (job_id, _, _), (_, spec, spec_hash) in zip(rows, reversed(rows)):
                        state.execute("UPDATE jobs SET spec=?, spec_hash=? WHERE id=?",
                                      (spec, spec_hash, job_id))
            self.restart_scheduler_after(edit)
            return jobs
        for job_id in self.without_agents(change):
            self.assertRegex(self.why_failed(job_id), "(?i)signature")

    def test_key_that_nobody_trusts(self):
        key = self.grid.folder / "stranger.key"
        done = self.submit_archive(archive(("file", FILE, b"x")), key=key)
        self.assertEqual(done.returncode, 0, done.stderr)
        why = self.why_failed(int(done.stdout))
        self.assertRegex(why, "(?i)trust")
        self.assertIn("cgp1.", why)

    def test_signature_over_something_else(self):
        for mode in ("other-bundle", "other-spec", "other-grid", "no-signature"):
            done = self.submit_archive(archive(("file", FILE, b"x")), mode)
            self.assertEqual(done.returncode, 1, mode)
            self.assertRegex(done.stderr, "(?i)signature", mode)
        self.assertEqual(self.grid.ok("job", "list").json()["jobs"], [])

    def test_hostile_archives(self):
        jobs = {}
        for what, data in HOSTILE.items():
            done = self.submit_archive(data)
            if done.returncode == 0:
                jobs[what] = int(done.stdout)
            else:  # refusing it at once is as good
                self.assertRegex(done.stderr, "(?i)archive|bundle|entry", what)
        for what, job_id in jobs.items():
            with self.subTest(what):
                # The bytes are what was signed, so it is the job that is at fault, not a device.
                why = self.why_failed(job_id, state="agreed")
                self.assertRegex(why, "(?i)bundle|archive|entry|link|path")
        self.assertEqual([str(p) for p in processes().values() if OUTSIDE in p.command()], [])

    def test_harmless_archive(self):
        """The same way in, with nothing wrong: it is the content that was refused above."""
        done = self.submit_archive(archive(("dir", DIR, b""), ("dir/file", FILE, b"x")))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.grid.wait_job(int(done.stdout))


if __name__ == "__main__":
    main()
