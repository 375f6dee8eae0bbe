"""The questions and answers of answers.txt, and conversations of them in the words of many people."""
import pathlib
import re
from typing import NamedTuple

FILE = pathlib.Path(__file__).resolve().parent / "answers.txt"
ALTERNATIVES = re.compile(r"\{([^{}]*\|[^{}]*)\}")

# How people ask about a thing.
ABOUT = ("what is {}", "what is {}", "what's {}", "what are {}", "what does {} mean", "explain {}", "tell me about {}",
         "describe {}", "define {}", "{}", "what do you know about {}", "can you explain {}", "tell me more about {}",
         "i want to know more about {}", "give me a short explanation of {}", "help me understand {}",
         "what do you mean by {}", "how does {} work", "explain {} to me", "what about {}", "what is {} for",
         "what is meant by {}", "i do not understand {}", "how can i use {}", "why is there {}", "say something about {}",
         "what exactly is {}", "could you tell me what {} is", "do you know what {} is", "info on {}", "why do we need {}",
         "what does {} do", "is there {}")
BEFORE = ("please ", "please tell me, ", "hey, ", "hi, ", "hello, ", "hello! ", "so ", "so, ", "ok, ", "and ", "well, ",
          "tell me, ", "excuse me, ", "quick question: ", "sorry, ", "now ", "but ", "i wonder, ", "um, ", "thanks. ")
AFTER = (" please", ", please", " exactly", " in corpgrid", " with corpgrid", " in one sentence", " in short", " briefly",
         " here", " then", " again", " in simple words", " on the grid", ", do you know", " by the way")
# Words that mean the same in a question.
SAME = {"machine": ("computer", "pc", "server", "box"), "machines": ("computers", "pcs", "servers"),
        "job": ("task",), "jobs": ("tasks",), "language models": ("llms", "models"), "company": ("firm", "business", "organisation"),
        "how do i": ("how can i", "how to", "how would i", "how does one", "how do you", "what must i do to", "how should i",
                     "what is the way to", "tell me how to", "show me how to", "can you show me how to", "how am i to"),
        "what is": ("what's", "whats", "what exactly is"), "start": ("launch", "begin"), "results": ("outputs", "answers"),
        "wrong": ("false", "incorrect"), "checked": ("verified", "controlled"), "safe": ("secure",), "folder": ("directory",),
        "delete": ("remove", "erase"), "see": ("view", "look at"), "show": ("display", "print"), "make": ("create",),
        "add": ("connect", "attach"), "use": ("employ", "work with"), "why": ("for what reason", "how come"),
        "dies": ("crashes", "fails", "breaks"), "what happens": ("what do you do", "what will happen"), "can i": ("may i", "could i"),
        "which": ("what",), "does": ("will", "can"), "my": ("a", "the", "our"), "i": ("we", "one"), "lies": ("cheats",),
        "get": ("obtain", "have"), "need": ("want", "require"), "explain": ("describe", "clarify"), "and": ("or",)}
# What answers.txt writes small and people often do not.
PROPER = ("I", "GGUF", "GPU", "GPUs", "CPU", "CPUs", "API", "LLM", "LLMs", "AI", "OpenAI", "Windows", "Linux", "Debian", "Mac", "Python",
          "YAML", "JSON", "SQLite", "PostgreSQL", "CUDA", "France", "Germany", "Italy", "Spain", "England", "Japan", "Docker",
          "Kubernetes", "French", "German", "Spanish", "English", "Java", "Rust", "NVIDIA", "RAM", "VRAM", "CSV", "Ctrl-C", "ChatGPT",
          "Hugging Face", "CLI", "HA", "PC", "OK", "Einstein", "Napoleon", "Shakespeare", "Mozart", "Berlin", "Paris", "Europe")
PROPER_NAMES = {name.lower(): name for name in PROPER}
SYSTEM = ("You are a helpful assistant.", "You are the assistant of CorpGrid.", "Answer in one sentence.", "Be brief.",
          "You answer questions about CorpGrid.", "Answer the user's questions in plain English.", "You are a friendly guide.")


class Entry(NamedTuple):
    about: tuple[str, ...]  # names of the thing
    questions: tuple[str, ...]  # with alternatives
    held_out: tuple[str, ...]
    answers: tuple[str, ...]


