"""Decode paths and match routes like the Functions host, which uses the server Kestrel and the routing of ASP.NET.

Sources: ``UrlDecoder``, ``PathNormalizer`` and ``RoutePatternMatcher`` in https://github.com/dotnet/aspnetcore.
"""

import re

# Adjacent escapes are decoded together, because a character may take several bytes. "%2F" is never decoded.
_ESCAPES = re.compile(rb"(?:%(?!2[Ff])[0-9A-Fa-f]{2})+")
_MOST_BYTES = 4  # of a character in UTF-8


class PathError(ValueError):
    """The host refuses the path with status 400."""


def decode_path(raw_path: bytes) -> str:
    """Decode the escapes of a raw path, then resolve its dot segments.

    Raises:
        PathError: the path contains an escaped NUL.
    """
    decoded = _ESCAPES.sub(lambda escapes: _decode(escapes[0]), raw_path)
    return _without_dot_segments(decoded.decode(errors="replace"))


def _decode(escapes: bytes) -> bytes:
    """Decode escapes; leave those that are not UTF-8 unchanged."""
    data = bytes.fromhex(escapes.replace(b"%", b"").decode())
    if 0 in data:
        raise PathError("the path holds a NUL")
    parts, start = [], 0
    while start < len(data):
        size = next((size for size in range(1, _MOST_BYTES + 1) if _is_utf8(data[start : start + size])), 0)
        parts.append(data[start : start + size] if size else escapes[3 * start : 3 * start + 3])
        start += size or 1
    return b"".join(parts)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _without_dot_segments(path: str) -> str:
    """Resolve "." and ".." (RFC 3986, 5.2.4)."""
    segments = path.split("/")
    if not {".", ".."} & set(segments):
        return path
    kept: list[str] = []
    for segment in segments[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


def compile_route(prefix: str, template: str) -> re.Pattern[str]:
    """Compile a route template of the host, such as ``a/{b}``, or ``a/{*rest}`` with a catch-all, which may be empty.

    A path may end in one slash, which a catch-all includes. An empty segment matches only inside a catch-all. Matching
    ignores case.
    """
    pattern = ""
    for part in f"{prefix}/{template}".strip("/").split("/"):
        if part.startswith("{*"):
            return re.compile(f"{pattern}(?:/(?P<{part[2:-1]}>[^/].*)?)?", re.IGNORECASE | re.ASCII | re.DOTALL)
        if part.startswith("{"):
            pattern += f"/(?P<{part[1:-1].split(':')[0]}>[^/]+)"
        else:
            pattern += "/" + re.escape(part)
    return re.compile(pattern + "/?", re.IGNORECASE | re.ASCII)
