"""A generator of clients makes every operation of our OpenAPI document, and what it makes works.

Needs `.venv-fuzz`; `make fuzz` makes it.
"""

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.server import serve
from generation.api.openapi_document import document
from generation.config import ROOT

PROGRAMS = ROOT / ".venv-fuzz" / "bin"
PROGRAM = """\
import importlib, sys
package, url, key = sys.argv[1:]
module = importlib.import_module
client = module(package).AuthenticatedClient(base_url=url, token=key)
models = module(f"{package}.models")
body = models.CompletionBody(prompt="Once upon a time", max_tokens=3, seed=1)
answer = module(f"{package}.api.default.completions").sync(client=client, body=body)
print(answer.choices[0].text)
"""


@pytest.mark.heavy
@pytest.mark.skipif(not (PROGRAMS / "openapi-python-client").exists(), reason="no .venv-fuzz: run `make fuzz`")
def test_openapi_python_client_makes_every_operation_and_they_work(tmp_path: Path) -> None:
    described = document(keys="bearer")
    (tmp_path / "openapi.json").write_text(json.dumps(described))
    command = [str(PROGRAMS / "openapi-python-client"), "generate", "--meta", "none"]
    command += ["--path", "openapi.json", "--output-path", "made"]
    made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "Endpoint" not in made.stdout, "no operation was left out"
    names = {path.stem for path in (tmp_path / "made" / "api" / "default").glob("*.py")} - {"__init__"}
    assert names == {one["operationId"] for path in described["paths"].values() for one in path.values()}
    with serve(API_KEYS="secret") as served:
        call = [str(PROGRAMS / "python"), "-c", PROGRAM, "made", served.url, "secret"]
        said = subprocess.run(call, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert said.stdout.strip()
