"""Programs of different versions on one grid.

What pretends to be of another version is this build, told to say so (CORPGRID_PRETEND_PROTOCOL). With
CORPGRID_OLD_BIN, a folder with the programs of an older commit, real ones are mixed as well: ./dev skew
builds and names it.
"""
import json
import os
import pathlib
import unittest

from grid import BIN, Grid, GridTest, main, wait
from postgres import PostgresTest

OLD = os.environ.get("CORPGRID_OLD_BIN")
OLD = pathlib.Path(OLD).resolve() if OLD else None
PROTOCOL = 2  # base/version.h


def says(oldest, newest):
    return {"CORPGRID_PRETEND_PROTOCOL": f"{oldest}-{newest}"}


class SkewTest(GridTest):
    """Each test starts what it needs."""
    agents = 0

    def start_agents(self, count=1, first=1, wanted=True):
        for number in range(first, first + count):
            self.grid.start_agent(f"agent-{number}", f"owner-{number}")
        if wanted:
            self.await_devices(count + first - 1)

    def await_devices(self, count):
        wait(lambda: sum(d["state"] != "lost" for d in self.grid.devices()) >= count, 30,
             "the agents to register")

    def await_log(self, name, words, seconds=30):
        wait(lambda: words in self.grid.tail(name), seconds, f"{name} to say: {words}")

    def hello(self, shards=4, seconds=0, owners=1, **fields):
        """A job of which every version knows all."""
        return self.grid.job_file(["sh", "-c", f"sleep {seconds}; echo shard {{shard}} > out"],
                                  shards=shards, outputs=["out"],
                                  redundancy={"replicas": owners, "quorum": owners}, **fields)

    def new_job(self, shards=4):
        """A job that is for agents of protocol version 2."""
        self.grid.ok("project", "set", "lab")
        return self.hello(shards, project="lab")

    def check(self, job_id, shards=4, owners=1):
        self.grid.wait_job(job_id, 60)
        self.grid.check_accepted_once(job_id, owners)
        self.assertEqual(self.grid.results(job_id),
                         {f"{i}/out": f"shard {i}\n".encode() for i in range(shards)})

    def sentences(self, *words):
        return " ".join(self.grid.ok(*words).json()["sentences"])

    def devices_of(self, job_id):
        return {a["device_name"] for s in self.grid.shards(job_id) for a in s["attempts"]}

    def check_waits_for_an_upgrade(self, job_id, agent):
        """A job that the only agent there is does not understand is not leased to it."""
        self.assertIn("upgrade the agent", self.sentences("job", "why", job_id))
        self.assertIn(f"Job {job_id} does not suit it", self.sentences("device", "why", agent))
        self.assertEqual(self.devices_of(job_id), set())


