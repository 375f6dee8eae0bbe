"""How many of the questions that were held out are answered rightly."""
import vocabulary
from model import continued


def examine(model, tokenizer, entries):
    """Asks every question that was held out; prints those that were answered wrongly, and how many were not."""
    asked = [(question, entry) for entry in entries for question in entry.held_out]
    prompts = [tokenizer.encode(vocabulary.written([{"role": "user", "content": question}])).ids for question, _ in asked]
    said = continued(model, prompts, tokenizer.token_to_id(vocabulary.END))
    wrong = [(question, text) for (question, entry), text in zip(asked, tokenizer.decode_batch(said))
             if text not in entry.answers]
    for question, text in wrong:
        print(f"wrong: {question}\n    {text}")
    print(f"{len(asked) - len(wrong)} of {len(asked)} questions that it had never seen were answered rightly")
