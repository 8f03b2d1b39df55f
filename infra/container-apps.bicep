// The same image as Functions on Container Apps. It scales to zero while there are no requests.
@description('Name of the app: lower-case letters, digits and hyphens')
@minLength(2)
@maxLength(32)
param name string

@description('Region')
param location string = resourceGroup().location

@description('Tags of every resource')
param tags object = {}

@description('Image, by tag or by digest')
param image string

@description('Registry of the image, for a private package')
param registryServer string = 'ghcr.io'

@description('User of the registry, for a private package')
param registryUsername string = ''

@description('Token of that user that may read packages. Empty uses the one in keptSecrets')
@secure()
param registryToken string = ''

@description('Cores of an instance; memory is twice as many GiB')
@allowed(['1.0', '2.0', '4.0'])
param cores string = '2.0'

@description('0 stops the app while there are no requests. It then costs nothing, and the next request waits for a start')
@minValue(0)
param minInstances int = 0

@minValue(1)
param maxInstances int = 10

@description('Concurrent requests per instance before another one starts. 0 uses the rule that the platform has for HTTP triggers')
@minValue(0)
param concurrency int = 0

@description('Keep the app and its storage in a virtual network, storage behind private endpoints. The app stays reachable')
param closedNetwork bool = false

@description('Accept telemetry from the identity of the app only, instead of anyone with the connection string')
param insightsByIdentity bool = false

@description('Spread instances and storage over zones; needs closedNetwork')
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
@maxValue(600)
param stopSeconds int = 35

@description('More environment variables, such as THREADS. They are not secrets')
param settings object = {}

@description('Environment variables that the app has now, as Azure lists them: scripts/deploy.sh keeps them')
param keptVariables array = []

@description('Secrets that the app has now, by name')
@secure()
param keptSecrets object = {}

var memory = { '1.0': '2Gi', '2.0': '4Gi', '4.0': '8Gi' }
var tokenName = 'registry-token'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-identity'
  location: location
  tags: tags
}

module network 'modules/network.bicep' = if (closedNetwork) {
  params: { name: name, location: location, tags: tags, delegation: 'Microsoft.App/environments' }
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

resource logs 'Microsoft.OperationalInsights/workspaces@2026-03-01' existing = {
  name: '${name}-logs'
}

resource environment 'Microsoft.App/managedEnvironments@2026-07-01' = {
  name: '${name}-environment'
  location: location
  tags: tags
  properties: {
    appLogsConfiguration: {
      destination: 'log-analytics'
      logAnalyticsConfiguration: {
        customerId: logs.properties.customerId
        sharedKey: logs.listKeys().primarySharedKey
      }
    }
    vnetConfiguration: closedNetwork ? { infrastructureSubnetId: network!.outputs.appSubnetId, internal: false } : null
    workloadProfiles: [{ name: 'Consumption', workloadProfileType: 'Consumption' }]
    zoneRedundant: zoneRedundant
  }
  dependsOn: [insights]
}

var identityVariables = insightsByIdentity
  ? [
      {
        name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING'
        value: 'ClientId=${identity.properties.clientId};Authorization=AAD'
      }
    ]
  : []
var ownVariables = concat(identityVariables, [
  { name: 'AzureWebJobsStorage__accountName', value: storage.outputs.name }
  { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
  { name: 'AzureWebJobsStorage__clientId', value: identity.properties.clientId }
  { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: insights.outputs.connectionString }
  { name: 'FUNCTIONS_WORKER_RUNTIME', value: 'python' }
  { name: 'STOP_GRACE_S', value: string(stopSeconds) }
])
var ownNames = concat(
  [
    'APPLICATIONINSIGHTS_AUTHENTICATION_STRING'
    'AzureWebJobsStorage__accountName'
    'AzureWebJobsStorage__credential'
    'AzureWebJobsStorage__clientId'
    'APPLICATIONINSIGHTS_CONNECTION_STRING'
    'FUNCTIONS_WORKER_RUNTIME'
    'STOP_GRACE_S'
  ],
  objectKeys(settings)
)
var variables = concat(
  ownVariables,
  map(items(settings), one => { name: one.key, value: one.value }),
  filter(keptVariables, one => !contains(ownNames, one.name))
)
var secrets = empty(registryToken) ? keptSecrets : union(keptSecrets, { '${tokenName}': registryToken })

resource app 'Microsoft.App/containerApps@2026-07-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    managedEnvironmentId: environment.id
    workloadProfileName: 'Consumption'
    configuration: {
      // A new revision gets traffic when it is ready; until then the old one serves.
      activeRevisionsMode: 'Single'
      ingress: { external: true, targetPort: 80, transport: 'auto', allowInsecure: false }
      secrets: map(items(secrets), one => { name: one.key, value: one.value })
      registries: empty(registryUsername)
        ? []
        : [{ server: registryServer, username: registryUsername, passwordSecretRef: tokenName }]
    }
    template: {
      terminationGracePeriodSeconds: stopSeconds
      containers: [
        {
          name: 'app'
          image: image
          resources: { cpu: json(cores), memory: memory[cores] }
          env: variables
          // Both ask whether the model is served. A process that answers no gets no traffic, and is replaced after three
          // minutes.
          probes: [
            {
              type: 'Readiness'
              httpGet: { path: '/api/ready', port: 80 }
              periodSeconds: 5
              timeoutSeconds: 5
              failureThreshold: 3
            }
            {
              type: 'Liveness'
              httpGet: { path: '/api/ready', port: 80 }
              initialDelaySeconds: 60
              periodSeconds: 20
              timeoutSeconds: 10
              failureThreshold: 6
            }
          ]
        }
      ]
      // Azure refuses rules of ours on a function app ("FunctionAppCannotSetScaleRules") unless they are said to override.
      scale: concurrency == 0
        ? { minReplicas: minInstances, maxReplicas: maxInstances }
        : {
            minReplicas: minInstances
            maxReplicas: maxInstances
            allowScalingRuleOverride: true
            rules: [{ name: 'http', http: { metadata: { concurrentRequests: string(concurrency) } } }]
          }
    }
  }
}

module alerts 'modules/alerts.bicep' = if (!empty(alertEmail)) {
  params: {
    name: name
    location: location
    tags: tags
    email: alertEmail
    insightsId: insights.outputs.id
    minInstances: minInstances
    maxInstances: maxInstances
  }
}

module budget 'modules/budget.bicep' = if (!empty(alertEmail) && monthlyBudget > 0) {
  params: { name: name, amount: monthlyBudget, start: budgetStart, email: alertEmail }
}

output url string = 'https://${app.properties.configuration.ingress.fqdn}/api'
