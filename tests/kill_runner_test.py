"""kill -9 of the programs that run shards: the device says so, and the shard runs again."""
import os
import signal

from grid import descendants, main
from storm import StormTest


class KillRunnerTest(StormTest):
    def test_storm(self):
        def strike(random):
            runners = [p for p in descendants(os.getpid())
                       if p.name == "corpgrid-runner" or (p.name == "bwrap" and p.state != "Z")]
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
