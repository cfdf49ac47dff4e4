#!/usr/bin/env bash
# One process for each of the GPUs of this machine: bash several-gpus.sh
set -euo pipefail
export WORLD_SIZE=8

pids=()
for ((i = 0; i < WORLD_SIZE; i++)); do
    RANK=$i LOCAL_RANK=$i cryoprobe extract --model timm:vit_base_patch16_dinov3 --precision bf16 \
        --dataset folder:/data/imagenet --store s3://bucket/features &
    pids+=($!)
done
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
exit "$status"
