"""The rates of llama.cpp as llama-cpp-python built it for this CPU, in tokens a second, as JSON.

    python3 bench/llama_cpp_rates.py MODEL.gguf PROMPT GENERATE THREADS SEQUENCES BATCH_PROMPT REPACK      (llama-cpp-python 0.3.36)

prefill: PROMPT tokens into an empty context; decode: GENERATE tokens after one, as llama-bench; batch: GENERATE tokens of each of SEQUENCES texts
side by side, each after BATCH_PROMPT tokens of its own, as llama-batched-bench. REPACK is 1 for weights brought into another order as they are loaded.
"""

import json
import random
import sys
import time

import llama_cpp


@llama_cpp.llama_log_callback
def silent(level, text, data):
    pass


def compute(context, batch, rows, vocabulary):
    """A random token at each of (sequence, position, whether its logits are wanted), in one pass."""
    batch.n_tokens = len(rows)
    for row, (sequence, position, wants_logits) in enumerate(rows):
        batch.token[row] = random.randrange(vocabulary)
        batch.pos[row] = position
        batch.n_seq_id[row] = 1
        batch.seq_id[row][0] = sequence
        batch.logits[row] = wants_logits
    check(llama_cpp.llama_decode(context, batch))


def prefill(context, batch, sequence, count, vocabulary):
    """COUNT tokens of one sequence from position 0, with the logits of the last."""
    compute(context, batch, [(sequence, position, position == count - 1) for position in range(count)], vocabulary)


def check(status):
    if status != 0:
        raise SystemExit(f'llama_decode: {status}')


def timed(context, work):
    llama_cpp.llama_synchronize(context)
    start = time.perf_counter()
    work()
    llama_cpp.llama_synchronize(context)
    return time.perf_counter() - start


def main():
    prompt, generate, threads, sequences, batch_prompt, repack = (int(text) for text in sys.argv[2:])
    llama_cpp.llama_log_set(silent, None)
    llama_cpp.llama_backend_init()
    model_params = llama_cpp.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model_params.use_extra_bufts = repack == 1
    model = llama_cpp.llama_model_load_from_file(sys.argv[1].encode(), model_params)
    params = llama_cpp.llama_context_default_params()
    params.n_batch = params.n_ubatch = max(prompt, batch_prompt, 512)
    params.n_seq_max = sequences
    params.n_ctx = max(prompt + generate, sequences * (batch_prompt + generate)) + 256 * sequences
    params.n_threads = params.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(model, params)
    memory = llama_cpp.llama_get_memory(context)
    batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def generated(count, first):
        for position in range(first, first + generate):
            compute(context, batch, [(sequence, position, True) for sequence in range(count)], vocabulary)

    prefill(context, batch, 0, min(prompt, 32), vocabulary)  # warms up
    llama_cpp.llama_memory_clear(memory, True)
    rates = {'prefill': prompt / timed(context, lambda: prefill(context, batch, 0, prompt, vocabulary))}
    llama_cpp.llama_memory_clear(memory, True)
    prefill(context, batch, 0, 1, vocabulary)
    rates['decode'] = generate / timed(context, lambda: generated(1, 1))
    llama_cpp.llama_memory_clear(memory, True)
    for sequence in range(sequences):
        prefill(context, batch, sequence, batch_prompt, vocabulary)
    rates['batch'] = sequences * generate / timed(context, lambda: generated(sequences, batch_prompt))
    print(json.dumps(rates))


main()
