"""Processor and tokenizer of a LLaVA directory as they are meant: PIL backend; tokenizer.json as written, else tokenizer.model.

For model_type llava, AutoTokenizer of transformers 5.23 turns a lone tokenizer.model into a tokenizer without the dummy prefix space
(`SpmConverter.build_tokenizer_from_spm_proto`); LlamaTokenizer reads the same file as LLaMA means it, so it is asked directly.
"""

import os

from transformers import AutoProcessor, LlamaTokenizer, PreTrainedTokenizerFast


def open_tokenizer(directory: str):
    tokenizer_class = PreTrainedTokenizerFast if os.path.exists(os.path.join(directory, 'tokenizer.json')) else LlamaTokenizer
    return tokenizer_class.from_pretrained(directory)


def open_processor(directory: str):
    processor = AutoProcessor.from_pretrained(directory, backend='pil')
    processor.tokenizer = open_tokenizer(directory)
    return processor
