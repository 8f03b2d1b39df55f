// Application settings of an app or of its slot. Azure replaces the whole set at each deployment, so what is there is kept:
// the template's own settings win over it, and `extra` wins over both.
param app string

@description('Write the settings of the slot instead')
param toSlot bool
param slot string

@description('What is there')
@secure()
param current object

@description('What the template sets')
param own object

@description('Settings of the caller')
@secure()
param extra object

resource appSettings 'Microsoft.Web/sites/config@2025-03-01' = if (!toSlot) {
  name: '${app}/appsettings'
  properties: union(current, own, extra)
}

resource slotSettings 'Microsoft.Web/sites/slots/config@2025-03-01' = if (toSlot) {
  name: '${app}/${slot}/appsettings'
  properties: union(current, own, extra)
}
