"""The citizen's form in a real Chromium: written by keyboard, over outages and reloads, in both colours."""

from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from appeals.answer import UploadedFile
from tests.integration.web.browsing import OpenPage, violations
from tests.integration.web.office import Office, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

FILES_KEPT = """new Promise(done => {
  const opened = indexedDB.open('okno-drafts')
  opened.onsuccess = () => {
    const asked = opened.result.transaction('drafts').objectStore('drafts').get('appeal/files')
    asked.onsuccess = () => { opened.result.close(); done(asked.result?.length === 1) }
  }
})"""
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


async def fill(page: Page, text: str = "В подъезде нет света.") -> None:
    """Fill the least that a form needs."""
    await page.get_by_label("Что случилось").fill(text)
    await page.get_by_label("Имя и фамилия").fill("Анна Иванова")
    await page.get_by_role("checkbox").check()


async def send(page: Page) -> None:
    await page.get_by_role("button", name="Отправить", exact=True).click()


async def number_on(page: Page) -> str:
    """Return the number that the page tells."""
    await expect(page.get_by_role("heading", name="Обращение зарегистрировано")).to_be_visible(timeout=15_000)
    return await page.locator("dd").first.inner_text()


@pytest.mark.parametrize("options", [{"color_scheme": "light"}, {"color_scheme": "dark", **PHONE}])
async def test_a_citizen_writes_and_follows_the_appeal(
    page_office: Office, open_page: OpenPage, tmp_path: Path, options: dict[str, object]
):
    """From the empty form to the status page, with a file; axe finds nothing against WCAG 2.1 AA on the way."""
    photo = tmp_path / "двор.txt"
    photo.write_text("фото", encoding="utf-8")
    page = await open_page(f"{page_office.url}/write", **options)
    await expect(page.get_by_label("Что случилось")).to_be_visible()
    assert await violations(page) == []
    await fill(page)
    await page.locator("input[type=file]").first.set_input_files(photo)
    await expect(page.get_by_role("button", name="Убрать двор.txt")).to_be_visible()
    await page.get_by_label("Тема").select_option(label="Лифт")
    await page.get_by_label("Электронной почтой").check()
    await page.get_by_label("Электронная почта *").fill("anna@example.org")
    assert await violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await send(page)
    number = await number_on(page)
    assert await violations(page) == []
    await page.reload()
    assert await number_on(page) == number  # this tab still tells it

    await page.get_by_role("link", name="Где моё обращение").last.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Обращение {number}")
    await page.get_by_role("button", name="Дополнить обращение").click()
    assert await violations(page) == []
    (envelope,) = (await page_office.conversation(number)).envelopes
    assert envelope.fields["topic"] == "housing.lift"
    assert [file.name for file in envelope.attachments] == ["двор.txt"]


async def test_faults_are_summed_up_and_lead_to_their_fields(page_office: Office, open_page: OpenPage):
    """By keyboard alone: the summary has the focus, its links go to the fields, a mended fault goes away."""
    page = await open_page(f"{page_office.url}/write")
    await page.get_by_role("button", name="Отправить", exact=True).focus()
    await page.keyboard.press("Enter")
    summary = page.get_by_role("alert").filter(has_text="Исправьте, пожалуйста")
    await expect(summary).to_be_focused()
    assert await violations(page) == []
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Напишите, что случилось")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Что случилось")).to_be_focused()
    await page.keyboard.type("Нет света")
    await expect(page.get_by_role("link", name="Напишите, что случилось")).to_have_count(0)
    await expect(page.get_by_role("link", name="Укажите имя")).to_be_visible()
    await fill(page)
    await expect(summary).to_have_count(0)


async def test_a_draft_with_its_files_survives_a_reload_until_it_is_cleared(
    page_office: Office, open_page: OpenPage, tmp_path: Path
):
    """What was typed and attached is there again; clearing asks first and forgets all of it."""
    plan = tmp_path / "план.txt"
    plan.write_text("завтра", encoding="utf-8")
    page = await open_page(f"{page_office.url}/write")
    await fill(page, "Начало")
    await page.locator("input[type=file]").first.set_input_files(plan)
    await eventually(lambda: page.evaluate(FILES_KEPT))
    await page.reload()
    await expect(page.get_by_label("Что случилось")).to_have_value("Начало")
    await expect(page.get_by_role("button", name="Убрать план.txt")).to_be_visible()
    await expect(page.get_by_text("Мы сохранили то, что вы написали раньше.")).to_be_visible()
    await page.get_by_role("button", name="Очистить форму").click()
    await page.get_by_role("button", name="Да, стереть").click()
    await expect(page.get_by_label("Что случилось")).to_have_value("")
    await page.reload()
    await expect(page.get_by_label("Что случилось")).to_have_value("")


async def test_an_outage_is_told_and_the_appeal_goes_out_by_itself(page_office: Office, open_page: OpenPage):
    """Nobody has to press anything when the network is back."""
    page = await open_page(f"{page_office.url}/write")
    await fill(page)
    await page.context.set_offline(True)
    await send(page)
    await expect(page.get_by_text("Нет связи. Обращение сохранено")).to_be_visible()
    assert await violations(page) == []
    await page.context.set_offline(False)
    number = await number_on(page)
    (appeal,) = await page_office.registry.list_appeals(limit=10)
    assert appeal.number == number


async def test_a_lost_answer_and_a_reload_give_one_number(page_office: Office, open_page: OpenPage):
    """The appeal was registered, the answer never came, the page was loaded anew: it asks again with the same id."""
    page = await open_page(f"{page_office.url}/write")
    await fill(page)
    lost = []

    async def lose(route: Route) -> None:
        answer = await route.fetch()
        lost.append(await answer.json())
        await route.abort()

    await page.route("**/api/v1/citizen/appeals", lose)
    await send(page)
    await expect(page.get_by_text("Нет связи. Обращение сохранено")).to_be_visible()
    await page.unroute("**/api/v1/citizen/appeals")
    await page.reload()
    assert await number_on(page) == lost[0]["number"]
    assert len(await page_office.registry.list_appeals(limit=10)) == 1


