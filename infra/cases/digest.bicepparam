// Deployed by digest alone: no password opens the SCM site.
using '../main.bicep'

param name = 'my-app'
param image = 'ghcr.io/owner/repo@sha256:1111111111111111111111111111111111111111111111111111111111111111'
param allowWebhook = false
