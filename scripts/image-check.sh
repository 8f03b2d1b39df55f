#!/usr/bin/env bash
# Build the unmodified Dockerfile without a Docker engine, run the image with restricted privileges, make the README's
# calls inside it, and stop its containers in the middle of streams.
# As root, with buildah, podman, runc and debootstrap: apt-get install buildah podman runc debootstrap
#   BASE_IMAGE   base to build on (default: a stand-in built by scripts/stand-in-base.sh, once)
#   MODEL, PRECISION, TORCH_PIP_ARGS   as in the Dockerfile (default: the bundled model, int8)
#   LIMIT_MIB    maximum MiB that this project's layers may add to the base, without the model (default: 114)
# Exit status: 0 passed; 1 the image has a fault; 2 this machine cannot build or run any image, so nothing was checked.
set -euo pipefail
cd "$(dirname "$0")/.."

stop() {
    echo "error: $2" >&2
    exit "$1"
}
for tool in buildah podman runc; do
    command -v "$tool" > /dev/null || stop 2 "$tool is not installed (see the head of $0)"
done
# Run podman on hosts without systemd and without a network for containers.
podman=(podman --runtime runc --cgroup-manager cgroupfs)
run=("${podman[@]}" run --rm --network host --ulimit nofile=4096:4096 --ulimit nproc=4096:4096)
run+=(--read-only --cap-drop ALL --security-opt no-new-privileges --memory 1g)
export BUILDAH_ISOLATION=chroot
build=(buildah bud --network=host --force-rm)  # the caller adds --layers or --no-cache
# The stand-in is built again if its sources have changed.
made_of=$(cat scripts/stand-in-base.sh scripts/stand_in_host.py | cksum | cut -d " " -f 1)
base=${BASE_IMAGE:-localhost/functions-stand-in:$made_of}
image=localhost/distilgpt2-functions-check
sha=$(git rev-parse HEAD 2> /dev/null || echo unknown)

# Check the machine first: the base image exists, a build step reaches pip's index, and a container runs.
if [ -z "${BASE_IMAGE:-}" ] && ! buildah inspect --type image "$base" > /dev/null 2>&1; then
    scripts/stand-in-base.sh "$base" || stop 2 "the stand-in for Azure's base could not be made"
fi
step="RUN python3 -m pip download --quiet --no-cache-dir --no-deps --dest /probe annotated-doc"
probe=$(timeout 300 "${build[@]}" --no-cache --quiet -f - . <<< "FROM $base"$'\n'"$step") \
    || stop 2 "buildah cannot build on $base here, or pip reaches no index"
buildah rmi "$probe" > /dev/null || true
timeout 60 "${run[@]}" "$base" true || stop 2 "podman cannot run $base here"

"${build[@]}" --layers --build-arg BASE_IMAGE="$base" --build-arg MODEL="${MODEL:-demo}" \
    --build-arg PRECISION="${PRECISION:-int8}" --build-arg TORCH_PIP_ARGS="${TORCH_PIP_ARGS:-}" \
    --build-arg GIT_SHA="$sha" -t "$image" . || stop 1 "the image does not build"
"${run[@]}" --volume "$PWD/scripts/smoke.py:/smoke.py:ro" "$image" python3 /smoke.py || stop 1 "the image does not serve"
if [ -z "${BASE_IMAGE:-}" ]; then
    python3 scripts/stop_check.py "$image" "${run[@]}" || stop 1 "containers of the image do not stop as they should"
    echo "without the entry point, where each has to fail:"
    if python3 scripts/stop_check.py --without-entry-point "$image" "${run[@]}"; then
        stop 1 "the check of the stop cannot fail: it passes without the entry point"
    fi
else
    echo "the stop is checked with the stand-in alone, and not with $BASE_IMAGE"
fi

echo "layers over the base:"
"${podman[@]}" history --format json "$image" | python3 -c '
import json, sys
total = model = 0
for layer in json.load(sys.stdin):  # newest first
    size, created = layer["size"], layer.get("CreatedBy", "")
    total += size
    model += size if "models/served" in created and "COPY" in created else 0
    if size > 1024:
        print(f"  {size / 2**20:8.2f} MiB  {created[:90]}")
    if "ENV PYTHONPATH" in created:  # the first step of this project
        break
ours = (total - model) / 2**20
print(f"  {ours:8.2f} MiB  without the model, of at most {sys.argv[1]}")
sys.exit(ours > float(sys.argv[1]))
' "${LIMIT_MIB:-114}"
