// The app on an Elastic Premium plan: one container from a registry, storage without keys, Application Insights.
@description('Name of the app; part of its address, so unique in all of Azure')
@minLength(2)
@maxLength(43)
param name string

@description('Region')
param location string = resourceGroup().location

@description('Image, by tag (the webhook pulls it again) or by digest')
param image string

@allowed(['EP1', 'EP2', 'EP3'])
@description('Size of an instance: 1, 2 or 4 cores')
param sku string = 'EP1'

@description('Most instances; at least one always runs')
@minValue(1)
@maxValue(20)
param maxInstances int = 3

@description('Let the registry webhook in: it signs in to the SCM site with a password. Not needed in mode digest')
param allowWebhook bool = true

@description('More application settings, such as THREADS')
param settings object = {}

var storageName = 'st${uniqueString(resourceGroup().id, name)}'
var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
var queueDataContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
var tableDataContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-identity'
  location: location
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: storageName
  location: location
  sku: { name: 'Standard_LRS' }
  kind: 'StorageV2'
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in [blobDataOwner, queueDataContributor, tableDataContributor]: {
  name: guid(storage.id, identity.id, role)
  scope: storage
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
  }
}]

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${name}-logs'
  location: location
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: 30
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${name}-insights'
  location: location
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logs.id
  }
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: '${name}-plan'
  location: location
  kind: 'elastic'
  sku: { name: sku, tier: 'ElasticPremium' }
  properties: {
    reserved: true
    maximumElasticWorkerCount: maxInstances
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  kind: 'functionapp,linux,container'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    siteConfig: {
      linuxFxVersion: 'DOCKER|${image}'
      ftpsState: 'Disabled'
      minTlsVersion: '1.2'
      http20Enabled: true
      healthCheckPath: '/api/health'
      minimumElasticInstanceCount: 1
      preWarmedInstanceCount: 1
      functionAppScaleLimit: maxInstances
    }
  }
  dependsOn: [roles]

  resource appSettings 'config' = {
    name: 'appsettings'
    properties: union({
      AzureWebJobsStorage__accountName: storage.name
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__clientId: identity.properties.clientId
      APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
      FUNCTIONS_EXTENSION_VERSION: '~4'
      FUNCTIONS_WORKER_RUNTIME: 'python'
      FUNCTIONS_WORKER_PROCESS_COUNT: '1'
      PYTHON_ENABLE_INIT_INDEXING: '1'
      WEBSITES_PORT: '80'
      WEBSITES_ENABLE_APP_SERVICE_STORAGE: 'false'
      WEBSITES_CONTAINER_START_TIME_LIMIT: '600'
      WEBSITE_WARMUP_PATH: '/api/health'
      WEBSITE_WARMUP_STATUSES: '200'
      DOCKER_ENABLE_CI: string(allowWebhook)
    }, settings)
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

output url string = 'https://${app.properties.defaultHostName}/api'
output identityClientId string = identity.properties.clientId
