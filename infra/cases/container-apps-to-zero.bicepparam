// Container Apps as they are by default: no instance while there are no requests, scaled by the platform.
using '../container-apps.bicep'

param name = 'my-app'
param image = 'ghcr.io/owner/repo:latest'