class PretendedTest(SkewTest):
    """This build, that says it were of another version."""

    def test_versions_are_shown(self):
        self.start_agents()
        shown = self.grid.ok("version").json()
        for side in ("command_line", "scheduler"):
            self.assertEqual(shown[side]["newest_protocol"], PROTOCOL, shown)
            self.assertGreaterEqual(shown[side]["schema_version"], 14, shown)
        self.assertEqual(self.grid.device("agent-1")["protocol"], PROTOCOL)
        text = self.grid.ok("device", "list", json_output=False).out
        self.assertIn(f"(protocol {PROTOCOL})", text)

    def test_an_agent_one_version_older(self):
        """It gets what it understands and nothing else; a new agent gets the rest."""
        self.grid.envs["agent-1"] = says(PROTOCOL - 1, PROTOCOL - 1)
        self.start_agents()
        self.assertEqual(self.grid.device("agent-1")["protocol"], PROTOCOL - 1)
        new = self.grid.submit(self.new_job())
        self.check(self.grid.submit(self.hello()))
        self.check_waits_for_an_upgrade(new, "agent-1")
        self.start_agents(first=2)
        self.check(new)
        self.assertEqual(self.devices_of(new), {"agent-2"})

    def test_an_agent_one_version_newer(self):
        self.grid.envs["agent-1"] = says(PROTOCOL, PROTOCOL + 1)
        self.start_agents()
        self.check(self.grid.submit(self.new_job()))

    def test_an_agent_that_is_too_new_waits_for_the_scheduler(self):
        """Both sides say why. When the scheduler was upgraded, it registers by itself."""
        self.grid.envs["agent-1"] = says(PROTOCOL + 1, PROTOCOL + 2)
        self.start_agents(wanted=False)
        words = "upgrade the scheduler first"
        self.await_log("agent-1", words)
        self.await_log("scheduler", words)
        self.assertIn(f"protocol versions {PROTOCOL + 1} to {PROTOCOL + 2}", self.grid.tail("agent-1"))
        self.assertEqual(self.grid.devices(), [])
        self.restart_scheduler_as(PROTOCOL, PROTOCOL + 1)
        self.await_devices(1)
        self.check(self.grid.submit(self.hello()))

    def test_an_agent_that_became_too_old_keeps_its_results(self):
        """While nobody can take them; it hands them in to a scheduler that speaks with it again."""
        self.start_agents()
        job_id = self.grid.submit(self.hello(shards=2, seconds=4))
        wait(lambda: self.grid.job(job_id)["attempts_running"] == 2, 30, "both shards to run")
        self.restart_scheduler_as(PROTOCOL + 1, PROTOCOL + 2, cli=says(PROTOCOL + 1, PROTOCOL + 1))
        self.await_log("agent-1", "upgrade the agent first")
        self.assertEqual(self.grid.tail("scheduler").count("cannot register"), 1)
        wait(lambda: len(self.kept_results()) == 2, 30, "both shards to end")
        self.assertIsNone(self.grid.running["agent-1"].poll())
        self.restart_scheduler_as(PROTOCOL - 1, PROTOCOL, cli={})
        self.check(job_id, shards=2)
        ended = [a["state"] for s in self.grid.shards(job_id) for a in s["attempts"]]
        self.assertEqual(ended, ["agreed"] * 2)

    def kept_results(self):
        return list((self.grid.agent_folder("agent-1") / "finished").glob("*"))

    def test_command_lines(self):
        """One version older or newer works; two are told what to upgrade, and change nothing."""
        self.start_agents()
        for speaks in (says(PROTOCOL - 1, PROTOCOL - 1), says(PROTOCOL, PROTOCOL + 1)):
            self.grid.envs["cli"] = speaks
            self.check(self.grid.submit(self.hello()))
        before = len(self.grid.ok("job", "list").json()["jobs"])
        self.grid.envs["cli"] = says(PROTOCOL + 1, PROTOCOL + 2)
        self.refused("upgrade the scheduler first", "job", "submit", self.hello())
        self.restart_scheduler_as(PROTOCOL + 1, PROTOCOL + 2, cli=says(PROTOCOL - 1, PROTOCOL))
        self.refused("upgrade the command line first", "job", "submit", self.hello())
        self.refused("upgrade the command line first", "job", "list")
        self.restart_scheduler_as(PROTOCOL - 1, PROTOCOL, cli={})
        self.assertEqual(len(self.grid.ok("job", "list").json()["jobs"]), before)

    def test_what_the_scheduler_does_not_know_is_not_sent(self):
        self.restart_scheduler_as(PROTOCOL - 1, PROTOCOL - 1)
        reply = self.refused("upgrade the scheduler first", "job", "submit", self.new_job())
        self.assertIn("this job asks for", reply.err)
        self.start_agents()
        self.check(self.grid.submit(self.hello()))

    def refused(self, words, *command):
        reply = self.grid.cli(*command)
        self.assertEqual(reply.code, 1, str(reply))
        self.assertIn(words, reply.err)
        return reply

    def restart_scheduler_as(self, oldest, newest, cli=None):
        self.grid.terminate("scheduler")
        self.grid.envs["scheduler"] = says(oldest, newest)
        if cli is not None:
            self.grid.envs["cli"] = cli
        self.grid.start_scheduler()


class RealSkewTest(SkewTest):
    """The programs of CORPGRID_OLD_BIN and of this build on one grid."""

    def old(self, *names):
        self.grid.bins.update({name: OLD for name in names})

    def new(self, *names):
        self.grid.bins.update({name: BIN for name in names})

    def old_protocol(self):
        """1 for programs that do not say so."""
        return json.loads(os.environ.get("CORPGRID_OLD_PROTOCOL", "1"))


class OldAgentsTest(RealSkewTest):
    def test_old_agents_new_scheduler(self):
        self.old("agent-1", "agent-2", "agent-3")
        self.start_agents(3)
        self.assertEqual({d["protocol"] for d in self.grid.devices()}, {self.old_protocol()})
        self.check(self.grid.submit(self.hello(shards=40, owners=2)), shards=40, owners=2)
        checkpointed = self.hello(checkpoint={"folder": "state", "every": "1s"})
        self.check(self.grid.submit(checkpointed))
        if self.old_protocol() == PROTOCOL:
            return
        new = self.grid.submit(self.new_job())
        self.check_waits_for_an_upgrade(new, "agent-1")
        self.grid.terminate("agent-1")
        self.new("agent-1")
        self.grid.start_agent("agent-1")
        self.check(new)
        self.assertEqual(self.devices_of(new), {"agent-1"})


class OldSchedulerTest(RealSkewTest):
    def prepare(self):
        self.old("scheduler")

    def test_new_agents_old_scheduler(self):
        self.start_agents(3)
        self.check(self.grid.submit(self.hello(shards=40, owners=2)), shards=40, owners=2)
        self.grid.ok("device", "list", json_output=False)
        self.assertEqual(self.grid.ok("version").json()["scheduler"]["newest_protocol"],
                         self.old_protocol())
        if self.old_protocol() < PROTOCOL:
            reply = self.grid.cli("job", "submit", self.new_job())
            self.assertEqual(reply.code, 1, str(reply))
            self.assertIn("upgrade the scheduler first", reply.err)


