"""``scripts/cost.py`` against a stand-in for Azure's price list, and with prices that are given."""

import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlparse

import pytest

from scripts import cost
from tests.support.loopback import Asked, serve_answers

# One item a tier, as the list has it: the first of them may be free.
LIST = {
    "Premium vCPU Duration": [0.2],
    "Premium Memory Duration": [0.01],
    "Standard vCPU Active Usage": [0, 0.00003],
    "Standard vCPU Idle Usage": [0.000004],
    "Standard Memory Active Usage": [0, 0.000004],
    "Standard Memory Idle Usage": [0.000004],
    "Standard Requests": [0, 0.4],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """The questions that the stand-in was asked. It knows one region."""
    questions: list[dict[str, str]] = []

    def answer(asked: Asked) -> tuple[int, bytes]:
        question = {name: values[0] for name, values in parse_qs(urlparse(asked.path).query).items()}
        questions.append(question)
        name = question["$filter"].split("meterName eq '")[1].split("'")[0]
        prices = LIST[name] if "armRegionName eq 'westeurope'" in question["$filter"] else []
        return 200, json.dumps({"Items": [{"meterName": name, "retailPrice": one} for one in prices]}).encode()

    with serve_answers(answer) as url:
        monkeypatch.setenv("PRICES_URL", f"{url}/api/retail/prices")
        monkeypatch.setenv("NO_PROXY", "*")
        yield questions


def total(capsys: pytest.CaptureFixture[str]) -> float:
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("| total")]
    return float(line.split("|")[-2])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("premium", 730 * (0.2 + 3.5 * 0.01)),
        ("premium --sku EP3 --instances 2", 2 * 730 * (4 * 0.2 + 14 * 0.01)),
        ("container-apps --busy-hours 100", 100 * 3600 * 2 * (0.00003 + 2 * 0.000004)),
        ("container-apps --cores 1 --busy-hours 0 --idle-hours 730", 730 * 3600 * (0.000004 + 2 * 0.000004)),
        ("container-apps --busy-hours 0 --requests 5000000", 5 * 0.4),
    ],
)
def test_a_month_is_amounts_times_list_prices(
    asked: list[dict[str, str]], capsys: pytest.CaptureFixture[str], words: str, expected: float
) -> None:
    assert cost.main(words.split()) == 0
    assert total(capsys) == pytest.approx(expected, abs=0.005)
    assert {one["currencyCode"] for one in asked} == {"'USD'"}


def test_prices_that_are_given_are_not_asked_for(
    asked: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cost.main(["premium", "--currency", "EUR", "--prices", "core-hour=1", "gib-hour=2"]) == 0
    assert total(capsys) == 730 * (1 + 3.5 * 2)
    assert asked == []


def test_a_region_without_a_price_is_an_error_that_says_what_to_do(
    asked: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cost.main(["premium", "--region", "utopia"]) == 1
    said = capsys.readouterr().err
    assert "in 'utopia'" in said
    assert "--prices core-hour=..." in said


def test_a_list_that_cannot_be_reached_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRICES_URL", "http://127.0.0.1:9/prices")
    assert cost.main(["premium"]) == 1
    assert "--prices core-hour=..." in capsys.readouterr().err


@pytest.mark.parametrize("words", ["premium --prices core=1", "premium --prices core-hour=x", "premium --instances -1"])
def test_what_cannot_be_meant_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cost.main(words.split())
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err
