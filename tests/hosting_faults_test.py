"""The API of a grid while clients leave and workers die: what it says goes through gateway, scheduler and agent."""
import concurrent.futures
import os
import signal
import threading
import time
import unittest

from grid import main, seeded, wait
from serving import ENDLESS, HAVE_WORKER, GridGateway, HostingGridTest, ask_while, check_asked


@unittest.skipUnless(HAVE_WORKER, "built without the inference libraries")
class HostingFaultsTest(HostingGridTest):
    agents, slots = 2, 1

    def host(self, context, *options):
        self.grid.ok("model", "load", "tiny", "--context", context, "--sequences", 4, *options)
        gateway = GridGateway(self.grid, "tiny")
        self.addCleanup(gateway.close)
        self.grid.adopted.append(gateway)
        wait(lambda: gateway.chat()[0] == 200, 30, "the gateway to know it")
        return gateway

    def test_who_leaves_is_computed_for_no_more(self):
        gateway = self.host(100_000)
        body = {"model": "tiny", "prompt": "on", "max_tokens": 90_000, "logit_bias": ENDLESS}
        clients = [gateway.start("/v1/completions", {**body, "stream": stream}) for stream in (True, False)]
        clients[0].sock.recv(100)
        wait(lambda: gateway.stats()["running"] == 2, 60, "both to be computed")
        for client in clients:
            client.close()
        wait(lambda: gateway.stats()["running"] == 0, 60, "both to go")
        self.assertLess(int(gateway.stats()["answer_tokens"]), 80_000)
        self.assertEqual(gateway.stop(), 0, gateway.logged())

    def test_workers_killed_at_random_moments(self):
        gateway, dice, over = self.host(1024, "--replicas", 2), seeded(), threading.Event()
        with concurrent.futures.ThreadPoolExecutor(6) as clients:
            asked = [clients.submit(ask_while, gateway, dice.random(), over) for _ in range(6)]
            try:
                for _ in range(6):
                    worker = dice.choice(wait(gateway.workers, 60, "a worker"))
                    time.sleep(2 * dice.random())
                    try:
                        os.kill(worker, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                    wait(lambda worker=worker: worker not in gateway.workers(), 60, "it to end")
                wait(lambda: gateway.chat()[0] == 200, 60, "the model to be back")
            finally:
                over.set()  # else the clients ask for ever
        check_asked(self, [one for client in asked for one in client.result()])
        wait(lambda: len(gateway.workers()) == 2, 60, "both replicas to be back")
        self.assertEqual(gateway.stop(), 0, gateway.logged())


if __name__ == "__main__":
    main()
