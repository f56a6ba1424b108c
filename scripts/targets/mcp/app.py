"""An MCP server built with the official Python SDK: one tool, streamable HTTP at /mcp, the older SSE transport at /sse.

`MCP_CLEANUP=never` keeps a session until its client deletes it, which clients that vanish never do. Anything else closes one that was
idle for `MCP_IDLE` seconds.
"""

import contextlib
import os

from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.routing import Mount

CLEANUP = os.environ.get("MCP_CLEANUP", "idle")
if CLEANUP not in ("idle", "never"):
    raise SystemExit(f"MCP_CLEANUP is `{CLEANUP}`: write `idle` or `never`")
IDLE = float(os.environ.get("MCP_IDLE", "1800")) if CLEANUP == "idle" else None

server = MCPServer("echo")


@server.tool()
def echo(text: str) -> str:
    """Says what it was told."""
    return text


streamable = server.streamable_http_app(session_idle_timeout=IDLE, max_sessions=None)
older = server.sse_app()


@contextlib.asynccontextmanager
async def lifespan(_: Starlette):
    async with streamable.router.lifespan_context(streamable):
        yield


app = Starlette(routes=[*streamable.routes, Mount("/", older)], lifespan=lifespan)
