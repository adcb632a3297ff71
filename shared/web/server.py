"""Uvicorn as our services run in it."""

import socket
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI


class Server(uvicorn.Server):
    """Ends the streams of its services when it is told to stop.

    Uvicorn tells an application only after every connection has closed, and an open stream's never does.
    """

    def __init__(self, config: uvicorn.Config, services: Sequence[FastAPI]) -> None:
        super().__init__(config)
        self.services = services

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for service in self.services:
            service.state.stopping.set()
        await super().shutdown(sockets)
