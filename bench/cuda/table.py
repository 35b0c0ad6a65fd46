"""table.py FOLDER: ops.jsonl, and torch.jsonl where it is there, as a table."""

import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])


def lines(name):
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")] if path.exists() else []


peers = {(line["op"], line["shape"]): line["microseconds"] for line in lines("torch.jsonl")}
for line in lines("ops.jsonl"):
    if "card" in line:
        print(f"{line['card']}: mma {line['mma_tflops']} TFLOP/s, reads {line['read_gbps']} GB/s")
        continue
    peer = peers.get((line["op"], line["shape"]))
    beside = f"  torch {peer:10.2f} us ({peer / line['microseconds']:.2f} of its speed)" if peer else ""
    print(
        f"{line['op']:24} {line['shape']:28} {line['microseconds']:10.2f} us {line['rate']:8.1f} {line['unit']:8}"
        f" {100 * line['share']:5.1f} % of {line['roof']}{beside}"
    )
