// A package on GHCR that is private.
using '../main.bicep'

param name = 'my-app'
param image = 'ghcr.io/owner/repo:latest'
param registryUsername = 'owner'
param registryToken = readEnvironmentVariable('REGISTRY_TOKEN', 'not-a-token')
