// A budget of the resource group: mail at 80 % of it, at all of it, and when the forecast goes past it. It stops nothing.
param name string

@description('For a month, in the currency of the subscription')
param amount int

@description('First day of its first month, yyyy-MM-01')
param start string
param email string

resource budget 'Microsoft.Consumption/budgets@2026-06-01' = {
  name: '${name}-budget'
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: { startDate: start }
    notifications: {
      nearly: { enabled: true, operator: 'GreaterThan', threshold: 80, thresholdType: 'Actual', contactEmails: [email] }
      spent: { enabled: true, operator: 'GreaterThan', threshold: 100, thresholdType: 'Actual', contactEmails: [email] }
      forecast: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: [email]
      }
    }
  }
}
