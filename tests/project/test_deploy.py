"""``scripts/deploy.sh``: what it asks of Azure, what it keeps of an app that is there, and where it stops."""

import json
import re
from pathlib import Path

import pytest

from generation.config import ROOT
from tests.project.azure import Azure

IMAGE = "ghcr.io/o/r:latest"
DIGEST = "ghcr.io/o/r@sha256:" + "1" * 64
READS = re.compile(r"readEnvironmentVariable\('(\w+)'")


@pytest.fixture
def azure(tmp_path: Path) -> Azure:
    return Azure(tmp_path)


def test_the_first_deployment_makes_the_group_then_all_that_is_in_it(azure: Azure) -> None:
    done = azure.run("deploy.sh", IMAGE=IMAGE)
    assert done.returncode == 0, done.stderr
    account, exists, group, deployment = azure.calls()
    assert account.startswith("account show")
    assert (exists, group) == ("group exists -n g", "group create -n g -l westeurope --output none")
    assert deployment.startswith("deployment group create -g g -n a --parameters infra/main.bicepparam ")
    assert azure.environment().items() >= {"APP": "a", "IMAGE": IMAGE}.items()
    assert "gh variable set AZURE_FUNCTIONAPP_URL --body https://app.example/api\n" in done.stdout


def test_a_second_deployment_keeps_the_group_and_the_image(azure: Azure) -> None:
    azure.has("group")
    azure.has("app", "a")
    azure.has("image", f"DOCKER|{DIGEST}")
    done = azure.run("deploy.sh", LOCATION="northeurope")
    assert done.returncode == 0, done.stderr
    assert [call for call in azure.calls() if "create" in call and not call.startswith("deployment")] == []
    assert azure.environment()["IMAGE"] == DIGEST


def test_an_image_that_is_asked_for_replaces_the_one_that_runs(azure: Azure) -> None:
    azure.has("group")
    azure.has("app", "a")
    azure.has("image", f"DOCKER|{DIGEST}")
    assert azure.run("deploy.sh", IMAGE=IMAGE).returncode == 0
    assert azure.environment()["IMAGE"] == IMAGE


def test_a_slot_keeps_its_image(azure: Azure) -> None:
    azure.has("group")
    azure.has("app", "a")
    azure.has("slot", "staging")
    azure.has("staged", f"DOCKER|{DIGEST}")
    assert azure.run("deploy.sh", IMAGE=IMAGE, STAGING_SLOT="true").returncode == 0
    assert azure.environment()["STAGING_IMAGE"] == DIGEST


def test_without_an_image_and_without_an_app_there_is_nothing_to_deploy(azure: Azure) -> None:
    azure.has("group")
    done = azure.run("deploy.sh")
    assert done.returncode == 1
    assert "IMAGE is not set, and there is no app a" in done.stderr
    assert [call for call in azure.calls() if "create" in call] == []


def test_a_token_reaches_the_template_and_no_argument_or_output(azure: Azure) -> None:
    done = azure.run("deploy.sh", IMAGE=IMAGE, REGISTRY_USERNAME="o", REGISTRY_TOKEN="token-of-o")  # noqa: S106
    assert done.returncode == 0, done.stderr
    assert azure.environment()["REGISTRY_TOKEN"] == "token-of-o"  # noqa: S105
    assert "token-of-o" not in done.stdout + done.stderr + "\n".join(azure.calls())


def last(**parameters: object) -> str:
    """Return the parameters of an earlier deployment as Azure lists them: a secret one has no value."""
    listed = {name: {"type": "any", "value": value} for name, value in parameters.items()}
    return json.dumps(listed | {"registryToken": {"type": "SecureString"}, "settings": {"type": "SecureObject"}})


