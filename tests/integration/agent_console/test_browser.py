"""The pages in a real Chromium, against the real console: what an agent and a citizen do with them."""

import base64
import importlib.util
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from appeals.numbering import secret_code

ROOT = Path(__file__).resolve().parents[3]
ARGUMENTS = ["--no-sandbox", "--disable-gpu"]  # CI runs as root, without a screen
PASSWORD = "correct horse"
KEY = b"k" * 32
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCRIPT = "<script>document.title = 'stolen'</script> Холодные батареи"


@pytest.fixture(scope="session")
def built_pages() -> Path:
    """Return the folder of the built pages. Skips where they cannot be built; fails in CI."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    front_end = hook.FrontEnd(ROOT)
    try:
        front_end.build_if_stale()
    except hook.FrontEndError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no pages: {str(error).splitlines()[0]}")
    folder: Path = front_end.dist
    return folder


@pytest.fixture
async def page_site(make_site: Any, built_pages: Path, tmp_path: Path) -> Any:
    """Serve a site with the built pages."""
    (tmp_path / "dist").symlink_to(built_pages)
    return await make_site(public_url="")


@pytest.fixture
async def browser(chromium_path: Path) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
async def open_page(browser: Browser) -> AsyncIterator[Callable[..., Awaitable[Page]]]:
    """Return a factory of pages, each in a browser of its own; at the end no page may have complained."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    async def open_one(address: str, *, locale: str = "ru-RU", **options: Any) -> Page:
        context = await browser.new_context(locale=locale, **options)
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        await page.goto(address)
        return page

    yield open_one
    for context in contexts:
        await context.close()
    assert complaints == []


async def log_in(page: Page, agent_id: str = "ivanova") -> None:
    await page.get_by_label("Имя для входа").fill(agent_id)
    await page.get_by_label("Пароль", exact=True).fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("На связи")).to_be_visible()


async def test_an_agent_accepts_reads_answers_and_closes_by_keyboard(page_site: Any, open_page: Any) -> None:
    """From the log-in to the closed appeal; what a citizen wrote is text, whatever it looks like."""
    page = await open_page(page_site.url)
    await log_in(page)
    await page.get_by_role("button", name="Принимать обращения").click()
    await expect(page.get_by_role("button", name="Ваш статус: Принимаю обращения")).to_be_visible()

    appeal = await page_site.register(
        subject=SCRIPT, text="Третий день холодно.", files={"батарея.png": ("image/png", PIXEL)}
    )
    await page_site.offer("ivanova", appeal)
    await expect(page.get_by_role("region", name="Предложены вам")).to_contain_text(appeal.number)
    await expect(page).to_have_title("(1) Окно: рабочее место")
    await page.keyboard.press("a")

    await expect(page.get_by_role("heading", level=1)).to_have_text(SCRIPT)
    await expect(page.get_by_role("region", name="Переписка")).to_contain_text("Третий день холодно.")
    picture = page.get_by_role("img", name="батарея.png")
    await expect(picture).to_be_visible()
    assert await picture.evaluate(
        "image => image.decode().then(() => image.naturalWidth > 0)"
    )  # waits until it is loaded

    await page.keyboard.press("r")
    await page.keyboard.type("Мастер будет у вас сегодня.")
    await page.keyboard.press("Control+Enter")
    await expect(page.get_by_role("region", name="Переписка")).to_contain_text("Мастер будет у вас сегодня.")
    await expect(page.get_by_label("Ответ заявителю")).to_have_value("")

    await page.get_by_role("button", name="Закрыть", exact=True).click()
    await page.get_by_role("dialog").get_by_role("button", name="Закрыть", exact=True).click()
    await expect(page.get_by_text(f"Обращение {appeal.number} закрыто.")).to_be_visible()
    conversation = await page_site.registry.conversation(appeal.id)
    assert conversation.appeal.state == "closed"
    assert [reply.text for reply in conversation.replies if reply.agent_id] == ["Мастер будет у вас сегодня."]


