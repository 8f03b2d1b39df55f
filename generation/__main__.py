"""Command line: ``python -m generation serve | generate | bench``."""

import argparse
import asyncio
import json
import sys

from generation import __version__, bench
from generation.config import ROOT, SettingsError
from generation.errors import ApiError

USER_ERROR = 2


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 1 for a failure, 2 for a wrong call or setting."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (SettingsError, ApiError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m generation",
        description="Text generation with GPT-2 models in ONNX.",
        epilog="Settings are environment variables; the table is in the README. "
        "To make a model: python -m generation.export --help",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    serve = commands.add_parser("serve", help="serve function_app.py on this machine, without the Functions host")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=7071, help="port; 0 takes a free one (default: %(default)s)")
    serve.add_argument("--key", help="ask for this function key where the platform would ask for one")
    serve.set_defaults(command=_serve)

    generate = commands.add_parser("generate", help="generate text here and now, without a server")
    generate.add_argument("prompt", help="the text to go on from")
    generate.add_argument("--max-new-tokens", type=int, default=50, help="default: %(default)s")
    generate.add_argument("--temperature", type=float, default=1.0, help="0 = no sampling (default: %(default)s)")
    generate.add_argument("--top-k", type=int, default=50, help="0 = all tokens (default: %(default)s)")
    generate.add_argument("--top-p", type=float, default=1.0, help="default: %(default)s")
    generate.add_argument("--seed", type=int, help="same seed, same text")
    generate.add_argument("--json", action="store_true", help="print one JSON object instead of the text")
    generate.set_defaults(command=_generate)

    bench.register(commands)
    return parser


def _serve(options: argparse.Namespace) -> int:
    import logging
    import signal
    import threading

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    from generation.host import LocalHost, Server, bind

    try:
        listener = bind(options.host, options.port)
    except OSError as error:
        print(f"error: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return USER_ERROR
    sys.path.insert(0, str(ROOT))
    from function_app import app, service

    def stop(now: bool) -> None:  # noqa: FBT001 - the signature of a callback
        service.stop(0.0 if now else service.settings.drain_s)

    server = Server(LocalHost(app, ROOT / "host.json", options.key), options.host, service.settings.drain_s, stop)
    # uvicorn raises the signal that stopped it once more when it is done.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def announce() -> None:
        service.wait()
        config = service.model_config()
        if config is None:
            print(f"error: {service.reason}", file=sys.stderr, flush=True)
            server.should_exit = True
            return
        address = f"http://{options.host}:{listener.getsockname()[1]}"
        print(
            f"{config.name} ({config.precision}, context {config.context}) ready after {service.load_s:.2f} s "
            f"on {address}/api\n"
            "This is the project's own local host, not func start. Try:\n"
            f"  curl '{address}/api/generate/Once%20upon%20a%20time?max_new_tokens=60'",
            flush=True,
        )

    threading.Thread(target=announce, daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return 0
    return 0 if service.reason is None else 1


def _generate(options: argparse.Namespace) -> int:
    from generation.config import Settings
    from generation.prompting import check_context, encode
    from generation.sampling import SamplingParams
    from generation.schemas import GenerateBody, parse_json
    from generation.sequence import Request, Update
    from generation.service import Service

    names = ("prompt", "max_new_tokens", "temperature", "top_k", "top_p", "seed")
    body = parse_json(GenerateBody, json.dumps({name: getattr(options, name) for name in names}).encode())
    service = Service(Settings.from_environment()).start()
    service.wait()
    loaded = service.loaded()

    async def run() -> str:
        prompt = await encode(loaded.tokenizer, body.prompt)
        check_context(len(prompt), body.max_new_tokens, loaded.config.context, "max_new_tokens")
        sampling = SamplingParams(temperature=body.temperature, top_k=body.top_k, top_p=body.top_p, seed=body.seed)
        text = body.prompt
        if not options.json:
            print(text, end="", flush=True)
        async for item in loaded.engine.submit(Request(prompt, body.max_new_tokens, sampling=sampling)):
            if isinstance(item, Update):
                text += item.text
                if not options.json:
                    print(item.text, end="", flush=True)
        return text

    text = asyncio.run(run())
    print(json.dumps({"generated_sequences": [text]}, ensure_ascii=False) if options.json else "")
    service.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
