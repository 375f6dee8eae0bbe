"""The tree as the rules of tidy.py see it: its files, the floors and their links, and C++ without comments."""

import re
import subprocess
from pathlib import Path
from typing import Iterator, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TEXT = re.compile(r"\.(cc|h|py|sh|proto|cmake|txt|json|md|yaml|yml|toml|sql)$|(^|/)(dev|run|Makefile)$")


class File(NamedTuple):
    path: str  # from the root of the tree
    text: str

    @property
    def floor(self) -> str:
        return self.path.split("/")[0]

    @property
    def is_text(self) -> bool:
        """Whether people write it; what a fuzzer is fed is neither text nor ours to tidy."""
        return bool(TEXT.search(self.path)) and not self.path.startswith("fuzz/corpus/")

    @property
    def is_test(self) -> bool:
        return bool(re.search(r"(/test_\w+|_test)\.(cc|h)$", self.path))


def line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


LITERAL = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)"'
    r"|\"(?:\\.|[^\"\\\n])*\"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",
    re.S,
)


def blank(text: str, pattern: re.Pattern = LITERAL) -> str:
    """C++ with comments and literals blanked out, each line where it was."""
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


class Function(NamedTuple):
    header: str
    line: int
    lines: int
    body: str


SCOPE = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b[^()=]*$|=\s*$")


def functions(text: str) -> Iterator[Function]:
    """Every function body outside another one, found by its braces. `text` is blanked."""
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()), text,
                  flags=re.M)
    start, depth, opened, header = 0, 0, 0, ""
    for match in re.finditer(r"[{};]", text):
        at = match.start()
        if depth == 0:
            header = text[start:at].strip()
            if match.group() == "{" and not SCOPE.search(header):
                depth, opened = 1, at
            else:
                start = at + 1
        elif match.group() != ";":
            depth += 1 if match.group() == "{" else -1
            if depth == 0:
                first = line_of(text, opened - len(text[start:opened].lstrip()))
                yield Function(header, first, line_of(text, at) - first + 1, text[opened + 1:at])
                start = at + 1


def hash_maps_in(text: str) -> set[str]:
    """The names of variables, members and aliases in `text` whose type is a hash container."""
    code = blank(text)
    types = {r"(?:flat|node)_hash_(?:map|set)", r"unordered_(?:multi)?(?:map|set)"}
    types.update(re.findall(r"\busing (\w+) =[^;]*(?:_hash_|unordered_)(?:multi)?(?:map|set)<", code))
    names = set()
    for match in re.finditer(rf"\b(?:{'|'.join(types)})\b", code):
        at, depth = match.end(), 0
        while at < len(code) and (depth > 0 or code[at] == "<"):
            depth += (code[at] == "<") - (code[at] == ">")
            at += 1
        names.update(re.findall(r"^[\s&*]*(\w+)\s*[;={,)]", code[at:at + 80]))
    return names


class Tree:
    """What rules know beyond one file."""

    def __init__(self, files: list[File]):
        self.files = files
        by_path = {file.path: file.text for file in files}
        self.rank = self._floors(by_path["docs/architecture.md"])
        self.links = self._links(by_path["CMakeLists.txt"])
        self.rpcs = set()
        for file in files:
            if file.path.endswith(".proto"):
                self.rpcs.update(re.findall(r"\brpc (\w+)\(", file.text))
        self.headers = {path: text for path, text in by_path.items() if path.endswith(".h")}

    def with_headers(self, file: File) -> list[str]:
        """The text of a file and of all headers of its own floor that it includes, directly or not."""
        texts, seen, todo = [file.text], set(), [file.text]
        while todo:
            for path in re.findall(rf'^#include "({file.floor}/[^"]+)"', todo.pop(), re.M):
                if path not in seen and path in self.headers:
                    seen.add(path)
                    texts.append(self.headers[path])
                    todo.append(self.headers[path])
        return texts

    @staticmethod
    def _floors(architecture: str) -> dict[str, int]:
        """The rows of the picture in docs/architecture.md, the lowest 0."""
        picture = architecture.split("## Floors")[1].split("```")[1]
        rows = [re.findall(r"(\w+)/", re.match(r"(?:\w+/\s*)*", row).group())
                for row in picture.strip().splitlines()]
        return {floor: len(rows) - 1 - i for i, row in enumerate(rows) for floor in row}

    @staticmethod
    def _links(cmake: str) -> dict[str, set[str]]:
        """For each floor the floors that it links, directly or not."""
        direct = {name: set(re.findall(r"\bcorpgrid_(\w+)", rest))
                  for name, rest in re.findall(r"corpgrid_floor\((\w+)([^)]*)\)", cmake)}

        def reach(name):
            below = direct.get(name, set())
            return below.union(*(reach(other) for other in below))

        return {name: reach(name) for name in direct}


def read_tree() -> Tree:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    paths = [p for p in listed if p and (ROOT / p).is_file()]
    return Tree([File(p, (ROOT / p).read_text("utf-8" if File(p, "").is_text else "latin-1"))
                 for p in paths])
