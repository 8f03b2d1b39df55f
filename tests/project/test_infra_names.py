"""Names in the templates, against the rules that Azure has for each type of resource."""

import re

import pytest

from tests.project.snapshots import CASES, FOLDER, is_expression, only, resources, settings

# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
WORD = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
NAMES = {
    "Microsoft.App/containerApps": (r"[a-z](?:[a-z0-9-]*[a-z0-9])?", 2, 32),
    "Microsoft.App/managedEnvironments": (WORD, 1, 60),
    "Microsoft.Authorization/roleAssignments": (r"[0-9a-f-]{36}", 36, 36),
    "Microsoft.Consumption/budgets": (r"[\w-]+", 1, 63),
    "Microsoft.Insights/actionGroups": (r"[^:<>+/&%\\?|]+", 1, 260),
    "Microsoft.Insights/components": (r"[^%&\\?/]+", 1, 260),
    "Microsoft.Insights/metricAlerts": (r"[^*#&+:<>?@%{}\\/]+", 1, 260),
    "Microsoft.Insights/scheduledQueryRules": (r"[^*#&+:<>?@%{}\\/]+", 1, 260),
    "Microsoft.ManagedIdentity/userAssignedIdentities": (r"[a-zA-Z0-9][\w-]*", 3, 128),
    "Microsoft.Network/privateDnsZones": (r"[\w.-]+", 1, 63),
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": (r"\w[\w.-]*\w", 1, 80),
    "Microsoft.Network/privateEndpoints": (r"\w[\w.-]*\w", 2, 64),
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": (r"\w+", 1, 80),
    "Microsoft.Network/virtualNetworks": (r"\w[\w.-]*\w", 2, 64),
    "Microsoft.OperationalInsights/workspaces": (WORD, 4, 63),
    "Microsoft.Storage/storageAccounts": (r"[a-z0-9]+", 3, 24),
    "Microsoft.Web/serverfarms": (r"[a-zA-Z0-9-]+", 1, 40),
    "Microsoft.Web/sites": (WORD, 2, 60),
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": ("scm|ftp", 3, 3),
    "Microsoft.Web/sites/config": ("appsettings|slotConfigNames", 1, 60),
    "Microsoft.Web/sites/slots": (WORD, 2, 59),
    "Microsoft.Web/sites/slots/basicPublishingCredentialsPolicies": ("scm|ftp", 3, 3),
    "Microsoft.Web/sites/slots/config": ("appsettings", 1, 60),
}


@pytest.mark.parametrize("case", CASES)
def test_names_are_within_azures_limits(case: str) -> None:
    """The cases have a short name; `name` itself is bounded by the templates, so the longest one is tried too."""
    longest = "a" * 32
    for one in resources(case):
        pattern, least, most = NAMES[one["type"]]
        if one["type"].startswith("Microsoft.Network/privateDnsZones") and is_expression(one["name"]):
            continue  # made of the name of Azure's storage service, which only Azure knows
        for name in (one["name"], one["name"].replace("my-app", longest)):
            last = name.split("/")[-1]
            assert re.fullmatch(pattern, last), f"{one['type']} {last}"
            assert least <= len(last) <= most, f"{one['type']} {last}"


def test_the_templates_bound_the_name_to_what_was_tried() -> None:
    for template in ("main.bicep", "container-apps.bicep"):
        text = (FOLDER.parent / template).read_text(encoding="utf-8")
        assert "@maxLength(32)\nparam name string" in text


def test_the_address_of_a_slot_is_a_name_that_dns_takes() -> None:
    slot = only("slot", "Microsoft.Web/sites/slots")["name"].split("/")[-1]
    assert len("a" * 32 + "-" + slot) <= 59
    # Longer host ids are cut off, and two hosts with one id on one storage account disturb each other.
    host_id = settings("slot", "Microsoft.Web/sites/slots/config")["AzureFunctionsWebHost__hostid"]
    assert re.fullmatch(r"[a-z0-9](?:-?[a-z0-9])*", host_id)
    assert len(host_id) <= 32
