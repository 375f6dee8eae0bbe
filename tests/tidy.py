#!/usr/bin/env python3
"""The rules of docs/contributing.md that a program can check. Prints every breach; exits 1 on any.

usage: tidy.py [--self-test]     --self-test feeds each rule the bad snippet beside it
"""

import ast
import re
import sys
from typing import Callable, Iterator, NamedTuple

from tidy_tree import ROOT, File, Tree, blank, functions, hash_maps_in, line_of, read_tree

MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 400
MAX_FILE_BYTES = 512 * 1024

# Breaches that are meant: (rule, file) and the reason. Keep it short.
ALLOWED: dict[tuple[str, str], str] = {
    ("built files", "tools/demo-model/corpgrid-demo.gguf"): "a real model, for the demo and the tests",
}

# Handlers that do not begin with Authenticate…(), and why they may.
UNAUTHENTICATED = {
    "AgentService::RegisterAgent": "gives the session; the join token in the request is the credential",
    "ObjectsService::Put": "each upload of the stream authenticates on its own",
    "ObjectsService::Get": "a person's token or an attempt's grant, whichever the request shows",
}


class Breach(NamedTuple):
    rule: str
    path: str
    line: int
    message: str


class Rule(NamedTuple):
    name: str
    check: Callable[[Tree, File], Iterator[tuple[int, str]]]
    applies: Callable[[File], bool]
    bad: File
    breaches: int  # in `bad`
    good: File


RULES: list[Rule] = []


def rule(name, applies, bad, good, breaches=1):
    """Registers a check with a file that breaks it so many times and one, alike, that does not."""

    def register(check):
        RULES.append(Rule(name, check, applies, File(*bad), breaches, File(*good)))
        return check

    return register


def is_code(file: File) -> bool:
    return file.path.endswith((".cc", ".h"))


def is_pure(file: File) -> bool:
    return is_code(file) and file.floor == "core" and not file.is_test


@rule("floors", lambda f: is_code(f) and "/" in f.path,
      bad=("core/x.cc", '#include "store/store.h"\n#include "corpgrid/v1/jobs.pb.h"\n'), breaches=2,
      good=("store/x.cc", '#include "core/rows.h"\n#include "yaml.h"\n'))
def check_floors(tree, file):
    if file.floor not in tree.rank:
        return
    for match in re.finditer(r'^#include "([a-z]\w*)/', file.text, re.M):
        other = "proto" if match.group(1) == "corpgrid" else match.group(1)
        if other == file.floor or other not in tree.rank.keys() | {"proto"}:
            continue
        if tree.rank.get(other, 0) > tree.rank[file.floor]:
            yield line_of(file.text, match.start()), f"{file.floor}/ includes from {other}/ above it"
        elif other not in tree.links[file.floor]:
            yield (line_of(file.text, match.start()),
                   f"{file.floor}/ includes from {other}/, which CMakeLists.txt does not link to it")


@rule("links", lambda f: f.path == "CMakeLists.txt",
      bad=("CMakeLists.txt", "corpgrid_floor(job LIBRARIES corpgrid_store)\n"),
      good=("CMakeLists.txt", "corpgrid_floor(store LIBRARIES corpgrid_core)\n"))
def check_links(tree, file):
    for match in re.finditer(r"corpgrid_floor\((\w+)([^)]*)\)", file.text):
        for other in re.findall(r"\bcorpgrid_(\w+)", match.group(2)):
            if tree.rank.get(other, 0) > tree.rank[match.group(1)]:
                yield line_of(file.text, match.start()), f"{match.group(1)} links {other} above it"


IMPURE_HEADERS = re.compile(
    r"^#include [<\"]((?:chrono|ctime|time\.h|random|thread|mutex|shared_mutex|condition_variable|"
    r"future|atomic|fstream|iostream|filesystem|cstdio|stdio\.h|unistd\.h|fcntl\.h|poll\.h|sys/|"
    r"spdlog/|absl/time|absl/synchronization|absl/random|base/clock\.h)[^>\"]*)", re.M)
IMPURE_CALLS = re.compile(
    r"\b(SystemClock|RandomBytes|Generate|getenv|s?random|s?rand|gettimeofday|clock_gettime|"
    r"this_thread|f?open|s?printf|(?<!\.)(?<!->)time)\s*(?:\(|::)")


