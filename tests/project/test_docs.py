"""The documents say what is so: commands run, outputs have the shape that is shown, names exist. See ``docs.py``."""

import argparse
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.server import Served
from generation.api.openapi_operations import OPERATIONS
from generation.cli import main
from generation.config import ROOT, Settings
from generation.export import __main__ as export
from scripts.lint_az import commands
from tests.support.api_doc import PATH, exchanges, shape
from tests.support.docs import BASE, BLOCKS, PAGES, PYTHON, SHOWN, Block, Clone, inline

PYTHON_CALL = re.compile(r"python -m (?P<module>[\w.]+)(?P<arguments>[^\n`#|>]*?)(?= \d?>|[\n`#|>]|$)")
VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|\b[A-Z]{2,}(?==)")
# Variables of others, of which our code has no need to know the name.
OTHERS_VARIABLES = {
    "GLIBC_TUNABLES": "the C library",
    "ORT_MLAS_QKGEMM_S8_APPROX_VNNI": "onnxruntime",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "OpenTelemetry's SDK",
    "WEBSITES_CONTAINER_STOP_TIME_LIMIT": "App Service",
}
FILE = re.compile(r"[\w.][\w./-]+\.(?:py|md|json|toml|txt|bicep|sh|mjs|http|yml)")
# Files of a checkpoint elsewhere, one that each user writes, and a field of a body.
OTHER_FILES = {"structured_outputs.json", "local.settings.json", "vocab.json", "merges.txt"}
EXCHANGES = list(exchanges(PATH.read_text(encoding="utf-8")))
MODELS = "docs/models.md"
SUFFIXES = {".py", ".sh", ".yml", ".bicep", ".json", ".example", ".toml"}


def _of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    rest = [(one.page, one.heading) for one in BLOCKS if one.language not in {"sh", "python", "js", "http"}]
    assert sorted(rest) == sorted(SHOWN)
    assert {(one.page, len(EXCHANGES) * 2) for one in _of("http")} == {("docs/api.md", len(_of("http")))}


def test_every_fence_is_seen() -> None:
    fences = sum(line.strip().startswith("```") for page in PAGES for line in page.read_text("utf-8").splitlines())
    assert fences == 2 * sum(1 + len(block.outputs) for block in BLOCKS)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, served: Served) -> Clone:
    """A clone with what documents take for granted: a model named mine, and the log of a server."""
    made = Clone.make(tmp_path_factory.mktemp("clone"))
    refused = {"prompt": "Once", "max_new_tokens": -1}
    httpx.post(f"{served.url}/generate", json=refused, headers={"x-request-id": "refused-in-docs"})
    served.wait_for_log("refused-in-docs")
    (made.folder / "server.log").write_text("".join(served.log()), encoding="utf-8")
    mine = made.folder / "models" / "mine"
    mine.mkdir()
    for path in (ROOT / "models" / "demo").glob("*.*"):
        (mine / path.name).symlink_to(path)
    return made


def _form(text: str) -> list[str]:
    """Return the lines of an output with each number as N, and without the widths of columns."""
    return [re.sub(r"[+-]?\d[\d.,]*", "N", " ".join(line.split())) for line in text.strip().splitlines()]


def _is_like(said: str, shown: str) -> None:
    """Compare an output with the one shown. Of text and numbers the shape counts: they may differ between machines."""
    if shown.startswith("data:"):
        *events, done = [one.removeprefix("data: ") for one in said.strip().split("\n\n")]
        assert done == "[DONE]"
        expected = [one.removeprefix("data: ") for one in shown.strip().split("\n\n")][:-1]
        assert [shape(json.loads(one)) for one in events] == [shape(json.loads(one)) for one in expected]
    elif shown.startswith("{"):
        answer, expected_answer = json.loads(said), json.loads(shown)
        assert shape(answer) == shape(expected_answer)
        assert len(answer.get("generated_sequences", [])) == len(expected_answer.get("generated_sequences", []))
    else:
        missing = [line for line in _form(shown) if not any(line in one for one in _form(said))]
        assert missing == [], said


