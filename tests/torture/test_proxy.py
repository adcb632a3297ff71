"""The fault proxy itself: what it is told to spoil is spoilt, and nothing else."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.proxy import FaultProxy


class Echo(threading.Thread):
    """Sends back what it gets."""

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(daemon=True)
        self.listening = listening
        self.received = 0

    def run(self) -> None:
        while True:
            try:
                accepted, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(accepted,), daemon=True).start()

    def _echo(self, accepted: socket.socket) -> None:
        try:
            while received := accepted.recv(65_536):
                self.received += len(received)
                accepted.sendall(received)
        except OSError:
            pass
        finally:
            accepted.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo(socket.create_server(("127.0.0.1", 0)))
    server.start()
    yield server
    server.listening.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    started = FaultProxy(echo.listening.getsockname())
    started.start()
    yield started
    started.stop()


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def ask(connection: socket.socket, what: bytes) -> bytes:
    connection.sendall(what)
    return receive(connection, len(what))


def receive(connection: socket.socket, size: int) -> bytes:
    answer = b""
    while len(answer) < size:
        received = connection.recv(65_536)
        if not received:
            break
        answer += received
    return answer


def nothing_comes(connection: socket.socket, seconds: float = 0.3) -> bool:
    connection.settimeout(seconds)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(10)
    return False


def test_what_is_sent_arrives_both_ways(proxy: FaultProxy) -> None:
    payload = bytes(range(256)) * 4_000
    with connect(proxy) as connection:
        writer = threading.Thread(target=connection.sendall, args=(payload,))
        writer.start()
        assert receive(connection, len(payload)) == payload
        writer.join()


def test_an_end_is_passed_on(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(b"last")
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection, 5) == b"last"


def test_a_reset_is_a_reset_and_a_new_connection_works(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"before") == b"before"
        assert proxy.reset() == 1
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connect(proxy) as connection:
        assert ask(connection, b"after") == b"after"


def test_a_half_open_connection_says_nothing_and_stays_open_while_a_new_one_works(proxy: FaultProxy) -> None:
    with connect(proxy) as left, connect(proxy) as other:
        assert ask(left, b"before") == ask(other, b"before") == b"before"
        assert proxy.leave_half_open() == 2
        left.sendall(b"into nothing")
        assert nothing_comes(left)
        with connect(proxy) as fresh:
            assert ask(fresh, b"fresh") == b"fresh"
        proxy.heal()
        assert nothing_comes(left)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            left.recv(1)


def test_what_was_sent_into_a_stall_arrives_when_it_ends(proxy: FaultProxy, echo: Echo) -> None:
    with connect(proxy) as connection:
        proxy.set(is_stalled=True)
        connection.sendall(b"patience")
        assert nothing_comes(connection)
        assert echo.received == 0
        proxy.heal()
        assert receive(connection, 8) == b"patience"


def test_withheld_answers_let_requests_through(proxy: FaultProxy, echo: Echo) -> None:
    with connect(proxy) as connection:
        proxy.set(are_answers_withheld=True)
        connection.sendall(b"did it?")
        assert nothing_comes(connection)
        assert echo.received == len(b"did it?")


def test_latency_delays_each_direction(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        proxy.set(latency_seconds=0.1)
        began = time.monotonic()
        assert ask(connection, b"slow") == b"slow"
        assert 0.2 <= time.monotonic() - began < 2


def test_bandwidth_is_bounded(proxy: FaultProxy) -> None:
    payload = b"x" * 100_000
    with connect(proxy) as connection:
        proxy.set(bytes_per_second=200_000)
        began = time.monotonic()
        assert ask(connection, payload) == payload
        assert time.monotonic() - began >= 0.4


def test_who_has_no_target_is_refused(proxy: FaultProxy) -> None:
    proxy.target = None
    with pytest.raises(ConnectionResetError), connect(proxy) as connection:
        connection.recv(1)


def test_a_target_may_be_a_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "echo"))
        listening.listen()
        Echo(listening).start()
        proxy = FaultProxy(tmp_path / "echo")
        proxy.start()
        with connect(proxy) as connection:
            assert ask(connection, b"local") == b"local"
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        proxy.stop()
