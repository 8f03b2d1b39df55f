// The app on an Elastic Premium plan: one container from a registry, storage without keys, Application Insights.
@description('Name of the app. It is part of its address, so no other app in Azure may have it')
@minLength(2)
@maxLength(32)
param name string

@description('Region')
param location string = resourceGroup().location

@description('Tags of every resource')
param tags object = {}

@description('Image, by tag (the webhook pulls it again) or by digest')
param image string

@description('Image of the staging slot')
param stagingImage string = image

@description('Registry of the image, for a private package')
param registryServer string = 'https://ghcr.io'

@description('User of the registry, for a private package')
param registryUsername string = ''

@description('Token of that user that may read packages. Empty keeps the one that the app has')
@secure()
param registryToken string = ''

@allowed(['EP1', 'EP2', 'EP3'])
@description('Size of an instance: 1, 2 or 4 cores')
param sku string = 'EP1'

@description('Instances that always run; with zones at least two do')
@minValue(1)
@maxValue(20)
param minInstances int = 1

@description('Maximum number of instances')
@minValue(1)
@maxValue(20)
param maxInstances int = 3

@description('Accept calls of the registry webhook, which signs in to the SCM site with a password. Modes digest and slot do not need it')
param allowWebhook bool = true

@description('Add a staging slot, in which new images start before the swap. One more instance always runs')
param stagingSlot bool = false

@description('Keep storage in a virtual network, behind private endpoints')
param closedNetwork bool = false

@description('Accept telemetry from the identity of the app only, instead of anyone with the connection string')
param insightsByIdentity bool = false

@description('Spread instances and storage over zones; an existing plan cannot be changed')
param zoneRedundant bool = false

@description('Address that alerts are mailed to; empty creates no alerts')
param alertEmail string = ''

@description('Budget of the resource group for a month, in the currency of the subscription; 0 creates no budget. Needs alertEmail')
@minValue(0)
param monthlyBudget int = 0

@description('First month of the budget')
param budgetStart string = utcNow('yyyy-MM-01')

@description('Seconds that a container has to stop. Running requests continue during that time')
@minValue(5)
@maxValue(120)
param stopSeconds int = 35

@description('More application settings, such as THREADS. Settings made by hand are kept')
@secure()
param settings object = {}

var slot = 'staging'
var atLeast = zoneRedundant ? max(minInstances, 2) : minInstances
var atMost = max(maxInstances, atLeast)
// Warm-up and health check ask whether the model is served. Any answer but 200 holds the instance back.
var readiness = '/api/ready'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-identity'
  location: location
  tags: tags
}

module network 'modules/network.bicep' = if (closedNetwork) {
  params: { name: name, location: location, tags: tags, delegation: 'Microsoft.Web/serverFarms' }
}

module storage 'modules/storage.bicep' = {
  params: {
    name: 'st${uniqueString(resourceGroup().id, name)}'
    location: location
    tags: tags
    identityName: identity.name
    zoneRedundant: zoneRedundant
    closed: closedNetwork
    endpointSubnetId: network.?outputs.endpointSubnetId ?? ''
    dnsZoneIds: network.?outputs.dnsZoneIds ?? {}
  }
}

module insights 'modules/insights.bicep' = {
  params: { name: name, location: location, tags: tags, identityName: identity.name, byIdentity: insightsByIdentity }
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: '${name}-plan'
  location: location
  tags: tags
  kind: 'elastic'
  sku: { name: sku, tier: 'ElasticPremium', capacity: atLeast }
  properties: {
    reserved: true
    maximumElasticWorkerCount: atMost + (stagingSlot ? 1 : 0)
    zoneRedundant: zoneRedundant
  }
}

var identities = {
  type: 'UserAssigned'
  userAssignedIdentities: { '${identity.id}': {} }
}
var siteConfig = {
  ftpsState: 'Disabled'
  minTlsVersion: '1.2'
  http20Enabled: true
  healthCheckPath: readiness
  preWarmedInstanceCount: 1
}
var site = {
  serverFarmId: plan.id
  httpsOnly: true
  virtualNetworkSubnetId: network.?outputs.appSubnetId
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux,container'
  identity: identities
  properties: {
    ...site
    siteConfig: {
      ...siteConfig
      linuxFxVersion: 'DOCKER|${image}'
      minimumElasticInstanceCount: atLeast
      functionAppScaleLimit: atMost
    }
  }
  dependsOn: [storage]

  // What a swap leaves where it is.
  resource stays 'config' = if (stagingSlot) {
    name: 'slotConfigNames'
    properties: { appSettingNames: ['DOCKER_ENABLE_CI', 'AzureFunctionsWebHost__hostid'] }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: allowWebhook }
  }

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }
}

