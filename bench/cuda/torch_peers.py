"""What torch (cuBLAS, its attention) takes for the shapes of bench/cuda/ops.cc, on random data: a line of JSON each."""

import json
import time

import torch


def seconds_of(work):
    work()
    torch.cuda.synchronize()
    best = 1e9
    for _ in range(2):
        runs, start = 0, time.perf_counter()
        while time.perf_counter() - start < 0.1:
            for _ in range(10):
                work()
            runs += 10
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / runs)
    return best


def report(op, shape, work, ops):
    seconds = seconds_of(work)
    line = {"op": op, "shape": shape, "microseconds": round(seconds * 1e6, 2), "tflops": round(ops / seconds / 1e12, 1)}
    print(json.dumps(line), flush=True)


def linear(name, dtype, m, n, k):
    x = torch.randn(m, k, device="cuda", dtype=dtype)
    copies = max(1, min(32, (512 << 20) // (n * k * 2)))
    weights = [torch.randn(n, k, device="cuda", dtype=dtype) for _ in range(copies)]
    state = {"next": 0}

    def work():
        state["next"] += 1
        torch.nn.functional.linear(x, weights[state["next"] % copies])

    report("linear " + name, f"{m} x {n} x {k}", work, 2.0 * m * n * k)


def attention(op, batch, rows, keys, heads, dim, causal):
    q = torch.randn(batch, heads, rows, dim, device="cuda", dtype=torch.float16)
    k, v = (torch.randn(batch, heads, keys, dim, device="cuda", dtype=torch.float16) for _ in range(2))
    seen = keys - (rows - 1) / 2 if causal else keys
    work = lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal and rows == keys)
    report(op, f"{batch} x {rows} rows, {keys} keys", work, 4.0 * batch * rows * heads * dim * seen)


for n, k in ((4096, 4096), (11008, 4096), (4096, 11008)):
    linear("BF16", torch.bfloat16, 2496, n, k)
    linear("F16", torch.float16, 2496, n, k)
    for m in (1, 4, 16):
        linear("F16", torch.float16, m, n, k)
attention("attention of pictures", 64, 577, 577, 16, 64, False)
attention("attention of a prompt", 1, 2048, 2048, 32, 128, True)
attention("attention of a token", 1, 1, 2048, 32, 128, True)
attention("attention of 16 tokens", 16, 1, 2048, 32, 128, True)