class OldCommandLineTest(RealSkewTest):
    def test_old_command_line_new_scheduler(self):
        self.old("cli")
        self.start_agents(2)
        job_id = self.grid.submit(self.hello(owners=2))
        self.check(job_id, owners=2)
        for words in (["job", "list"], ["job", "why", job_id], ["device", "list"],
                      ["device", "show", "agent-1"], ["audit", "verify"], ["project", "list"]):
            self.grid.ok(*words)
            self.grid.ok(*words, json_output=False)


class SqliteUpgradeTest(RealSkewTest):
    def prepare(self):
        self.old("scheduler", "agent-1", "agent-2", "cli")

    def test_upgrade_in_place_and_no_downgrade(self):
        self.start_agents(2)
        before = self.grid.submit(self.hello(owners=2))
        self.check(before, owners=2)
        running = self.grid.submit(self.hello(shards=24, seconds=0.5, owners=2))
        wait(lambda: self.grid.job(running)["shards_done"] > 2, 30, "some shards to be done")
        logged = self.grid.ok("audit", "verify").json()["entries"]
        self.grid.terminate("scheduler")
        self.new("scheduler", "cli")
        self.grid.start_scheduler()
        self.check(before, owners=2)
        self.check(running, shards=24, owners=2)
        self.assertGreaterEqual(self.grid.ok("audit", "verify").json()["kept_entries"], logged)
        self.grid.terminate("scheduler")
        self.old("scheduler")
        refusing = self.grid.spawn("scheduler", self.grid.scheduler_command(self.grid.address))
        self.assertNotEqual(refusing.wait(30), 0)
        self.assertIn("the store's schema has version", self.grid.tail("scheduler"))
        self.grid.running.pop("scheduler")
        self.new("scheduler")
        self.grid.start_scheduler()
        self.check(before, owners=2)


class RollingUpgradeTest(RealSkewTest, PostgresTest):
    agents = 0

    def prepare(self):
        self.grid.store = self.url
        self.old("scheduler", "agent-1", "agent-2", "agent-3")

    def schema(self):
        return int(self.postgres.psql("grid", "SELECT MAX(version) FROM schema_version").stdout)

    def standby(self, name):
        process = self.grid.spawn(name, self.grid.scheduler_command(self.grid.address, name))
        self.await_log(name, "standing by")
        return process

    def hand_over(self, process):
        """The leader stops; the standby takes over."""
        self.grid.terminate("scheduler")
        wait(lambda: json.loads((self.grid.data / "grid.json").read_text())["pid"] == process.pid, 20,
             "the standby to lead")

    def test_schedulers_then_agents_while_a_job_runs(self):
        self.start_agents(3)
        old_schema = self.schema()
        finished = self.grid.submit(self.hello(owners=2))
        self.check(finished, owners=2)
        running = self.grid.submit(self.hello(shards=90, seconds=0.6, owners=2))
        wait(lambda: self.grid.job(running)["shards_done"] > 2, 30, "some shards to be done")
        standby = self.standby("standby")
        wait(lambda: self.grid.job(running)["shards_done"] > 6, 30, "the old leader to go on")
        self.assertEqual(self.schema(), old_schema)
        self.assertIsNone(standby.poll(), self.grid.tail("standby"))
        self.hand_over(standby)
        self.grid.running["scheduler"] = self.grid.running.pop("standby")
        self.assertGreater(self.schema(), old_schema)
        during = self.grid.submit(self.hello(owners=2))
        self.refuse_downgrade()
        for name in ("agent-1", "agent-2", "agent-3"):
            self.grid.ok("device", "drain", name, "--now")
            self.grid.terminate(name)
            self.new(name)
            self.grid.start_agent(name)
            self.grid.ok("device", "drain", name, "--undo")
            wait(lambda: self.grid.device(name)["protocol"] == PROTOCOL, 30, f"{name} to be upgraded")
        for job_id, shards in ((finished, 4), (during, 4), (running, 90)):
            self.check(job_id, shards, owners=2)
        self.grid.ok("audit", "verify")
        self.check(self.grid.submit(self.new_job()))

    def refuse_downgrade(self):
        """An old scheduler that would stand by says that it is too old, and disturbs nobody."""
        self.old("older")
        older = self.grid.spawn("older", self.grid.scheduler_command(self.grid.address, "older"))
        self.assertNotEqual(older.wait(30), 0)
        self.grid.running.pop("older")
        self.assertIn("the store's schema has version", self.grid.tail("older"))
        self.grid.ok("job", "list")


if OLD is None:  # there is nothing to mix
    del RealSkewTest, OldAgentsTest, OldSchedulerTest, OldCommandLineTest, SqliteUpgradeTest
    del RollingUpgradeTest
else:
    del RealSkewTest


if __name__ == "__main__":
    main()