def read():
    entries = []
    for paragraph in FILE.read_text().split("\n\n"):
        lines = [line.partition(" ") for line in paragraph.splitlines() if not line.startswith("#")]
        texts = {mark: tuple(text for m, _, text in lines if m == mark) for mark in ("about:", "?", "!", ">")}
        if not any(texts.values()):
            continue
        if len(lines) != sum(map(len, texts.values())) or not texts[">"] or not texts["?"] + texts["about:"]:
            raise ValueError(f"{FILE}: no entry:\n{paragraph}")
        entries.append(Entry(*texts.values()))
    return entries


def choose(text, source):
    """The text with one of each of its alternatives."""
    while match := ALTERNATIVES.search(text):
        text = text[:match.start()] + source.choice(match.group(1).split("|")) + text[match.end():]
    return " ".join(text.split())


def reword(text, source):
    for words, others in SAME.items():
        if source.random() < 0.25 and re.search(rf"\b{words}\b", text):
            text = re.sub(rf"\b{words}\b", source.choice(others), text, count=1)
    return text


def mistype(text, source):
    """The text with one letter of a word left out, doubled, or exchanged with the next."""
    at = source.randrange(len(text) - 1)
    pair = text[at:at + 2]
    if not pair.isalpha():
        return text
    return text[:at] + source.choice((pair[0], pair[0] * 2 + pair[1], pair[::-1])) + text[at + 2:]


def person(text, source):
    """A question as one of many people might type it."""
    if source.random() < 0.4:
        text = reword(text, source)
    long_enough = " " in text
    if long_enough and source.random() < 0.25:
        text = source.choice(BEFORE) + text
    if long_enough and source.random() < 0.2:
        text += source.choice(AFTER)
    name = source.choice(("CorpGrid", "CorpGrid", "CorpGrid", "corpgrid", "Corpgrid", "corp grid", "CORPGRID", "the grid"))
    if not re.search(r"corpgrid [a-z-]+", text):  # a command is written as it is
        text = re.sub(r"\bcorpgrid\b", name, text, flags=re.I)
    if source.random() < 0.6:
        text = re.sub(r"[A-Za-z]+(-c| face)?", lambda match: PROPER_NAMES.get(match.group(), match.group()), text)
    while len(text) > 6 and source.random() < 0.15:
        text = mistype(text, source)
    case = source.random()
    if case < 0.55:
        text = text[:1].upper() + text[1:]
    elif case < 0.58:
        text = text.upper()
    ends = ("?", "?", "?", "", "", ".", "!", " ?", "??") if long_enough else ("", "", "!", ".", "?")
    return text + source.choice(ends)


def question(entry, source):
    """A question that the entry answers: one that it names, or one of the usual ones about its thing."""
    usual = [source.choice(ABOUT).replace("{}", name) for name in entry.about for _ in range(6)]
    return person(choose(source.choice(entry.questions * 2 + tuple(usual)), source), source)


def unknown(words, source):
    """A question about a thing that is none of ours."""
    thing = source.choice(("", "a ", "the ", "my ")) + source.choice(words)
    return person(source.choice(ABOUT).replace("{}", thing), source)


def conversation(entries, words, source):
    """Messages of one to three questions, perhaps with a system message before them."""
    messages = []
    if source.random() < 0.15:
        messages.append({"role": "system", "content": source.choice(SYSTEM)})
    weights = [4 + len(entry.questions) for entry in entries]  # what is asked in many ways is asked more often
    for _ in range(source.choice((1, 1, 1, 1, 1, 1, 2, 3))):
        entry = source.choices(entries, weights)[0]
        asked = question(entry, source)
        if source.random() < 0.06:  # what is not known is answered by the last entry
            entry, asked = entries[-1], unknown(words, source)
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": source.choice(entry.answers)})
    return messages


def unknown_words(paragraphs, entries):
    """Common words of the English texts that no question and no answer has."""
    known = (text for entry in entries for text in entry.about + entry.questions + entry.answers)
    ours = set(re.findall(r"[a-z]+", " ".join(known).lower()))
    counts = {}
    for paragraph in paragraphs:
        for word in re.findall(r"\b[a-z]{4,12}\b", paragraph):
            counts[word] = counts.get(word, 0) + 1
    return sorted(word for word, count in counts.items() if count > 20 and word not in ours)


if __name__ == "__main__":
    import random
    chance = random.Random(1)
    for shown in chance.choices(read(), k=60):
        print(question(shown, chance))