resource staging 'Microsoft.Web/sites/slots@2025-03-01' = if (stagingSlot) {
  parent: app
  name: slot
  location: location
  tags: tags
  kind: 'functionapp,linux,container'
  identity: identities
  properties: {
    ...site
    siteConfig: {
      ...siteConfig
      linuxFxVersion: 'DOCKER|${stagingImage}'
      minimumElasticInstanceCount: 1
      functionAppScaleLimit: 1
    }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }
}

var registrySettings = empty(registryUsername)
  ? {}
  : { DOCKER_REGISTRY_SERVER_URL: registryServer, DOCKER_REGISTRY_SERVER_USERNAME: registryUsername }
var identitySettings = insightsByIdentity
  ? { APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD' }
  : {}
var ownSettings = union(registrySettings, identitySettings, {
  AzureWebJobsStorage__accountName: storage.outputs.name
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identity.properties.clientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.outputs.connectionString
  FUNCTIONS_EXTENSION_VERSION: '~4'
  FUNCTIONS_WORKER_RUNTIME: 'python'
  FUNCTIONS_WORKER_PROCESS_COUNT: '1'
  PYTHON_ENABLE_INIT_INDEXING: '1'
  WEBSITES_PORT: '80'
  WEBSITES_ENABLE_APP_SERVICE_STORAGE: 'false'
  WEBSITES_CONTAINER_START_TIME_LIMIT: '600'
  WEBSITES_CONTAINER_STOP_TIME_LIMIT: string(stopSeconds)
  STOP_GRACE_S: string(stopSeconds)
  WEBSITE_WARMUP_PATH: readiness
  WEBSITE_WARMUP_STATUSES: '200'
  WEBSITE_SWAP_WARMUP_PING_PATH: readiness
  WEBSITE_SWAP_WARMUP_PING_STATUSES: '200'
  WEBSITE_HEALTHCHECK_MAXPINGFAILURES: '5'
})
var secretSettings = union(empty(registryToken) ? {} : { DOCKER_REGISTRY_SERVER_PASSWORD: registryToken }, settings)

module appSettings 'modules/app-settings.bicep' = {
  params: {
    app: app.name
    toSlot: false
    slot: slot
    current: list('${app.id}/config/appsettings', '2025-03-01').properties
    own: union(ownSettings, { DOCKER_ENABLE_CI: allowWebhook ? 'true' : 'false' })
    extra: secretSettings
  }
}

module stagingSettings 'modules/app-settings.bicep' = if (stagingSlot) {
  params: {
    app: app.name
    toSlot: true
    slot: slot
    current: list('${staging.id}/config/appsettings', '2025-03-01').properties
    // The slot shares the storage account: its host needs a name of its own there, and must not answer the webhook.
    own: union(ownSettings, {
      DOCKER_ENABLE_CI: 'false'
      AzureFunctionsWebHost__hostid: '${uniqueString(resourceGroup().id, name)}-${slot}'
    })
    extra: secretSettings
  }
}

module alerts 'modules/alerts.bicep' = if (!empty(alertEmail)) {
  params: {
    name: name
    location: location
    tags: tags
    email: alertEmail
    insightsId: insights.outputs.id
    minInstances: atLeast
    maxInstances: atMost
    siteId: app.id
  }
}

module budget 'modules/budget.bicep' = if (!empty(alertEmail) && monthlyBudget > 0) {
  params: { name: name, amount: monthlyBudget, start: budgetStart, email: alertEmail }
}

output url string = 'https://${app.properties.defaultHostName}/api'
output stagingUrl string = stagingSlot ? 'https://${staging!.properties.defaultHostName}/api' : ''
output identityClientId string = identity.properties.clientId
