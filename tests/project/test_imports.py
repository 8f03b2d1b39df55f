"""What a run of few tests has to import: nothing that is slow to import and that those tests do not use."""

import subprocess
import sys

from generation.config import ROOT

COLLECT = """\
import sys, pytest
status = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[1:]])
print("imported:", *sorted({"openai", "torch", "transformers"} & set(sys.modules)))
sys.exit(status)
"""


def test_collecting_tests_of_text_imports_neither_torch_nor_transformers() -> None:
    collected = subprocess.run(
        [sys.executable, "-c", COLLECT, "tests/text"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert collected.returncode == 0, collected.stdout + collected.stderr
    assert collected.stdout.splitlines()[-1] == "imported:", collected.stdout
    assert "tests/text/test_stopping.py" in collected.stdout
