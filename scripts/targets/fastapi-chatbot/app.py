"""The ChatBot of the report: FastAPI, Server-Sent Events, conversations in the memory of each worker.

`CHATBOT_CLEANUP=never` keeps every conversation for ever, as the report suspected. Anything else is done right: a conversation that nobody
used for `CHATBOT_TTL` seconds goes. What it says comes from no model: the words of the question, one by one.
"""

import asyncio
import contextlib
import json
import os
import time
import uuid
from dataclasses import dataclass, field

from fastapi import FastAPI, Form, HTTPException, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

CLEANUP = os.environ.get("CHATBOT_CLEANUP", "ttl")
if CLEANUP not in ("ttl", "never"):
    raise SystemExit(f"CHATBOT_CLEANUP is `{CLEANUP}`: write `ttl` or `never`")
TTL = float(os.environ.get("CHATBOT_TTL", "60"))
PAUSE = float(os.environ.get("CHATBOT_PAUSE", "0.2"))  # between words
# Messages of one conversation that are kept; older ones go.
HISTORY = 20


class Event(BaseModel):
    """One event. The report's server formats it by `str`, so its clients see `data: event='connected' data='{…}'`."""

    event: str
    data: str


@dataclass
class Conversation:
    """What the server remembers of one user."""

    id: str
    messages: list[dict] = field(default_factory=list)
    used: float = field(default_factory=time.monotonic)
    streams: int = 0

    def say(self, role: str, content: str) -> None:
        self.used = time.monotonic()
        self.messages.append({"role": role, "content": content, "at": time.time()})
        del self.messages[:-HISTORY]


conversations: dict[str, Conversation] = {}
counted = {"created": 0, "removed": 0, "streams": 0}


def remove(conversation_id: str) -> bool:
    gone = conversations.pop(conversation_id, None) is not None
    counted["removed"] += gone
    return gone


async def sweep() -> None:
    """Forgets who was silent for longer than the TTL. A conversation that is being streamed is in use."""
    while True:
        await asyncio.sleep(TTL / 10)
        oldest = time.monotonic() - TTL
        for one in [c.id for c in conversations.values() if c.used < oldest and not c.streams]:
            remove(one)


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI):
    sweeper = asyncio.create_task(sweep()) if CLEANUP == "ttl" else None
    yield
    if sweeper:
        sweeper.cancel()


app = FastAPI(lifespan=lifespan)


def frame(event: str, data: dict) -> str:
    return f"data: {Event(event=event, data=json.dumps(data))}\n\n"


async def answer(conversation: Conversation, message: str):
    conversation.streams += 1
    counted["streams"] += 1
    try:
        yield frame("connected", {"conversation_id": conversation.id})
        said = []
        for word in message.split():
            await asyncio.sleep(PAUSE)
            said.append(word)
            yield frame("message", {"conversation_id": conversation.id, "content": word})
        conversation.say("assistant", " ".join(said))
        yield frame("completed", {"conversation_id": conversation.id, "messages": len(conversation.messages)})
    finally:
        conversation.streams -= 1
        counted["streams"] -= 1
        conversation.used = time.monotonic()


@app.post("/chat")
async def chat(
    message: str = Form(min_length=1, max_length=1000), conversation_id: uuid.UUID | None = Form(default=None)
) -> StreamingResponse:
    name = str(conversation_id or uuid.uuid4())
    conversation = conversations.get(name)
    if conversation is None:
        # A conversation that another worker holds is unknown here: this one begins it anew, as the report's server did.
        conversation = conversations[name] = Conversation(name)
        counted["created"] += 1
    conversation.say("user", message)
    return StreamingResponse(answer(conversation, message), media_type="text/event-stream")


@app.get("/conversations/{conversation_id}/history")
async def history(conversation_id: uuid.UUID, limit: int = Query(default=10, ge=1, le=100)) -> dict:
    conversation = conversations.get(str(conversation_id))
    if conversation is None:
        raise HTTPException(404, "no such conversation in this worker")
    return {"conversation_id": conversation.id, "messages": conversation.messages[-limit:]}


@app.delete("/conversations/{conversation_id}", status_code=204)
async def delete(conversation_id: uuid.UUID) -> Response:
    if not remove(str(conversation_id)):
        raise HTTPException(404, "no such conversation in this worker")
    return Response(status_code=204)


@app.get("/health")
async def health() -> dict:
    return {"status": "ok"}


@app.get("/metrics")
async def metrics() -> Response:
    """Of this worker only: whoever asks is sent to any of them."""
    lines = [
        "# HELP chat_sessions Conversations in memory.",
        "# TYPE chat_sessions gauge",
        f'chat_sessions{{state="streaming"}} {sum(c.streams > 0 for c in conversations.values())}',
        f'chat_sessions{{state="idle"}} {sum(c.streams == 0 for c in conversations.values())}',
        f'chat_sessions{{state="closed"}} {counted["removed"]}',
        "# TYPE chat_sessions_created counter",
        f"chat_sessions_created_total {counted['created']}",
        "# TYPE chat_streams gauge",
        f"chat_streams {counted['streams']}",
        "# EOF",
    ]
    return Response("\n".join(lines) + "\n", media_type="application/openmetrics-text; version=1.0.0; charset=utf-8")
