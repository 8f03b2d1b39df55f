"""The app, in a process whose engine has failed after the model was loaded."""

from function_app import app, service

__all__ = ["app", "service"]

service.wait()
if service.engine is not None:
    service.engine.failure = RuntimeError("as when the engine's thread has ended with an error")
