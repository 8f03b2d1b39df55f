// Storage behind private endpoints, telemetry by identity, two zones.
using '../main.bicep'

param name = 'my-app'
param image = 'ghcr.io/owner/repo:latest'
param closedNetwork = true
param insightsByIdentity = true
param zoneRedundant = true
