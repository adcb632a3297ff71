"""Serves an ASGI application until a signal; streams are told to end before connections are waited for."""

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
