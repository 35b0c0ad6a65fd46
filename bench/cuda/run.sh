#!/usr/bin/env bash
# bench/cuda/run.sh [build|conformance|sanitizer|bench]…: the CUDA back end on the card that is there; without words, all of it.
# Needs a CUDA toolkit (12.x or 13.x), CMake and, for the peers' column, Python with torch: no Node, no network.
# Results go into the folder that $OUT names (default build/cuda/report): conformance.log, sanitizer.log, ops.jsonl,
# torch.jsonl, table.txt. LLAVA_CUDA_BUILD: a build brought along. The device conformance has not run anywhere yet.
# Exit status: 0 where all that was asked for ran and passed, 2 where there is no card, else 1.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${LLAVA_CUDA_BUILD:-build/cuda/card}
out=${OUT:-build/cuda/report}
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(build conformance sanitizer bench)
failed=0
mkdir -p "$out"

wanted() { [[ " ${steps[*]} " == *" $1 "* ]]; }
fails() {
  echo "FAILED: $1"
  failed=1
}

if wanted build && [ ! -x "$build/llava_cuda_conformance" ]; then
  export PATH="$PATH:/usr/local/cuda/bin"
  cmake -S native/cuda -B "$build" -DLLAVA_CUDA_ARCHITECTURES="${LLAVA_CUDA_ARCHITECTURES:-90a-real}" >"$out/build.log" 2>&1 &&
    cmake --build "$build" --parallel "$(nproc)" >>"$out/build.log" 2>&1 || {
    tail -n 30 "$out/build.log"
    fails "the build; see $out/build.log"
    exit 1
  }
fi
case " ${steps[*]} " in
*" conformance "* | *" sanitizer "* | *" bench "*)
  if ! nvidia-smi -L 2>/dev/null | grep -q GPU; then
    echo "no card: nvidia-smi lists none, so that nothing could be run"
    exit 2
  fi
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv,noheader | tee "$out/card.txt"
  ;;
esac
if wanted conformance; then
  timeout 120 "$build/llava_cuda_conformance" >"$out/conformance.log" 2>&1 || fails "conformance; see $out/conformance.log"
  grep -A3 FAILED "$out/conformance.log"
  tail -n 1 "$out/conformance.log"
fi
if wanted sanitizer; then
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      timeout 90 compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/llava_cuda_conformance" rope norm kv_append "no rows" \
        "of each activation" "a few values" >>"$out/sanitizer.log" 2>&1 || fails "compute-sanitizer $tool; see $out/sanitizer.log"
    done
    tail -n 2 "$out/sanitizer.log"
  else
    echo "compute-sanitizer is not there: skipped"
  fi
fi
if wanted bench; then
  timeout 150 "$build/llava_cuda_bench" >"$out/ops.jsonl" || fails "the benchmark"
  if python3 -c 'import torch' 2>/dev/null; then
    timeout 80 python3 bench/cuda/torch_peers.py >"$out/torch.jsonl" || fails "torch's column"
  fi
  python3 bench/cuda/table.py "$out" | tee "$out/table.txt"
fi
exit $failed
