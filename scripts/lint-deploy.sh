#!/usr/bin/env bash
# Lint the files that deploy and monitor the app: Dockerfile, scripts, workflows, Bicep and Prometheus rules.
# `make lint-deploy` creates the environment. The Bicep compiler and promtool are not Python packages: if one is missing,
# the last lines name what was not checked.
#   REQUIRE_BICEP, REQUIRE_PROMTOOL   1 makes it an error that the tool is missing
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv-deploy/bin
export PATH="$bin:$PATH"
missing=()

hadolint Dockerfile
shellcheck scripts/*.sh .ci/run
yamllint --strict .github azure.yaml mkdocs.yml docs benchmarks/deployment
zizmor --offline --quiet .github
check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The resources of each case, as sent to Azure. Settings that only Azure can merge have no properties to check.
"$bin/python" - "$work" << 'END'
import json, pathlib, sys
schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
for file in pathlib.Path("infra/cases").glob("*.snapshot.json"):
    resources = json.loads(file.read_text(encoding="utf-8"))["predictedResources"]
    resources = [one for one in resources if "/config" not in one["type"]]
    template = {"$schema": schema, "contentVersion": "1.0.0.0", "resources": resources}
    (pathlib.Path(sys.argv[1]) / file.name).write_text(json.dumps(template), encoding="utf-8")
END
checkov --config-file .checkov.yaml --framework dockerfile --file Dockerfile
checkov --config-file .checkov.yaml --framework arm --directory "$work"

status=0
scripts/lint-bicep.sh || status=$?
case "$status" in
    0) ;;
    2) missing+=("the Bicep files were not compiled, and their snapshots not compared: there is no Bicep compiler here") ;;
    *) exit "$status" ;;
esac
[ "$status" != 2 ] || [ "${REQUIRE_BICEP:-}" != 1 ] || exit 1

if command -v promtool > /dev/null; then
    promtool check rules docs/prometheus/alerts.yml
    promtool test rules docs/prometheus/alerts.test.yml
elif [ "${REQUIRE_PROMTOOL:-}" = 1 ]; then
    echo "error: promtool is not installed; it is part of Prometheus" >&2
    exit 1
else
    missing+=("the Prometheus rules were not tested: promtool is not installed; it is part of Prometheus")
fi
for one in ${missing[@]+"${missing[@]}"}; do
    echo "NOT CHECKED: $one"
done
