// Alerts by mail. docs/runbook.md has an entry for each of them, under its name.
param name string
param location string
param tags object
param email string

@description('The Application Insights component that the app writes to')
param insightsId string

@description('Instances that always run')
param minInstances int

@description('Instances at which the app cannot scale out further')
param maxInstances int

@description('The site, on a Premium plan; empty for Container Apps, which have no health check of this kind')
param siteId string = ''

@description('Percentage of failed calls')
param failedPercent int = 5

@description('95th percentile of the time of a call, in seconds')
param slowSeconds int = 30

// Probes and scrapes are many, fast and no calls of users.
var calls = 'requests | where operation_Name !in ("health", "ready", "metrics", "openapi", "playground")'
var queries = {
  'failed-calls': {
    title: '${failedPercent} % of the calls fail'
    severity: 1
    minutes: 5
    rows: 1
    query: '${calls} | summarize total = count(), failed = countif(toint(resultCode) >= 500) | where total >= 20 and 100.0 * failed / total >= ${failedPercent}'
  }
  'not-ready': {
    title: 'A process answers for minutes that it cannot serve'
    severity: 1
    minutes: 5
    rows: 1
    query: 'requests | where operation_Name == "ready" | summarize served = countif(resultCode == "200"), span = max(timestamp) - min(timestamp) by cloud_RoleInstance | where served == 0 and span >= 3m'
  }
  'slow-calls': {
    title: 'One call in twenty takes more than ${slowSeconds} s'
    severity: 2
    minutes: 15
    rows: 1
    query: '${calls} | summarize total = count(), slow = percentile(duration, 95) | where total >= 20 and slow > ${slowSeconds * 1000}'
  }
  'at-the-limit': {
    title: 'As many instances run as are allowed'
    severity: 2
    minutes: 15
    rows: 3
    query: 'requests | summarize instances = dcount(cloud_RoleInstance) by bin(timestamp, 5m) | where instances >= ${maxInstances}'
  }
}

resource mail 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${name}-mail'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'on call'
    enabled: true
    emailReceivers: [{ name: 'mail', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  // An app of a fixed number of instances is always at its limit.
  for rule in filter(items(queries), one => one.key != 'at-the-limit' || maxInstances > minInstances): {
    name: '${name}-${rule.key}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${name}: ${rule.value.title}'
      description: 'See docs/runbook.md, ${rule.key}'
      severity: rule.value.severity
      enabled: true
      autoMitigate: true
      scopes: [insightsId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT${rule.value.minutes}M'
      criteria: {
        allOf: [
          {
            query: rule.value.query
            timeAggregation: 'Count'
            operator: 'GreaterThanOrEqual'
            threshold: rule.value.rows
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: [mail.id] }
    }
  }
]

// Also sees a container that never starts, which writes no telemetry.
resource unhealthy 'Microsoft.Insights/metricAlerts@2026-01-01' = if (!empty(siteId)) {
  name: '${name}-unhealthy'
  location: 'global'
  tags: tags
  properties: {
    description: 'See docs/runbook.md, unhealthy'
    severity: 1
    enabled: true
    autoMitigate: true
    scopes: [siteId]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'health check'
          metricNamespace: 'Microsoft.Web/sites'
          metricName: 'HealthCheckStatus'
          timeAggregation: 'Average'
          operator: 'LessThan'
          // One unhealthy instance of three is 67; the minute of a restart in five is 80.
          threshold: 75
        }
      ]
    }
    actions: [{ actionGroupId: mail.id }]
  }
}