@pytest.mark.parametrize("block", _of("sh"), ids=str)
def test_its_commands_run_and_print_what_is_shown(clone: Clone, served: Served, block: Block) -> None:
    program = block.text.split()[0]
    if program in {"curl", "jq"} and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    said = clone.run(block, served.url)
    for output in block.outputs:
        if block.text.startswith("make run"):
            _is_like(served.announcement(len(output.text.splitlines())), output.text)
        elif "-m generation generate" in block.text:  # what a model writes differs between kinds of processors
            assert said.split()[:4] == output.text.split()[:4]
        elif "-m generation.export" in block.text:
            assert block.page == MODELS, "the heavy set runs that page"
        else:
            _is_like(said, output.text)


@pytest.mark.parametrize("block", _of("python"), ids=str)
def test_its_python_runs(served: Served, capsys: pytest.CaptureFixture[str], block: Block) -> None:
    scope: dict[str, Any] = {}
    exec(compile(BASE.sub(served.url, block.text), block.page, "exec"), scope)  # noqa: S102
    assert capsys.readouterr().out.strip()
    getattr(scope["client"], "close", lambda: None)()  # that of huggingface_hub has none


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("block", _of("js"), ids=str)
def test_its_javascript_runs(served: Served, block: Block) -> None:
    code = BASE.sub(served.url, block.text)
    said = subprocess.check_output(["node", "--input-type=module", "--eval", code], text=True, timeout=60)
    (shown,) = block.outputs
    assert said.split()[:3] == shown.text.split()[:3]


@pytest.mark.heavy
def test_the_page_about_models_runs_from_beginning_to_end(served: Served, tmp_path: Path) -> None:
    clone = Clone.make(tmp_path, python=f'exec {PYTHON} "$@"')
    for block in _of("sh"):
        if block.page == MODELS:
            said = clone.run(block, served.url)
            for output in block.outputs:
                _is_like(said, output.text)


class _ParsedError(BaseException):
    """The arguments were understood."""


def _calls() -> set[tuple[str, str]]:
    """Return module and arguments of every call, those of the help texts too.

    In prose, a module without arguments is only named.
    """
    texts = [block.text.replace("\\\n", " ") for block in _of("sh")] + [one for page in PAGES for one in inline(page)]
    texts += [main.EXAMPLES.replace("generation export", "generation.export"), export.EXAMPLES]
    return {(call["module"], call["arguments"].strip()) for text in texts for call in PYTHON_CALL.finditer(text)}


