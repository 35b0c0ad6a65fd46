"""The conversation format and the vocabulary's trainer: what every recipe of a LLaVA shares."""

import io

import sentencepiece

SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. "
          "The assistant gives helpful, detailed, and polite answers to the user's questions.")

# vicuna_v1: pictures first, </s> right after each answer, open turn without trailing space
CHAT_TEMPLATE = (
    '{% if messages[0].role == "system" %}{{ messages[0].content }}{% else %}{{ "' + SYSTEM + '" }}{% endif %}{{ " " }}'
    '{% for message in messages %}{% if message.role != "system" %}{{ message.role | upper }}: '
    '{% if message.content is string %}{{ message.content }}{% else %}'
    '{% for part in message.content %}{% if part.type == "image" %}{{ "<image>\\n" }}{% endif %}{% endfor %}'
    '{% for part in message.content %}{% if part.type == "text" %}{{ part.text }}{% endif %}{% endfor %}{% endif %}'
    '{% if message.role == "user" %}{{ " " }}{% else %}{{ "</s>" }}{% endif %}{% endif %}{% endfor %}'
    '{% if add_generation_prompt %}ASSISTANT:{% endif %}')


def train_pieces(lines: list, count: int) -> bytes:
    """A SentencePiece BPE model of so many pieces with LLaMA's settings: bytes as a fallback, text as it is, <unk> <s> </s> first."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type='bpe', vocab_size=count, byte_fallback=True, normalization_rule_name='identity',
        remove_extra_whitespaces=False, character_coverage=1.0, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2)
    return model.getvalue()
