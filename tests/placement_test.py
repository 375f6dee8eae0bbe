"""Which devices get a job: labels, sites, attested programs, the owner's hours, heat."""
import datetime

from grid import BIN, GridTest, main, wait


class PlacementTest(GridTest):
    agents = 0

    def agent(self, name, *options, env=None):
        """Starts an agent with these options, of an owner of its own."""
        folder = self.grid.agent_folder(name)
        folder.parent.mkdir(mode=0o711, exist_ok=True)
        self.grid.spawn(name, [BIN / "corpgrid", "agent", "--data", folder, "--scheduler",
                               self.grid.address, "--name", name, "--slots", 1, "--trust",
                               self.grid.key(), *options],
                        {"CORPGRID_JOIN": self.grid.token(f"{name}'s owner"), **(env or {})})
        wait(lambda: name in [d["info"]["name"] for d in self.grid.devices()], 20,
             f"{name} to register")

    def submit(self, **fields):
        return self.grid.submit(self.grid.job_file(["/bin/true"], **fields))

    def devices_of(self, job_id):
        return {attempt["device_name"] for shard in self.grid.shards(job_id)
                for attempt in shard["attempts"]}

    def why(self, kind, name):
        return " ".join(self.grid.ok(kind, "why", name).json()["sentences"])

    def test_labels_and_sites(self):
        self.agent("plain", "--site", "Oslo")
        job = self.submit(placement={"labels": ["fast-disk", "os=debian12"]}, shards=4)
        wait(lambda: "it has no label fast-disk" in self.why("job", job), 10, "the job to wait")
        self.assertIn("it has no label fast-disk", self.why("device", "plain"))
        self.agent("fast", "--label", "os=debian12", "--label", "fast-disk", "--site", "Zürich")
        self.grid.wait_job(job)
        self.assertEqual(self.devices_of(job), {"fast"})
        self.assertEqual(self.grid.device("fast")["info"]["labels"], ["fast-disk", "os=debian12"])

        job = self.submit(placement={"sites": ["Bern", "Zürich"]}, shards=4)
        self.grid.wait_job(job)
        self.assertEqual(self.devices_of(job), {"fast"})
        job = self.submit(placement={"sites": ["Bern"]})
        wait(lambda: "it stands in Oslo, not in Bern" in self.why("job", job), 10,
             "the job to say why it waits")

    def test_attested_programs(self):
        self.agent("agent-1")
        device = self.grid.device("agent-1")
        self.assertEqual(device["attestation"], "measured", "it is the scheduler's own program")
        job = self.submit(placement={"attested": True})
        self.grid.wait_job(job)
        shown = self.grid.ok("device", "show", "agent-1", json_output=False).out
        self.assertRegex(shown, r"program +[0-9a-f]{64} \(measured\)")

        # Another program: ours with a byte more.
        folder = self.grid.folder / "patched"
        folder.mkdir()
        for name in ("corpgrid", "corpgrid-runner"):
            (folder / name).write_bytes((BIN / name).read_bytes() + b"\0")
            (folder / name).chmod(0o755)
        self.grid.terminate("agent-1")
        self.grid.spawn("agent-1", [folder / "corpgrid", "agent", "--data",
                                    self.grid.agent_folder("agent-1"), "--scheduler",
                                    self.grid.address, "--name", "agent-1"])
        wait(lambda: self.grid.device("agent-1")["attestation"] == "unattested", 20,
             "the other program to be seen")
        job = self.submit(placement={"attested": True})
        wait(lambda: "it is unattested" in self.why("job", job), 10, "the job to say why it waits")
        self.assertEqual(self.devices_of(job), set())

        # The operator gets to know it.
        command = self.grid.scheduler_command
        shown = self.grid.ok("device", "show", "agent-1", json_output=False).out
        known = shown[shown.index("program"):].split()[1]
        self.grid.scheduler_command = lambda listen: [*command(listen), "--known-agent", known]
        self.grid.terminate("scheduler")
        self.grid.start_scheduler()
        self.grid.wait_job(job)
        self.assertEqual(self.grid.device("agent-1")["attestation"], "measured")

    def test_outside_its_hours_a_device_gives_back_and_waits(self):
        now = datetime.datetime.now()
        today = now.strftime("%a").lower()
        others = ",".join(day for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
                          if day not in (today, (now + datetime.timedelta(days=1))
                                         .strftime("%a").lower()))
        self.agent("closed", "--hours", others)
        job = self.submit()
        closed = f"outside its owner's hours ({others})"
        wait(lambda: closed in self.why("job", job), 10, "the job to say why it waits")
        self.assertIn(f"It is {closed}.", self.why("device", "closed"))
        self.assertEqual(self.grid.device("closed")["condition"]["closed"], closed)
        self.assertIn(closed, self.grid.ok("device", "show", "closed", json_output=False).out)
        self.agent("open", "--hours", today, "--hours", "mon-sun 00:00-24:00")
        self.grid.wait_job(job)
        self.assertEqual(self.devices_of(job), {"open"})

        wrong = self.grid.cli("agent", "--scheduler", self.grid.address, "--hours", "25-26",
                              data=self.grid.folder / "wrong", json_output=False)
        self.assertNotEqual(wrong.code, 0)
        self.assertIn('"25-26" are no hours: write 18:00-08:00', wrong.err)

    def test_heat_is_told_and_weighed(self):
        for name, degrees in (("hot", 95_000), ("cool", 45_000)):
            chip = self.grid.folder / name / "hwmon0"
            chip.mkdir(parents=True)
            (chip / "temp1_input").write_text(f"{degrees}\n")
            (chip / "temp1_crit").write_text("100000\n")
            self.agent(name, env={"CORPGRID_HWMON": str(chip.parent)})
        def told(name):
            return self.grid.device(name)["condition"].get("thermal_headroom")
        wait(lambda: told("hot") is not None and told("cool") is not None, 10, "the heat to be told")
        self.assertAlmostEqual(told("hot"), 5 / 60)
        self.assertAlmostEqual(told("cool"), 55 / 60)
        shown = self.grid.ok("device", "show", "hot", json_output=False).out
        self.assertRegex(shown, "heat +8 % of the way to its limit is left")
        command = self.grid.scheduler_command
        self.grid.scheduler_command = lambda listen: [
            *command(listen), "--weight", "thermal=1", "--weight", "reputation=0", "--weight",
            "fairness=0", "--weight", "utilisation=0"]
        self.grid.terminate("scheduler")
        self.grid.start_scheduler()
        wait(lambda: [d["state"] for d in self.grid.devices()] == ["idle", "idle"], 20,
             "both to wait for work")
        def waits(name):  # only those that wait are compared
            return "It waits for work" in str(self.grid.ok("device", "why", name).json())
        for _ in range(5):
            wait(lambda: waits("hot") and waits("cool"), 20, "both to ask for work")
            job = self.submit()
            self.grid.wait_job(job)
            self.assertEqual(self.devices_of(job), {"cool"})

        wrong = self.grid.cli("scheduler", "--weight", "luck=1", json_output=False)
        self.assertNotEqual(wrong.code, 0)
        self.assertIn('"luck=1" is no weight: write TERM=NUMBER', wrong.err)


if __name__ == "__main__":
    main()
