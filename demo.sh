#!/usr/bin/env bash
# The whole path on a small synthetic Kinetics: serve, download, flow, train, look. Needs no network and no GPU.
set -euo pipefail
out=${1:-demo}
[ $# -gt 0 ] || rm -rf "$out" # a folder that is named must be new: it may hold somebody's data
mkdir "$out"

step() { printf '\n$ %s\n' "$*"; "$@"; }

# Optical flow and training run on a GPU where there is one.
flow_device=(--cpus 2)
if nvidia-smi --list-gpus >/dev/null 2>&1; then flow_device=(--gpus 1); fi

step preprocess sample "$out/sample" --videos-per-class 3 --val-per-class 1

# a port of its own choosing; the server tells which
python -u -m http.server --bind 127.0.0.1 --directory "$out/sample/videos" 0 >"$out/server.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null' EXIT
until port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$out/server.log") && [ -n "$port" ]; do
    kill -0 $server 2>/dev/null || { cat "$out/server.log" >&2; exit 1; }
    sleep 0.1
done

step preprocess download "$out/sample/list.csv" --url-template "http://127.0.0.1:$port/{youtube_id}.mp4" --out "$out/clips"
step preprocess flow "$out/clips" --out "$out/shards" --short-side 64 "${flow_device[@]}"
step python -m pipelines.show "$out/shards" --evaluation --frames 16 --crop 56 --out "$out/clip.png"
step i3d_train run --shards "$out/shards" --out "$out/run" --stream flow \
    --frames 16 --crop 56 --no-flip --batch-size 8 --steps 60 --validate-every 20 --lr 0.005 --threads 2

printf '\nLook at %s (frames and colour-coded flow, as the network gets them) and %s (the loss).\n' "$out/clip.png" "$out/run/loss.png"
