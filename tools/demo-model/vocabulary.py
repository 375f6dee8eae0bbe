"""The demo model's tokenizer, and how a conversation becomes tokens."""
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT, BEGIN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL = [END_OF_TEXT, BEGIN, END]  # tokens 0, 1, 2
CHAT_TEMPLATE = (
    "{% for message in messages %}" + BEGIN + "{{ message.role }}\n{{ message.content }}" + END + "\n{% endfor %}"
    "{% if add_generation_prompt %}" + BEGIN + "assistant\n{% endif %}")


def train(texts, size):
    """Byte-level BPE as GPT-2 has it, which llama.cpp knows as "gpt-2"."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, special_tokens=CONTROL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    return tokenizer


def written(messages):
    """What CHAT_TEMPLATE makes of a conversation; where it ends with a question, with the beginning of an answer."""
    text = "".join(f"{BEGIN}{m['role']}\n{m['content']}{END}\n" for m in messages)
    return text if messages[-1]["role"] == "assistant" else f"{text}{BEGIN}assistant\n"


def encoded(tokenizer, messages, most=None):
    """A conversation's tokens, and for each whether the model is to say it: answers with their end. Of the last answer
    only its first `most` tokens, if said."""
    tokens, said = [], []
    for message in messages:
        head = tokenizer.encode(f"{BEGIN}{message['role']}\n").ids
        body = tokenizer.encode(f"{message['content']}{END}").ids
        tail = tokenizer.encode("\n").ids
        tokens += head + body + tail
        said += [False] * len(head) + [message["role"] == "assistant"] * len(body) + [False] * len(tail)
    end = None if most is None else len(tokens) - max(0, len(body) + len(tail) - most)
    return tokens[:end], said[:end]
