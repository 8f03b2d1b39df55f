// Alerts by mail, and a budget.
using '../main.bicep'

param name = 'my-app'
param image = 'ghcr.io/owner/repo:latest'
param alertEmail = 'on-call@example.com'
param monthlyBudget = 200
param budgetStart = '2027-01-01'
