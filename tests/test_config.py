from pathlib import Path

import pytest

from generation.config import ROOT, Settings, SettingsError


def test_defaults_need_no_environment() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert settings.model_dir == ROOT / "models" / "demo"


def test_values_come_from_variables_in_capitals() -> None:
    settings = Settings.from_environment({"MAX_RUNNING": "3", "TIMEOUT_S": "1.5", "AUTH_LEVEL": "Anonymous"})
    assert (settings.max_running, settings.timeout_s, settings.auth_level) == (3, 1.5, "anonymous")


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Settings.from_environment({"MAX_RUNNING": " "}).max_running == Settings().max_running


@pytest.mark.parametrize(
    ("text", "keys"),
    [("one", ("one",)), (" one , two-2== ,", ("one", "two-2==")), ("a.b_c~d+e/f-g", ("a.b_c~d+e/f-g",))],
)
def test_api_keys_are_separated_by_commas(text: str, keys: tuple[str, ...]) -> None:
    settings = Settings.from_environment({"API_KEYS": text})
    assert settings.api_keys == keys
    assert (settings.host_level, Settings().host_level) == ("anonymous", "function")


def test_api_keys_may_come_from_a_file_with_a_key_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("one\n\n two\n")
    assert Settings.from_environment({"API_KEYS": f"@{file}"}).api_keys == ("one", "two")


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_api_keys_without_a_key_stop_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="holds no key"):
        Settings.from_environment({"API_KEYS": text})


def test_an_empty_file_of_api_keys_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.touch()
    with pytest.raises(SettingsError, match="holds no key"):
        Settings.from_environment({"API_KEYS": f"@{file}"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("@/no/such/file", "cannot be read"),
        ("@Microsoft.KeyVault(SecretUri=https://vault/secrets/keys)", "Key Vault reference"),
        ("fine,s3cret key", "key 2 is not allowed"),
        ("s3crét", "key 1 is not allowed"),
    ],
)
def test_api_keys_that_cannot_be_used_stop_the_start_and_are_not_shown(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.from_environment({"API_KEYS": text})
    assert "s3cr" not in str(caught.value)


def test_api_keys_are_not_shown_by_the_settings() -> None:
    assert "s3cret" not in repr(Settings.from_environment({"API_KEYS": "s3cret"}))


def test_a_relative_model_folder_is_relative_to_the_project() -> None:
    assert Settings.from_environment({"MODEL_DIR": "models/other"}).model_dir == ROOT / "models" / "other"
    assert Settings.from_environment({"MODEL_DIR": "/somewhere"}).model_dir == Path("/somewhere")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("MAX_RUNNING", "0", "a whole number from 1 to 256"),
        ("MAX_RUNNING", "1_6", "a whole number from 1 to 256"),
        ("MAX_RUNNING", "١٦", "a whole number from 1 to 256"),
        ("MAX_RUNNING", "2.5", "a whole number from 1 to 256"),
        ("TIMEOUT_S", "230", "a number from 0.1 to 225"),
        ("TIMEOUT_S", "nan", "a number from 0.1 to 225"),
        ("AUTH_LEVEL", "admin", "function, anonymous"),
    ],
)
def test_a_bad_value_is_refused_with_key_value_and_what_is_allowed(key: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({key: value})
    assert f"{key}={value!r}" in str(caught.value)
    assert allowed in str(caught.value)


def test_a_chat_template_is_given_itself_or_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text("{{ messages }}\n", encoding="utf-8")
    assert Settings.from_environment({"CHAT_TEMPLATE": "{{ messages }}"}).chat_template == "{{ messages }}"
    assert (
        Settings.from_environment({"CHAT_TEMPLATE": f"@{tmp_path / 'chat.jinja'}"}).chat_template == "{{ messages }}\n"
    )
    assert Settings.from_environment({"CHAT_TEMPLATE": " "}).chat_template == ""


def test_a_file_of_a_chat_template_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"CHAT_TEMPLATE='@.*' cannot be read"):
        Settings.from_environment({"CHAT_TEMPLATE": f"@{tmp_path / 'none'}"})
