#!/usr/bin/env bash
# Compile, lint and format-check the Bicep files, and compare their output with the snapshots in infra/cases.
# Usage: scripts/lint-bicep.sh [--write | --api-versions]
#   --write          format the files and rewrite the snapshots
#   --api-versions   only check that each API version is recent, which fails as time passes
# Uses `bicep` from PATH, or else the one that `az bicep install` has installed.
# Exit status: 0 passed; 1 a file has a fault; 2 there is no Bicep compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

bicep=$(command -v bicep || true)
installed=${AZURE_CONFIG_DIR:-$HOME/.azure}/bin/bicep
if [ -z "$bicep" ] && [ -x "$installed" ]; then
    bicep=$installed
fi
[ -n "$bicep" ] || { echo "error: there is no Bicep compiler: put bicep on the PATH, or run az bicep install" >&2; exit 2; }
"$bicep" --version

stop() {
    echo "error: $1" >&2
    exit 1
}
# The compiler exits with 0 after a warning, so any output counts as a failure.
quiet() {
    local said
    said=$("$bicep" "$@" 2>&1) && [ -z "$said" ] || stop "${said:-$1 failed}"
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ "${1:-}" = --api-versions ]; then
    off='"use-recent-api-versions": { "level": "off" }'
    grep -q "$off" infra/bicepconfig.json || stop "infra/bicepconfig.json has no line $off"
    sed "s/$off/${off/off/error}/" infra/bicepconfig.json > "$work/bicepconfig.json"
    quiet lint --pattern 'infra/**/*.bicep' --config "$work/bicepconfig.json"
    echo "ok -- the API versions are recent"
    exit 0
fi

[ "${1:-}" != --write ] || quiet format --pattern 'infra/**/*.bicep*'
quiet lint --pattern 'infra/**/*.bicep'
# Variables that the parameter files read without a default.
export APP=my-app IMAGE=ghcr.io/owner/repo:latest AZURE_ENV_NAME=my-app AZURE_LOCATION=westeurope
quiet lint --pattern 'infra/**/*.bicepparam'
echo "ok -- the Bicep files compile without a warning"

cp -R infra "$work"
quiet format --pattern "$work/infra/**/*.bicep*"
diff -r infra "$work/infra" || stop "a Bicep file is not formatted as above: scripts/lint-bicep.sh --write"
echo "ok -- the Bicep files are formatted"

mode=validate
[ "${1:-}" != --write ] || mode=overwrite
for case in infra/cases/*.bicepparam; do
    "$bicep" snapshot "$case" --mode "$mode" --subscription-id 00000000-0000-0000-0000-000000000000 \
        --resource-group rg --location westeurope || stop "$case: the snapshot above differs: scripts/lint-bicep.sh --write"
done
echo "ok -- the snapshots are what the Bicep files say"
