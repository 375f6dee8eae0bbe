"""A laptop that is unplugged, or told to stop: its shard goes on elsewhere from where it was."""
import json
import os
import time

from checkpoint_test import WORK
from grid import GridTest, main, wait

# As WORK, but its state is in memory until it is asked to go.
ON_SIGTERM = """#!/usr/bin/python3
import os, signal, sys, time
n = int(open("state/n").read()) if os.environ.get("CORPGRID_RESUME") else 0
first = n
def save(*_):
    time.sleep(1)
    os.makedirs("state", exist_ok=True)
    open("state/n", "w").write(str(n))
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
while n < int(sys.argv[1]):
    time.sleep(0.1)
    n += 1
    os.write(3, f"{n / int(sys.argv[1])}\\n".encode())
open("begun.json", "w").write(f"[{first}]")
"""


class BatteryTest(GridTest):
    agents, slots = 2, 1

    def prepare(self):
        """Each agent reads its power from a folder of ours."""
        self.power = {name: self.grid.folder / f"power-{name}" for name in ("agent-1", "agent-2")}
        for name, folder in self.power.items():
            for supply in ("AC", "BAT0"):
                (folder / supply).mkdir(parents=True)
            (folder / "AC" / "type").write_text("Mains\n")
            (folder / "BAT0" / "type").write_text("Battery\n")
            (folder / "BAT0" / "capacity").write_text("80\n")
            self.plug(name)
        start = self.grid.start_agent

        def start_agent(name, owner=None):
            os.environ["CORPGRID_POWER_SUPPLY"] = str(self.power[name])
            return start(name, owner)
        self.grid.start_agent = start_agent
        self.addCleanup(os.environ.pop, "CORPGRID_POWER_SUPPLY", None)

    def plug(self, name, is_in=True):
        (self.power[name] / "BAT0" / "status").write_text("Charging" if is_in else "Discharging")
        (self.power[name] / "AC" / "online").write_text(f"{int(is_in)}\n")

    def submit_long(self, work=WORK, steps=150, every="1h", **fields):
        file = self.grid.job_file(["./work.py", str(steps)], outputs=["begun.json"], retries=0,
                                  bundle={"work.py": work},
                                  checkpoint={"folder": "state", "every": every}, **fields)
        return self.grid.submit(file)

    def running_on(self, job_id):
        """The device that runs the job's one shard, once it has got on."""
        def found():
            shards = self.grid.shards(job_id)
            running = [a for a in shards[0]["attempts"] if a["state"] == "running"] if shards else []
            return next((a for a in running if a["progress"] > 0.1), None)
        attempt = wait(found, 30, "the shard to get on")
        return next(device for device in self.grid.devices()
                    if device["id"] == attempt["device_id"])["info"]["name"]

    def check_moved(self, job_id, first):
        """The shard was given back by `first` and done elsewhere, at no one's cost."""
        attempts = self.grid.shards(job_id)[0]["attempts"]
        self.assertEqual([a["state"] for a in attempts], ["given back", "agreed"])
        self.assertNotEqual(attempts[0]["device_id"], attempts[1]["device_id"])
        device = self.grid.device(first)
        for count in ("leases_expired", "results_refused", "device_faults"):
            self.assertEqual(device[count], 0, device)

    def test_an_unplugged_device_gives_its_shard_back(self):
        job_id = self.submit_long()
        first = self.running_on(job_id)
        self.plug(first, False)
        wait(lambda: self.grid.shards(job_id)[0]["attempts"][0]["state"] == "given back", 20,
             "the shard to be given back")
        self.grid.wait_job(job_id, 60)
        begun = json.loads(self.grid.results(job_id)["0/begun.json"])
        self.assertEqual(len(begun), 2, begun)
        self.assertGreater(begun[1][0], 10)
        self.check_moved(job_id, first)

    def test_it_gets_work_again_when_it_is_plugged_in(self):
        for name in self.power:
            self.plug(name, False)
        wait(lambda: all(d["condition"]["source"] == "battery" for d in self.grid.devices()), 20,
             "the devices to say so")
        job_id = self.grid.submit(self.grid.job_file(["true"], shards=4))
        time.sleep(3)
        self.assertEqual({shard["state"] for shard in self.grid.shards(job_id)}, {"queued"})
        device = self.grid.device("agent-1")["id"]
        why = " ".join(self.grid.ok("device", "why", device).json()["sentences"])
        self.assertIn("battery", why)
        self.plug("agent-1")
        self.grid.wait_job(job_id, 20)

    def test_a_command_may_save_its_state_when_it_is_asked_to_go(self):
        job_id = self.submit_long(ON_SIGTERM, steps=100)
        first = self.running_on(job_id)
        self.plug(first, False)
        self.grid.wait_job(job_id, 60)
        self.assertGreater(json.loads(self.grid.results(job_id)["0/begun.json"])[0], 8)
        self.check_moved(job_id, first)

    def test_an_agent_that_is_told_to_stop_gives_its_shard_back(self):
        job_id = self.submit_long(ON_SIGTERM, steps=100)
        first = self.running_on(job_id)
        started = time.monotonic()
        self.grid.terminate(first, 10)
        attempt = self.grid.shards(job_id)[0]["attempts"][0]
        self.assertEqual(attempt["state"], "given back", f"{time.monotonic() - started:.1f} s")
        self.grid.wait_job(job_id, 60)
        self.assertGreater(json.loads(self.grid.results(job_id)["0/begun.json"])[0], 8)
        self.check_moved(job_id, first)

    def test_a_command_that_will_not_go_is_ended(self):
        deaf = "trap '' TERM; while :; do sleep 1; echo 0.5 >&3; done"
        job_id = self.grid.submit(self.grid.job_file(["sh", "-c", deaf],
                                                     checkpoint={"every": "1h"}))
        first = self.running_on(job_id)
        self.grid.terminate(first, 10)
        self.assertEqual(self.grid.shards(job_id)[0]["attempts"][0]["state"], "given back")
        self.grid.ok("job", "cancel", job_id)


if __name__ == "__main__":
    main()
