"""Plain English from the documentation that this system has: manuals, Perl's and Python's, licences, this project's."""
import gzip
import pathlib
import random
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# The converter's folder first: it is the same on every Debian, where a slim system has no documentation.
SYSTEMS = (ROOT / ".deps/convert/usr", pathlib.Path("/usr"))
MAX_FILE_BYTES = 2 << 20

WORD_OF_SENTENCES = re.compile(r"\b(the|a|an|is|are|of|to|and|that|it|you|this|be|with|for)\b")
SENTENCE = re.compile(r"[A-Z][A-Za-z ,;:'\"()-]{28,240}[a-z)][.!?]")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def roff(text):
    """What a manual page says: its fonts' letters and requests go, what is set apart begins a paragraph."""
    text = re.sub(r"^\.(?:B|I|BR|IR|RB|RI|BI|IB|Nm|Xr|Ar|Fl|Pa)\s+", "", text, flags=re.M)
    text = re.sub(r"^[.'].*$", "\n", text, flags=re.M)
    text = re.sub(r"\\f(?:\[\w*\]|\(..|.)|\\[&|^/,]", "", text)
    return text.replace(r"\-", "-").replace(r"\(aq", "'").replace("\\ ", " ")


def pod(text):
    """The paragraphs of Perl's documentation among a file's code."""
    paragraphs, inside = [], False
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith("="):
            inside = not paragraph.startswith("=cut")
        elif inside and not paragraph.startswith((" ", "\t")):
            paragraphs.append(re.sub(r"[A-Z]<+\s*([^<>|]*)(?:\|[^<>]*)?\s*>+", r"\1", paragraph))
    return "\n\n".join(paragraphs)


def docstrings(text):
    return "\n\n".join(re.sub(r"^ +", "", found, flags=re.M) for found in re.findall(r'"""(.*?)"""', text, re.S))


def markdown(text):
    text = re.sub(r"```.*?```", "\n", text, flags=re.S)
    text = re.sub(r"^[#|].*$", "\n", text, flags=re.M)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"^ *(?:[-*]|\d+\.) +", "\n", text, flags=re.M).replace("`", "").replace("*", "")


SOURCES = (("share/common-licenses/*", str), ("share/man/man[1-8]/*", roff), ("share/perl*/**/*.p[om]*", pod),
           ("lib/python3.*/*.py", docstrings), ("lib/python3.*/[a-s]*/*.py", docstrings),
           ("share/doc/*/README*", markdown), ("share/doc/**/*.md*", markdown), ("share/doc/**/*.rst*", markdown))


def read(path):
    data = path.read_bytes()[:MAX_FILE_BYTES]
    if path.suffix == ".gz":
        data = gzip.decompress(data)[:MAX_FILE_BYTES]
    return data.decode("utf-8", "ignore")


def sentences(paragraph):
    """The plain sentences of a paragraph: no code, no tables, no names of files and people."""
    for sentence in SENTENCE_END.split(" ".join(paragraph.split())):
        if SENTENCE.fullmatch(sentence) and len(WORD_OF_SENTENCES.findall(sentence)) * 7 >= sentence.count(" "):
            yield sentence


def files():
    """Every file of documentation with what reads it, the same ones in the same order each time."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        yield path, markdown
    for system in SYSTEMS:
        for pattern, reader in SOURCES:
            for path in sorted(system.glob(pattern)):
                if path.is_file():
                    yield path, reader


def paragraphs(limit, seed):
    """Paragraphs of plain English of `limit` characters together or less, no sentence twice, shuffled."""
    found, seen = [], set()
    for path, reader in files():
        try:
            text = reader(read(path))
        except (OSError, EOFError):  # not ours to read, or damaged
            continue
        for paragraph in re.split(r"\n\s*\n", text):
            new = [s for s in sentences(paragraph) if s.lower() not in seen]
            seen.update(s.lower() for s in new)
            if new:
                found.append(" ".join(new))
    random.Random(seed).shuffle(found)
    kept, size = [], 0
    for paragraph in found:
        size += len(paragraph)
        if size > limit:
            break
        kept.append(paragraph)
    return kept


if __name__ == "__main__":
    everything = paragraphs(1 << 40, 1)
    print(f"{len(everything)} paragraphs, {sum(map(len, everything)) / 1e6:.1f} million characters; some of them:")
    for shown in everything[:20]:
        print("-", shown)
