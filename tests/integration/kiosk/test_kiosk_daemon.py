"""Kiosks and the daemon as it runs: killed amid a batch, kiosks made by the command beside it, answers on the page."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from okno.outside.kiosk import KioskClient, make_submission, sign
from tests.acceptance.harness import DaemonProcess

WEEK_AGO = datetime.now(UTC) - timedelta(days=7)
FORMS = 250

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DaemonProcess]:
    """One for both tests: its start takes longer than they do."""
    folder = tmp_path_factory.mktemp("office")
    async with DaemonProcess(folder, settings={"kiosk": {"enabled": True}, "email": {"enabled": False}}) as daemon:
        yield daemon


async def okno(daemon: DaemonProcess, *words: str) -> tuple[int, str]:
    """Run a command beside the daemon; returns (exit code, output)."""
    command = [sys.executable, "-m", "okno", "kiosk", *words, "-c", str(daemon.config)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout or done.stderr


async def test_a_daemon_killed_amid_a_batch_has_each_of_them_once(daemon: DaemonProcess):
    """SIGKILL after some answers: those answered are there; the same batch again has the rest, each once."""
    _, made = await okno(daemon, "add", "hall-1", "--own-software", "--json")
    secret = json.loads(made)["secret"]
    forms = [
        make_submission(f"Форма {number}", submission_id=f"f-{number}", created_at=WEEK_AGO) for number in range(FORMS)
    ]
    body = "\n".join(json.dumps(form) for form in forms)
    async with aiohttp.ClientSession() as session:
        kiosk = KioskClient(hook_url=f"{daemon.url}/hooks/kiosk/hall-1", secret=secret, session=session)
        answered: dict[int, str] = {}
        headers = sign(body, secret=secret, message_id="m", content_type="application/x-ndjson")
        try:
            async with session.post(f"{kiosk.hook_url}/batch", data=body.encode(), headers=headers) as response:
                async for line in response.content:
                    result = json.loads(line)
                    answered[result["index"]] = result["number"]
                    if len(answered) == 50:
                        daemon.kill()
        except aiohttp.ClientError:
            pass
        assert 50 <= len(answered) < FORMS
        await daemon.restart()
        status, results = await kiosk.deliver_batch(forms)
        assert status == 207
        numbers = [result["number"] for result in results[:-1]]
        assert len(set(numbers)) == FORMS
        assert {number: numbers[number] for number in answered} == answered
        assert results[-1]["summary"]["duplicates"] >= len(answered)

        listed, text = await okno(daemon, "list", "--json")
        (view,) = json.loads(text)
        assert (listed, view["id"], view["state"]) == (0, "hall-1", "up")
        assert (await okno(daemon, "revoke", "hall-1"))[0] == 0
        assert (await kiosk.deliver(forms[0]))[0] == 403


async def test_the_page_shows_where_an_appeal_is(daemon: DaemonProcess, chromium_path: Path):
    """By the number and the code that the kiosk gave; with another's code it tells nothing."""
    _, made = await okno(daemon, "add", "hall-2", "--json")
    code = json.loads(made)["code"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path, args=["--no-sandbox", "--disable-gpu"]
        )
        page = await browser.new_page()
        await page.goto(f"{daemon.url}/kiosk/")
        await page.get_by_label("Код подключения").fill(code)
        await page.get_by_role("button", name="Подключить").click()
        await page.get_by_role("button", name="Отзыв о работе").click()
        await page.get_by_label("Ваш отзыв").fill("Всё хорошо")
        await page.get_by_label("Согласен").check()
        await page.get_by_role("button", name="Отправить").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Обращение принято")
        number, secret = await page.locator(".big strong").all_inner_texts()
        await page.get_by_role("button", name="Готово").click()
        await page.get_by_role("button", name="Узнать ответ").click()
        await page.get_by_label("Номер").fill(number)
        for wrong, words in (("AAAA-AAAA", "Обращения с такими номером"), (secret.lower(), "Ответ будет дан до")):
            await page.get_by_label("Код", exact=True).fill(wrong)
            await page.get_by_role("button", name="Показать").click()
            await expect(page.get_by_role("status").filter(has_text=words)).to_be_visible()
        await browser.close()
