"""corpgrid chat as a person and as a script meet it: a real grid, a real worker, a real terminal."""
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
import unittest

from grid import BIN, descendants, main, wait
from serving import HAVE_WORKER, HostingGridTest

WORKER = BIN / "corpgrid-worker"
CTRL_C = "\x03"
# Says every message with its role, so that the count of the prompt's tokens tells what was sent.
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


class Terminal:
    """A chat in a pseudo-terminal of its own, whose Ctrl-C is a real one."""

    def __init__(self, *command):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "vt100", "LC_ALL": "C.UTF-8"},
            preexec_fn=self.become_a_terminals)
        os.close(slave)
        self.shown, self.seen = "", 0

    @staticmethod
    def become_a_terminals():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test in the background inherits that it is ignored

    def expect(self, pattern, seconds=60):
        """Waits until what was shown since the last time matches; returns the match."""
        end = time.monotonic() + seconds
        while True:
            match = re.compile(pattern).search(self.shown, self.seen)
            if match:
                self.seen = match.end()
                return match
            ready = select.select([self.master], [], [], max(0, end - time.monotonic()))[0]
            if not ready or not self.read():
                raise AssertionError(f"waited in vain for {pattern!r} after {self.shown[self.seen:]!r}")

    def read(self):
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux's way to say that nobody has the other end
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def type(self, text):
        if text != CTRL_C:  # libedit prints its prompt before it takes the terminal over, and what comes in between is
            # echoed twice, or lost
            wait(lambda: not termios.tcgetattr(self.master)[3] & termios.ICANON, 60, "the line editor", pause=0.01)
        os.write(self.master, text.encode())

    def wait(self, seconds=60):
        end = time.monotonic() + seconds
        while select.select([self.master], [], [], max(0, end - time.monotonic()))[0] and self.read():
            pass
        return self.process.wait(max(1, end - time.monotonic()))

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        os.close(self.master)


