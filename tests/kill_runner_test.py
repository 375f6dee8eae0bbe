"""kill -9 of the programs that run shards: the device says so, and the shard runs again."""
import os
import signal

from grid import descendants, main, wait
from storm import StormTest


def is_target(process, table):
    """Bubblewrap, the runner, or the init of a shard. Below that comes the command, which has the
    runner's name until its exec; to kill it is an outcome of the shard."""
    if process.state == "Z":
        return False
    parent = table.get(process.parent)
    above = table.get(parent.parent) if parent else None
    born = parent and above and parent.name == above.name == "corpgrid-runner"
    return process.name == "bwrap" or (process.name == "corpgrid-runner" and not born)


class KillRunnerTest(StormTest):
    def test_an_idle_sandbox_that_was_killed_is_buried(self):
        self.grid.wait_job(self.grid.submit(self.grid.job_file(["true"], shards=1)))
        idle = [p for p in descendants(os.getpid()) if p.name in ("bwrap", "corpgrid-runner")]
        self.assertTrue(idle, "no sandbox waits for more")
        for process in idle:
            os.kill(process.pid, signal.SIGKILL)
        killed = {process.pid for process in idle}
        # Those whose parent was killed as well are ours to bury.
        wait(lambda: not any(p.pid in killed and p.parent != os.getpid() for p in descendants(os.getpid())), 3,
             "them to be buried")

    def test_storm(self):
        def strike(random):
            table = {p.pid: p for p in descendants(os.getpid())}
            runners = [p for p in table.values() if is_target(p, table)]
            if not runners:
                return 0
            try:
                os.kill(random.choice(runners).pid, signal.SIGKILL)
            except ProcessLookupError:
                return 0
            return 1
        self.storm(strike)


if __name__ == "__main__":
    main()
