#!/usr/bin/env bash
# Build a base image that stands in for Azure's where no registry can be reached: Debian with Python 3.11 and the
# environment of the Functions image. Instead of the Functions host it has scripts/stand_in_host.py.
# Usage: scripts/stand-in-base.sh NAME   (as root; needs buildah and debootstrap)
set -euo pipefail

here=$(dirname "$0")
name=${1:?usage: scripts/stand-in-base.sh NAME}
export BUILDAH_ISOLATION=chroot
root=$(mktemp -d)
container=
clean() {
    [ -z "$container" ] || buildah rm "$container" > /dev/null
    rm -rf "$root"
}
trap clean EXIT

debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv bookworm "$root" > /dev/null
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
# A machine behind a proxy may trust further certificates.
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
fi

# A short version of the start script of Azure's image.
mkdir -p "$root/opt/startup" "$root/azure-functions-host"
install -m 755 "$here/stand_in_host.py" "$root/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"
cat > "$root/opt/startup/install_ca_certificates.sh" << 'EOF'
#!/bin/bash
ls /var/ssl/root/*.crt > /dev/null 2>&1 || true
EOF
cat > "$root/opt/startup/start_nonappservice.sh" << 'EOF'
#!/usr/bin/env bash
source /opt/startup/install_ca_certificates.sh

exec /azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost
EOF
chmod 755 "$root"/opt/startup/*.sh

container=$(buildah from scratch)
buildah copy --quiet "$container" "$root" / > /dev/null
buildah config \
    --env HOME=/home \
    --env AzureWebJobsScriptRoot=/home/site/wwwroot \
    --env ASPNETCORE_URLS=http://+:80 \
    --env FUNCTIONS_WORKER_RUNTIME=python \
    --env PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    --cmd /opt/startup/start_nonappservice.sh \
    "$container"
buildah commit --quiet "$container" "$name" > /dev/null
echo "made $name"
