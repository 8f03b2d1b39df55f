// For the Azure Developer CLI: the resource group, with main.bicep in it. azd finds its resources by a tag.
targetScope = 'subscription'

@description('Name of the azd environment, and of the app')
@minLength(2)
@maxLength(32)
param environmentName string

@description('Region')
param location string

// As in main.bicep.
param image string
param registryUsername string
@secure()
param registryToken string
param sku string
param minInstances int
param maxInstances int
param allowWebhook bool
param stagingSlot bool
param closedNetwork bool
param insightsByIdentity bool
param zoneRedundant bool
param alertEmail string
param monthlyBudget int
@secure()
param settings object

var tags = { 'azd-env-name': environmentName }

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module main '../main.bicep' = {
  scope: group
  params: {
    name: environmentName
    location: location
    tags: tags
    image: image
    registryUsername: registryUsername
    registryToken: registryToken
    sku: sku
    minInstances: minInstances
    maxInstances: maxInstances
    allowWebhook: allowWebhook
    stagingSlot: stagingSlot
    closedNetwork: closedNetwork
    insightsByIdentity: insightsByIdentity
    zoneRedundant: zoneRedundant
    alertEmail: alertEmail
    monthlyBudget: monthlyBudget
    settings: settings
  }
}

// azd keeps these in its environment: azd env get-values.
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTIONAPP_NAME string = environmentName
output AZURE_FUNCTIONAPP_URL string = main.outputs.url
output AZURE_STAGING_URL string = main.outputs.stagingUrl
