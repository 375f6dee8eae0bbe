"""corpgrid up: a whole grid with its API, from one command to Ctrl-C."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

from grid import BIN, descendants, main, wait


class UpTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="corpgrid-up.", dir="/var/tmp")
        self.addCleanup(temporary.cleanup)
        pathlib.Path(temporary.name).chmod(0o711)  # agents that start as root become users who must pass here
        self.data = pathlib.Path(temporary.name) / "grid"

    def command(self, *words):
        return [BIN / "corpgrid", *words, "--data", self.data, "--json"]

    def up(self, *options):
        """The process, and what it says when the grid is ready."""
        process = subprocess.Popen(self.command("up", "--agents", "1", *options), stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True, start_new_session=True)
        self.addCleanup(self.end, process)
        said = "".join(iter(lambda: process.stdout.readline() or "}\n", "}\n")) + "}"
        return process, json.loads(said)

    def end(self, process):
        for left in [process.pid, *(p.pid for p in descendants(process.pid))]:
            try:
                os.kill(left, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait(30)
        process.stdout.close()

    def status(self, url, key=None):
        request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"} if key else {})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def test_the_api_is_part_of_it(self):
        process, said = self.up("--api", "127.0.0.1:0")
        url = said["api"]["url"]
        self.assertEqual(self.status(url), 401)
        self.assertEqual(self.status(url, "cgk-guessed"), 401)
        made = subprocess.run(self.command("apikey", "create", "me"), check=True, capture_output=True, text=True)
        key = json.loads(made.stdout)["api_key"]
        self.assertEqual(self.status(url, key), 200)
        os.kill(said["api"]["pid"], signal.SIGKILL)  # it comes back to the same address
        wait(lambda: self.status(url, key) == 200, 30, "the gateway to come back")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(30), 0)
        self.assertEqual([str(p) for p in descendants(process.pid)], [])

    def test_a_port_in_use_is_said(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            done = subprocess.run(self.command("up", "--agents", "1", "--api", f"127.0.0.1:{port}"),
                                  capture_output=True, text=True, timeout=60, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(port, done.stderr)
        self.assertIn("--api", done.stderr)

    def test_without_an_api(self):
        _, said = self.up("--api", "none")
        self.assertIsNone(said["api"])
        self.assertFalse((self.data / "api-keys.json").exists())


if __name__ == "__main__":
    main()
