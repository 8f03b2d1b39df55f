#!/usr/bin/env bash
# Lint what deploys the app: Dockerfile, scripts, workflows, Bicep. `make lint-deploy` makes the environment it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv-deploy/bin
export PATH="$bin:$PATH"

hadolint Dockerfile
shellcheck scripts/*.sh .ci/run
yamllint --strict .github
zizmor --offline --quiet .github
check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
for file in infra/*.bicep; do
    "$bin/python" -c 'import pathlib, sys, pycep; pycep.BicepParser().parse(text=pathlib.Path(sys.argv[1]).read_text())' "$file"
    echo "ok -- $file parses"
done
checkov --config-file .checkov.yaml
