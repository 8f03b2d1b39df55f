"""Make the Azure CLI parse each `az` command in the documentation and the scripts, without running any of them.

Usage: python3 lint_az.py [--list] FILE...     (--list prints the lines found; nothing is run)

Without a login, the CLI parses a command, then asks for `az login` and exits with 1. It exits with 2 if it cannot parse
the command. Each command therefore runs with a new, empty configuration. In a shell script every command is checked,
including printed ones; in Markdown, those in fenced blocks.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Where a command starts: at the start of a line, in a substitution, in a list, or in `echo "  az ..."`.
COMMAND = re.compile(r'(?:^|\$\(|&& |\|\| |; )\s*(?:echo "\s*)?az (?=[a-z])')
ENDS = re.compile(r"[()<>|&;]+")
VARIABLE = re.compile(r"\$(?:\w+|\{(\w+)[^}]*\})")
# Values of variables; every other variable is replaced by a word.
VALUES = {"$template": "infra/main.bicepparam"}
NOT_PARSED = {
    "login": "it is what the CLI asks for",
    "bicep": "it downloads the compiler",
    "containerapp function": "it is part of an extension of the CLI, which is downloaded",
    "load": "it is part of an extension of the CLI, which is downloaded",
    "rest": "it needs no login: it would be sent",
}
if not shutil.which("bicep"):
    NOT_PARSED["deployment"] = "without a Bicep compiler on the PATH, it would download one"
# Messages of the CLI for a command that it has parsed without a login.
LOGGED_OUT = ("az login", "doesn't exist in cloud")
# The Bicep compiler on the PATH compiles the templates; the parameter files read these variables.
ENVIRONMENT = {
    "AZURE_CORE_COLLECT_TELEMETRY": "0",
    "AZURE_BICEP_USE_BINARY_FROM_PATH": "true",
    "AZURE_BICEP_CHECK_VERSION": "false",
    "APP": "my-app",
    "IMAGE": "ghcr.io/owner/repo:latest",
}


def lines(file: Path) -> list[str]:
    """Return the shell lines of `file`, with continued lines joined."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        text = "\n".join(re.findall(r"^```.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    return [line for line in text.replace("\\\n", " ").splitlines() if not line.lstrip().startswith("#")]


def commands(file: Path) -> list[list[str]]:
    """Return the arguments of each `az` command in `file`, with variables replaced.

    Raises:
        ValueError: a quotation has no end.
    """
    found = []
    for line in lines(file):
        for start in COMMAND.finditer(line):
            rest = line[start.end() :]
            if "echo" in start.group():
                rest = rest.rpartition('"')[0]
            words = shlex.shlex(rest, posix=True, punctuation_chars=True)
            words.whitespace_split = True
            arguments = []
            for word in words:
                if ENDS.fullmatch(word):
                    break
                arguments.append(VARIABLE.sub(lambda found: VALUES.get(found.group(), "word"), word))
            found.append(arguments)
    return found


def parse(arguments: list[str]) -> str | None:
    """Return the CLI's error for a command, or None if it can be parsed."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **ENVIRONMENT, "AZURE_CONFIG_DIR": folder}
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "azure.cli", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    parsed = done.returncode == 1 and any(said in done.stderr for said in LOGGED_OUT)
    if parsed and "deprecated" not in done.stderr:
        return None
    return f"exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"


def main(arguments: list[str]) -> int:
    """Check the given files; return the exit status, 1 if a command cannot be parsed or none is found."""
    only_list = arguments[:1] == ["--list"]
    wrong = seen = 0
    for file in map(Path, arguments[only_list:]):
        for command in commands(file):
            seen += 1
            shown = f"{file}: {shlex.join(['az', *command])}"
            why = next(
                (why for start, why in NOT_PARSED.items() if command[: start.count(" ") + 1] == start.split()), None
            )
            if only_list:
                print(shown)
            elif why:
                print(f"left out  {shown}\n          {why}")
            elif error := parse(command):
                wrong += 1
                print(f"WRONG     {shown}\n          {error}")
            else:
                print(f"ok        {shown}", flush=True)
    if not seen:
        print("error: no az line was found", file=sys.stderr)
    return int(wrong > 0 or not seen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
