// The storage account of the Functions host: function keys and locks. It takes no shared keys.
param name string
param location string
param tags object

@description('Name of the identity that reads and writes it')
param identityName string

@description('Spread copies over three zones')
param zoneRedundant bool

@description('Make it reachable through private endpoints only; otherwise it is reachable from the internet, with a token')
param closed bool

@description('Subnet for private endpoints')
param endpointSubnetId string

@description('The private DNS zones of the services, by service name')
param dnsZoneIds object

// What the Functions host asks for: blobs (keys, locks), queues and tables (its own messages and diagnostic events).
var roles = {
  blob: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b' // Storage Blob Data Owner
  queue: '974c5e8b-45b9-4653-ba55-5f855dd0fb88' // Storage Queue Data Contributor
  table: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3' // Storage Table Data Contributor
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource account 'Microsoft.Storage/storageAccounts@2026-06-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS' }
  kind: 'StorageV2'
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: closed ? 'Disabled' : 'Enabled'
    networkAcls: { bypass: 'None', defaultAction: closed ? 'Deny' : 'Allow' }
  }
}

resource assignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in items(roles): {
    name: guid(account.id, identity.id, role.value)
    scope: account
    properties: {
      principalId: identity.properties.principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
    }
  }
]

resource endpoints 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for service in (closed ? objectKeys(roles) : []): {
    name: '${name}-${service}'
    location: location
    tags: tags
    properties: {
      subnet: { id: endpointSubnetId }
      privateLinkServiceConnections: [
        { name: service, properties: { privateLinkServiceId: account.id, groupIds: [service] } }
      ]
    }
  }
]

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (service, i) in (closed ? objectKeys(roles) : []): {
    parent: endpoints[i]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [{ name: service, properties: { privateDnsZoneId: dnsZoneIds[service] } }]
    }
  }
]

output name string = account.name
