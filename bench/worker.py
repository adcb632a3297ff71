"""A process of a contender: `python -m bench.worker NAME`, started and told by `bench/run.py`.

It reads its setup, prepares, says `ready`, waits for `go`, says `done` if it ends by itself, and when its input closes
it lets go and tells its greatest memory.
"""

import asyncio
import sys

import msgspec
import uvloop

from bench.contender import Setup
from bench.contenders import BY_NAME
from bench.servers import peak_bytes


async def work(name: str) -> None:
    setup = msgspec.json.decode(sys.stdin.readline(), type=Setup)
    contender = BY_NAME[name]
    await contender.prepare(setup)
    print("ready", flush=True)
    sys.stdin.readline()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)  # its end is all that can still be read
    await contender.run(setup, stop)
    print("done", flush=True)
    await stop.wait()
    print(peak_bytes("self"), flush=True)


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
