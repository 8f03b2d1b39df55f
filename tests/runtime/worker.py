"""Drives the official runtime library the way Azure's Python worker does: initialize, list, load, invoke.

Only this module touches `azure_functions_runtime`. The library keeps its state in classes: one app per process.
"""

import importlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.runtime.protos import PROTOS, Message, ParameterBinding, StatusResult, TypedData, envelope


class WorkerError(Exception):
    """The runtime has refused the app; the message is the runtime's own."""


@dataclass(frozen=True, slots=True)
class Function:
    """What the host learns of a function: its name, its id, and its trigger as the app's metadata gives it."""

    name: str
    id: str
    trigger: dict[str, Any]


def _checked(response: Any) -> Any:
    if response.result.status != StatusResult.Success:
        raise WorkerError(f"{response.result.exception.message}\n{response.result.exception.stack_trace}")
    return response


class Worker:
    """One function app in the official runtime."""

    def __init__(self) -> None:
        self._runtime: Any = importlib.import_module("azure_functions_runtime")
        self.functions: list[Function] = []
        self.http_uri = ""
        self.start_s = self.start_cpu_s = 0.0

    async def start(self, directory: Path) -> None:
        """Import and index the app in `directory`, load its functions, start the runtime's HTTP server.

        Raises:
            WorkerError: the runtime does not take the app.
        """
        began, began_cpu = time.monotonic(), time.process_time()
        self._runtime.start_threadpool_executor()
        initialized = await self._ask(
            "worker_init_request",
            {"protos": PROTOS, "host": "127.0.0.1"},
            capabilities={},
            function_app_directory=str(directory),
        )
        self.http_uri = initialized.capabilities.get("HttpUri", "")
        listed = await self._ask("functions_metadata_request", {})
        for one in listed.function_metadata_results:
            await self._ask("function_load_request", {}, function_id=one.function_id, metadata=one)
            bindings = [json.loads(text) for text in one.raw_bindings]
            trigger = next(binding for binding in bindings if binding["type"].endswith("Trigger"))
            self.functions.append(Function(one.name, one.function_id, trigger))
        self.start_s, self.start_cpu_s = time.monotonic() - began, time.process_time() - began_cpu

    async def invoke(self, function: Function, invocation_id: str, http: Message | None = None) -> None:
        """Call a function; in this mode its HTTP request and response travel apart from the call.

        Raises:
            WorkerError: the function has failed.
        """
        data = TypedData(http=http) if http is not None else TypedData()
        await self._ask(
            "invocation_request",
            {},
            invocation_id=invocation_id,
            function_id=function.id,
            input_data=[ParameterBinding(name=function.trigger["name"], data=data)],
            trigger_metadata={},
            trace_context=Message(trace_parent="", trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
        )

    async def _ask(self, verb: str, properties: dict[str, Any], **fields: Any) -> Any:
        return _checked(await getattr(self._runtime, verb)(envelope(verb, properties, **fields)))

    def kept(self) -> dict[str, Any]:
        """Return what the runtime keeps of past requests, by invocation id; it never forgets one by itself."""
        coordinator = importlib.import_module("azure_functions_runtime.http_v2").http_coordinator
        references: dict[str, Any] = coordinator._context_references
        return references
