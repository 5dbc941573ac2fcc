#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Make the synthetic data, train the stages, export the weights "demo", score them. Goes on where it was
# stopped. Environment: PYTHON, PROCESSES, WORKERS (processes that make the data), and SETTINGS for every stage, e.g.
# on a CUDA machine of 16 cores
#     PROCESSES=1 WORKERS=16 SETTINGS="device=cuda data.workers=14" benchmarks/train_demo.sh
# or in slices: SETTINGS="max_minutes=9".
set -eu
OUT=output/train-demo        # as config/training/demo.yaml has it
PYTHON=${PYTHON:-python3}
PROCESSES=${PROCESSES:-2}
SETTINGS=${SETTINGS:-}
export PYTHON OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Huge pages, and freed memory kept: faster on CPUs, see docs/training.md.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456}"

# Every line: a folder, and how the drive in it is made. Half of the training frames are of clear weather.
drives() {
    for seed in $(seq 1 "${SEEDS:-32}"); do
        echo "$OUT/drives/clear$seed --split train --frames 640 --seed $seed"
        for condition in fog rain snow night; do
            echo "$OUT/drives/$condition$seed --split train --frames 160 --seed $seed --condition $condition"
        done
    done
    # Validation and test: other seeds.
    echo "$OUT/drives/val --split val --frames 60 --seed 9100"
    echo "$OUT/test-clear --split val --frames 200 --seed 9000"
}
drives | while read -r folder arguments; do
    [ -e "$folder" ] || echo "--out $folder $arguments"
done | xargs -r -P "${WORKERS:-2}" -L 1 "$PYTHON" -m camseg_core.cli synth --frames-per-sequence 2 > /dev/null
for condition in fog rain snow night; do
    [ -e "$OUT/done-$condition" ] || "$PYTHON" -m camseg_core.cli synth --out "$OUT/test-adverse" --layout acdc \
        --split val --frames 200 --frames-per-sequence 2 --seed 9000 --condition $condition
    touch "$OUT/done-$condition"
done
for kind in leftImg8bit gtFine; do
    for split in train val; do
        mkdir -p "$OUT/train/$kind/$split"
        cp -alf "$OUT"/drives/*/$kind/$split/* "$OUT/train/$kind/$split"
    done
done

# One thread a process: a second one waits for the first more than it helps.
# shellcheck disable=SC2086  # SETTINGS is a list
"$PYTHON" -m torch.distributed.run \
    --nproc-per-node "$PROCESSES" --master-port "${MASTER_PORT:-29511}" \
    -m camseg_core.training --recipe config/training/demo.yaml --output-dir "$OUT/runs" \
    ${SETTINGS:+--set $SETTINGS}
[ -e "$OUT/runs/finetune-4.safetensors" ] || { echo "not finished; the same command goes on"; exit 0; }
"$PYTHON" -m camseg_core.training --export "$OUT/runs/finetune-4" --which last --half \
    --out "$OUT/demo.safetensors"
"$PYTHON" benchmarks/score_weights.py --weights demo="$OUT/demo.safetensors" \
    --clear "$OUT/test-clear" --adverse "$OUT/test-adverse" --out "$OUT/scores"
"$PYTHON" -m camseg_core.cli benchmark latent --weights "$OUT/demo.safetensors" --dataset cityscapes \
    --root "$OUT/test-clear" --split val --json "$OUT/scores/demo/latent.json"
