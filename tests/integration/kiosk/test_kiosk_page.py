"""The kiosk page in a real Chromium against the real connector, intake and registry: offline, and back."""

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page, Route, async_playwright, expect

from appeals.blobs import open_blob_store
from appeals.citizen_desk import RegistryDesk
from appeals.cursors import RegistryCursors
from appeals.database import registry_url
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.notify import SilentNotifier
from appeals.outbox import Outbox
from appeals.registry import Registry
from config.channel_settings import KioskSettings
from config.kiosk_forms import KioskForm, KioskForms
from config.settings import DeadlineSettings, OfficeSettings, RegistrySettings
from connectors.base import ConnectorPorts
from connectors.kiosk import build, page_routes
from connectors.kiosk.devices import KioskDevices
from connectors.kiosk.enrolment import KioskAdministration
from connectors.kiosk.form_check import FormChecks
from connectors.kiosk.page_routes import publish_forms
from connectors.kiosk.submission import KioskSubmission
from tests.servers import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

ARGUMENTS = ["--no-sandbox", "--disable-gpu"]  # CI runs as root, without a screen
HOME = "Выберите, с чем вы пришли"
SIGNING_KEY = b"k" * 32
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
KIOSKS = KioskSettings(enabled=True)


class Office:
    """A daemon's kiosk connector on a fixed port, that can be taken away and put back."""

    def __init__(self, folder: Path) -> None:
        self.registry = Registry(registry_url("", folder), blobs=open_blob_store("", options={}, data_dir=folder))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = KIOSKS
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        policy = IntakePolicy(
            secret_key=SIGNING_KEY, public_url=self.url, office=OfficeSettings(), deadlines=DeadlineSettings()
        )
        intake = Intake(self.registry, settings=RegistrySettings(), policy=policy, notifier=SilentNotifier())
        ports = ConnectorPorts(
            intake=await self._stack.enter_async_context(intake),
            cursors=RegistryCursors(self.registry),
            reports=Outbox(self.registry, notifier=SilentNotifier()),
            desk=RegistryDesk(self.registry),
            now=lambda: datetime.now(UTC),
            public_url=self.url,
            signing_key=SIGNING_KEY,
        )
        connector = build(self.settings, ports)
        application = web.Application()
        application.add_routes(connector.routes())
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
        await connector.start()
        self._stack.push_async_callback(connector.stop)

    async def stop(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    def administration(self) -> KioskAdministration:
        cursors = RegistryCursors(self.registry)
        devices = KioskDevices(self.settings, cursors, signing_key=SIGNING_KEY)
        return KioskAdministration(devices, cursors, signing_key=SIGNING_KEY, now=datetime.now(UTC))

    async def envelopes(self) -> list[Any]:
        appeals = await self.registry.list_appeals()
        return [(await self.registry.conversation(appeal.id)).envelopes[0] for appeal in appeals]


@asynccontextmanager
async def running_office(folder: Path) -> AsyncIterator[Office]:
    office = Office(folder)
    await office.registry.migrate()
    await office.start()
    try:
        yield office
    finally:
        await office.stop()
        await office.registry.close()


@pytest_asyncio.fixture(loop_scope="module")
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with running_office(tmp_path) as office:
        yield office


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium_path: Path) -> AsyncIterator[Browser]:
    """One for all tests: each has contexts of its own in it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_kiosk(browser: Browser, office: Office) -> AsyncIterator[Callable[..., Awaitable[Page]]]:
    """Return a factory of enrolled kiosk pages; at the end none may have complained of its policy or a fault."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    async def open_one(
        kiosk_id: str = "hall-1", *, clock: datetime | None = None, heading: str = HOME, **options: Any
    ) -> Page:
        context = await browser.new_context(**{"viewport": {"width": 1080, "height": 1920}, **options})
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        await office.administration().add(kiosk_id, name="Зал")
        code = await office.administration().enrol(kiosk_id)
        if clock is not None:
            await page.clock.set_system_time(clock)
        await page.goto(f"{office.url}/kiosk/")
        await page.locator("#code").fill(code.code.lower())
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        await page.evaluate("navigator.serviceWorker.ready")
        return page

    yield open_one
    for context in contexts:
        await context.close()
    assert complaints == []


async def fill_in(page: Page, text: str) -> None:
    await page.get_by_role("button", name="Обращение", exact=True).click()
    await page.get_by_label("Отопление").check()
    await page.get_by_label("Текст обращения").fill(text)
    await page.get_by_label("Ваше имя и фамилия").fill("Анна Петрова")
    await page.get_by_label("Электронная почта").fill("anna@example.org")
    await page.get_by_label("Согласен на обработку").check()


