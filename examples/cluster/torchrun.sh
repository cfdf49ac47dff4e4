#!/usr/bin/env bash
# The same by torchrun: bash torchrun.sh. On several machines give --nnodes and --rdzv-endpoint too.
# torchrun ends all processes (SIGTERM) if one dies; they seal what they have encoded, and are started again.
set -euo pipefail

torchrun --standalone --nproc-per-node 8 --max-restarts 3 -m cryoprobe extract --model timm:vit_base_patch16_dinov3 --precision bf16 \
    --dataset folder:/data/imagenet --store s3://bucket/features
