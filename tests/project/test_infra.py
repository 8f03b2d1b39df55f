"""What the templates would deploy, read off the snapshots. `make lint-deploy` compares those with the templates."""

import re

import pytest

from generation.api.openapi_operations import OPERATIONS
from tests.project.snapshots import (
    CASES,
    FOLDER,
    ON_CONTAINER_APPS,
    ON_PREMIUM,
    arguments,
    is_expression,
    only,
    path,
    resources,
    settings,
    strings,
)

READY = "/api/ready"
SECRET = re.compile(r"password|secret|token|sharedkey|accountkey|connectionstring", re.IGNORECASE)
# Names of things, which are no secrets themselves.
NO_SECRETS = {"passwordSecretRef", "secretRef"}


def test_the_cases_are_those_that_people_deploy() -> None:
    assert CASES == [
        "alerts-and-budget",
        "closed-network",
        "container-apps",
        "container-apps-to-zero",
        "default",
        "digest",
        "private-registry",
        "slot",
    ]
    assert sorted(one.name.removesuffix(".bicepparam") for one in FOLDER.glob("*.bicepparam")) == CASES


@pytest.mark.parametrize("case", CASES)
def test_nothing_had_to_be_left_unexpanded(case: str) -> None:
    assert '"diagnostics": []' in path(case).read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_no_secret_stands_in_plain_text(case: str) -> None:
    plain = [
        (key, text)
        for key, text in strings(resources(case))
        if SECRET.search(key) and key not in NO_SECRETS and not is_expression(text)
    ]
    assert plain == []
    assert "not-a-token" not in path(case).read_text(encoding="utf-8"), "the token that the case is given"


@pytest.mark.parametrize("case", CASES)
def test_api_versions_are_stable(case: str) -> None:
    assert [one for one in resources(case) if not re.fullmatch(r"\d{4}-\d\d-\d\d", one["apiVersion"])] == []


def test_readiness_is_a_route() -> None:
    assert f"/api/{next(one.path for one in OPERATIONS if one.path == 'ready')}" == READY


@pytest.mark.parametrize("case", ON_PREMIUM)
def test_warm_up_and_health_check_read_readiness(case: str) -> None:
    site = only(case, "Microsoft.Web/sites")["properties"]["siteConfig"]
    assert site["healthCheckPath"] == READY
    own = settings(case)
    assert (own["WEBSITE_WARMUP_PATH"], own["WEBSITE_WARMUP_STATUSES"]) == (READY, "200")
    assert (own["WEBSITE_SWAP_WARMUP_PING_PATH"], own["WEBSITE_SWAP_WARMUP_PING_STATUSES"]) == (READY, "200")


@pytest.mark.parametrize("case", ON_CONTAINER_APPS)
def test_probes_read_readiness_within_azures_limits(case: str) -> None:
    (container,) = only(case, "Microsoft.App/containerApps")["properties"]["template"]["containers"]
    probes = {one["type"]: one for one in container["probes"]}
    assert set(probes) == {"Readiness", "Liveness"}
    for one in probes.values():
        assert one["httpGet"] == {"path": READY, "port": 80}
        # The bounds that Container Apps accepts.
        assert 1 <= one["periodSeconds"] <= 240
        assert 1 <= one["timeoutSeconds"] <= 240
        assert 1 <= one["failureThreshold"] <= 10
        assert 0 <= one.get("initialDelaySeconds", 0) <= 60
    liveness = probes["Liveness"]
    patience = liveness["initialDelaySeconds"] + liveness["periodSeconds"] * liveness["failureThreshold"]
    assert patience >= 180, "a model that loads slowly must not be killed while it loads"


@pytest.mark.parametrize("case", ON_PREMIUM)
def test_the_webhook_works_where_it_is_let_in(case: str) -> None:
    """Azure's command line prints the webhook's address only where the setting is 'true', in lower case."""
    webhook = case not in {"digest", "slot"}
    assert settings(case)["DOCKER_ENABLE_CI"] == ("true" if webhook else "false")
    scm = only(case, "Microsoft.Web/sites/basicPublishingCredentialsPolicies", "scm")
    assert scm["properties"] == {"allow": webhook}
    ftp = only(case, "Microsoft.Web/sites/basicPublishingCredentialsPolicies", "ftp")
    assert ftp["properties"] == {"allow": False}


@pytest.mark.parametrize("case", ON_PREMIUM)
def test_settings_made_by_hand_are_kept_and_the_callers_win(case: str) -> None:
    for kind in ("Microsoft.Web/sites/config", "Microsoft.Web/sites/slots/config"):
        for one in resources(case, kind):
            if one["name"].endswith("appsettings"):
                site = one["id"].removesuffix("/config/appsettings")
                current, own, extra = arguments(one["properties"], "union")
                assert current.startswith(f"list('{site}/config/appsettings'")
                assert own.startswith("createObject(")
                # What the token and the caller's settings are is a secret, which a snapshot does not have.
                assert extra == "parameters('extra')" or arguments(extra, "union")[-1] == "createObject()"


