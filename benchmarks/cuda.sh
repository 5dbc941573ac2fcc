#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Measure a CUDA device in less than eight minutes: agreement with the CPU, every way to run the bundled and the
# published size, and the node with one camera and with three where ROS 2 is there. All of it goes into one folder,
# with the card's name.
# Environment: PYTHON, OUT (the folder), DEVICE.
set -eu
PYTHON=${PYTHON:-python3}
OUT=${OUT:-output/cuda}
DEVICE=${DEVICE:-cuda}
mkdir -p "$OUT"
"$PYTHON" benchmarks/compare_devices.py --device "$DEVICE" --out "$OUT"
for weights in demo random:base-768; do
    "$PYTHON" -m camseg_core.cli benchmark speed --weights "$weights" --device "$DEVICE" --repeats 5 \
        --json "$OUT/speed-${weights#random:}.json" --plot "$OUT/speed-${weights#random:}.svg"
    "$PYTHON" -m camseg_core.cli benchmark speed --weights "$weights" --device "$DEVICE" --sweep balanced \
        --cameras 1,3 --json "$OUT/cameras-${weights#random:}.json"
done
if "$PYTHON" -c "import rclpy" 2> /dev/null; then
    for cameras in 1 3; do
        "$PYTHON" -m camseg_core.cli benchmark node --cameras "$cameras" --rate 10 --seconds 20 \
            --set device="$DEVICE" --json "$OUT/node-$cameras.json"
    done
else
    echo "rclpy is not installed: the node was not measured"
fi
