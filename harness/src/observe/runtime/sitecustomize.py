"""Put on PYTHONPATH by sse-soak, so that every Python process of the target can be asked to tidy up and to say what it holds.

One thread a process waits on a private socket and costs nothing until it is asked. The app is not touched.
"""

import os
import sys


def _chain():
    """Another `sitecustomize` (a distribution's, the user's) is run as if this one were not there."""
    here = os.path.dirname(os.path.abspath(__file__))
    before, own = list(sys.path), sys.modules.pop("sitecustomize", None)
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    try:
        import sitecustomize  # noqa: F401
    except ImportError:
        if own is not None:
            sys.modules["sitecustomize"] = own
    finally:
        sys.path[:] = before


class _Line:
    """The way to sse-soak. A fork opens its own."""

    def __init__(self, door):
        self.door = door
        self.socket = None
        self.stats = None

    def open(self):
        import _thread
        import socket

        if self.socket is not None:  # after a fork: the parent's
            self.socket.close()
            self.socket = None
        try:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(None)
            self.socket.connect(self.door)
            _thread.start_new_thread(self.serve, ())
        except (OSError, RuntimeError):
            pass  # sse-soak is gone, or this process may not: the app does not care

    def serve(self):
        line, buffered = self.socket, b""
        while True:
            try:
                more = line.recv(4096)
            except OSError:
                return
            if not more:
                return
            buffered += more
            while b"\n" in buffered:
                asked, buffered = buffered.split(b"\n", 1)
                try:
                    line.sendall(self.answer(asked.decode().split()) + b"\n")
                except OSError:
                    return

    def answer(self, asked):
        import json

        try:
            if asked == ["settle"]:
                said = self.settle()
            elif asked[:1] == ["trace"]:
                said = self.trace(int(asked[1]))
            elif asked[:1] == ["traces"]:
                said = self.traces(int(asked[1]))
            else:
                said = {"error": "unknown request"}
        except Exception as error:
            said = {"error": "%s: %s" % (type(error).__name__, error)}
        return json.dumps(said).encode()

    def settle(self):
        import gc
        import time

        begun = time.perf_counter()
        if self.stats is None:
            self.stats = _Stats()
        collected = gc.collect()
        if collected:  # what was collected may have let go of more
            collected += gc.collect()
        said = self.stats.read()
        said["collected_objects"] = collected
        said["took_us"] = int(1e6 * (time.perf_counter() - begun))
        return said

    def trace(self, frames):
        import tracemalloc

        tracemalloc.stop() if frames == 0 else tracemalloc.start(frames)
        return {"tracing": tracemalloc.is_tracing()}

    def traces(self, most):
        import gc
        import tracemalloc

        gc.collect()
        found = tracemalloc.take_snapshot().statistics("traceback")[:most]
        return {
            "traces": [
                {
                    "bytes": one.size,
                    "blocks": one.count,
                    "frames": ["%s:%d" % (frame.filename, frame.lineno) for frame in one.traceback],
                }
                for one in found
            ]
        }


class _Stats:
    """Live bytes of both allocators of CPython: small objects (pymalloc) and everything else (the C library's malloc)."""

    def __init__(self):
        import ctypes

        self.c = ctypes
        self.libc = ctypes.CDLL(None)
        self.write_stats = self._exported()
        self.mallinfo = self._mallinfo()
        if hasattr(self.libc, "malloc_trim"):
            self.libc.malloc_trim.argtypes = [ctypes.c_size_t]

    def _exported(self):
        write = getattr(self.c.pythonapi, "_PyObject_DebugMallocStats", None)
        if write is None or not hasattr(self.libc, "open_memstream"):
            return None
        write.argtypes = [self.c.c_void_p]
        self.libc.open_memstream.restype = self.c.c_void_p
        self.libc.fclose.argtypes = [self.c.c_void_p]
        self.libc.free.argtypes = [self.c.c_void_p]
        return write

    def _mallinfo(self):
        for name, kind in (("mallinfo2", self.c.c_size_t), ("mallinfo", self.c.c_uint)):
            if hasattr(self.libc, name):
                names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
                info = type("Info", (self.c.Structure,), {"_fields_": [(field, kind) for field in names]})
                function = getattr(self.libc, name)
                function.restype = info
                return function
        return None

    def read(self):
        small = self._small()
        other = None
        if hasattr(self.libc, "malloc_trim"):
            self.libc.malloc_trim(0)
        if self.mallinfo is not None:
            info = self.mallinfo()
            other = info.uordblks + info.hblkhd
        return {"pymalloc_bytes": small, "malloc_bytes": other, "blocks": sys.getallocatedblocks()}

    def _small(self):
        """Bytes in allocated blocks of pymalloc; `None` where this interpreter does not tell."""
        text = self._by_stream() if self.write_stats is not None else self._by_stderr()
        for line in text.decode(errors="replace").splitlines():
            if line.startswith("# bytes in allocated blocks"):
                return int(line.split("=")[1].strip().replace(",", ""))
        return None

    def _by_stream(self):
        text, size = self.c.c_void_p(), self.c.c_size_t()
        stream = self.libc.open_memstream(self.c.byref(text), self.c.byref(size))
        if not stream:
            return b""
        self.write_stats(stream)
        self.libc.fclose(stream)
        try:
            return self.c.string_at(text, size.value)
        finally:
            self.libc.free(text)

    def _by_stderr(self):
        """Newer interpreters hide the function: it writes to descriptor 2, which is somebody else's for a moment."""
        import tempfile

        with tempfile.TemporaryFile() as caught:
            kept = os.dup(2)
            try:
                os.dup2(caught.fileno(), 2)
                sys._debugmallocstats()
            finally:
                os.dup2(kept, 2)
                os.close(kept)
            caught.seek(0)
            return caught.read()


def _start(door):
    if not door:
        return
    line = _Line(door)
    os.register_at_fork(after_in_child=line.open)
    line.open()


if "ATTACHED" in globals():  # a debugger brought us into a process that runs already
    _start(globals()["ATTACHED"])
else:
    try:
        _start(os.environ.get("SSE_SOAK_DOOR"))
    finally:
        _chain()