def test_variables_made_by_hand_are_kept_and_the_callers_win_on_container_apps() -> None:
    (container,) = only("container-apps", "Microsoft.App/containerApps")["properties"]["template"]["containers"]
    values = {one["name"]: one.get("value", one.get("secretRef")) for one in container["env"]}
    assert len(values) == len(container["env"])
    kept = {"THREADS": "2", "LOG_PROMPTS": "on", "FUNCTIONS_WORKER_RUNTIME": "python", "HF_TOKEN": "hub"}
    assert values.items() >= kept.items()


@pytest.mark.parametrize("case", ON_CONTAINER_APPS)
def test_a_function_app_has_scale_rules_only_as_an_override(case: str) -> None:
    """Else Azure refuses them: FunctionAppCannotSetScaleRules, https://github.com/Azure/azure-dev/issues/6331.

    The override: https://learn.microsoft.com/azure/container-apps/functions-scale-rule-override
    """
    app = only(case, "Microsoft.App/containerApps")
    assert app["kind"] == "functionapp"
    scale = app["properties"]["template"]["scale"]
    assert ("rules" in scale) == scale.get("allowScalingRuleOverride", False)


def test_container_apps_scale_to_zero_by_default() -> None:
    scale = only("container-apps-to-zero", "Microsoft.App/containerApps")["properties"]["template"]["scale"]
    assert scale == {"minReplicas": 0, "maxReplicas": 10}
    scale = only("container-apps", "Microsoft.App/containerApps")["properties"]["template"]["scale"]
    assert scale["minReplicas"] == 1
    assert scale["rules"] == [{"name": "http", "http": {"metadata": {"concurrentRequests": "16"}}}]


@pytest.mark.parametrize("case", CASES)
def test_every_host_writes_to_application_insights(case: str) -> None:
    if case in ON_PREMIUM:
        text = settings(case)["APPLICATIONINSIGHTS_CONNECTION_STRING"]
    else:
        (container,) = only(case, "Microsoft.App/containerApps")["properties"]["template"]["containers"]
        text = str(container["env"])
        assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in text
    assert "outputs.connectionString" in text


def test_a_private_package_needs_three_settings_on_premium() -> None:
    own = settings("private-registry")
    assert own["DOCKER_REGISTRY_SERVER_URL"] == "https://ghcr.io"
    assert own["DOCKER_REGISTRY_SERVER_USERNAME"] == "owner"
    *_, extra = arguments(only("private-registry", "Microsoft.Web/sites/config", "appsettings")["properties"], "union")
    assert "createObject('DOCKER_REGISTRY_SERVER_PASSWORD', parameters('registryToken'))" in extra
    template = (FOLDER.parent / "main.bicep").read_text(encoding="utf-8")
    assert "@secure()\nparam registryToken string = ''" in template
    assert [name for name in settings("default") if name.startswith("DOCKER_REGISTRY")] == []


def test_a_private_package_has_its_token_as_a_secret_on_container_apps() -> None:
    configuration = only("container-apps", "Microsoft.App/containerApps")["properties"]["configuration"]
    (registry,) = configuration["registries"]
    assert registry == {"server": "ghcr.io", "username": "owner", "passwordSecretRef": "registry-token"}
    assert is_expression(configuration["secrets"])
    assert (
        only("container-apps-to-zero", "Microsoft.App/containerApps")["properties"]["configuration"]["registries"] == []
    )


def test_a_slot_runs_beside_the_app_and_keeps_what_is_its_own() -> None:
    staging = only("slot", "Microsoft.Web/sites/slots")["properties"]
    app = only("slot", "Microsoft.Web/sites")["properties"]
    own = settings("slot", "Microsoft.Web/sites/slots/config")
    sticky = only("slot", "Microsoft.Web/sites/config", "slotConfigNames")["properties"]["appSettingNames"]
    different = {
        name for name in own if own[name] != settings("slot").get(name) and not name.endswith(("STRING", "Name"))
    }
    assert different <= set(sticky)
    assert own["DOCKER_ENABLE_CI"] == "false"
    assert staging["siteConfig"]["healthCheckPath"] == READY
    plan = only("slot", "Microsoft.Web/serverfarms")["properties"]
    assert plan["maximumElasticWorkerCount"] == app["siteConfig"]["functionAppScaleLimit"] + 1
    assert resources("default", "Microsoft.Web/sites/slots") == []


