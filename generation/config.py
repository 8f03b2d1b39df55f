"""The settings of the server, with their environment variables, defaults and bounds.

An invalid value stops the start with a `SettingsError` that names the variable, the value and what is allowed.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent
# In a clone and in a deployed app, function_app.py, host.json and the bundled model are beside this package. A wheel
# has them in this folder of the package.
_BUNDLED = _PACKAGE / "bundled"
INSTALLED = _BUNDLED.is_dir()
ROOT = _BUNDLED if INSTALLED else _PACKAGE.parent
# Python would also take 1_6, ١٦ and nan.
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", re.ASCII)


# Syntax of a bearer token (RFC 6750, section 2.1).
_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)


class SettingsError(ValueError):
    """A setting has a value that is not allowed."""


def _number(default: float, low: float, high: float, text: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "text": text})


def _choice(default: str, choices: tuple[str, ...], text: str) -> Any:
    return field(default=default, metadata={"choices": choices, "text": text})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings. The environment variable of a field is its name in capitals."""

    model_dir: Path = field(
        default=ROOT / "models" / "demo",
        metadata={
            "text": "folder of the model to serve; a relative path starts at the project, or, for an installed tool, "
            "at the working directory"
        },
    )
    auth_level: str = _choice(
        "function",
        ("function", "anonymous"),
        "key that the Functions host requires on routes that use the model; `anonymous` = none",
    )
    api_keys: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata={
            "text": "API keys that the app itself accepts as bearer tokens, instead of the host's function key; "
            "separated by commas, or `@` and the path of a file with one key per line"
        },
    )
    threads: int = _number(0, 0, 256, "compute threads; 0 = as many as the container has processors")
    max_running: int = _number(16, 1, 256, "maximum number of sequences in the batch")
    cache_mb: int = _number(0, 0, 1 << 20, "MiB for the KV cache; 0 = a quarter of the container's memory")
    prefix_cache_mb: int = _number(
        64, 0, 1 << 20, "MiB of the KV cache that keep the beginnings of earlier prompts for reuse; 0 = off"
    )
    prefill_chunk: int = _number(128, 16, 1024, "maximum number of prompt tokens computed between two decode steps")
    speculate: int = _number(15, 0, 32, "maximum number of draft tokens per sequence (speculative decoding); 0 = off")
    max_waiting: int = _number(
        256, 0, 1 << 16, "maximum number of requests in the queue; a list of prompts counts as one; 429 above"
    )
    max_waiting_tokens: int = _number(32768, 1, 1 << 24, "maximum number of prompt tokens in the queue; 429 above")
    max_cost: int = _number(
        1 << 19, 1024, 1 << 26, "maximum number of tokens that a request may compute and return; 400 above"
    )
    timeout_s: float = _number(
        200.0, 0.1, 225.0, "maximum and default request time in seconds; the partial output is returned"
    )
    keep_alive_s: float = _number(
        15.0, 0.05, 200.0, "seconds without an event after which a stream sends a comment line"
    )
    drain_s: float = _number(20.0, 0.0, 200.0, "seconds that running requests have to finish at shutdown")
    max_body_kb: int = _number(1024, 1, 1 << 16, "largest request body in KiB; 413 above")
    cors_origins: str = field(
        default="",
        metadata={
            "text": "origins, separated by commas, whose pages may call the embedded host (`make run`); in Azure, use "
            "the platform's setting"
        },
    )
    chat_template: str = field(
        default="",
        repr=False,
        metadata={
            "text": "chat template, in Jinja, for `/api/v1/chat/completions`, instead of the model's: the template, or "
            "`@` and the path of a file"
        },
    )
    log_prompts: str = _choice("off", ("off", "on"), "whether log lines include the prompts")
    traces: str = _choice(
        "auto",
        ("auto", "off", "otlp", "applicationinsights"),
        "where OpenTelemetry spans are sent; `auto` = to the exporter that is configured, if any",
    )
    git_sha: str = field(default="", metadata={"text": "commit that the image was built from; `/api/health` shows it"})

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings. An empty value counts as unset, except that an empty ``API_KEYS`` is an error.

        Raises:
            SettingsError: a value has the wrong type or is out of bounds.
        """
        values: dict[str, Any] = {}
        for one in fields(cls):
            text = environment.get(one.name.upper(), "").strip()
            if one.name == "api_keys":
                if one.name.upper() in environment:
                    values[one.name] = _parse_keys(text)
            elif one.name == "chat_template":
                values[one.name] = _read_text(one.name.upper(), text)
            elif text:
                values[one.name] = _parse(one.name.upper(), text, one.type, one.metadata)
        return cls(**values)

    @property
    def host_level(self) -> str:
        """The key level of the Functions host for routes that cost CPU; ``anonymous`` if there are `api_keys`."""
        return "anonymous" if self.api_keys else self.auth_level


def _parse(key: str, text: str, kind: Any, metadata: Mapping[str, Any]) -> Any:
    if kind is Path:
        return ((Path() if INSTALLED else ROOT) / text).resolve()
    if "choices" in metadata:
        if text.lower() not in metadata["choices"]:
            raise SettingsError(f"{key}={text!r} is not allowed: choose one of {', '.join(metadata['choices'])}")
        return text.lower()
    if "low" not in metadata:
        return text
    low, high = metadata["low"], metadata["high"]
    name = "a whole number" if kind is int else "a number"
    try:
        value = kind(text) if _NUMBER.fullmatch(text) else None
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise SettingsError(f"{key}={text!r} is not allowed: it must be {name} from {low} to {high}")
    return value


def how_to_install(group: str) -> str:
    """Return the command that installs a dependency group of pyproject.toml, for error messages."""
    return f"pip install '.[{group}]' in a clone" if INSTALLED else f"pip install --group {group}"


def _read_text(key: str, text: str) -> str:
    """Return the value of a setting, which may be `@` and the path of a file that holds it."""
    if not text.startswith("@"):
        return text
    try:
        return ((Path() if INSTALLED else ROOT) / text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{key}={text!r} cannot be read: {error}") from None


def _parse_keys(text: str) -> tuple[str, ...]:
    """Return the API keys. Messages never contain a key.

    Raises:
        SettingsError: there is no key, one is not allowed, or the file of keys cannot be read.
    """
    parts = text.split(",")
    if text.startswith("@Microsoft.KeyVault("):  # App Service passes on a reference that it could not resolve
        raise SettingsError("API_KEYS is a Key Vault reference that the platform could not resolve")
    if text.startswith("@"):
        try:
            parts = Path(text[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"API_KEYS={text!r} cannot be read: {error}") from None
    keys = tuple(key for part in parts if (key := part.strip()))
    if not keys:
        raise SettingsError("API_KEYS is set and holds no key: remove it, or give at least one key")
    for place, key in enumerate(keys, 1):
        if not _KEY.fullmatch(key):
            raise SettingsError(f"API_KEYS: key {place} is not allowed: a key is made of A-Z a-z 0-9 . _ ~ + / -")
    return keys


def table() -> str:
    """Return the settings as a Markdown table, which the README includes."""
    lines = ["| variable | default | allowed | what |", "|---|---|---|---|"]
    for one in fields(Settings):
        default = one.default.relative_to(ROOT).as_posix() if isinstance(one.default, Path) else one.default
        if "low" in one.metadata:
            allowed = f"{one.metadata['low']} to {one.metadata['high']}"
        else:
            allowed = " or ".join(f"`{choice}`" for choice in one.metadata.get("choices", ()))
        shown = f"`{default}`" if default not in ("", ()) else ""
        lines.append(f"| `{one.name.upper()}` | {shown} | {allowed} | {one.metadata['text']} |")
    return "\n".join(lines) + "\n"