async def send(page: Page) -> None:
    await page.get_by_role("button", name="Отправить").click()


async def wait_for(condition: Callable[[], Awaitable[bool]], *, seconds: float = 20.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, "not in time"
        await asyncio.sleep(0.05)


async def test_a_citizen_fills_in_a_form_and_gets_number_and_code(office: Office, open_kiosk: Any) -> None:
    """From the choice to the slip: topic, name, contact, picture and consent arrive; the next citizen sees nothing."""
    page = await open_kiosk()
    await fill_in(page, "Третий день холодные батареи в подъезде.")
    await page.locator("input[type=file]").set_input_files(
        [{"name": "батарея.png", "mimeType": "image/png", "buffer": PIXEL}]
    )
    await expect(page.get_by_role("button", name="Убрать")).to_be_visible()
    await send(page)

    await expect(page.get_by_role("heading", level=1)).to_have_text("Обращение принято")
    (appeal,) = await office.registry.list_appeals()
    await expect(page.locator(".slip")).to_contain_text(appeal.number)
    (envelope,) = await office.envelopes()
    assert envelope.text == "Третий день холодные батареи в подъезде."
    assert (envelope.subject, envelope.language, envelope.sender.name) == ("Отопление", "ru", "Анна Петрова")
    assert (envelope.reply_to.value, envelope.fields["topic"]) == ("anna@example.org", "housing.heating")
    assert (envelope.fields["consent"], envelope.fields["form"]) == ("true", "appeal 1")
    assert [item.detected_media_type for item in envelope.attachments] == ["image/jpeg"]
    assert envelope.marks == ()

    await page.get_by_role("button", name="Готово").click()
    await page.get_by_role("button", name="Обращение", exact=True).click()
    await expect(page.get_by_label("Текст обращения")).to_have_value("")
    await expect(page.get_by_label("Ваше имя и фамилия")).to_have_value("")


async def test_faults_are_named_beside_their_fields(open_kiosk: Any, office: Office) -> None:
    """Nothing is sent while something is missing; each fault is in the citizen's language and leads to its field."""
    page = await open_kiosk()
    await page.get_by_role("button", name="English").click()
    await page.get_by_role("button", name="Appeal", exact=True).click()
    await page.get_by_label("Your message").fill("short")
    await page.get_by_label("Email").fill("anna@")
    await page.get_by_role("button", name="Send").click()
    summary = page.get_by_role("alert")
    await expect(summary).to_be_focused()
    await expect(summary.get_by_role("button")).to_have_count(4)
    await expect(summary).to_contain_text("Your message: Too short: at least 10 characters.")
    await summary.get_by_role("button", name="Your message").click()
    await expect(page.get_by_label("Your message")).to_be_focused()

    await page.get_by_role("button", name="Қазақша").click()
    await expect(page.get_by_label("Өтініш мәтіні")).to_have_value("short")
    assert await office.envelopes() == []


async def test_forms_filled_in_without_a_server_are_delivered_once_with_their_time(
    office: Office, open_kiosk: Any
) -> None:
    """The server is gone: the page opens anew, keeps two forms sealed, and delivers each once when it is back."""
    page = await open_kiosk()
    await office.stop()
    references = []
    before = datetime.now(UTC)
    for text in ("Не горит фонарь у дома 5.", "Не вывозят мусор вторую неделю."):
        await page.reload()
        await fill_in(page, text)
        await send(page)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Обращение сохранено")
        references.append(await page.locator(".big strong").inner_text())
        await page.get_by_role("button", name="Готово").click()
    after = datetime.now(UTC)
    await expect(page.locator("footer")).to_have_attribute("data-stored", "2")
    sealed = await page.evaluate(READ_STORE)
    assert "фонарь" not in sealed
    assert "anna@example.org" not in sealed

    await office.start()
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(page.locator("footer")).to_have_attribute("data-stored", "0", timeout=20_000)
    envelopes = await office.envelopes()
    assert {envelope.external_id for envelope in envelopes} == {f"hall-1/{reference}" for reference in references}
    assert len(envelopes) == 2
    assert all(before - timedelta(seconds=2) <= envelope.sent_at <= after for envelope in envelopes)

    await page.get_by_role("button", name="Узнать номер").click()
    await page.get_by_label("Номер квитанции").fill(references[0].lower().replace("-", " "))
    await page.get_by_role("button", name="Найти").click()
    numbers = {appeal.number for appeal in await office.registry.list_appeals()}
    assert await page.locator(".big strong").first.inner_text() in numbers


async def test_two_tabs_of_one_kiosk_double_nothing(office: Office, open_kiosk: Any) -> None:
    """Two tabs deliver the same store, and one is closed while they do: every form arrives, each once."""
    page = await open_kiosk()
    other = await page.context.new_page()
    await other.goto(f"{office.url}/kiosk/")
    await page.bring_to_front()
    await page.context.set_offline(True)
    for number in range(3):
        await fill_in(page, f"Яма на дороге номер {number}.")
        await send(page)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Обращение сохранено")
        await page.get_by_role("button", name="Готово").click()
    await page.context.set_offline(False)
    for tab in (page, other):
        await tab.evaluate("dispatchEvent(new Event('online'))")
    await page.close()
    third = await other.context.new_page()
    await third.goto(f"{office.url}/kiosk/")
    await expect(third.locator("footer")).to_have_attribute("data-stored", "0", timeout=20_000)
    texts = sorted(envelope.text for envelope in await office.envelopes())
    assert texts == [f"Яма на дороге номер {number}." for number in range(3)]


async def test_a_revoked_kiosk_says_so_and_keeps_what_it_holds(office: Office, open_kiosk: Any) -> None:
    """The citizen is told that the kiosk is closed; their form stays in the store until it is let in again."""
    page = await open_kiosk()
    await page.get_by_role("button", name="Обращение", exact=True).click()
    await office.administration().revoke("hall-1")
    await page.get_by_role("button", name="Назад").click()
    await fill_in(page, "Сломан лифт в подъезде.")
    await send(page)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Обращение сохранено")
    await page.get_by_role("button", name="Готово").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Киоск не работает")
    assert await office.envelopes() == []

    await office.administration().reinstate("hall-1")
    await page.reload()
    await expect(page.locator("footer")).to_have_attribute("data-stored", "0", timeout=20_000)
    assert [envelope.text for envelope in await office.envelopes()] == ["Сломан лифт в подъезде."]


async def test_nobody_there_the_form_is_wiped(office: Office, browser: Browser, open_kiosk: Any) -> None:
    """After a while without a touch the page asks, and then forgets what was typed and the language."""
    page = await open_kiosk()
    await page.clock.install()
    await page.reload()
    await page.get_by_role("button", name="English").click()
    await page.get_by_role("button", name="Appeal", exact=True).click()
    await page.get_by_label("Your message").fill("My secret")
    await page.clock.fast_forward(61_000)
    await page.get_by_role("button", name="Yes, go on").click()
    await expect(page.get_by_label("Your message")).to_have_value("My secret")
    await page.clock.fast_forward(61_000)
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.clock.run_for(16_000)
    await expect(page.get_by_role("heading", level=1)).to_have_text(HOME)
    assert "My secret" not in await page.content()


async def test_the_key_cannot_be_read_out_and_a_code_works_once(office: Office, open_kiosk: Any) -> None:
    """Neither key can be exported by a script; the enrolment code is refused the second time."""
    page = await open_kiosk()
    assert await page.evaluate(EXPORTABLE) == [False, False]
    code = await office.administration().enrol("hall-1")
    ask = "code => fetch('enrol', {method: 'POST', body: JSON.stringify({code})}).then(answer => answer.status)"
    assert [await page.evaluate(ask, code.code) for _ in range(2)] == [200, 404]


async def test_an_answer_that_got_lost_doubles_nothing(office: Office, open_kiosk: Any) -> None:
    """The daemon has committed, the kiosk never heard of it: it keeps the form, sends it again, and learns the number."""
    page = await open_kiosk()

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await page.context.route("**/hooks/kiosk/hall-1", lose)
    await fill_in(page, "Нет света в подъезде.")
    await send(page)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Обращение сохранено")
    reference = await page.locator(".big strong").inner_text()
    (appeal,) = await office.registry.list_appeals()
    await expect(page.locator("footer")).to_have_attribute("data-stored", "0", timeout=20_000)
    await page.get_by_role("button", name="Готово").click()
    await page.get_by_role("button", name="Узнать номер").click()
    await page.get_by_label("Номер квитанции").fill(reference)
    await page.get_by_role("button", name="Найти").click()
    await expect(page.locator(".big strong").first).to_have_text(appeal.number)
    assert len(await office.registry.list_appeals()) == 1


async def test_a_hotspots_page_is_not_taken_for_the_daemon(office: Office, open_kiosk: Any) -> None:
    """A hotspot answers everything with 200 or 403 and a page of its own: the form stays, and comes in later, once."""
    page = await open_kiosk()
    pattern = "**/hooks/kiosk/**"
    for status in (200, 403):
        await page.context.route(pattern, answering(status))
        await fill_in(page, f"Гололёд во дворе, {status}.")
        await send(page)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Обращение сохранено")
        await page.get_by_role("button", name="Готово").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(HOME)
        await page.context.unroute(pattern)
    await page.evaluate("dispatchEvent(new Event('online'))")
    await page.reload()
    await expect(page.locator("footer")).to_have_attribute("data-stored", "0", timeout=20_000)
    assert sorted(envelope.text[-4:-1] for envelope in await office.envelopes()) == ["200", "403"]


def answering(status: int) -> Callable[[Route], Awaitable[None]]:
    async def answer(route: Route) -> None:
        await route.fulfill(status=status, body="<h1>Pay!")

    return answer


async def test_a_kiosk_whose_disk_is_full_still_delivers(office: Office, open_kiosk: Any) -> None:
    """What cannot be kept goes by the network alone; without one the words stay on the screen."""
    page = await open_kiosk()
    await page.evaluate(
        """() => { IDBObjectStore.prototype.put = () => { throw new DOMException("", "QuotaExceededError") } }"""
    )
    await fill_in(page, "Не работает домофон.")
    await page.context.set_offline(True)
    await send(page)
    await expect(page.get_by_role("alert")).to_contain_text("Что-то пошло не так")
    await expect(page.get_by_label("Текст обращения")).to_have_value("Не работает домофон.")
    await page.context.set_offline(False)
    await send(page)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Обращение принято")
    assert len(await office.envelopes()) == 1


async def test_a_kiosk_with_a_wrong_clock_goes_by_the_daemons(office: Office, open_kiosk: Any) -> None:
    """Three days slow: it is refused once, learns the time, delivers, and what it writes has the right time."""
    page = await open_kiosk(clock=datetime.now(UTC) - timedelta(days=3))
    await fill_in(page, "Нет воды с самого утра.")
    await send(page)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Обращение принято")
    (envelope,) = await office.envelopes()
    assert abs(datetime.now(UTC) - envelope.sent_at) < timedelta(minutes=1)
    assert envelope.marks == ()


async def test_what_only_the_daemon_can_judge_is_shown_beside_its_field(
    office: Office, open_kiosk: Any, tmp_path: Path
) -> None:
    """A pattern that Python alone understands, in a form of the office's own: 422, shown; put right, it is taken."""
    forms = tmp_path / "forms.yaml"
    forms.write_text(OWN_FORM, encoding="utf-8")
    await office.stop()
    office.settings = KIOSKS.model_copy(update={"forms": forms})
    await office.start()
    page = await open_kiosk(heading="What brings you here?")
    await page.get_by_role("button", name="Zählerstand").click()
    await page.get_by_label("Zähler").fill("zwölf")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".error").first).to_have_text("Please check how it is written.")
    assert await office.envelopes() == []
    await page.get_by_label("Zähler").fill("12")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your appeal has been received")