@rule("pure core", is_pure,
      bad=("core/x.cc", "#include <chrono>\nint F() { return std::rand(); }\n"), breaches=2,
      good=("core/x.cc", "#include <vector>\nint F(const Command& c) { return c.time(); }\n"))
def check_pure_core(tree, file):
    for match in IMPURE_HEADERS.finditer(file.text):
        yield line_of(file.text, match.start()), f"core/ must not know <{match.group(1)}>"
    code = blank(file.text)
    for match in IMPURE_CALLS.finditer(code):
        yield (line_of(code, match.start()),
               f"{match.group(1)}: no clock, randomness, thread or I/O in core/; commands carry them")


@rule("hash map order", is_pure,
      bad=("core/x.cc", '#include "core/grid.h"\nabsl::flat_hash_map<int, std::vector<int>> jobs_;\n'
           "void F() {\n  for (auto& [id, job] : jobs_) Use(job);\n  Use(grid.attempts_.begin());\n}\n"),
      breaches=2,
      good=("core/x.cc", "absl::flat_hash_map<int, int> jobs_;\nabsl::btree_map<int, int> names_;\n"
            "void F() {\n  for (auto& n : names_) Use(jobs_.find(n));\n}\n"))
def check_hash_map_order(tree, file):
    code = blank(file.text)
    names = {name for text in tree.with_headers(file) for name in hash_maps_in(text)}
    for match in re.finditer(r"\bfor \([^;)]*?[^:]:(?!:)([^;{]*?)\)\s*[\w{*(+-]", code):
        last = re.search(r"(\w+)\s*$", match.group(1))
        if last and last.group(1) in names:
            yield line_of(code, match.start()), f"iterates over the hash map {last.group(1)}"
    for match in re.finditer(r"\b(\w+)(?:\.|->)c?begin\(|\b(?:begin|erase_if|c_\w+)\((\w+)\b", code):
        name = match.group(1) or match.group(2)
        if name in names:
            yield line_of(code, match.start()), f"iterates over the hash map {name}"


@rule("function length", is_code,
      bad=("base/x.cc", "namespace a {\nint F(int x)\n    const {\n" + "  ++x;\n" * 68 + "}\n}\n"),
      good=("base/x.cc", "namespace a {\nclass B {\n" + "  int F() { return 1; }\n" * 80 + "};\n}\n"))
def check_function_length(tree, file):
    for function in functions(blank(file.text)):
        if function.lines > MAX_FUNCTION_LINES:
            name = (re.findall(r"([\w:~]+)\s*\(", function.header) or ["a block"])[0]
            yield function.line, f"{name} has {function.lines} lines; a screen holds {MAX_FUNCTION_LINES}"


@rule("Python function length", lambda f: f.path.endswith(".py"),
      bad=("tests/x.py", "def f(x):\n" + "    x += 1\n" * 70),
      good=("tests/x.py", "def f(x):\n" + "    x += 1\n" * 69))
