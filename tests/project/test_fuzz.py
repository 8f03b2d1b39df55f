"""Schemathesis on every route of our own OpenAPI document. Needs `.venv-fuzz`; `make fuzz` makes it and runs this."""

import os
import subprocess

import httpx
import pytest

from benchmarks.server import serve
from generation.config import ROOT

SCHEMATHESIS = ROOT / ".venv-fuzz" / "bin" / "schemathesis"
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "100")


@pytest.mark.heavy
@pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="no .venv-fuzz: run `make fuzz`")
def test_no_request_made_from_the_document_breaks_the_server() -> None:
    with serve("--key", "secret", TIMEOUT_S="5", MAX_WAITING="64") as served:
        result = subprocess.run(
            [
                SCHEMATHESIS, "run", f"{served.url}/openapi.json",
                "--url", served.url, "--header", "x-functions-key: secret", "--max-examples", EXAMPLES,
                "--continue-on-failure", "--seed", "1", "--request-timeout", "30", "--workers", "2", "--no-color",
            ],
            cwd=ROOT / "tests" / "fuzz", capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(result.stdout)
        assert result.returncode == 0, result.stdout[-8000:]
        assert not [line for line in served.log() if "Traceback" in line]
        assert httpx.get(f"{served.url}/ready").json() == {"ready": True}
