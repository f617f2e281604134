#!/usr/bin/env bash
# Every check that needs a CUDA GPU, in one call of under 20 minutes; results go to the folder given (default gpu_results).
#   bash benchmarks/gpu.sh [FOLDER] [all|costs|supernet]      PYTHON=... chooses the interpreter.
# `costs`: latencies, tables, the map and a shrinking study; `supernet`: the supernet's own checks; `all`, the default: both.
# One step after the other, as each would disturb the others' timing. A step that fails does not keep the rest from
# running, and none runs longer than its limit: they sum to 1140 seconds, and what a step leaves over is nobody's. A step
# whose time is up gets a Ctrl-C, which keeps what it has on record; gpu_summary.py tells at the end what all of them have.
set -uo pipefail
PYTHON=${PYTHON:-python}
OUT=${1:-gpu_results}
PART=${2:-all}
END=1150     # seconds from the start, after which no step runs
SUMMARY=40   # seconds that the summary may take

case "$PART" in all | costs | supernet) ;; *)
    echo "gpu.sh: $PART is not one of all, costs, supernet; nothing was run" >&2
    exit 2 ;;
esac
if ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "gpu.sh: no CUDA GPU here, or torch was built without CUDA; nothing was run" >&2
    exit 2
fi
mkdir -p "$OUT"
nvidia-smi >"$OUT/nvidia-smi.txt" 2>&1
failed=()
step() { # name, seconds at most, command ...
    local name=$1 limit=$2 start=$SECONDS left=$((END - SECONDS))
    shift 2
    echo "== $name: $*"
    if [ "$left" -lt "$limit" ]; then limit=$left; fi
    if [ "$limit" -lt 1 ]; then
        echo "-- $name: no time left"
        failed+=("$name")
        return
    fi
    timeout --signal=INT --kill-after=5 "$limit" "$@" >"$OUT/$name.txt" 2>&1 || failed+=("$name")
    tail -n 30 "$OUT/$name.txt"
    echo "-- $name: $((SECONDS - start)) s of $limit"
}

costs() {
    local latencies="$OUT/latency.jsonl" measure=("$PYTHON" -m archsearch latency measure --device cuda)
    local table=("$PYTHON" -m archsearch latency table litepose --device cuda --resolution 256 --passes 3 --extra-passes 1)
    "$PYTHON" -c 'import archsearch; print("\n".join(archsearch.models()))' >"$OUT/zoo.txt"
    printf '%s\n' litepose-s litepose-l higherhrnet-w32 litehrnet-18 >"$OUT/few.txt"
    step zoo 100 "${measure[@]}" --arch-list "$OUT/zoo.txt" --repeats 50 --out "$latencies"
    step zoo-fp16 55 "${measure[@]}" --dtype float16 --arch-list "$OUT/zoo.txt" --repeats 50 --out "$latencies"
    step batch 45 "${measure[@]}" --batch 32 --dtype float16 --arch-list "$OUT/few.txt" --repeats 30 --out "$latencies"
    step compile 105 "${measure[@]}" --compile litepose-s small-hrnet-w16 --repeats 50 --out "$latencies"
    step repeatability 40 "$PYTHON" benchmarks/bm_latency.py --device cuda --json "$OUT/repeatability.json"
    step table 110 "${table[@]}" --out "$OUT/table-eager.jsonl"
    step table-graph 110 "${table[@]}" --graph --out "$OUT/table-graph.jsonl"
    step map 85 "$PYTHON" -m archsearch latency map --device cuda --space litepose --samples 50 \
        --blocks-of litepose-s --blocks-of hrnet-w32 --blocks-of litehrnet-18 --out "$OUT/map"
}

supernet() { # at 256 px: a step with and without channels_last, in bfloat16, of a compiled network; then a training
    local throughput=("$PYTHON" benchmarks/bm_supernet_throughput.py --device cuda --size 256 --batch 32)
    step supernet-contiguous 30 "${throughput[@]}" --layout contiguous
    step supernet-channels-last 30 "${throughput[@]}"
    step supernet-bf16 30 "${throughput[@]}" --bf16
    step supernet-compile 65 "${throughput[@]}" --bf16 --compile
    step supernet 145 "$PYTHON" -m archsearch supernet supernet_scenes256 train.images=30000 data.train=4000 \
        data.val=300 subnets=2 --runs "$OUT/runs"
}

shrink() { # one seed of three and 60,000 images of 200,000; how long it takes on a GPU was never measured
    step shrink 190 "$PYTHON" -m archsearch shrink gradual_shrinking_scenes256 "seeds=[0]" train.images=60000 \
        --runs "$OUT/runs"
}

if [ "$PART" != supernet ]; then costs; fi
if [ "$PART" != costs ]; then supernet; fi
if [ "$PART" != supernet ]; then shrink; fi

timeout --kill-after=5 "$SUMMARY" "$PYTHON" benchmarks/gpu_summary.py "$OUT" | tee "$OUT/summary.txt" || failed+=(summary)
echo "all of it took $((SECONDS / 60)) min $((SECONDS % 60)) s"
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed or out of time: ${failed[*]}" >&2
    exit 1
fi
