"""Intake: durable, once, and one bad message never fails its group (P1, P2, P4, P6)."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest
from sqlalchemy import event, text

from appeals.appeal import AppealState
from appeals.blobs import FileBlobStore
from appeals.database import registry_url
from appeals.envelope import BlobRef, Channel, ContactPoint, ThreadReferences
from appeals.errors import NotFoundError, PermanentError, TransientError
from appeals.intake import Intake
from appeals.numbering import check_secret_code, normalise_number, reply_token
from appeals.quarantine import settle
from appeals.registration import QuarantineItem
from appeals.registry import Registry
from config.settings import RegistrySettings
from tests.integration.appeals.conftest import INLINE_MAX_BYTES, SECRET_KEY


async def test_a_message_is_registered_with_number_code_and_bytes(intake, message, registry, notifier):
    """The number has its check digit, the code opens it, the very bytes can be read back (P6)."""
    envelope, contents = message("m1", text="x" * 10)
    registration = await intake.register(envelope, contents)
    assert normalise_number(registration.number) == registration.number
    assert check_secret_code(SECRET_KEY, registration.appeal_id, registration.secret_code)
    appeal = await registry.appeal_by_number(registration.number.replace("-", " "))
    assert (appeal.state, appeal.version) == (AppealState.REGISTERED, 1)
    assert await registry.read_blob(envelope.raw.sha256) == contents[envelope.raw.sha256]
    conversation = await registry.conversation(appeal.id)
    assert conversation.envelopes == (envelope,)
    assert [item.kind for item in conversation.events] == ["appeal.registered"]
    assert notifier.all("classify") == [registration.appeal_id]


async def test_a_redelivery_gets_the_same_number(intake, message, registry):
    """The same (connector, external id) again writes nothing and answers alike (P2)."""
    first = await intake.register(*message("m1"))
    again = await intake.register(*message("m1"))
    assert again.duplicate
    assert not first.duplicate
    assert (again.number, again.appeal_id, again.secret_code) == (first.number, first.appeal_id, first.secret_code)
    assert (await registry.count_by_state())[AppealState.REGISTERED] == 1
    assert (await registry.appeal(first.appeal_id)).version == 1


async def test_concurrent_redeliveries_are_one_appeal(intake, message, registry):
    """Twenty deliveries of five messages at once make five appeals."""
    results = await asyncio.gather(*(intake.register(*message(f"m{number % 5}")) for number in range(20)))
    assert len({result.number for result in results}) == 5
    assert sum(not result.duplicate for result in results) == 5
    assert (await registry.count_by_state())[AppealState.REGISTERED] == 5


async def test_messages_share_transactions(intake, message, registry):
    """A hundred concurrent messages take far fewer commits than a hundred."""
    commits = []
    event.listen(registry.database.writer.sync_engine, "commit", lambda _: commits.append(1))
    await asyncio.gather(*(intake.register(*message(f"m{number}", sender=f"{number}@x.org")) for number in range(100)))
    assert (await registry.count_by_state())[AppealState.REGISTERED] == 100
    assert 0 < len(commits) <= 10


async def test_a_bad_message_fails_alone(intake, message, registry):
    """What the database refuses (a connector of NULL) is refused alone; its neighbours in the group are kept."""
    bad, bad_contents = message("bad")
    bad = bad.model_copy(update={"connector": None})
    results = await asyncio.gather(
        *(intake.register(*message(f"m{number}")) for number in range(3)),
        intake.register(bad, bad_contents),
        *(intake.register(*message(f"n{number}")) for number in range(3)),
        return_exceptions=True,
    )
    assert isinstance(results[3], PermanentError)
    assert sum(isinstance(item, Exception) for item in results) == 1
    assert (await registry.count_by_state())[AppealState.REGISTERED] == 6


async def test_missing_bytes_are_refused(intake, message):
    """An envelope whose blobs were not handed over is never registered (P6)."""
    envelope, _ = message("m1")
    with pytest.raises(PermanentError, match="blobs"):
        await intake.register(envelope, {})


async def test_large_blobs_go_to_the_store_and_come_back(intake, message, registry, tmp_path):
    """Above the inline limit the bytes are a file named by their hash; a changed file is noticed."""
    content = os.urandom(INLINE_MAX_BYTES + 1)
    envelope, _ = message("big", raw=BlobRef.of(content))
    await intake.register(envelope, {envelope.raw.sha256: content})
    sha256 = hashlib.sha256(content).hexdigest()
    path = tmp_path / "blobs" / sha256[:2] / sha256[2:4] / sha256
    assert path.read_bytes() == content
    assert await registry.read_blob(sha256) == content
    path.write_bytes(b"forged")
    with pytest.raises(PermanentError, match="changed"):
        await registry.read_blob(sha256)


async def test_an_acknowledgement_is_queued_once_and_never_to_a_machine(intake, message, registry, notifier):
    """Once per appeal; not for joined messages, not for automatic senders, not without an address."""
    first = await intake.register(*message("m1", threading=ThreadReferences(conversation="sms:1")))
    await intake.register(*message("m2", threading=ThreadReferences(conversation="sms:1")))
    await intake.register(*message("auto", sender="robot@x.org", automatic=True))
    await intake.register(*message("nobody", sender=None))
    assert len(notifier.all("deliver")) == 1
    (reply,) = (await registry.conversation(first.appeal_id)).replies
    assert reply.recipient.value == "citizen@example.org"
    assert first.number in reply.text
    assert first.secret_code in reply.text


async def test_the_same_large_blob_from_many_at_once(intake, message, registry):
    """Several messages with one photo are all registered: writers of the same blob do not trip over each other."""
    content = os.urandom(200_000)
    envelopes = [message(f"p{number}", raw=BlobRef.of(content))[0] for number in range(8)]
    results = await asyncio.gather(*(intake.register(item, {item.raw.sha256: content}) for item in envelopes))
    assert len({item.number for item in results}) == 8
    assert await registry.read_blob(envelopes[0].raw.sha256) == content


# ---- threading
async def test_a_running_talk_stays_one_appeal(intake, message, registry):
    """Messages of one talk join its open appeal, also within one group."""
    talk = ThreadReferences(conversation="telegram:7")
    results = await asyncio.gather(*(intake.register(*message(f"t{number}", threading=talk)) for number in range(5)))
    assert len({item.number for item in results}) == 1
    assert sum(item.joined for item in results) == 4
    appeal = await registry.appeal(results[0].appeal_id)
    assert appeal.version == 5
    assert len((await registry.conversation(appeal.id)).envelopes) == 5


async def test_b_cannot_write_into_a_s_appeal_by_its_number(intake, message):
    """The number joins only for a contact point of that appeal."""
    first = await intake.register(*message("m1", sender="a@x.org"))
    number = ThreadReferences(appeal_number=first.number)
    stranger = await intake.register(*message("m2", sender="b@x.org", threading=number))
    owner = await intake.register(*message("m3", sender="a@x.org", threading=number))
    assert not stranger.joined
    assert stranger.number != first.number
    assert owner.joined
    assert owner.number == first.number


async def test_b_cannot_join_by_a_citizen_s_message_id(intake, message):
    """References to another citizen's own message do not join; to one's own they do."""
    first = await intake.register(*message("m1", sender="a@x.org", threading=ThreadReferences(message_id="a1@x")))
    answer = ThreadReferences(in_reply_to=("a1@x",))
    assert not (await intake.register(*message("m2", sender="b@x.org", threading=answer))).joined
    assert (await intake.register(*message("m3", sender="a@x.org", threading=answer))).number == first.number


async def test_a_signed_token_joins_and_a_forged_one_does_not(intake, message):
    """What we signed is trusted from any address; anything else opens a new appeal."""
    first = await intake.register(*message("m1"))
    token = reply_token(SECRET_KEY, first.appeal_id)
    joined = await intake.register(*message("m2", sender="wife@x.org", threading=ThreadReferences(reply_token=token)))
    forged = ThreadReferences(reply_token=token[:-1] + ("a" if token[-1] != "a" else "b"))
    assert joined.number == first.number
    assert not (await intake.register(*message("m3", sender="thief@x.org", threading=forged))).joined


async def test_the_answer_s_message_id_joins(intake, message, registry):
    """A citizen's mail that answers ours joins the appeal."""
    first = await intake.register(*message("m1"))
    (acknowledgement,) = (await registry.conversation(first.appeal_id)).replies
    answer = ThreadReferences(in_reply_to=(acknowledgement.message_id,))
    assert (await intake.register(*message("m2", threading=answer))).number == first.number


