"""Encoded forms of a prompt in a path, and the prompt that the Functions host passes on for each.

The forms up to the emoji, ``a/b``, dot segments and an empty segment were observed on the genuine host (4.1037). The
others follow from the source code that `generation.cli.host_path` names.
"""

LONG_PROMPT = " together" * 260  # few tokens, so that it fits into the context window of the bundled model
LONG_FORM = "".join(f"%{byte:02X}" for byte in LONG_PROMPT.encode())  # 7 KB

PROMPTS = {
    "a%20b": "a b",
    "a+b": "a+b",
    "a%2Bb": "a+b",
    "a%0Ab": "a\nb",
    "a%0D%0Ab": "a\r\nb",
    "%0A": "\n",
    "a%2Fb": "a/b",
    "a%2fb": "a/b",
    "a%252Fb": "a/b",
    "a%252fb": "a/b",
    "%2F": "/",
    "a%3Fb": "a?b",
    "100%25": "100%",
    "a%2520b": "a%20b",
    "a%23b": "a#b",
    "a%FFb": "a%FFb",
    "a%ffb": "a%ffb",
    "a%E2%82b": "a%E2%82b",
    "a%zzb": "a%zzb",
    "%E2%82%AC": "€",
    "caf%C3%A9": "café",
    "%F0%9F%99%82": "🙂",
    "a%E2%80%A8b": "a\u2028b",
    "a/b": "a/b",
    "a//b": "a//b",
    "a/": "a/",
    "a//": "a//",
    "a%2F": "a/",
    "a/../b": "b",
    "a/%2E%2E/b": "b",
    "a/./b": "a/b",
    "a/..": "",
    "..%2Fa": "../a",
    "a..b": "a..b",
    "": "",
    LONG_FORM: LONG_PROMPT,
}

# Paths below ``/api`` that the host answers itself, with the status of its response.
REFUSED_PATHS = {
    "/generate//a": 404,  # an empty segment before the prompt
    "//generate/a": 404,
    "/generate//": 404,
    "/generate/..": 404,
    "/generate%2Fa": 404,
    "/generate/a%00b": 400,
    "/generate/" + "x" * 8192: 414,
}
