"""Serves an ASGI application until a signal; streams are told to end before connections are waited for."""

import ctypes
import gc
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

GRACE_SECONDS = 3


class Server(uvicorn.Server):
    """uvicorn, calling `on_exit` at a signal, which is then dealt with: it is not raised again at the end."""

    def __init__(self, app: ASGIApp, *, on_exit: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # BRANCHLINE_TRUSTED_PROXIES says whose are believed
                lifespan="auto",
                timeout_graceful_shutdown=GRACE_SECONDS,
                timeout_keep_alive=30,
            )
        )
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        self._on_exit()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3)


def expect_batches() -> None:
    """Looks for garbage cycles less often, and keeps memory that is free for the next batch.

    What was made at start is set aside. Batches make many short-lived objects and hardly any cycles: with the default
    thresholds a third of an ingestion's CPU went into looking for them. A batch of 13,000 records and the one behind
    it are 220,000 objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(300_000, 20, 10)
    # The C library gives back and asks anew for what a batch of megabytes takes, and each of its pages comes at a cost.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # it is glibc's
        for option, mebibytes in ((_TRIM_THRESHOLD, 128), (_TOP_PAD, 16), (_MMAP_THRESHOLD, 32)):
            mallopt(option, mebibytes * 2**20)


def end_streams(*apps: FastAPI) -> None:
    """Sets what the applications' streams wait for."""
    for app in apps:
        app.state.stopping.set()


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises OSError when the port is taken."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    return listening