# ---- outages
async def test_a_full_disk_keeps_nothing_half_done(tmp_path: Path, policy, notifier, message):
    """SQLite that may not grow any more is a TransientError; what was acknowledged before stays whole."""
    registry = Registry(registry_url("", tmp_path), blobs=FileBlobStore(tmp_path / "blobs"))
    await registry.migrate()
    settings = RegistrySettings(inline_blob_max_bytes=1_000_000)
    async with Intake(registry, settings=settings, policy=policy, notifier=notifier) as intake:
        kept = await intake.register(*message("m1"))
        async with registry.database.write() as connection:
            pages = (await connection.execute(text("PRAGMA page_count"))).scalar()
            await connection.execute(text(f"PRAGMA max_page_count={pages}"))
        with pytest.raises(TransientError):
            await intake.register(*message("m2", text="x" * 500_000))
        with pytest.raises(TransientError):
            await intake.quarantine(
                QuarantineItem(connector="email", channel=Channel.EMAIL, stage="decode", reason="bad"), b"y" * 500_000
            )
        assert (await registry.count_by_state())[AppealState.REGISTERED] == 1
        async with registry.database.write() as connection:
            await connection.execute(text("PRAGMA max_page_count=1000000"))
        assert (await intake.register(*message("m2", text="x" * 500_000))).number != kept.number
    assert not (await registry.check_history()).faults
    await registry.close()


