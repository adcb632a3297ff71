"""The service as a process of its own, on the embedded log, for a test that kills it: URLs and a port as arguments.

It ends when its input does.
"""

import asyncio
import sys

from asgi_lifespan import LifespanManager

from services.notification.app import notification_service
from services.notification.settings import NotificationSettings, SmtpTls
from shared.database import Database
from shared.events import TOPICS
from shared.keyring import AuditKeys
from shared.messaging.embedded import EmbeddedLog, EmbeddedSource
from shared.sealing.master_keys import LocalMasterKeys
from shared.service import Platform, build_app
from shared.settings import PlatformSettings
from tests.harness import KnownTokens
from tests.keys import MASTER_KEYS


async def run(jobs_url: str, requests_url: str, log_url: str, smtp_port: str) -> None:
    log = EmbeddedLog(log_url)
    await log.start(TOPICS)
    settings = NotificationSettings(smtp_port=int(smtp_port), smtp_tls=SmtpTls.NONE)
    platform = Platform(
        settings=PlatformSettings(),
        verifier=KnownTokens(),  # type: ignore[arg-type] # the same one method
        publisher=log,
        source=lambda: EmbeddedSource(log),
        audit_keys=AuditKeys.generate(),
        master_keys=LocalMasterKeys(MASTER_KEYS),
    )
    database = Database(jobs_url, requests_url)
    async with LifespanManager(build_app(notification_service("http://branchline.test", settings), database, platform)):
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
