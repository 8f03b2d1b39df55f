// The same image as Functions on Container Apps: scales to zero, and out on concurrent requests.
@description('Name of the app')
@minLength(2)
@maxLength(32)
param name string

@description('Region')
param location string = resourceGroup().location

@description('Image, by tag or by digest')
param image string

@description('Cores of an instance; memory is twice as many GiB')
@allowed(['1.0', '2.0', '4.0'])
param cores string = '2.0'

@description('0 lets the app go to sleep: nothing is paid, and the next request waits for a start')
@minValue(0)
param minInstances int = 0

@minValue(1)
param maxInstances int = 10

@description('Requests at a time on one instance before another is added; MAX_RUNNING sequences share one batch')
@minValue(1)
param concurrency int = 16

var storageName = 'st${uniqueString(resourceGroup().id, name)}'
var memory = { '1.0': '2Gi', '2.0': '4Gi', '4.0': '8Gi' }
var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'

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

resource role 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, identity.id, blobDataOwner)
  scope: storage
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataOwner)
  }
}

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${name}-logs'
  location: location
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: 30
  }
}

resource environment 'Microsoft.App/managedEnvironments@2024-10-02-preview' = {
  name: '${name}-environment'
  location: location
  properties: {
    appLogsConfiguration: {
      destination: 'log-analytics'
      logAnalyticsConfiguration: {
        customerId: logs.properties.customerId
        sharedKey: logs.listKeys().primarySharedKey
      }
    }
    workloadProfiles: [{ name: 'Consumption', workloadProfileType: 'Consumption' }]
  }
}

resource app 'Microsoft.App/containerApps@2024-10-02-preview' = {
  name: name
  location: location
  kind: 'functionapp'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    managedEnvironmentId: environment.id
    workloadProfileName: 'Consumption'
    configuration: {
      ingress: { external: true, targetPort: 80, transport: 'auto', allowInsecure: false }
    }
    template: {
      containers: [
        {
          name: 'app'
          image: image
          resources: { cpu: json(cores), memory: memory[cores] }
          env: [
            { name: 'AzureWebJobsStorage__accountName', value: storage.name }
            { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
            { name: 'AzureWebJobsStorage__clientId', value: identity.properties.clientId }
            { name: 'FUNCTIONS_WORKER_RUNTIME', value: 'python' }
          ]
        }
      ]
      scale: {
        minReplicas: minInstances
        maxReplicas: maxInstances
        rules: [{ name: 'http', http: { metadata: { concurrentRequests: string(concurrency) } } }]
      }
    }
  }
  dependsOn: [role]
}

output url string = 'https://${app.properties.configuration.ingress.fqdn}/api'
