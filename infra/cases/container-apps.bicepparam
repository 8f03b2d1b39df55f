// Container Apps with an instance that always runs, scaled by our own rule, from a private package, with alerts.
// It is deployed again: what the app has is kept, but for what the template or the caller sets.
using '../container-apps.bicep'

param name = 'my-app'
param image = 'ghcr.io/owner/repo:latest'
param minInstances = 1
param concurrency = 16
param registryUsername = 'owner'
param registryToken = readEnvironmentVariable('REGISTRY_TOKEN', 'not-a-token')
param alertEmail = 'on-call@example.com'
param settings = { THREADS: '2' }
param keptVariables = [
  { name: 'THREADS', value: '1' }
  { name: 'LOG_PROMPTS', value: 'on' }
  { name: 'FUNCTIONS_WORKER_RUNTIME', value: 'node' }
  { name: 'HF_TOKEN', secretRef: 'hub' }
]
