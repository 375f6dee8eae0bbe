"""The official OpenAI client, unmodified, against corpgrid serve: every field, every family of tools."""
import pathlib
import subprocess
import tempfile
import unittest

from serving import ENVIRONMENT, FAMILIES, HAVE_OPENAI, HAVE_WORKER, Serving, make_model

SCRIPTS = pathlib.Path(__file__).resolve().parent / "openai_conformance"


@unittest.skipUnless(HAVE_WORKER, "built without the inference libraries")
class OpenAiTest(unittest.TestCase):
    def setUp(self):
        # What hosts models is there, so the client has to be: ./dev setup fetches it for every run of the tests.
        self.assertTrue(HAVE_OPENAI, "the openai client is not there: run ./dev setup")

    def run_scripts(self, family, *names):
        with tempfile.TemporaryDirectory(prefix="corpgrid-openai.", dir="/var/tmp") as folder:
            serving = Serving(make_model(folder, family), context=4096)
            try:
                marker = "".join(FAMILIES[family][1])
                done = subprocess.run(
                    ["node", "--test", "--test-reporter=spec", *[SCRIPTS / f"{name}_test.mjs" for name in names]],
                    env={**ENVIRONMENT, "OPENAI_BASE_URL": f"{serving.url}/v1", "OPENAI_API_KEY": serving.key,
                         "OPENAI_MODEL": serving.model, "OPENAI_TOOL_MARKER": marker},
                    capture_output=True, text=True, timeout=600, check=False)
                print(done.stdout, flush=True)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr + serving.logged())
                self.assertEqual(serving.stop(), 0, serving.logged())
            finally:
                serving.close()

    def test_general(self):
        self.run_scripts("generic", "chat", "stream", "other", "responses")

    def test_generic_tools(self):
        self.run_scripts("generic-tools", "tools")

    def test_hermes_and_older_qwen(self):
        self.run_scripts("hermes", "tools")

    def test_newer_qwen(self):
        self.run_scripts("qwen", "tools")

    def test_mistral(self):
        self.run_scripts("mistral", "tools")

    def test_llama_3(self):
        self.run_scripts("llama3", "tools")


if __name__ == "__main__":
    unittest.main(verbosity=2)
