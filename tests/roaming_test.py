"""A laptop that changes its network: another interface, another address, and its connections dead."""
import time

from grid import GridTest, main, wait
from namespaces import Network, enter_namespace

SCHEDULER = "127.77.0.1"  # one address, which both networks lead to
NETWORKS = {"office": "10.77.1", "home": "10.77.2"}


class RoamingTest(GridTest):
    agents, slots = 1, 1

    def prepare(self):
        self.here = Network()
        self.laptop = Network(own=False)
        self.addCleanup(self.laptop.close)
        self.addCleanup(self.here.close)
        self.here.ip(f"address replace {SCHEDULER}/32 dev lo")
        # The laptop's own loopback is one address, and not all of 127.0.0.0/8.
        self.laptop.ip("address flush dev lo")
        self.laptop.ip("address add 127.0.0.1/32 dev lo")
        for name, net in NETWORKS.items():
            self.here.ip(f"link add {name} type veth peer name {name} netns {self.laptop.process.pid}")
            self.addCleanup(self.here.ip, f"link delete {name}")
            self.here.ip(f"address add {net}.1/24 dev {name}")
            self.here.ip(f"link set {name} up")
        self.join("office")
        self.grid.address = f"{SCHEDULER}:50051"  # nobody else is in this network
        self.grid.networks["agent-1"] = self.laptop
        self.grid.adopted.append(self.laptop)

    def join(self, name):
        net = NETWORKS[name]
        self.laptop.ip(f"link set {name} up")
        self.laptop.ip(f"address add {net}.2/24 dev {name}")
        self.laptop.ip(f"route add {SCHEDULER}/32 via {net}.1 dev {name} src {net}.2")

    def leave(self, name):
        """Nobody is told: no connection is closed, and what is sent to it is lost."""
        self.laptop.ip(f"address flush dev {name}")
        self.laptop.ip(f"link set {name} down")

    def start_job(self, seconds):
        """A job of one shard, which runs."""
        job_id = self.grid.submit(self.grid.job_file(
            ["sh", "-c", f"sleep {seconds}; echo done > out"], outputs=["out"]))
        wait(lambda: self.grid.device("agent-1")["attempts_running"] > 0, 15, "the shard to run")
        return job_id

    def check_one_attempt(self, job_id):
        self.grid.wait_job(job_id, 60)
        attempts = self.grid.shards(job_id)[0]["attempts"]
        self.assertEqual([a["state"] for a in attempts], ["agreed"])
        self.assertEqual(self.grid.device("agent-1")["leases_expired"], 0)
        self.assertEqual(self.grid.results(job_id), {"0/out": b"done\n"})

    def test_another_network_when_the_result_is_due(self):
        job_id = self.start_job(4)
        self.leave("office")
        time.sleep(1)
        self.join("home")
        self.check_one_attempt(job_id)

    def test_there_and_back(self):
        job_id = self.start_job(20)
        for old, new in (("office", "home"), ("home", "office")):
            self.leave(old)
            time.sleep(1)  # attempts to connect fail
            self.join(new)
            time.sleep(7)
        self.check_one_attempt(job_id)

    def plug_in(self):
        """After a link that was down: its address is still there."""
        self.laptop.ip("link set office up")
        self.laptop.ip(f"route add {SCHEDULER}/32 via {NETWORKS['office']}.1 dev office "
                       f"src {NETWORKS['office']}.2")

    def test_a_network_that_is_lost_for_a_moment(self):
        job_id = self.start_job(8)
        self.laptop.ip("link set office down")
        time.sleep(4)
        self.plug_in()
        self.check_one_attempt(job_id)

    def test_is_back_soon_after_its_network(self):
        """gRPC noticed connections that stood every 5 s, so that leases ran out."""
        log = self.grid.folder / "agent-1.log"
        gone = []
        for turn in range(1, 4):
            self.laptop.ip("link set office down")
            wait(lambda turn=turn: log.read_text().count("lost the scheduler") == turn, 20, "it to be missed")
            time.sleep(1)  # attempts to connect fail
            self.plug_in()
            begin = time.monotonic()
            wait(lambda turn=turn: log.read_text().count("the scheduler is back") == turn, 20, "it to be back")
            gone.append(time.monotonic() - begin)
        self.assertLess(sorted(gone)[1], 3, gone)

    def test_too_long_without_a_network(self):
        """The lease ends, and the late result is refused by its attempt's number."""
        job_id = self.start_job(5)
        self.leave("office")
        wait(lambda: self.grid.shards(job_id)[0]["attempts"][0]["state"] == "expired", 20,
             "the lease to end")
        self.join("home")
        self.grid.wait_job(job_id, 60)
        attempts = self.grid.shards(job_id)[0]["attempts"]
        self.assertEqual([a["state"] for a in attempts], ["expired", "agreed"])


if __name__ == "__main__":
    enter_namespace("n")
    main()
