#!/usr/bin/env bash
# The whole recipe: drawings, training (an interrupted run goes on), the demo picture and the examination.
# usage: models/recipe/run.sh WORK      (needs python3 with: pip install torch transformers sentencepiece protobuf gguf tokenizers scikit-image pillow tqdm matplotlib)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(realpath -m "$1")
# Freed memory stays, in large pages, and threads that wait sleep: where others use the machine too, a step takes a fifth of the time.
export MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184 THP_MEM_ALLOC_ENABLE=1 OMP_WAIT_POLICY=PASSIVE
npm ci --prefix "$here"
[ -e "$work/drawings.json" ] || node "$here/render.mjs" "$work"
python3 "$here/train.py" "$work"
python3 "$here/curves.py" "$work" "$here/../card"
python3 "$here/demo.py" "$work"
python3 "$here/exam.py" "$work" "$work/exam"
npm run --prefix "$here/../.." eval -- "$work/exam" --out "$here/../card"
