"""One handler of the classic kind among streaming ones: the worker refuses the whole app."""

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

app = func.FunctionApp()


@app.route("streaming", methods=["GET"])
async def streaming(req: Request) -> Response:
    """Answer as the http extension wants it."""
    return Response()


@app.route("classic", methods=["GET"])
async def classic(req: func.HttpRequest) -> func.HttpResponse:
    """Answer in the classic way."""
    return func.HttpResponse()
