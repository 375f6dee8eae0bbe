"""Two devices lie in concert: a quorum believes them, an audit on a trusted device does not."""
from grid import BIN, GridTest, main, wait

SHARDS = 16
LIARS = ("liar-1", "liar-2")


class TrustTest(GridTest):
    agents, slots = 1, 2

    def prepare(self):
        command = self.grid.scheduler_command
        self.grid.scheduler_command = lambda listen: [*command(listen), "--audit-rate", "1"]

    def setUp(self):
        super().setUp()
        for name in LIARS:  # both hand in the same wrong bytes, under owners of their own
            self.grid.spawn(name, [BIN / "rogue_agent", self.grid.address,
                                   self.grid.folder / f"{name}.key", name, "wrong-bytes"],
                            env={"CORPGRID_JOIN": self.grid.token(f"owner-{name}")})
        wait(lambda: len(self.grid.devices()) == 3, 20, "the liars to register")

    def tearDown(self):
        for name in LIARS:
            liar = self.grid.running.pop(name)
            liar.kill()
            liar.wait()
        super().tearDown()

    def job_file(self, **redundancy):
        return self.grid.job_file(["sh", "-c", "sleep 0.3; echo shard {shard} > out"], shards=SHARDS,
                                  outputs=["out"], redundancy=redundancy)

    def results(self, job_id):
        return [self.grid.results(job_id)[f"{i}/out"] for i in range(SHARDS)]

    def trust(self):
        self.grid.ok("device", "trust", "agent-1")

    def events(self, name):
        entries = self.grid.ok("audit", "list", "--from", 0, "--limit", 1000).json()["entries"]
        return [row["entry"] for row in entries if row["entry"]["event"] == name]

    def check_mended(self, job):
        self.assertEqual(self.results(job["id"]), [b"shard %d\n" % i for i in range(SHARDS)])
        self.assertGreater(job["found_wrong"], 0, job)
        wrong = self.events("wrong result found")
        self.assertEqual(len(wrong), job["found_wrong"])
        self.assertEqual({entry["job"] for entry in wrong}, {job["id"]})
        self.assertEqual({entry["auditor"] for entry in wrong}, {self.grid.device("agent-1")["id"]})
        for name in LIARS:
            liar = self.grid.device(name)
            self.assertGreater(liar["results_disagreed"], 0, liar)
            self.assertLess(liar["reputation"], 0.5, liar)
            self.assertEqual(liar["results_checked"], 0, liar)

    def test_an_audit_finds_what_a_quorum_believes(self):
        file = self.job_file(replicas=2, quorum=2)
        self.grid.ok("device", "drain", "agent-1")
        fooled = self.grid.wait_job(self.grid.submit(file))
        self.assertEqual(self.results(fooled["id"]), [b"garbage\n"] * SHARDS)
        self.assertEqual(fooled["error_bound"], 1)
        shown = self.grid.ok("job", "show", fooled["id"], json_output=False).out
        self.assertIn("unknown: no trusted device could check results", shown)

        self.trust()
        self.assertTrue(self.grid.device("agent-1")["trusted"])
        self.assertIn("yes", self.grid.ok("device", "list", json_output=False).out)
        self.grid.ok("device", "drain", "agent-1", "--undo")
        job_id = self.grid.submit(file)
        job = self.grid.wait_job(job_id)
        self.check_mended(job)
        self.assertEqual((job["error_bound"], job["shards_checked"]), (0, SHARDS))
        shown = self.grid.ok("job", "show", job_id, json_output=False).out
        self.assertRegex(shown, f"at most 0 % .*; {SHARDS} of {SHARDS} results checked by trusted "
                                rf"devices, {job['found_wrong']} found wrong and mended")
        self.assertIn(f"for {SHARDS} a trusted device's", shown)
        self.assertEqual(len(self.events("device trusted")), 1)
        self.grid.ok("audit", "verify")

    def test_a_bound_is_kept_or_refused(self):
        file = self.job_file(max_error=0.3)
        refused = self.grid.cli("job", "submit", file)
        self.assertNotEqual(refused.code, 0)
        self.assertIn("max_error 0.3 cannot be promised", refused.err)
        self.assertIn("the smallest bound this grid can reach is 1", refused.err)

        self.trust()
        self.grid.ok("device", "drain", "agent-1")
        refused = self.grid.cli("job", "submit", file)
        self.assertNotEqual(refused.code, 0, "the trusted device may not run it")
        self.grid.ok("device", "drain", "agent-1", "--undo")
        job = self.grid.wait_job(self.grid.submit(file))
        self.assertLessEqual(job["error_bound"], 0.3)
        if job["found_wrong"]:  # the liars may have got no shard
            self.check_mended(job)
        self.assertEqual(self.results(job["id"]), [b"shard %d\n" % i for i in range(SHARDS)])
        why = self.grid.ok("job", "why", job["id"]).json()["sentences"]
        self.assertIn("or that a trusted device computed", why[0])

    def test_trust_outlives_the_scheduler_and_ends(self):
        self.trust()
        self.grid.kill("scheduler")
        self.grid.start_scheduler()
        wait(lambda: len(self.grid.devices()) == 3, 20, "the devices to be known again")
        self.assertTrue(self.grid.device("agent-1")["trusted"])
        self.assertFalse(self.grid.device("liar-1")["trusted"])
        said = self.grid.ok("device", "trust", "agent-1", "--undo", json_output=False).out
        self.assertIn("is trusted no more", said)
        self.assertFalse(self.grid.device("agent-1")["trusted"])
        self.assertEqual(len(self.events("device trusted no more")), 1)


if __name__ == "__main__":
    main()