async def test_a_file_goes_out_with_the_answer(page_site: Any, open_page: Any, tmp_path: Path) -> None:
    """An attached file is uploaded, listed with the draft, and is part of the reply."""
    page = await open_page(page_site.url)
    await log_in(page)
    appeal = await page_site.register()
    await page_site.offer("ivanova", appeal)
    await page.get_by_role("button", name="Принять", exact=True).click()
    plan = tmp_path / "план.txt"
    plan.write_text("завтра в 10", encoding="utf-8")
    await page.locator("input[type=file]").set_input_files(plan)
    await expect(page.get_by_role("button", name="Убрать план.txt")).to_be_visible()
    await page.get_by_label("Ответ заявителю").fill("План во вложении.")
    await page.get_by_role("button", name="Отправить и закрыть").click()
    await expect(page.get_by_text(f"обращение {appeal.number} закрыто")).to_be_visible()
    replies = (await page_site.registry.conversation(appeal.id)).replies
    assert [item.name for reply in replies if reply.agent_id for item in reply.attachments] == ["план.txt"]


async def test_a_draft_survives_a_reload(page_site: Any, open_page: Any) -> None:
    """What was typed is there after F5, and the list shows that there is a draft."""
    page = await open_page(page_site.url)
    await log_in(page)
    appeal = await page_site.register()
    await page_site.offer("ivanova", appeal)
    await page.get_by_role("button", name="Принять", exact=True).click()
    await page.get_by_label("Ответ заявителю").fill("Начало ответа")
    await page.reload()
    await expect(page.get_by_text("Черновик")).to_be_visible()
    await page.get_by_role("button", name=appeal.number).click()
    await expect(page.get_by_label("Ответ заявителю")).to_have_value("Начало ответа")


async def test_a_cut_connection_comes_back_by_itself_and_nothing_is_missed(page_site: Any, open_page: Any) -> None:
    """The page says that it is offline, comes back without a hand, and shows what was offered meanwhile."""
    page = await open_page(page_site.url)
    await log_in(page)
    for connection in page_site.runner.server.connections:
        connection.force_close()
    await expect(page.get_by_text("Нет связи с сервером")).to_be_visible()
    appeal = await page_site.register(subject="Пока вас не было")
    await page_site.offer("ivanova", appeal)
    await expect(page.get_by_role("region", name="Предложены вам")).to_contain_text("Пока вас не было")
    await expect(page.get_by_text("Нет связи с сервером")).to_have_count(0)


async def test_a_wrong_password_is_refused_in_the_chosen_language(page_site: Any, open_page: Any) -> None:
    """The form follows the browser's language, can be switched, and remembers it."""
    page = await open_page(page_site.url, locale="en-GB")
    await page.get_by_label("Log-in name").fill("ivanova")
    await page.get_by_label("Password", exact=True).fill("guess")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator(".refusal")).not_to_be_empty()
    await page.get_by_role("button", name="Русский").click()
    await expect(page.get_by_role("heading", name="Вход в рабочее место")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("heading", name="Вход в рабочее место")).to_be_visible()
    assert await page.evaluate("document.documentElement.lang") == "ru"


async def test_a_citizen_follows_the_link_and_sees_the_state(page_site: Any, open_page: Any) -> None:
    """The link's fragment fills the form in and never reaches the server; a wrong code is told plainly."""
    appeal = await page_site.register()
    code = secret_code(KEY, appeal.id)
    number = appeal.number.replace("-", "")
    page = await open_page(
        f"{page_site.url}/status#n={number}&c={code.lower()}", viewport={"width": 360, "height": 740}
    )
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Обращение {appeal.number}")
    await expect(page.locator("[aria-current=step]")).to_contain_text("Зарегистрировано")
    await expect(page.get_by_text("По закону ответ должен быть дан до")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    await page.get_by_role("button", name="Другое обращение").click()
    await page.get_by_label("Номер обращения").press_sequentially(number)
    await expect(page.get_by_label("Номер обращения")).to_have_value(appeal.number)
    await page.get_by_label("Секретный код").fill("AAAA-AAAA")
    await page.get_by_role("button", name="Показать").click()
    await expect(page.get_by_role("alert")).to_contain_text("с таким номером и кодом нет")