async def test_a_newer_page_is_taken_when_nobody_is_there(
    office: Office, open_kiosk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade of the daemon the kiosk takes all files of the new page at once, between two citizens."""
    page = await open_kiosk()
    await fill_in(page, "Шумят по ночам во дворе.")
    newer = tmp_path / "page"
    shutil.copytree(page_routes.FOLDER, newer)
    words = newer / "texts.js"
    words.write_text(words.read_text(encoding="utf-8").replace("Выберите, с чем вы пришли", "Здравствуйте"))
    monkeypatch.setattr(page_routes, "FOLDER", newer)
    await office.stop()
    await office.start()
    await page.evaluate(UPDATE)
    await expect(page.get_by_label("Текст обращения")).to_have_value("Шумят по ночам во дворе.")
    await page.get_by_role("button", name="Назад").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Здравствуйте")


UPDATE = """async () => {
  const taken = new Promise(done => navigator.serviceWorker.addEventListener("controllerchange", done));
  await (await navigator.serviceWorker.getRegistration()).update();
  await taken;
}"""
OWN_FORM = """version: 1
languages: [de]
forms:
  - id: meter
    version: 1
    title: {de: Zählerstand}
    fields:
      - {name: reading, type: text, role: text, required: true, title: {de: Zähler}, schema: {pattern: "^(?P<digits>[0-9]+)$"}}
"""


async def test_the_page_judges_answers_as_the_daemon_does(office: Office, open_kiosk: Any) -> None:
    """For every kind of field the script's fault is the daemon's, by its code: nobody is refused only after sending."""
    page = await open_kiosk()
    values: list[Any] = [None, "", " ", "a", "А" * 9, "😀😀😀", "a" * 30, 0, 5, 5.5, 99, True, False, "5", "mo", ["mo"]]
    values += [
        ["mo", "tu"],
        ["sa"],
        [],
        "2026-02-28",
        "2026-02-30",
        "anna@example.org",
        "anna@",
        "+7 921 123-45-67",
        "07",
    ]
    form = KioskForm.model_validate({"id": "all", "version": 1, "title": {"ru": "О"}, "fields": EVERY_FIELD})
    forms = KioskForms(version=1, languages=("ru",), forms=(form,))
    checks = FormChecks(forms)
    published: Any = publish_forms(forms, KIOSKS, office="Окно")
    verdicts = await page.evaluate(JUDGE, [published["forms"][0]["fields"], values])
    for field, column in zip(form.fields, verdicts, strict=True):
        for value, theirs in zip(values, column, strict=True):
            submission = KioskSubmission.model_validate(
                {"id": "f", "form": "all", "form_version": 1, "fields": {field.name: value}}
            )
            errors = [error for error in checks.errors(form, submission, {}) if error.field == field.name]
            ours = errors[0].code if errors else None
            if gives(field.type, value):
                assert (field.name, value, theirs) == (field.name, value, ours)


def gives(kind: str, value: Any) -> bool:
    """Tell whether the page's control for such a field can give the value."""
    if value is None:
        return True
    if kind in {"checkbox", "choices"}:
        return isinstance(value, bool if kind == "checkbox" else list)
    return isinstance(value, str) or (kind == "number" and type(value) in {int, float})


EVERY_FIELD = [
    {
        "name": "text",
        "type": "text",
        "title": {"ru": "т"},
        "required": True,
        "schema": {"minLength": 2, "maxLength": 9},
    },
    {"name": "code", "type": "text", "title": {"ru": "т"}, "schema": {"pattern": "^[a-zА-Я]+$"}},
    {"name": "mail", "type": "email", "title": {"ru": "т"}},
    {"name": "phone", "type": "phone", "title": {"ru": "т"}, "required": True},
    {"name": "number", "type": "number", "title": {"ru": "т"}, "schema": {"minimum": 1, "maximum": 9}},
    {"name": "day", "type": "date", "title": {"ru": "т"}},
    {"name": "agree", "type": "checkbox", "title": {"ru": "т"}, "role": "consent", "required": True},
    {"name": "choice", "type": "choice", "title": {"ru": "т"}, "choices": [{"value": "mo", "title": {"ru": "т"}}]},
    {
        "name": "choices",
        "type": "choices",
        "title": {"ru": "т"},
        "schema": {"maxItems": 1},
        "choices": [{"value": "mo", "title": {"ru": "т"}}, {"value": "tu", "title": {"ru": "т"}}],
    },
]
JUDGE = """async ([fields, values]) => {
  const { findFault } = await import("/kiosk/validation.js");
  return fields.map(field => values.map(value => findFault(field, value)?.code ?? null));
}"""
READ_STORE = """async () => {
  const database = await new Promise(done => {
    const open = indexedDB.open("okno-kiosk"); open.onsuccess = () => done(open.result);
  });
  const rows = await new Promise(done => {
    const read = database.transaction("forms").objectStore("forms").getAll(); read.onsuccess = () => done(read.result);
  });
  const text = rows.map(row => new TextDecoder().decode(row.sealed) + JSON.stringify(row));
  return text.join();
}"""
EXPORTABLE = """async () => {
  const database = await new Promise(done => {
    const open = indexedDB.open("okno-kiosk"); open.onsuccess = () => done(open.result);
  });
  const read = name => new Promise(done => {
    const asked = database.transaction("settings").objectStore("settings").get(name);
    asked.onsuccess = () => done(asked.result);
  });
  return [(await read("identity")).key.extractable, (await read("vault"))?.extractable ?? false];
}"""
