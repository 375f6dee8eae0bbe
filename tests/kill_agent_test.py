"""kill -9 of agents in mid-job: what they ran dies with them, and nothing is lost."""
from grid import main, wait
from storm import StormTest


class KillAgentTest(StormTest):
    def test_storm(self):
        def strike(random):
            name = random.choice(["agent-1", "agent-2", "agent-3"])
            below = self.grid.kill(name)
            wait(lambda: not [str(p) for p in below if p.alive()], 5,
                 f"the processes of {name} to end with it")
            self.grid.start_agent(name)
            return 1
        self.storm(strike)

    def test_agent_that_never_comes_back(self):
        # With a quorum, the others would decide its shards before its leases end.
        file = self.grid.job_file(["sh", "-c", "sleep 3; echo {shard} > out"], shards=6,
                                  outputs=["out"])
        job_id = self.grid.submit(file)
        busy = wait(lambda: [d["info"]["name"] for d in self.grid.devices()
                             if d["attempts_running"] > 0], 10, "an agent to work")
        self.grid.kill(busy[0])
        self.grid.wait_job(job_id, 60)
        self.grid.check_accepted_once(job_id, quorum=1)
        device = self.grid.device(busy[0])
        self.assertEqual(device["state"], "lost")
        self.assertGreater(device["leases_expired"], 0)


if __name__ == "__main__":
    main()
