"""A parameter that is no binding, as if the worker injected dependencies: it refuses the app."""

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

app = func.FunctionApp()


@app.route("unbound", methods=["GET"])
async def unbound(req: Request, limit: int) -> Response:
    """Answer."""
    return Response()
