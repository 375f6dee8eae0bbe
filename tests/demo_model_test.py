"""The demo model of tools/demo-model, as people meet it: true sentences about CorpGrid over the API."""
import pathlib
import subprocess
import tempfile
import unittest

from grid import BIN, main
from serving import HAVE_WORKER, Serving

MODEL = pathlib.Path(__file__).resolve().parent.parent / "tools/demo-model/corpgrid-demo.gguf"
MAX_BYTES = 8 << 20
QUESTIONS = {
    "What is CorpGrid?": ("machines a company already owns", "trusted compute grid", "quorum"),
    "hey, can you tell me what corpgrid is": ("machines a company already owns", "trusted compute grid"),
    "What is a quorum?": ("different owners", "agree"),
    "why does my job wait": ("corpgrid job why",),
    "How do I run a job?": ("corpgrid job run",),
    "hello": ("CorpGrid",),
    "What is the capital of France?": ("I only know about CorpGrid",),
}


@unittest.skipUnless(HAVE_WORKER, "built without the inference libraries")
class DemoModelTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.serving = Serving(MODEL, context=512)
        cls.addClassCleanup(cls.serving.close)

    def answer(self, *said, **more):
        """What it answers to texts that a user and an assistant said in turns; it has to come to an end by itself."""
        messages = [{"role": ("user", "assistant")[turn % 2], "content": text} for turn, text in enumerate(said)]
        status, _, body = self.serving.ask("/v1/chat/completions", {
            "model": self.serving.model, "messages": messages, "max_tokens": 120, **more})
        self.assertEqual(status, 200, body)
        choice = body["choices"][0]
        text = choice["message"]["content"]
        self.assertEqual(choice["finish_reason"], "stop", text)
        self.assertRegex(text, r"^[A-Z].*[.!?]$")
        return text

    def check(self, answer, question):
        for phrase in QUESTIONS[question]:
            self.assertIn(phrase, answer, question)

    def test_it_knows_the_answers(self):
        for question in QUESTIONS:
            self.check(self.answer(question, temperature=0), question)

    def test_the_default_temperature_does_no_harm(self):
        for seed in range(5):
            self.check(self.answer("What is CorpGrid?", seed=seed), "What is CorpGrid?")

    def test_it_answers_the_last_question(self):
        first = self.answer("What is CorpGrid?", temperature=0)
        self.check(self.answer("What is CorpGrid?", first, "What is a quorum?", temperature=0), "What is a quorum?")

    def test_it_is_small_and_says_what_it_is(self):
        self.assertLessEqual(MODEL.stat().st_size, MAX_BYTES)
        with tempfile.TemporaryDirectory(prefix="corpgrid-demo-model.", dir="/var/tmp") as folder:
            subprocess.run([BIN / "corpgrid", "model", "add", MODEL, "--data", folder], check=True, capture_output=True)
            shown = subprocess.run([BIN / "corpgrid", "model", "show", MODEL.stem, "--data", folder], check=True,
                                   capture_output=True, text=True).stdout
        for fact in ("CorpGrid demo", "llama", "Q8_0", "a token was computed; has a chat template"):
            self.assertIn(fact, shown)


if __name__ == "__main__":
    main()
