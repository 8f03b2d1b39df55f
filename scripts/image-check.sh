#!/usr/bin/env bash
# Build the unmodified Dockerfile without a Docker engine, run the image hardened, and make the README's calls inside it.
# As root, with buildah, podman, runc and debootstrap: apt-get install buildah podman runc debootstrap
#   BASE_IMAGE   base to build on (default: a stand-in made by scripts/stand-in-base.sh; made once, then reused)
#   MODEL, PRECISION, TORCH_PIP_ARGS   as in the Dockerfile (default: the bundled model, int8)
#   LIMIT_MIB    most MiB that our layers may add to the base, without the model (default: 110)
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in buildah podman runc; do
    command -v "$tool" > /dev/null || { echo "error: $tool is not installed (see the head of $0)" >&2; exit 2; }
done
export BUILDAH_ISOLATION=chroot
base=${BASE_IMAGE:-localhost/functions-stand-in}
image=localhost/distilgpt2-functions-check
sha=$(git rev-parse HEAD 2> /dev/null || echo unknown)

buildah inspect --type image "$base" > /dev/null 2>&1 || scripts/stand-in-base.sh "$base"
buildah bud --layers --network=host --build-arg BASE_IMAGE="$base" --build-arg MODEL="${MODEL:-demo}" \
    --build-arg PRECISION="${PRECISION:-int8}" --build-arg TORCH_PIP_ARGS="${TORCH_PIP_ARGS:-}" \
    --build-arg GIT_SHA="$sha" -t "$image" .

# podman, on hosts without systemd and without a network of its own for containers
podman() {
    command podman --runtime runc --cgroup-manager cgroupfs "$@"
}
run=(run --rm --network host --ulimit nofile=4096:4096 --ulimit nproc=4096:4096)
run+=(--read-only --cap-drop ALL --security-opt no-new-privileges --memory 1g)
podman "${run[@]}" --volume "$PWD/scripts/smoke.py:/smoke.py:ro" "$image" python3 /smoke.py

echo "layers over the base:"
podman history --format json "$image" | python3 -c '
import json, sys
total = model = 0
for layer in json.load(sys.stdin):  # the newest first
    size, created = layer["size"], layer.get("CreatedBy", "")
    total += size
    model += size if "models/served" in created and "COPY" in created else 0
    if size > 1024:
        print(f"  {size / 2**20:8.2f} MiB  {created[:90]}")
    if "ENV PYTHONPATH" in created:  # the first step of ours
        break
ours = (total - model) / 2**20
print(f"  {ours:8.2f} MiB  without the model, of at most {sys.argv[1]}")
sys.exit(ours > float(sys.argv[1]))
' "${LIMIT_MIB:-110}"
