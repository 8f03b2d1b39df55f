// Logs and Application Insights; with `byIdentity`, only a signed-in identity may write telemetry.
param name string
param location string
param tags object

@description('Name of the identity that writes telemetry')
param identityName string
param byIdentity bool

var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb' // Monitoring Metrics Publisher

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource logs 'Microsoft.OperationalInsights/workspaces@2026-03-01' = {
  name: '${name}-logs'
  location: location
  tags: tags
  properties: { sku: { name: 'PerGB2018' }, retentionInDays: 30 }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${name}-insights'
  location: location
  tags: tags
  kind: 'web'
  properties: { Application_Type: 'web', WorkspaceResourceId: logs.id, DisableLocalAuth: byIdentity }
}

resource publisher 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (byIdentity) {
  name: guid(insights.id, identity.id, metricsPublisher)
  scope: insights
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
  }
}

output id string = insights.id
// Where telemetry goes; it names the component and is not a password. With `byIdentity` it is not enough to write.
output connectionString string = insights.properties.ConnectionString
output workspaceName string = logs.name
