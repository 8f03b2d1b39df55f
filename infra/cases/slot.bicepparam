// New images start in a slot and are swapped in.
using '../main.bicep'

param name = 'my-app'
param image = 'ghcr.io/owner/repo:latest'
param allowWebhook = false
param stagingSlot = true