def test_what_is_left_out_stays_as_the_last_deployment_had_it(azure: Azure) -> None:
    azure.has("group")
    azure.has("last", last(maxInstances=6, allowWebhook=False, alertEmail="a b@example.com", tags={"team": "x"}))
    done = azure.run("deploy.sh", IMAGE=IMAGE)
    assert done.returncode == 0, done.stderr
    given = azure.environment()
    assert (given["MAX_INSTANCES"], given["ALLOW_WEBHOOK"]) == ("6", "false")
    assert given["ALERT_EMAIL"] == "a b@example.com"
    assert json.loads(given["TAGS"]) == {"team": "x"}
    assert "REGISTRY_TOKEN" not in given
    assert "AZURE_FUNCTIONAPP_WEBHOOK_URL" not in done.stdout


def test_what_is_set_now_wins_over_the_last_deployment(azure: Azure) -> None:
    azure.has("group")
    azure.has("last", last(maxInstances=6, image="old", name="other"))
    assert azure.run("deploy.sh", IMAGE=IMAGE, MAX_INSTANCES="2").returncode == 0
    assert azure.environment().items() >= {"MAX_INSTANCES": "2", "IMAGE": IMAGE, "APP": "a"}.items()


def test_a_value_of_the_last_deployment_is_never_run(azure: Azure, tmp_path: Path) -> None:
    azure.has("group")
    azure.has("last", last(alertEmail=f"$(touch {tmp_path}/ran); `touch {tmp_path}/ran`'"))
    assert azure.run("deploy.sh", IMAGE=IMAGE).returncode == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("answer", ["null", ""])
def test_an_app_that_was_deployed_otherwise_has_no_last_deployment(azure: Azure, answer: str) -> None:
    azure.has("group")
    azure.has("last", answer)
    assert azure.run("deploy.sh", IMAGE=IMAGE).returncode == 0


def test_container_apps_keep_what_was_set_by_hand(azure: Azure) -> None:
    azure.has("group")
    azure.has("app", "a")
    variables = [{"name": "THREADS", "value": "2"}, {"name": "HF_TOKEN", "secretRef": "hub"}]
    registry = {"server": "ghcr.io", "username": "o", "passwordSecretRef": "registry-token"}
    azure.has("shown", json.dumps({"image": DIGEST, "variables": variables, "registry": registry}))
    azure.has("secrets", json.dumps([{"name": "hub", "value": "s1"}, {"name": "registry-token", "value": "s2"}]))
    done = azure.run("deploy.sh", PLAN="container-apps")
    assert done.returncode == 0, done.stderr
    given = azure.environment()
    assert json.loads(given["KEPT_VARIABLES"]) == variables
    assert json.loads(given["KEPT_SECRETS"]) == {"hub": "s1", "registry-token": "s2"}
    assert (given["IMAGE"], given["REGISTRY_USERNAME"], given["REGISTRY_SERVER"]) == (DIGEST, "o", "ghcr.io")
    assert "s2" not in done.stdout + done.stderr + "\n".join(azure.calls())


def test_container_apps_are_deployed_by_their_own_template_and_have_their_own_keys(azure: Azure) -> None:
    done = azure.run("deploy.sh", PLAN="container-apps", IMAGE=IMAGE)
    assert done.returncode == 0, done.stderr
    assert "--parameters infra/container-apps.bicepparam" in azure.calls()[-1]
    assert "az containerapp function keys list -g g -n a --key-type hostKey" in done.stdout
    assert "GitHub" not in done.stdout


def test_what_runs_on_container_apps_stays_there(azure: Azure) -> None:
    azure.has("group")
    azure.has("app", "a")
    azure.has("types", "Microsoft.App/containerApps")
    azure.has("shown", json.dumps({"image": IMAGE, "variables": None, "registry": None}))
    azure.has("secrets", "[]")
    assert azure.run("deploy.sh").returncode == 0
    assert "--parameters infra/container-apps.bicepparam" in azure.calls()[-1]


