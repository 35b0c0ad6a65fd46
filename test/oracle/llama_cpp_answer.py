"""Asks llama.cpp about a picture, greedily, with the prompt that its own template `vicuna` makes, and prints the answer as JSON.

    python3 test/oracle/llama_cpp_answer.py MODEL.gguf MMPROJ.gguf PICTURE QUESTION TOKENS      (llama-cpp-python 0.3.36)
"""

import base64
import json
import sys

from llama_cpp import Llama, llama_cpp
from llama_cpp.llama_chat_format import Llava15ChatHandler

default_params = llama_cpp.llama_model_default_params


def params_without_repacking():
    """Its products over AMX tiles, which it has for repacked weights alone, end in SIGSEGV (ggml-org/llama.cpp issue 20824)."""
    params = default_params()
    params.use_extra_bufts = False
    return params


llama_cpp.llama_model_default_params = params_without_repacking


class Vicuna(Llava15ChatHandler):
    DEFAULT_SYSTEM_MESSAGE = None
    CHAT_FORMAT = (
        "{% for message in messages %}USER: "
        "{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% else %}{{ part.image_url.url }}{{ '\\n' }}{% endif %}{% endfor %}"
        "{{ '\\nASSISTANT:' }}{% endfor %}")


def main():
    model, mmproj, picture, question, tokens = sys.argv[1:]
    with open(picture, 'rb') as file:
        url = 'data:image/png;base64,' + base64.b64encode(file.read()).decode()
    llama = Llama(model, chat_handler=Vicuna(mmproj, verbose=False), n_ctx=1024, n_threads=2, verbose=False)
    content = [{'type': 'image_url', 'image_url': {'url': url}}, {'type': 'text', 'text': question}]
    answer = llama.create_chat_completion([{'role': 'user', 'content': content}], temperature=0, repeat_penalty=1, max_tokens=int(tokens))
    print(json.dumps(answer['choices'][0]['message']['content'].strip()))


if __name__ == "__main__":
    main()
