// The parameters from the azd environment, which azd env set writes: AZURE_ENV_NAME and AZURE_LOCATION are azd's own.
using 'main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME')
param location = readEnvironmentVariable('AZURE_LOCATION')
param image = readEnvironmentVariable('IMAGE')
param registryUsername = readEnvironmentVariable('REGISTRY_USERNAME', '')
param registryToken = readEnvironmentVariable('REGISTRY_TOKEN', '')
param sku = readEnvironmentVariable('SKU', 'EP1')
param minInstances = int(readEnvironmentVariable('MIN_INSTANCES', '1'))
param maxInstances = int(readEnvironmentVariable('MAX_INSTANCES', '3'))
param allowWebhook = bool(readEnvironmentVariable('ALLOW_WEBHOOK', 'true'))
param stagingSlot = bool(readEnvironmentVariable('STAGING_SLOT', 'false'))
param closedNetwork = bool(readEnvironmentVariable('CLOSED_NETWORK', 'false'))
param insightsByIdentity = bool(readEnvironmentVariable('INSIGHTS_BY_IDENTITY', 'false'))
param zoneRedundant = bool(readEnvironmentVariable('ZONE_REDUNDANT', 'false'))
param alertEmail = readEnvironmentVariable('ALERT_EMAIL', '')
param monthlyBudget = int(readEnvironmentVariable('MONTHLY_BUDGET', '0'))
param settings = json(readEnvironmentVariable('SETTINGS', '{}'))
