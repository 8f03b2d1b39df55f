#!/usr/bin/env bash
# Report whether GitHub attests images of this repository, or verify the attestation of an image before its deployment.
# Usage: scripts/attestation.sh available                       prints available=true or available=false
#        scripts/attestation.sh verify IMAGE@sha256:...         exit 1 if it has an invalid attestation
#   GITHUB_REPOSITORY, GH_TOKEN   as in a workflow
#   ATTEST     true or false, to skip the query; default: true in a public repository. In a private repository, GitHub
#              attests only on Enterprise Cloud, and actions/attest fails elsewhere.
#   ATTESTED   true: an image without an attestation is an error, too
set -euo pipefail

usage="usage: scripts/attestation.sh available | verify IMAGE@sha256:..."
: "${GITHUB_REPOSITORY:?is not set}"

stop() {
    echo "error: $1" >&2
    exit 1
}
available() {
    case "${ATTEST:-}" in
        true | false) echo "$ATTEST" ;;
        '')
            local visibility
            visibility=$(gh api "repos/$GITHUB_REPOSITORY" --jq .visibility) || stop "could not ask whether $GITHUB_REPOSITORY is public"
            [ "$visibility" = public ] && echo true || echo false
            ;;
        *) stop "ATTEST=$ATTEST is neither true nor false" ;;
    esac
}
# Print the number of attestations of a digest. GitHub answers 404 if there is none.
count() {
    local said
    if ! said=$(gh api "repos/$GITHUB_REPOSITORY/attestations/$1" --jq '.attestations | length' 2>&1); then
        case "$said" in
            *"HTTP 404"*) said=0 ;;
            *) stop "could not ask for attestations of $1: $said" ;;
        esac
    fi
    echo "$said"
}

case "${1:?$usage}" in
    available)
        answer=$(available)
        echo "available=$answer"
        ;;
    verify)
        image=${2:?$usage}
        [[ $image =~ @(sha256:[0-9a-f]{64})$ ]] || { echo "error: $image is not a digest (name@sha256:...)" >&2; exit 2; }
        digest=${BASH_REMATCH[1]}
        if [ "${ATTESTED:-}" != true ] && [ "$(available)" != true ]; then
            echo "GitHub attests no image of this repository: $digest is not verified"
            exit 0
        fi
        found=$(count "$digest")
        if [ "$found" = 0 ]; then
            [ "${ATTESTED:-}" != true ] || stop "$digest has no attestation"
            echo "$digest has no attestation: it was pushed before this repository had them, and is not verified"
            exit 0
        fi
        gh attestation verify "oci://$image" --repo "$GITHUB_REPOSITORY" \
            --signer-workflow "$GITHUB_REPOSITORY/.github/workflows/deploy.yml" || stop "the attestation of $digest is not right: it is not deployed"
        echo "ok: $digest was built by this repository's workflow"
        ;;
    *) echo "$usage" >&2; exit 2 ;;
esac
