"""Projects share a device by their weights and keep to their quotas."""
from grid import GridTest, main, wait


class ProjectTest(GridTest):
    agents, slots = 1, 8

    def running(self, job_id):
        return [a for shard in self.grid.shards(job_id) for a in shard["attempts"]
                if a["state"] == "running"]

    def project(self, name):
        return next(p for p in self.grid.ok("project", "list").json()["projects"]
                    if p["name"] == name)

    def refused(self, *args):
        """The message of a command that must fail without having changed anything."""
        reply = self.grid.cli(*args)
        self.assertIn(reply.code, (1, 2), reply)
        return str(reply)

    def test_two_projects_share_a_device_three_to_one(self):
        self.grid.ok("project", "set", "many", "--weight", 3)
        self.grid.ok("project", "set", "few")
        # The agent is away until all is queued, so that neither project has a start.
        self.grid.terminate("agent-1")
        few = self.grid.submit(self.grid.job_file(["sleep", "0.2"], shards=200, project="few"))
        many = self.grid.ok("job", "submit", self.grid.job_file(["sleep", "0.2"], shards=200), "--project",
                            "many").json()["job_id"]
        self.grid.start_agent("agent-1")
        wait(lambda: self.grid.job(many)["shards_done"] >= 90, 60, "many to get on")
        done = [self.grid.job(job_id)["shards_done"] for job_id in (many, few)]
        print("shards done at a weight of 3 and of 1:", done, flush=True)
        self.assertGreater(done[0], 2 * done[1], done)
        self.assertLess(done[0], 4.5 * done[1], done)
        for job_id in (many, few):
            self.assertEqual(self.grid.job(job_id)["project"], "many" if job_id == many else "few")
            self.grid.wait_job(job_id)

    def test_a_project_keeps_to_its_quota_and_is_told_so(self):
        self.grid.ok("project", "set", "lab", "--max-cpus", 1, "--max-running", "none")
        job_id = self.grid.submit(self.grid.job_file(["sleep", "1"], shards=3, project="lab"))
        seen = []

        def at_end():
            seen.append((len(self.running(job_id)), self.project("lab")["cpus_used"]))
            return self.grid.job(job_id)["state"] == "done"

        wait(lambda: self.running(job_id), 20, "the first shard")
        why = " ".join(self.grid.ok("job", "why", job_id).json()["sentences"])
        self.assertIn("Its project lab has reached its quota: it uses 1 of 1 CPUs, and a shard "
                      "asks for 1.", why)
        wait(at_end, 60, "the job to end")
        self.assertEqual(max(seen), (1, 1), seen)
        self.grid.ok("project", "set", "lab", "--max-cpus", "none")
        job_id = self.grid.submit(self.grid.job_file(["sleep", "2"], shards=2, project="lab"))
        wait(lambda: len(self.running(job_id)) == 2, 20, "both shards to run")
        self.grid.wait_job(job_id)

    def test_a_restart_keeps_projects_and_what_they_use(self):
        self.grid.ok("project", "set", "lab", "--weight", 5, "--max-memory", "1GiB",
                     "--max-queued", 3)
        job_id = self.grid.submit(self.grid.job_file(["sleep", "4"], project="lab"))
        wait(lambda: self.running(job_id), 20, "the job to run")
        self.assertIn("project lab has unfinished jobs (1)",
                      self.refused("project", "remove", "lab"))
        before = self.project("lab")
        self.assertEqual((before["attempts_running"], before["memory_bytes_used"]), (1, 64 << 20))
        self.grid.kill("scheduler")
        self.grid.start_scheduler()
        after = self.project("lab")
        self.assertEqual(after, before)
        self.assertEqual(after["quotas"], {"max_cpus": None, "max_memory_bytes": 1 << 30,
                                           "max_gpus": None, "max_running": None, "max_queued": 3})
        self.grid.wait_job(job_id)
        self.grid.ok("project", "remove", "lab")
        self.assertIn("there is no project lab", self.refused("project", "remove", "lab"))
        log = [e["entry"]["event"] for e in self.grid.ok("audit", "list").json()["entries"]]
        self.assertEqual([e for e in log if e.startswith("project")],
                         ["project set", "project removed"])

    def test_what_makes_no_sense_is_refused(self):
        self.grid.ok("project", "set", "research", "--max-cpus", 2, "--max-queued", 0)
        for args, message in (
                (["set", "a b"], "the name of a project has 1 to 64 letters"),
                (["set", "x", "--weight", "0"], "a weight is a number from 1 to 1000, got 0"),
                (["set", "x", "--weight", "2.5"], "--weight: expected a whole number, got \\\"2.5"),
                (["set", "x", "--max-cpus", "many"],
                 "--max-cpus: expected a whole number or none, got \\\"many"),
                (["set", "x", "--max-running", "-1"], "--max-running"),
                (["set", "x", "--max-memory", "64 gigs"],
                 "--max-memory: expected a size as in 64GiB, or none, got \\\"64 gigs"),
                (["remove", "default"], "project default stays"),
                (["remove", "reserch"], "there is no project reserch; did you mean research?"),
                (["remov", "research"], "did you mean remove?")):
            self.assertIn(message, self.refused("project", *args), args)
        self.assertEqual([p["name"] for p in self.grid.ok("project", "list").json()["projects"]],
                         ["default", "research"])
        for project, cpus, message in (
                ("reserch", 1, "there is no project reserch; did you mean research?; there are: "
                               "default, research"),
                ("research", 3, "project research has no room for this job even while idle: it uses 0 "
                                "of 2 CPUs, and a shard asks for 3"),
                ("research", 1, "project research has 0 of 0 queued jobs")):
            file = self.grid.job_file(["true"], project=project,
                                      resources={"cpus": cpus, "memory": "64MiB"})
            self.assertIn(message, self.refused("job", "submit", file))
        self.assertEqual(self.grid.ok("job", "list").json()["jobs"], [])


if __name__ == "__main__":
    main()
