"""Asks llama.cpp about a picture, greedily, with the prompt that its own template `vicuna` makes, and prints the answer as JSON.

    python3 test/oracle/llama_cpp_answer.py MODEL.gguf MMPROJ.gguf PICTURE QUESTION TOKENS      (xllamacpp 2026.10.11549)
"""

import base64
import json
import sys

import xllamacpp


def main():
    model, mmproj, picture, question, tokens = sys.argv[1:]
    with open(picture, 'rb') as file:
        url = 'data:image/png;base64,' + base64.b64encode(file.read()).decode()
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.mmproj.path = mmproj
    params.chat_template = 'vicuna'
    params.use_jinja = False
    params.n_ctx = 1024
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.fit_params = False
    params.ui = False
    params.verbosity = -1
    server = xllamacpp.Server(params)
    content = [{'type': 'image_url', 'image_url': {'url': url}}, {'type': 'text', 'text': question}]
    answer = server.handle_chat_completions(
        {'messages': [{'role': 'user', 'content': content}], 'temperature': 0, 'repeat_penalty': 1, 'max_tokens': int(tokens)})
    print(json.dumps(answer['choices'][0]['message']['content'].strip()))


if __name__ == "__main__":
    main()
