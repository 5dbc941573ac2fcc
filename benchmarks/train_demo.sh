#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Make the synthetic data, train the four stages, export the weights "demo", score them. Goes on where it was
# stopped. Environment: PYTHON, PROCESSES, and SETTINGS for every stage, e.g. on a CUDA machine
#     PROCESSES=1 SETTINGS="device=cuda threads=0 data.workers=8" benchmarks/train_demo.sh
# or in slices: SETTINGS="max_minutes=9".
set -eu
OUT=output/train-demo        # as config/training/demo.yaml has it
PYTHON=${PYTHON:-python3}
PROCESSES=${PROCESSES:-2}
SETTINGS=${SETTINGS:-}
camseg() { "$PYTHON" -m camseg_core.cli "$@"; }

# drive FOLDER ARGUMENTS...: whole or absent, so that a second call makes what is missing only.
drive() {
    folder=$1; shift
    key=$(echo "$*" | tr -c 'a-z0-9\n' '_')
    [ -e "$OUT/done/$folder.$key" ] && return
    camseg synth --out "$OUT/$folder" --frames-per-sequence 2 "$@"
    mkdir -p "$OUT/done"
    touch "$OUT/done/$folder.$key"
}

# Training: clear weather alone, and half clear, an eighth each of fog, rain, snow and night.
drive clear --split train --frames 5000 --seed 1
drive clear --split val --frames 80 --seed 9100
drive all --split train --frames 2500 --seed 1
drive all --split train --frames 625 --seed 2 --condition fog
drive all --split train --frames 625 --seed 3 --condition rain
drive all --split train --frames 625 --seed 4 --condition snow
drive all --split train --frames 625 --seed 5 --condition night
drive all --split val --frames 80 --seed 9100
# For the last stage: two thirds clear.
drive mostly-clear --split train --frames 5000 --seed 1
drive mostly-clear --split train --frames 625 --seed 2 --condition fog
drive mostly-clear --split train --frames 625 --seed 3 --condition rain
drive mostly-clear --split train --frames 625 --seed 4 --condition snow
drive mostly-clear --split train --frames 625 --seed 5 --condition night
drive mostly-clear --split val --frames 80 --seed 9100
# Test: other seeds than training and validation.
drive test-clear --split val --frames 200 --seed 9000
for condition in fog rain snow night; do
    drive test-adverse --layout acdc --split val --frames 200 --seed 9000 --condition $condition
done

# One thread a process: a second one waits for the first more than it helps.
# shellcheck disable=SC2086  # SETTINGS is a list
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} "$PYTHON" -m torch.distributed.run \
    --nproc-per-node "$PROCESSES" --master-port "${MASTER_PORT:-29511}" \
    -m camseg_core.training --recipe config/training/demo.yaml --output-dir "$OUT/runs" \
    ${SETTINGS:+--set $SETTINGS}
[ -e "$OUT/runs/finetune-3.safetensors" ] || { echo "not finished; the same command goes on"; exit 0; }
"$PYTHON" -m camseg_core.training --export "$OUT/runs/finetune-3" --which last --half \
    --out "$OUT/demo.safetensors"
"$PYTHON" benchmarks/score_weights.py --weights demo="$OUT/demo.safetensors" \
    --clear "$OUT/test-clear" --adverse "$OUT/test-adverse" --out "$OUT/scores"
