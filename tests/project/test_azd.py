"""What `azd provision` reads: its file, the template behind it, and the variables that `azd env set` writes."""

import re

import yaml

from generation.config import ROOT

PROJECT = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))
FOLDER = ROOT / PROJECT["infra"]["path"]
TEMPLATE = (FOLDER / f"{PROJECT['infra']['module']}.bicep").read_text(encoding="utf-8")
PARAMETERS = (FOLDER / f"{PROJECT['infra']['module']}.bicepparam").read_text(encoding="utf-8")


def test_the_project_has_a_name_that_azd_takes_and_no_service_that_it_cannot_deploy() -> None:
    """The rules are those of schemas/v1.0/azure.yaml.json in Azure/azure-dev."""
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", PROJECT["name"])
    assert PROJECT["infra"]["provider"] == "bicep"
    assert "services" not in PROJECT


def test_every_resource_group_has_the_tag_that_azd_looks_for() -> None:
    assert "var tags = { 'azd-env-name': environmentName }" in TEMPLATE
    assert "targetScope = 'subscription'" in TEMPLATE


def test_every_parameter_has_a_value() -> None:
    assert re.findall(r"^param (\w+)", TEMPLATE, re.MULTILINE) == re.findall(r"^param (\w+)", PARAMETERS, re.MULTILINE)


def test_variables_are_named_and_have_defaults_as_for_the_script() -> None:
    """Only the names, the image and the tags are azd's own affair."""
    read = {
        name: line for line in PARAMETERS.splitlines() for name in re.findall(r"readEnvironmentVariable\('(\w+)'", line)
    }
    other = (ROOT / "infra" / "main.bicepparam").read_text(encoding="utf-8")
    for name, line in read.items():
        if not name.startswith("AZURE_"):
            assert line in other, name


def test_outputs_are_the_variables_that_the_workflow_reads() -> None:
    outputs = set(re.findall(r"^output (\w+) string", TEMPLATE, re.MULTILINE))
    workflow = (ROOT / ".github" / "workflows" / "deploy.yml").read_text(encoding="utf-8")
    assert {"AZURE_RESOURCE_GROUP", "AZURE_FUNCTIONAPP_NAME", "AZURE_FUNCTIONAPP_URL"} <= outputs
    assert all(f"vars.{name}" in workflow for name in outputs - {"AZURE_STAGING_URL"})
