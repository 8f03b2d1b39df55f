// What scripts/deploy.sh deploys where nothing else is asked for.
using '../main.bicep'

param name = 'my-app'
param image = 'ghcr.io/owner/repo:latest'