@unittest.skipUnless(HAVE_WORKER, "built without the inference libraries")
class ChatTest(HostingGridTest):
    agents, slots = 1, 1
    template = TEMPLATE

    def load(self):
        self.grid.ok("model", "load", "tiny", "--context", "8192", "--sequences", "2")

    def worker(self):
        agent = self.grid.running["agent-1"].pid
        return next(p.pid for p in descendants(agent) if p.command().startswith(str(WORKER)))

    def chat(self, *options):
        terminal = Terminal(BIN / "corpgrid", "chat", "tiny", "--data", self.grid.data, *options)
        self.addCleanup(terminal.close)
        self.grid.adopted.append(terminal)
        terminal.expect(r"tiny listens.*\n")
        terminal.expect("> ")
        return terminal

    def ask(self, *options, **more):
        return self.grid.ok("chat", "tiny", "--temperature", "0", "--max-tokens", "8", *options, **more)

    def test_a_script_gets_one_answer(self):
        missing = self.grid.cli("chat", "tiny", "hello")
        self.assertEqual(missing.code, 1, str(missing))
        self.assertIn("model tiny is not loaded; `corpgrid model load tiny` loads it", missing.err)
        self.load()
        near = self.grid.cli("chat", "tinny", "hello")
        self.assertEqual((near.code, near.json()["error"]["code"]), (1, "not_found"), str(near))
        self.assertIn("did you mean tiny?", near.err)
        answer = self.ask("hello").json()
        self.assertEqual(list(answer), ["answer", "prompt_tokens", "answer_tokens", "finish"])
        self.assertRegex(self.grid.tail("agent-1"), "request_id=inf_[0-9a-f]{24} ")
        self.assertIn(answer["finish"], ("stop", "length"))
        self.assertLessEqual(answer["answer_tokens"], 8)
        self.assertEqual(self.ask(stdin="hello").json(), answer)
        self.assertGreater(self.ask("hello", "--system", "be brief").json()["prompt_tokens"],
                           answer["prompt_tokens"])
        plain = self.ask("hello", json_output=False).out
        self.assertTrue(plain.endswith("\n"))
        self.assertNotRegex(plain, r"[\x00-\x08\x0b-\x1f\x7f]")
        seeded = [self.grid.ok("chat", "tiny", "hello", "--max-tokens", "8", "--seed", seed).json()["answer"]
                  for seed in (1, 1, 2, 3)]
        self.assertEqual(seeded[0], seeded[1])
        self.assertGreater(len(set(seeded)), 1)

    def test_bad_input_is_refused(self):
        self.load()
        for options, stdin, what in ((["--temperature", "2.1"], "hi", "temperature"),
                                     (["--max-tokens", "-1"], "hi", "max-tokens"),
                                     ([], " \n", "the message is empty"),
                                     ([], "x" * (9 << 20), "longer than 8 MiB")):
            reply = self.grid.cli("chat", "tiny", *options, stdin=stdin)
            self.assertEqual(reply.code, 2, str(reply)[:2000])
            self.assertIn(what, reply.err)
        too_long = self.grid.cli("chat", "tiny", stdin="word " * 9000)
        self.assertNotEqual(too_long.code, 0)
        self.assertIn("8192", too_long.err)
        terminal = Terminal(BIN / "corpgrid", "chat", "tiny", "--data", self.grid.data, "--json")
        self.addCleanup(terminal.close)
        terminal.expect("give the message: corpgrid chat tiny")
        self.assertEqual(terminal.wait(), 2)

    def test_a_person_converses(self):
        self.load()
        chat = self.chat("--temperature", "0", "--max-tokens", "4")
        chat.type("/help\n")
        chat.expect("Ctrl-C stops an answer")
        chat.expect("> ")
        chat.type("/claer\n")
        chat.expect("did you mean /clear")
        chat.expect("> ")
        chat.type("hello\n")
        first = chat.expect(r"hello[^\r\n]*\r+\n(?s:(.+?))\r\n> ").group(1)
        # What was said is sent again: another answer, which is the first one's once it is forgotten.
        chat.type("\x1b[A\n")
        second = chat.expect(r"hello[^\r\n]*\r+\n(?s:(.+?))\r\n> ").group(1)
        self.assertNotEqual(first, second)
        chat.type("/clear\n")
        chat.expect("forgotten")
        chat.expect("> ")
        chat.type("\x1b[A\x1b[A\n")
        self.assertEqual(chat.expect(r"hello[^\r\n]*\r+\n(?s:(.+?))\r\n> ").group(1), first)
        chat.type("/exit\n")
        self.assertEqual(chat.wait(), 0, chat.shown)

    def endless(self):
        """A chat that is in the middle of an answer, and its worker, which was stopped there."""
        chat = self.chat("--temperature", "0")
        worker = self.worker()
        chat.type("tell\n")
        chat.expect(r"tell\r+\n[^\r]")
        os.kill(worker, signal.SIGSTOP)
        return chat, worker

    def test_ctrl_c_stops_the_answer_only(self):
        self.load()
        chat, worker = self.endless()
        chat.type(CTRL_C)
        chat.expect(r"\(stopped\)\r\n")
        os.kill(worker, signal.SIGCONT)
        chat.expect("> ")
        self.assertIsNone(chat.process.poll())
        chat.type("\x04")
        self.assertEqual(chat.wait(), 0, chat.shown)
        again = self.chat()
        again.type(CTRL_C)
        self.assertEqual(again.wait(), -signal.SIGINT, again.shown)

    def test_a_worker_that_dies_ends_the_answer_and_not_the_chat(self):
        self.load()
        chat, worker = self.endless()
        os.kill(worker, signal.SIGKILL)
        chat.expect(r"corpgrid: .+\r\n\(the message is not kept")
        chat.expect("> ")
        wait(lambda: self.answers(), 60, "a new worker to answer")
        chat.type("/clear\n")
        chat.expect("forgotten")
        chat.expect("> ")
        chat.type("again\n")
        chat.expect(r"again\r+\n[^\r]")
        self.assertNotIn("corpgrid: ", chat.shown[chat.seen:])
        chat.type(CTRL_C)
        chat.expect("> ")
        chat.type("\x04")
        self.assertEqual(chat.wait(), 0, chat.shown)

    def answers(self):
        return self.grid.cli("chat", "tiny", "hello", "--max-tokens", "1").code == 0


if __name__ == "__main__":
    main()
