"""A return annotation of two classes: unit tests pass, and the worker refuses the app."""

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, StreamingResponse

app = func.FunctionApp()


@app.route("union", methods=["GET"])
async def union(req: Request) -> JSONResponse | StreamingResponse:
    """Answer in one of two ways."""
    return JSONResponse({})
