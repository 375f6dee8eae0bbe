"""A shard that kills the machines that run it is stopped; agents that stop in order did not die of it."""
from grid import GridTest, main, wait

AGENTS = ("agent-1", "agent-2", "agent-3")


class KillsDevicesTest(GridTest):
    agents, slots = 3, 1

    def running(self, job_id, index):
        """The devices that run this shard."""
        shard = self.grid.shards(job_id)[index]
        return [a["device_name"] for a in shard["attempts"] if a["state"] == "running"]

    def begun(self, name):
        """Whether the agent has noted that it runs a shard."""
        notes = (self.grid.agent_folder(name) / "begun").iterdir()
        return any(note.read_bytes().strip(b"\0")[:1] and any(note.read_bytes()[:32])
                   for note in notes)

    def who_begins(self, job_id, index):
        def begins():
            return [name for name in self.running(job_id, index) if self.begun(name)]
        return wait(begins, 30, f"a device to begin shard {index}", pause=0.02)[0]

    def states(self, job_id, index):
        return [a["state"] for a in self.grid.shards(job_id)[index]["attempts"]]

    def test_a_shard_that_kills_three_devices_is_stopped(self):
        # Shard 0 never ends by itself; its devices are killed whenever they begin it.
        job_id = self.grid.submit(self.grid.job_file(
            ["sh", "-c", "[ {shard} = 0 ] && sleep 600; echo {shard} > out"], shards=6,
            outputs=["out"], retries=5))
        victims = []
        while not self.grid.job(job_id)["finished_wall_ms"]:
            self.assertLess(len(victims), 6, "it kills the whole grid")
            victims.append(self.who_begins(job_id, 0))
            self.grid.kill(victims[-1])
            self.grid.start_agent(victims[-1])
            killed = len(victims)
            wait(lambda: self.states(job_id, 0).count("died") == killed, 30, "the death to be told")
        self.assertEqual(sorted(set(victims)), list(AGENTS))
        job = self.grid.wait_job(job_id, state="failed")
        self.assertIn("shard 0 failed: 3 devices died while they ran it", job["error"])
        for number, name in enumerate(AGENTS, 1):
            self.assertIn(f"{name} (device {self.grid.device(name)['id']}, owner-{number}'s)",
                          job["error"])
        self.assertEqual(self.grid.shards(job_id)[0]["tries"], 0)
        entries = self.grid.ok("audit", "list", "--limit", 1000).json()["entries"]
        self.assertEqual([row["entry"]["event"] for row in entries].count("device died"), 3)
        # The grid itself is well.
        self.run_ok(self.grid.job_file(["true"], shards=6))

    def test_devices_that_are_stopped_in_order_did_not_die(self):
        job_id = self.grid.submit(self.grid.job_file(["sleep", "600"]))
        for _ in range(4):
            name = self.who_begins(job_id, 0)
            self.grid.terminate(name)
            self.grid.start_agent(name)
        self.who_begins(job_id, 0)
        self.assertNotIn("died", self.states(job_id, 0))
        self.grid.ok("job", "cancel", job_id)


if __name__ == "__main__":
    main()
