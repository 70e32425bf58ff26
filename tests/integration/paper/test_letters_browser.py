"""Registering letters in the console, in a real Chromium."""

from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Page, expect

from tests.integration.web.browsing import OpenPage, violations
from tests.integration.web.office import PASSWORD, Office

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}


async def log_in(page: Page) -> None:
    await page.get_by_label("Имя для входа").fill("ivanova")
    await page.get_by_label("Пароль", exact=True).fill(PASSWORD)
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Письмо, визит: зарегистрировать").click()
    await expect(page.get_by_role("dialog", name="Письмо или визит")).to_be_visible()


@pytest.mark.parametrize("options", [{}, PHONE])
async def test_an_agent_registers_a_scanned_letter_and_prints_the_slip(
    page_office: Office, open_page: OpenPage, tmp_path: Path, options: dict[str, object]
):
    """What is missing is told first; then number, deadline and the slip; axe finds nothing on the way."""
    scan = tmp_path / "письмо.png"
    Image.new("L", (400, 560), 255).save(scan)
    page = await open_page(page_office.url, **options)
    await log_in(page)
    register = page.get_by_role("button", name="Зарегистрировать", exact=True)
    await register.click()
    await expect(page.get_by_role("alert").filter(has_text="Укажите имя заявителя.").first).to_be_visible()
    assert await violations(page) == []
    await page.get_by_label("Имя и фамилия заявителя").fill("Иванова Анна")
    await page.get_by_label("Почтовый адрес").fill("191186, Санкт-Петербург, Невский пр., 28")
    await page.get_by_label("Входящий номер").fill("И-112/26")
    await page.locator("input[type=file]").last.set_input_files(scan)
    await expect(page.get_by_role("button", name="Убрать письмо.png")).to_be_visible()
    await register.click()
    slip = page.get_by_role("link", name="Талон для заявителя")
    await expect(slip).to_be_visible(timeout=15_000)
    assert await violations(page) == []
    answer = await page.request.get(f"{page_office.url}{await slip.get_attribute('href')}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/pdf")
    (appeal,) = await page_office.registry.list_appeals(limit=10)
    (envelope,) = (await page_office.registry.conversation(appeal.id)).envelopes
    assert (envelope.recognise, [file.name for file in envelope.attachments]) == (True, ["письмо.png"])
    await page.get_by_role("button", name="Ещё одно").click()
    await expect(page.get_by_label("Имя и фамилия заявителя")).to_have_value("")


async def test_a_refusal_of_the_server_leaves_everything_typed(
    page_office: Office, open_page: OpenPage, tmp_path: Path
):
    """A scan that cannot be opened is told in words; a visit needs no address."""
    broken = tmp_path / "скан.pdf"
    broken.write_bytes(b"%PDF-1.4 broken")
    page = await open_page(page_office.url)
    await log_in(page)
    await page.get_by_role("button", name="Личный приём").click()
    await page.get_by_label("Имя и фамилия заявителя").fill("Анна")
    await page.get_by_label("Текст обращения").fill("Просит починить лифт.")
    await page.locator("input[type=file]").last.set_input_files(broken)
    register = page.get_by_role("button", name="Зарегистрировать", exact=True)
    await register.click()
    await expect(page.get_by_text("Скан не открывается")).to_be_visible(timeout=15_000)
    await page.get_by_role("button", name="Убрать скан.pdf").click()
    await register.click()
    await expect(page.get_by_role("heading", name="Зарегистрировано")).to_be_visible(timeout=15_000)
    (appeal,) = await page_office.registry.list_appeals(limit=10)
    assert appeal.channel == "in_person"
    assert appeal.deadline_at - appeal.registered_at > timedelta(days=20)


async def test_an_answer_by_post_can_be_printed_from_the_conversation(page_office: Office, open_page: OpenPage):
    """The button is beside the answer, and gives the letter."""
    page = await open_page(page_office.url)
    await log_in(page)
    await page.get_by_label("Имя и фамилия заявителя").fill("Анна")
    await page.get_by_label("Почтовый адрес").fill("191186, Невский пр., 28")
    await page.get_by_label("Текст обращения").fill("Прошу починить лифт.")
    await page.get_by_role("button", name="Зарегистрировать", exact=True).click()
    await page.get_by_role("button", name="Закрыть", exact=True).click(timeout=15_000)
    (appeal,) = await page_office.registry.list_appeals(limit=10)
    await page_office.assign(appeal.number, "ivanova")
    await page.reload()
    await page.get_by_role("button", name=appeal.number).click()
    await page.get_by_label("Ответ заявителю").fill("Лифт починен.")
    await page.get_by_role("button", name="Отправить", exact=True).click()
    letter = page.get_by_role("link", name="Напечатать письмо").last
    await expect(letter).to_be_visible()
    answer = await page.request.get(f"{page_office.url}{await letter.get_attribute('href')}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/pdf")
