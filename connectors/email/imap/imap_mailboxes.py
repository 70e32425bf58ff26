"""All mailboxes that are read over IMAP: started, stopped, reported on, and asked again for a mail left there."""

import asyncio
import logging
from collections.abc import Mapping

from appeals.errors import PermanentError
from config.channel_settings import EmailSettings, ImapMailbox
from connectors.base import ConnectorPorts
from connectors.email.imap.imap_intake import ImapIntake
from connectors.email.imap.imap_log_in import ImapError
from connectors.email.imap.imap_reader import FolderReader
from connectors.email.imap.imap_session import ImapSession
from connectors.email.receiver import MailReceiver

PLACE = ("imap_mailbox", "imap_folder", "imap_uidvalidity", "imap_uid")  # in the context of a quarantine item


class ImapMailboxes:
    """Reads every folder of every mailbox, each in a thread of its own."""

    def __init__(
        self, settings: EmailSettings, ports: ConnectorPorts, *, receiver: MailReceiver, connector: str
    ) -> None:
        self._mailboxes = {mailbox.key: mailbox for mailbox in settings.imap}
        self._max_message_bytes = settings.max_message_bytes
        self._readers = [
            FolderReader(
                mailbox,
                folder,
                intake=ImapIntake(mailbox, folder, receiver=receiver, ports=ports, connector=connector),
                max_message_bytes=settings.max_message_bytes,
            )
            for mailbox in settings.imap
            for folder in mailbox.folders
        ]
        self._started = False

    def start(self) -> None:
        """Begin to read. A server that is down is waited for: that fails nobody's start."""
        # IMAPClient warns of bytes that are not ASCII by writing them into the log.
        logging.getLogger("imapclient").setLevel(logging.ERROR)
        self._started = True
        for reader in self._readers:
            reader.start()

    async def stop(self) -> None:
        """Hang up and finish what is in hand. Idempotent."""
        if self._started:
            self._started = False
            await asyncio.gather(*(reader.stop() for reader in self._readers))

    # ---- health
    @property
    def addresses(self) -> tuple[str, ...]:
        """What is read, for people: imaps://user@host/folder."""
        return tuple(
            f"imap{'s' if mailbox.tls == 'tls' else ''}://{mailbox.username}@{mailbox.host}/{folder}"
            for mailbox in self._mailboxes.values()
            for folder in mailbox.folders
        )

    @property
    def troubles(self) -> list[str]:
        """What does not work, one line a folder; empty if all is well."""
        return [f"imap {reader.label}: {reader.trouble}" for reader in self._readers if reader.trouble]

    @property
    def progress(self) -> list[str]:
        """How far backlogs are taken in."""
        return [f"imap {reader.label}: {reader.progress}" for reader in self._readers if reader.progress]

    # ---- retry
    @staticmethod
    def is_place(context: Mapping[str, str]) -> bool:
        """Tell whether a quarantine item's context names a mail that was left on a server."""
        return all(name in context for name in PLACE)

    async def fetch(self, context: Mapping[str, str]) -> bytes:
        """Fetch a mail that was left on the server. Raises PermanentError if it cannot be had, or ImapError."""
        mailbox = self._mailboxes.get(context["imap_mailbox"])
        if mailbox is None:
            raise PermanentError(f"mailbox {context['imap_mailbox']} is no more in the settings")
        folder, uidvalidity, uid = context["imap_folder"], int(context["imap_uidvalidity"]), int(context["imap_uid"])
        return await asyncio.to_thread(self._fetch, mailbox, folder, uidvalidity=uidvalidity, uid=uid)

    def _fetch(self, mailbox: ImapMailbox, folder: str, *, uidvalidity: int, uid: int) -> bytes:
        session = ImapSession(mailbox, folder)
        try:
            if session.select().uidvalidity != uidvalidity:
                raise PermanentError(f"folder {folder} was made anew: the mail has another UID now")
            mail = session.describe([uid]).get(uid)
            if mail is None:
                raise PermanentError(f"the mail is no more in folder {folder}")
            if (mail.size_bytes or 0) > self._max_message_bytes:
                raise PermanentError(
                    f"the mail has {mail.size_bytes} bytes: raise email.max_message_bytes and try again"
                )
            found = session.fetch([uid], size_bytes=2 * self._max_message_bytes)
        except ImapError as error:
            raise PermanentError(f"the mail cannot be fetched now: {error}") from error
        finally:
            session.close()
        if uid not in found:
            raise PermanentError("the server does not hand out the mail")
        return found[uid]