def test_a_container_app_that_has_nothing_is_no_error(azure: Azure) -> None:
    azure.has("group")
    azure.has("app", "a")
    azure.has("shown", json.dumps({"image": IMAGE, "variables": None, "registry": None}))
    azure.has("secrets", "[]")
    done = azure.run("deploy.sh", PLAN="container-apps")
    assert done.returncode == 0, done.stderr
    assert azure.environment()["KEPT_VARIABLES"] == "[]"
    assert azure.environment()["REGISTRY_USERNAME"] == ""


def test_what_if_changes_nothing(azure: Azure) -> None:
    azure.has("group")
    assert azure.run("deploy.sh", IMAGE=IMAGE, WHAT_IF="1").returncode == 0
    calls = azure.calls()
    assert calls[-1] == "deployment group what-if -g g -n a --parameters infra/main.bicepparam"
    assert [call for call in calls if "create" in call] == []


def test_the_secret_for_the_webhook_is_asked_for_only_where_it_is_let_in(azure: Azure) -> None:
    assert "AZURE_FUNCTIONAPP_WEBHOOK_URL" in azure.run("deploy.sh", IMAGE=IMAGE).stdout
    assert "AZURE_FUNCTIONAPP_WEBHOOK_URL" not in azure.run("deploy.sh", IMAGE=IMAGE, ALLOW_WEBHOOK="false").stdout


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("account show", "not logged in: az login"),
        ("group exists", "could not look for the resource group g"),
        ("group create", "could not make the resource group g"),
        ("deployment group create", "infra/main.bicep was not deployed"),
    ],
)
def test_a_deployment_stops_at_the_step_that_fails_and_names_it(azure: Azure, step: str, message: str) -> None:
    _fails(azure, step, message, {})


@pytest.mark.parametrize(
    ("step", "message", "host"),
    [
        ("resource list", "could not look for the app a", ""),
        ("deployment group list", "could not look for an earlier deployment of a", "premium"),
        ("functionapp list", "could not look for the app a", "premium"),
        ("functionapp config show", "could not read the image of a", "premium"),
        ("functionapp deployment slot list", "could not look for the slot of a", "premium"),
        ("containerapp list", "could not look for the app a", "container-apps"),
        ("containerapp show", "could not read the settings of a", "container-apps"),
        ("containerapp secret list", "could not read the secrets of a", "container-apps"),
    ],
)
def test_an_app_that_cannot_be_read_is_not_deployed_over(azure: Azure, step: str, message: str, host: str) -> None:
    azure.has("group")
    azure.has("app", "a")
    azure.has("shown", "{}")
    image = "" if step.endswith("config show") else IMAGE
    _fails(azure, step, message, {"PLAN": host, "STAGING_SLOT": "true", "IMAGE": image})


def _fails(azure: Azure, step: str, message: str, environment: dict[str, str]) -> None:
    done = azure.run("deploy.sh", FAIL=step, **{"IMAGE": IMAGE, **environment})
    assert done.returncode == 1
    assert done.stderr.startswith("az: no\nerror: ")
    assert message in done.stderr
    assert azure.calls()[-1].startswith(step)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"APP": ""}, "APP: is not set"),
        ({"RG": ""}, "RG: is not set"),
        ({"PLAN": "consumption"}, "PLAN=consumption is neither premium nor container-apps"),
    ],
)
def test_a_deployment_that_cannot_be_meant_asks_azure_nothing(
    azure: Azure, environment: dict[str, str], message: str
) -> None:
    done = azure.run("deploy.sh", **{"IMAGE": IMAGE, **environment})
    assert done.returncode == 1
    assert message in done.stderr
    assert azure.calls() == []


def test_what_the_templates_read_is_what_the_script_explains() -> None:
    head = (ROOT / "scripts" / "deploy.sh").read_text(encoding="utf-8").split("set -euo")[0]
    made = {"STAGING_IMAGE", "KEPT_VARIABLES", "KEPT_SECRETS"}  # by the script itself
    for name in ("main", "container-apps"):
        read = set(READS.findall((ROOT / "infra" / f"{name}.bicepparam").read_text(encoding="utf-8")))
        assert {one for one in read - made if not re.search(rf"\b{one}\b", head)} == set()
