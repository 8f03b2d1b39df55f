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
