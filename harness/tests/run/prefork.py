"""A pre-forking SSE server: a parent that only watches, and one worker that it replaces when it ends. Usage: prefork.py PORT"""
import asyncio, os, socket, sys


async def serve(listener):
    async def client(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            while not reader.at_eof():
                writer.write(b"data: tick\n\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(client, sock=listener):
        await asyncio.Event().wait()


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(512)
while True:
    worker = os.fork()
    if worker == 0:
        asyncio.run(serve(listener))
    os.waitpid(worker, 0)