def check_python_function_length(tree, file):
    for node in ast.walk(ast.parse(file.text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {lines} lines; a screen holds {MAX_FUNCTION_LINES}"


@rule("file length", lambda f: bool(re.search(r"\.(cc|h|py|sh|proto)$|^dev$", f.path)),
      bad=("base/x.h", "#pragma once\n" + "int x;\n" * 400),
      good=("base/x.h", "#pragma once\n" + "int x;\n" * 399))
def check_file_length(tree, file):
    lines = file.text.count("\n")
    if lines > MAX_FILE_LINES:
        yield lines, f"{lines} lines; a mind holds {MAX_FILE_LINES}"


@rule("pragma once", lambda f: f.path.endswith(".h"),
      bad=("base/x.h", "int x;\n"), good=("base/x.h", "// Why.\n#pragma once\nint x;\n"))
def check_pragma_once(tree, file):
    if not re.search(r"^#pragma once$", file.text, re.M):
        yield 1, "no #pragma once"


@rule("owned to-dos", lambda f: f.is_text and f.path != "tests/tidy.py",
      bad=("base/x.cc", "// TODO: later\n"), good=("base/x.cc", "// TODO(ada): #12\n"))
def check_owned_todos(tree, file):
    for match in re.finditer(r"\b(TODO|FIXME|XXX)\b(?!\(\w+\))", file.text):
        yield line_of(file.text, match.start()), f"{match.group()} without an owner in an issue"


@rule("authenticated handlers", lambda f: bool(re.match(r"scheduler/\w+_service\.(cc|h)$", f.path)),
      bad=("scheduler/x_service.cc", "grpc::Status X::Submit(grpc::ServerContext* c, const R* r) {\n"
           "  Store(r);\n  Authenticate(c);\n}\n"),
      good=("scheduler/x_service.cc", "grpc::Status X::Submit(grpc::ServerContext* c, const R* r) {\n"
            "  ASSIGN_OR_RETURN(auto who, AuthenticatePerson(c));\n  Store(r);\n}\n"))
def check_authenticated_handlers(tree, file):
    for function in functions(blank(file.text)):
        name = re.search(r"((?:\w+::)*(\w+))\s*\([^()]*ServerContext\w*\s*\*", function.header)
        if not name or name.group(2) not in tree.rpcs or name.group(1) in UNAUTHENTICATED:
            continue
        statements = [s for s in function.body.split(";") if "DefaultReactor()" not in s]
        if not re.search(r"\bAuthenticate\w*\(", statements[0]):
            yield function.line, f"{name.group(1)} does something before it calls Authenticate…()"


@rule("output", lambda f: is_code(f) and not f.is_test and not f.path.endswith("_main.cc"),
      bad=("agent/x.cc", "std::cout << 1;\n"), good=("cli/x.cc", "std::cout << 1;\n"))
def check_output(tree, file):
    if tree.rank.get(file.floor, 99) >= tree.rank["cli"]:
        return
    code = blank(file.text)
    for match in re.finditer(r"std::cout\b|\b(?:std::)?(?:printf|puts)\(", code):
        yield line_of(code, match.start()), f"{match.group()}: only cli/ speaks to people; log instead"


@rule("paths of one machine", lambda f: f.is_text and f.path != "tests/tidy.py",
      bad=("base/x.cc", 'Open("/home/ada/grid");\n'), good=("base/x.cc", 'Open("/home/" + user);\n'))
def check_paths(tree, file):
    for match in re.finditer(rf"/(?:home|Users)/[a-z]\w*/|{re.escape(str(ROOT))}/", file.text):
        yield line_of(file.text, match.start()), f"{match.group()} exists on one machine only"


@rule("blanks", lambda f: f.is_text,
      bad=("base/x.cc", "int x; \n\treturn"), breaches=2, good=("base/x.cc", "int x;\n"))
def check_blanks(tree, file):
    for match in re.finditer(r"[ \t\r]+$", file.text, re.M):
        yield line_of(file.text, match.start()), "blanks at the end of the line"
    if file.text and not file.text.endswith("\n"):
        yield file.text.count("\n") + 1, "the last line has no end"


@rule("built files", lambda f: True,
      bad=("a.out", "\x7fELF\x02"), good=("a.png", "\x89PNG"))
def check_built_files(tree, file):
    if file.text.startswith(("\x7fELF", "!<arch>")):
        yield 1, "a compiled program does not belong in the tree"
    if len(file.text) > MAX_FILE_BYTES:
        yield 1, f"{len(file.text)} bytes; at most {MAX_FILE_BYTES} belong in the tree"


def breaches_of(tree: Tree) -> Iterator[Breach]:
    for file in tree.files:
        for r in RULES:
            if r.applies(file) and (r.name, file.path) not in ALLOWED:
                for line, message in r.check(tree, file):
                    yield Breach(r.name, file.path, line, message)


def self_test(tree: Tree) -> int:
    """Each rule must apply to its snippets, report the bad one and pass the good one."""
    wrong = 0
    for r in RULES:
        for file, expected in ((r.bad, r.breaches), (r.good, 0)):
            found = list(r.check(tree, file)) if r.applies(file) else []
            if len(found) != expected:
                wrong += 1
                print(f"{r.name}: {expected} breaches expected, not {found}, in\n{file.text[:200]}")
    print(f"{len(RULES)} rules, {wrong} wrong answers")
    return 1 if wrong else 0


def main() -> int:
    tree = read_tree()
    if sys.argv[1:] == ["--self-test"]:
        return self_test(tree)
    found = sorted(set(breaches_of(tree)), key=lambda b: (b.path, b.line))
    for breach in found:
        print(f"{breach.path}:{breach.line}: {breach.message} [{breach.rule}]")
    for name, path in ALLOWED:
        if not any(f.path == path for f in tree.files):
            found.append(Breach(name, path, 0, "gone"))
            print(f"{path}: allowed breach of '{name}', but the file is gone")
    print(f"{len(tree.files)} files, {len(RULES)} rules, {len(found)} breaches")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