async def test_a_server_that_was_away_gets_it_when_it_is_back(page_office: Office, open_page: OpenPage):
    """The listener is gone while the citizen sends; nothing is lost, nothing is doubled."""
    page = await open_page(f"{page_office.url}/write")
    await fill(page)
    await page_office.stop_site()
    await send(page)
    await expect(page.get_by_text("Нет связи. Обращение сохранено")).to_be_visible()
    await page_office.start_site()
    await page.get_by_role("button", name="Отправить сейчас").click()
    number = await number_on(page)
    assert [appeal.number for appeal in await page_office.registry.list_appeals(limit=10)] == [number]


async def test_a_server_that_is_busy_is_asked_again(page_office: Office, open_page: OpenPage):
    """503 is told in words; the citizen may go back to the text, or send at once."""
    page = await open_page(f"{page_office.url}/write")
    await fill(page)
    await page.route("**/api/v1/citizen/appeals", lambda route: route.fulfill(status=503, body="busy"))
    await send(page)
    await expect(page.get_by_text("Сервер сейчас не отвечает")).to_be_visible()
    await page.get_by_role("button", name="Вернуться к тексту").click()
    await expect(page.get_by_label("Что случилось")).to_be_editable()
    await page.unroute("**/api/v1/citizen/appeals")
    await send(page)
    await number_on(page)


async def test_an_answers_file_is_fetched_and_a_message_added(page_office: Office, open_page: OpenPage, tmp_path: Path):
    """The status page is where answers without a contact are read, and where the talk goes on."""
    page = await open_page(f"{page_office.url}/write")
    await fill(page)
    await send(page)
    number = await number_on(page)
    appeal = await page_office.assign(number, "ivanova")
    files = [UploadedFile(name="план.pdf", media_type="application/pdf", content=b"%PDF-1.4 plan")]
    await page_office.lifecycle.answer(
        appeal.id, agent_id="ivanova", version=appeal.version, text="Починим.", attachments=files
    )
    await page.get_by_role("link", name="Где моё обращение").last.click()
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Скачать план.pdf").click()
    download = await started.value
    assert download.suggested_filename == "план.pdf"
    assert Path(await download.path()).read_bytes() == b"%PDF-1.4 plan"
    await page.get_by_role("button", name="Дополнить обращение").click()
    await page.get_by_label("Что добавить").fill("Не починили.")
    await page.get_by_role("button", name="Добавить к обращению").click()
    await expect(page.get_by_text(f"Добавлено к обращению {number}")).to_be_focused()
    texts = [envelope.text for envelope in (await page_office.conversation(number)).envelopes]
    assert texts == ["В подъезде нет света.", "Не починили."]


async def test_a_filled_honeypot_is_told_as_a_review(page_office: Office, open_page: OpenPage):
    """Politely, with the reference that an operator finds it by."""
    page = await open_page(f"{page_office.url}/write")
    await fill(page)
    await page.locator("#website").fill("http://spam", force=True)
    await send(page)
    await expect(page.get_by_role("heading", name="Сообщение принято на проверку")).to_be_visible()
    (entry,) = await page_office.registry.quarantined()
    await expect(page.get_by_text(str(entry.id))).to_be_visible()


async def test_without_javascript_there_is_a_form_too(page_office: Office, open_page: OpenPage):
    """The page leads to it; it is accessible, tells faults with what was typed, and gives number and code."""
    page = await open_page(f"{page_office.url}/write", java_script_enabled=False)
    await page.get_by_role("link", name="Написать обращение без JavaScript").click()
    page_office.clock.ahead -= page_office.clock.ahead  # the form is shown now
    await page.get_by_label("Что случилось").fill("Нет света.")
    await page.get_by_label("Имя и фамилия").fill("Анна")
    await page.get_by_role("checkbox").check()
    await page.get_by_label("Электронной почтой").check()
    page_office.clock.ahead += type(page_office.clock.ahead)(seconds=30)  # and filled in by a person
    await page.get_by_role("button", name="Отправить").click()
    await expect(page.get_by_role("alert")).to_contain_text("Укажите электронную почту")
    await expect(page.get_by_label("Что случилось")).to_have_value("Нет света.")
    await page.get_by_label("Электронная почта").fill("anna@example.org")
    await page.get_by_role("checkbox").check()
    page_office.clock.ahead += type(page_office.clock.ahead)(seconds=30)
    await page.get_by_role("button", name="Отправить").click()
    await expect(page.get_by_role("heading", name="Обращение зарегистрировано")).to_be_visible()
    (appeal,) = await page_office.registry.list_appeals(limit=10)
    await expect(page.get_by_text(appeal.number, exact=True)).to_be_visible()


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
async def test_the_plain_form_is_accessible(page_office: Office, open_page: OpenPage, color_scheme: str):
    """In both colours, on a phone's width."""
    page = await open_page(f"{page_office.url}/write/plain?language=ru", color_scheme=color_scheme, **PHONE)
    assert await violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_a_closed_form_names_the_other_ways(page_office: Office, open_page: OpenPage):
    """Where the office takes no forms, the page says how else to write."""
    page = await open_page(f"{page_office.url}/status")
    await page.route("**/api/v1/citizen/form", lambda route: route.fulfill(status=404, body="{}"))
    await page.goto(f"{page_office.url}/write")
    await expect(page.get_by_role("alert")).to_contain_text("через сайт не принимаются")
