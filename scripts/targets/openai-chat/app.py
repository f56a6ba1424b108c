"""A server that speaks like OpenAI's chat completions: `POST /v1/chat/completions`, with `stream: true` as Server-Sent Events and `[DONE]`.

No model: the words of the last message, one by one. `OPENAI_CACHE=never-evicted` remembers every prompt for ever (a response cache without
a limit); anything else remembers the last hundred.
"""

import asyncio
import collections
import json
import os
import time
import uuid

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

CACHE = os.environ.get("OPENAI_CACHE", "bounded")
if CACHE not in ("bounded", "never-evicted"):
    raise SystemExit(f"OPENAI_CACHE is `{CACHE}`: write `bounded` or `never-evicted`")
PAUSE = float(os.environ.get("OPENAI_PAUSE", "0.05"))

app = FastAPI()
cache: collections.deque[tuple[str, str]] = collections.deque(maxlen=100 if CACHE == "bounded" else None)


class Message(BaseModel):
    role: str
    content: str


class Asked(BaseModel):
    model: str
    messages: list[Message]
    stream: bool = False


def chunk(name: str, model: str, delta: dict, reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    said = {"id": name, "object": "chat.completion.chunk", "created": int(time.time()), "model": model, "choices": [choice]}
    return f"data: {json.dumps(said)}\n\n"


async def answer(asked: Asked):
    name = f"chatcmpl-{uuid.uuid4().hex}"
    words = asked.messages[-1].content.split()
    yield chunk(name, asked.model, {"role": "assistant", "content": ""})
    for word in words:
        await asyncio.sleep(PAUSE)
        yield chunk(name, asked.model, {"content": word + " "})
    yield chunk(name, asked.model, {}, "stop")
    yield "data: [DONE]\n\n"


@app.post("/v1/chat/completions")
async def completions(asked: Asked):
    prompt = asked.model_dump_json()
    cache.append((prompt, uuid.uuid4().hex))
    if asked.stream:
        return StreamingResponse(answer(asked), media_type="text/event-stream")
    said = {"role": "assistant", "content": asked.messages[-1].content}
    choice = {"index": 0, "message": said, "finish_reason": "stop"}
    return {"id": uuid.uuid4().hex, "object": "chat.completion", "model": asked.model, "choices": [choice]}
