#!/usr/bin/env bash
# The whole recipe: drawings, training (an interrupted run goes on), the demo picture and the examination.
# usage: models/recipe/run.sh WORK      (needs python3 with: pip install torch transformers sentencepiece gguf tokenizers scikit-image pillow tqdm matplotlib)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(realpath -m "$1")
npm ci --prefix "$here"
[ -e "$work/drawings.json" ] || node "$here/render.mjs" "$work"
python3 "$here/train.py" "$work"
python3 "$here/curves.py" "$work" "$here/../card"
python3 "$here/demo.py" "$work"
python3 "$here/exam.py" "$work" "$work/exam"
npm run --prefix "$here/../.." eval -- "$work/exam" --out "$here/../card"