@pytest.mark.parametrize(("module", "arguments"), sorted(_calls()))
def test_the_arguments_of_a_command_are_understood(
    monkeypatch: pytest.MonkeyPatch, module: str, arguments: str
) -> None:
    program = importlib.import_module(f"{module}.__main__" if _is_package(module) else module)
    real = argparse.ArgumentParser.parse_args

    def parse(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> None:
        real(self, args, namespace)
        raise _ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr(sys, "argv", [module, *shlex.split(arguments)])
    if arguments:
        status = None
        try:
            status = program.main()
        except SystemExit as ended:
            status = ended.code
        except _ParsedError:
            status = 0
        assert status == 0, "argparse has said why"


def _is_package(module: str) -> bool:
    return (ROOT / module.replace(".", "/")).is_dir()


def test_every_line_for_the_azure_cli_is_one_that_its_linter_finds() -> None:
    for page in PAGES:
        texts = [block.text for block in _of("sh") if ROOT / block.page == page]
        assert len(commands(page)) == sum(len(re.findall(r"(?:^|\()az ", text, re.MULTILINE)) for text in texts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {call[1] for one in inline(page) if (call := re.match(r"make ([\w-]+)", one))}
    assert named <= targets


def _code() -> str:
    """Return what code, scripts, workflows and the platform's files hold."""
    folders = ("generation", "scripts", "benchmarks", "infra", ".github", "tests", "examples")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    files += [ROOT / name for name in ("Makefile", "Dockerfile", "host.json", "local.settings.json.example")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path != Path(__file__))


CODE = _code()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_is_one_that_something_reads(page: Path) -> None:
    texts = [block.text for block in _of("sh") if ROOT / block.page == page] + sorted(inline(page))
    named = {name for text in texts for name in VARIABLE.findall(text)}
    settings = {one.name.upper() for one in fields(Settings)}
    known = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", CODE)) | settings | OTHERS_VARIABLES.keys()
    assert named - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_is_one_of_a_command(page: Path) -> None:
    named = {call[0] for one in inline(page) if (call := re.match(r"--[a-z-]+", one))}
    assert [option for option in named if f'"{option}"' not in CODE] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_it_names_exists(page: Path) -> None:
    named = {one for one in inline(page) if FILE.fullmatch(one)} - OTHER_FILES
    inside = ("generation", "tests", "models/demo", "models/demo/checkpoint")
    folders = [ROOT, page.parent, *(ROOT / name for name in inside)]
    assert [one for one in named if not any((folder / one).exists() for folder in folders)] == []


DRAWINGS = [one for one in BLOCKS if "drawing" in SHOWN.get((one.page, one.heading), "")]


@pytest.mark.parametrize("block", DRAWINGS, ids=str)
def test_every_file_in_a_drawing_exists(block: Block) -> None:
    named = set(re.findall(r"[\w/]+\.py", block.text))
    assert named
    assert [one for one in named if not (ROOT / one).exists() and not (ROOT / "generation" / one).exists()] == []


def test_the_contract_of_the_rooms_is_the_one_that_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (checked,) = [one for one in project["tool"]["importlinter"]["contracts"] if one["id"] == "rooms"]
    shown = tomllib.loads(_shown("docs/architecture.md", "Packages"))["layers"]
    assert shown == checked["layers"]
    rooms = {
        path.stem for path in (ROOT / "generation").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert {one.strip() for layer in shown for one in layer.split("|")} == rooms - {"__init__", "__main__"}


def test_every_room_of_the_diagram_exists() -> None:
    rooms = re.findall(r"(\w+)/", _shown("docs/architecture.md", "The path of a request"))
    assert rooms
    assert [room for room in rooms if not (ROOT / "generation" / room).is_dir()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_route_that_it_names_exists(page: Path) -> None:
    routes = {f"{one.method.upper()} /api/{one.path.replace('{*', '{')}" for one in OPERATIONS}
    named = {call[0] for one in inline(page) if (call := re.match(r"(?:GET|POST) /api/[\w/{}.]*", one))}
    assert named - routes <= {"GET /api/v1/models"}


def _shown(page: str, heading: str) -> str:
    (block,) = [one for one in BLOCKS if (one.page, one.heading) == (page, heading)]
    return block.text


def test_the_line_of_the_log_is_like_one_of_the_server(client: httpx.Client, served: Served) -> None:
    expected = json.loads(_shown("docs/operations.md", "Logs"))
    body = {"prompt": "Once upon a time", "max_new_tokens": 20, "ignore_eos": True}
    client.post("/generate", json=body, headers={"x-request-id": "shown-in-docs"})
    served.wait_for_log("shown-in-docs")
    (line,) = [one for one in served.log() if "shown-in-docs" in one]
    assert shape(json.loads(line)) == shape(expected)


def test_the_timing_header_is_like_one_of_the_server(client: httpx.Client) -> None:
    said = client.post("/generate", json={"prompt": "Once", "max_new_tokens": 2}).headers["server-timing"]
    assert _form(f"Server-Timing: {said}") == _form(_shown("docs/operations.md", "Request ids and timing"))


def test_the_scrape_is_of_a_route_that_exists() -> None:
    (job,) = yaml.safe_load(_shown("docs/operations.md", "Metrics"))["scrape_configs"]
    assert job["metrics_path"] in {f"/api/{one.path}" for one in OPERATIONS if one.method == "get"}
    assert "params" not in job, "a key in a URL is in logs"
    assert list(job["http_headers"]) == ["x-functions-key"]
