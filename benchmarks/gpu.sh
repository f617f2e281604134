#!/usr/bin/env bash
# Every check that needs a CUDA GPU, in two parts, each in under 20 minutes; results go to the folder given (default
# gpu_results).
#   bash benchmarks/gpu.sh [FOLDER] [supernet]      PYTHON=... chooses the interpreter.
# Without `supernet` latencies, tables, the map and a shrinking study; with it the supernet's own checks instead.
# One step after the other, as each would disturb the others' timing. A step that fails does not keep the rest from
# running, and none runs longer than its limit: the limits sum to 1180 seconds, and to 450.
set -uo pipefail
PYTHON=${PYTHON:-python}
OUT=${1:-gpu_results}
PART=${2:-costs}

if ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "gpu.sh: no CUDA GPU here, or torch was built without CUDA; nothing was run" >&2
    exit 2
fi
mkdir -p "$OUT"
nvidia-smi >"$OUT/nvidia-smi.txt" 2>&1
failed=()
step() { # name, seconds at most, command ...
    local name=$1 limit=$2 start=$SECONDS
    shift 2
    echo "== $name: $*"
    timeout "$limit" "$@" >"$OUT/$name.txt" 2>&1 || failed+=("$name")
    tail -n 30 "$OUT/$name.txt"
    echo "-- $name: $((SECONDS - start)) s"
}

if [ "$PART" = costs ]; then
"$PYTHON" -c 'import archsearch; print("\n".join(archsearch.models()))' >"$OUT/zoo.txt"
printf '%s\n' litepose-s litepose-l higherhrnet-w32 litehrnet-18 >"$OUT/few.txt"
LATENCIES="$OUT/latency.jsonl"
step zoo 120 "$PYTHON" -m archsearch latency measure --device cuda --arch-list "$OUT/zoo.txt" --repeats 50 --out "$LATENCIES"
step zoo-fp16 60 "$PYTHON" -m archsearch latency measure --device cuda --dtype float16 --arch-list "$OUT/zoo.txt" \
    --repeats 50 --out "$LATENCIES"
step batch 60 "$PYTHON" -m archsearch latency measure --device cuda --batch 32 --dtype float16 \
    --arch-list "$OUT/few.txt" --repeats 30 --out "$LATENCIES"
step compile 150 "$PYTHON" -m archsearch latency measure --device cuda --compile litepose-s small-hrnet-w16 \
    --repeats 50 --out "$LATENCIES"
step repeatability 60 "$PYTHON" benchmarks/bm_latency.py --device cuda --json "$OUT/repeatability.json"
step table 120 "$PYTHON" -m archsearch latency table litepose --device cuda --resolution 256 --passes 3 \
    --extra-passes 1 --out "$OUT/table-eager.jsonl"
step table-graph 120 "$PYTHON" -m archsearch latency table litepose --device cuda --graph --resolution 256 --passes 3 \
    --extra-passes 1 --out "$OUT/table-graph.jsonl"
step map 90 "$PYTHON" -m archsearch latency map --device cuda --space litepose --samples 50 \
    --blocks-of litepose-s --blocks-of hrnet-w32 --blocks-of litehrnet-18 --out "$OUT/map"
# One seed of three and 60,000 images of 200,000; how long the whole study takes on a GPU was never measured.
step shrink 400 "$PYTHON" -m archsearch shrink gradual_shrinking_scenes256 "seeds=[0]" train.images=60000 \
    --runs "$OUT/runs"
else
# A supernet at 256 px: a step with and without channels_last, in bfloat16, of a compiled network; then a training.
THROUGHPUT=("$PYTHON" benchmarks/bm_supernet_throughput.py --device cuda --size 256 --batch 32)
step supernet-contiguous 40 "${THROUGHPUT[@]}" --layout contiguous
step supernet-channels-last 40 "${THROUGHPUT[@]}"
step supernet-bf16 40 "${THROUGHPUT[@]}" --bf16
step supernet-compile 90 "${THROUGHPUT[@]}" --bf16 --compile
step supernet 240 "$PYTHON" -m archsearch supernet supernet_scenes256 train.images=30000 data.train=4000 \
    data.val=300 subnets=2 --runs "$OUT/runs"
fi

echo "all of it took $((SECONDS / 60)) min $((SECONDS % 60)) s"
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed or out of time: ${failed[*]}" >&2
    exit 1
fi
