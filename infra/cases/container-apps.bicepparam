// Container Apps with an instance that always runs, scaled by our own rule, from a private package, with alerts.
using '../container-apps.bicep'

param name = 'my-app'
param image = 'ghcr.io/owner/repo:latest'
param minInstances = 1
param concurrency = 16
param registryUsername = 'owner'
param registryToken = readEnvironmentVariable('REGISTRY_TOKEN', 'not-a-token')
param alertEmail = 'on-call@example.com'