async def test_a_database_that_is_down_is_transient_and_comes_back(
    own_postgres_server, tmp_path: Path, policy, notifier, message
):
    """PostgreSQL killed: TransientError and nothing kept; restarted: the same message is registered once."""
    url = own_postgres_server.create_database()
    registry = Registry(registry_url(url, tmp_path), blobs=FileBlobStore(tmp_path / "blobs"))
    await registry.migrate()
    async with Intake(registry, settings=RegistrySettings(), policy=policy, notifier=notifier) as intake:
        await intake.register(*message("m1"))
        own_postgres_server.kill()
        with pytest.raises(TransientError):
            await intake.register(*message("m2"))
        with pytest.raises(TransientError):
            await registry.ping()
        own_postgres_server.restart()
        assert not (await intake.register(*message("m2"))).duplicate
        assert (await intake.register(*message("m1"))).duplicate
    assert (await registry.count_by_state())[AppealState.REGISTERED] == 2
    assert not (await registry.check_history()).faults
    await registry.close()


async def test_two_processes_register_one_talk_as_one_appeal(
    database_url, registry, tmp_path, policy, notifier, message
):
    """Two intakes that race for the same new citizen and talk end with one appeal, and lose nothing."""
    other = Registry(registry_url(database_url, tmp_path), blobs=FileBlobStore(tmp_path / "blobs"))
    settings = RegistrySettings()
    async with (
        Intake(registry, settings=settings, policy=policy, notifier=notifier) as left,
        Intake(other, settings=settings, policy=policy, notifier=notifier) as right,
    ):
        talks = [ThreadReferences(conversation=f"sms:{number // 2}") for number in range(40)]
        results = await asyncio.gather(
            *(
                (left, right)[number % 2].register(
                    *message(f"m{number}", sender=f"{number // 2}@x.org", threading=talks[number])
                )
                for number in range(40)
            )
        )
    assert len({item.number for item in results}) == 20
    assert (await registry.count_by_state())[AppealState.REGISTERED] == 20
    assert not (await registry.check_history()).faults
    await other.close()


# ---- quarantine
async def test_quarantine_keeps_bytes_once_and_can_be_settled(intake, registry):
    """The same bytes are one entry that counts; dropped or retried they leave the list, the bytes stay (P4)."""
    item = QuarantineItem(
        connector="email", channel=Channel.EMAIL, stage="decode", reason="no mail", context={"peer": "1.2.3.4"}
    )
    first = await intake.quarantine(item, b"\x00garbage\xff")
    assert await intake.quarantine(item, b"\x00garbage\xff") == first
    (entry,) = await registry.quarantined()
    assert (entry.id, entry.times, entry.reason, entry.context) == (first, 2, "no mail", {"peer": "1.2.3.4"})
    assert await registry.read_blob(entry.sha256) == b"\x00garbage\xff"
    await settle(registry, first, state="dropped", actor="agent:vera", note="spam")
    assert await registry.quarantined() == []
    assert await registry.count_quarantined() == 0
    with pytest.raises(NotFoundError):
        await settle(registry, first, state="retried", actor="okno", note="")
    assert not (await registry.check_history()).faults


def test_a_contact_point_needs_a_value():
    """An empty address is no address."""
    with pytest.raises(ValueError, match="at least 1"):
        ContactPoint(kind="email", value="")  # type: ignore[arg-type]


async def test_a_message_without_a_subject_is_told_by_its_first_words(intake, message, registry):
    """SMS and Telegram have no subject: lists and offers show how the text begins."""
    long_text = "В  доме\nнет отопления " * 20
    registration = await intake.register(*message("m1", subject="", text=long_text, clean_text=long_text))
    subject = (await registry.appeal(registration.appeal_id)).subject
    assert subject.startswith("В доме нет отопления")
    assert len(subject) <= 80
