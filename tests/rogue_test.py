"""Devices that lie, copy, fall silent or flood: jobs still end with the right bytes."""
from grid import BIN, GridTest, main, wait

SHARDS = 12


class RogueTest(GridTest):
    agents, slots = 2, 1

    def start_rogue(self, mode):
        """Starts a device of an owner of its own, which waits for work when this returns."""
        self.grid.spawn("rogue", [BIN / "rogue_agent", self.grid.address,
                                  self.grid.folder / "rogue.key", "rogue", mode],
                        env={"CORPGRID_JOIN": self.grid.token("owner-rogue")})
        wait(lambda: "registered" in self.said(), 10, "the rogue to register")

    def said(self):
        return (self.grid.folder / "rogue.log").read_text()

    def run_job(self, seconds=60, quorum=2):
        """Runs a job beside the rogue; each shard must be accepted once, with the right bytes."""
        file = self.grid.job_file(["sh", "-c", "sleep 0.3; echo shard {shard} > out-{shard}"],
                                  shards=SHARDS, outputs=["out-{shard}"],
                                  redundancy={"replicas": quorum, "quorum": quorum})
        job_id = self.run_ok(file, seconds)
        self.grid.check_accepted_once(job_id, quorum=quorum)
        self.assertEqual(self.grid.results(job_id),
                         {f"{i}/out-{i}": f"shard {i}\n".encode() for i in range(SHARDS)})
        self.assertIn("leased shard", self.said(), "the rogue got nothing to do")
        return job_id

    def attempts(self, job_id):
        return [a for shard in self.grid.shards(job_id) for a in shard["attempts"]
                if a["device_name"] == "rogue"]

    def tearDown(self):
        self.assertNotIn("error:", self.said())
        rogue = self.grid.running.pop("rogue")
        self.assertIsNone(rogue.poll(), self.said())
        rogue.kill()
        rogue.wait()
        for name in ("agent-1", "agent-2"):  # nobody else is blamed
            device = self.grid.device(name)
            blame = device["results_disagreed"] + device["results_refused"]
            self.assertEqual(blame, 0, device)
        super().tearDown()

    def test_honest(self):
        """The helper itself is good enough to be believed: what differs below is only the lie."""
        self.start_rogue("honest")
        job_id = self.run_job()
        device = self.grid.device("rogue")
        self.assertGreater(device["results_agreed"], 0)
        self.assertEqual((device["results_refused"], device["results_disagreed"]), (0, 0))
        self.assertEqual(len([a for a in self.attempts(job_id) if a["state"] == "agreed"]),
                         device["results_agreed"])

    def test_wrong_bytes(self):
        self.start_rogue("wrong-bytes")
        job_id = self.run_job()
        states = {a["state"] for a in self.attempts(job_id)}
        self.assertIn("disagreed", states)
        self.assertNotIn("agreed", states)
        device = self.grid.device("rogue")
        self.assertGreater(device["results_disagreed"], 0)
        self.assertEqual(device["results_agreed"], 0)

    def test_copycat(self):
        self.start_rogue("copycat")
        job_id = self.run_job()
        device = self.grid.device("rogue")
        leased = self.said().count("leased shard")
        # Each lease: four attempts of others; from the second on a replayed signature as well.
        self.assertGreaterEqual(device["results_refused"], 4 * leased)
        self.assertIn("refused: the signature", self.said())
        self.assertEqual(device["results_disagreed"], 0)
        self.assertEqual(len([a for a in self.attempts(job_id) if a["state"] == "agreed"]),
                         device["results_agreed"])

    def test_silent(self):
        self.start_rogue("silent")
        job_id = self.run_job(quorum=1)  # else the others decide its shards before its leases end
        self.assertGreater(self.grid.device("rogue")["leases_expired"], 0)
        self.assertLessEqual({a["state"] for a in self.attempts(job_id)}, {"expired", "cancelled"})

    def test_late(self):
        self.start_rogue("late")
        self.run_job(quorum=1)
        wait(lambda: self.said().count("refused: its lease has ended"), 20, "the late result", 0.2)
        device = self.grid.device("rogue")
        self.assertGreater(device["leases_expired"], 0)
        self.assertGreater(device["results_refused"], 0)
        self.assertEqual(device["results_agreed"], 0)

    def test_bad_signature(self):
        self.refused_claim("bad-signature", "signature")

    def test_tampered_claim(self):
        self.refused_claim("tampered-claim", "not staged")

    def refused_claim(self, mode, reason):
        self.start_rogue(mode)
        job_id = self.run_job()
        self.assertRegex(self.said(), f"refused: .*{reason}")
        device = self.grid.device("rogue")
        self.assertGreater(device["results_refused"], 0)
        self.assertEqual(device["results_agreed"], 0)
        self.assertNotIn("agreed", {a["state"] for a in self.attempts(job_id)})

    def test_flood(self):
        self.start_rogue("flood")
        job_id = self.run_job()
        agreed = [a for a in self.attempts(job_id) if a["state"] == "agreed"]
        self.assertGreater(len(agreed), 0)
        self.assertEqual(self.grid.device("rogue")["results_agreed"], len(agreed))


if __name__ == "__main__":
    main()