def test_a_closed_network_leaves_storage_no_other_door() -> None:
    storage = only("closed-network", "Microsoft.Storage/storageAccounts")["properties"]
    assert storage["publicNetworkAccess"] == "Disabled"
    assert storage["networkAcls"]["defaultAction"] == "Deny"
    endpoints = resources("closed-network", "Microsoft.Network/privateEndpoints")
    groups = [one["properties"]["privateLinkServiceConnections"][0]["properties"]["groupIds"] for one in endpoints]
    assert groups == [["blob"], ["queue"], ["table"]]
    zones = [one["name"] for one in resources("closed-network", "Microsoft.Network/privateDnsZones")]
    assert [arguments(one, "format")[:2] for one in zones] == [
        ["'privatelink.{0}.{1}'", f"'{name}'"] for name in ("blob", "queue", "table")
    ]
    assert len(resources("closed-network", "Microsoft.Network/privateDnsZones/virtualNetworkLinks")) == 3
    assert len(resources("closed-network", "Microsoft.Network/privateEndpoints/privateDnsZoneGroups")) == 3
    assert "network" in only("closed-network", "Microsoft.Web/sites")["properties"]["virtualNetworkSubnetId"]


def test_telemetry_by_identity_refuses_who_only_knows_the_address() -> None:
    assert only("closed-network", "Microsoft.Insights/components")["properties"]["DisableLocalAuth"] is True
    assert "Authorization=AAD" in settings("closed-network")["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]
    # Monitoring Metrics Publisher
    roles = resources("closed-network", "Microsoft.Authorization/roleAssignments")
    assert any("3913510d-42f4-4e42-8a64-420c390055eb" in one["properties"]["roleDefinitionId"] for one in roles)


def test_zones_have_two_instances_and_storage_in_three_copies() -> None:
    """At least two always-ready instances: https://learn.microsoft.com/azure/reliability/reliability-functions."""
    plan = only("closed-network", "Microsoft.Web/serverfarms")
    assert plan["properties"]["zoneRedundant"] is True
    assert plan["sku"]["capacity"] >= 2
    assert only("closed-network", "Microsoft.Web/sites")["properties"]["siteConfig"]["minimumElasticInstanceCount"] >= 2
    assert only("closed-network", "Microsoft.Storage/storageAccounts")["sku"]["name"] == "Standard_ZRS"


def test_network_identity_and_zones_are_off_by_default() -> None:
    assert [one for one in resources("default") if one["type"].startswith("Microsoft.Network")] == []
    assert only("default", "Microsoft.Insights/components")["properties"]["DisableLocalAuth"] is False
    assert only("default", "Microsoft.Web/serverfarms")["properties"]["zoneRedundant"] is False


def test_a_budget_tells_before_and_after_it_is_spent() -> None:
    budget = only("alerts-and-budget", "Microsoft.Consumption/budgets")["properties"]
    assert (budget["amount"], budget["timePeriod"]["startDate"]) == (200, "2027-01-01")
    told = {(one["thresholdType"], one["threshold"]) for one in budget["notifications"].values()}
    assert told == {("Actual", 80), ("Actual", 100), ("Forecasted", 100)}
    assert [name for name in CASES if resources(name, "Microsoft.Consumption/budgets")] == ["alerts-and-budget"]


def test_there_are_alerts_where_there_is_an_address() -> None:
    kinds = ("Microsoft.Insights/scheduledQueryRules", "Microsoft.Insights/metricAlerts")
    names = {
        case: {one["name"].removeprefix("my-app-") for kind in kinds for one in resources(case, kind)} for case in CASES
    }
    asked = {"failed-calls", "not-ready", "slow-calls", "at-the-limit"}
    assert {case: found for case, found in names.items() if found} == {
        "alerts-and-budget": asked | {"unhealthy"},
        "container-apps": asked,
    }


HOST_GRACE_S = 30  # what the Functions host gives running requests


@pytest.mark.parametrize("case", ON_PREMIUM)
def test_the_entry_point_knows_the_time_that_app_service_gives_it(case: str) -> None:
    own = settings(case)
    assert own["STOP_GRACE_S"] == own["WEBSITES_CONTAINER_STOP_TIME_LIMIT"]
    assert HOST_GRACE_S < int(own["STOP_GRACE_S"]) <= 120


@pytest.mark.parametrize("case", ON_CONTAINER_APPS)
def test_the_entry_point_knows_the_time_that_container_apps_give_it(case: str) -> None:
    template = only(case, "Microsoft.App/containerApps")["properties"]["template"]
    (container,) = template["containers"]
    seconds = template["terminationGracePeriodSeconds"]
    assert {"name": "STOP_GRACE_S", "value": str(seconds)} in container["env"]
    assert HOST_GRACE_S < seconds <= 600
