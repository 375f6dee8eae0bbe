"""A precompiled header holds what its header says now, whatever was compiled before it (tools/ccache.sh)."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

LAUNCHER = pathlib.Path(__file__).resolve().parent.parent / "tools" / "ccache.sh"


@unittest.skipUnless(shutil.which("ccache") and shutil.which("g++"), "neither is used here")
class StaleHeaderTest(unittest.TestCase):
    def test_two_changes_of_one_header(self):
        """Both are precompiled where the same older one lies: the second must not get the first one's."""
        with tempfile.TemporaryDirectory(prefix="corpgrid-test.", dir="/var/tmp") as folder:
            folder = pathlib.Path(folder)
            environment = dict(os.environ, CCACHE_DIR=str(folder / "cache"))
            header, compiled = folder / "all.hxx", folder / "all.hxx.gch"
            header.write_text(f'#include "{folder}/value.h"\n')
            (folder / "all.hxx.cxx").write_text("")
            (folder / "main.cc").write_text("int main() { return value; }\n")

            def run(*command):
                subprocess.run(command, cwd=folder, env=environment, check=True)

            def precompile(value):
                (folder / "value.h").write_text(f"constexpr int value = {value};\n")
                run(LAUNCHER, "g++", "-fpch-preprocess", "-x", "c++-header", "-include", header,
                    "-o", compiled, "-c", folder / "all.hxx.cxx")

            precompile(1)
            older = compiled.read_bytes()
            for value in (2, 3):
                compiled.write_bytes(older)
                precompile(value)
                run("g++", "-Winvalid-pch", "-include", header, "main.cc", "-o", "main")
                self.assertEqual(subprocess.run([folder / "main"]).returncode, value)


if __name__ == "__main__":
    unittest.main()
