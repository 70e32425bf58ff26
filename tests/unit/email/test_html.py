"""HTML as text and as the cleaned view."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.email.parsing.html_text import html_text, read_html_text
from connectors.email.parsing.html_view import clean_html, take_out_images
from connectors.email.parsing.message_parser import parse_mail


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<div>a</div><div><br></div><div>b</div>", "a\n\nb"),
        ("<p>a<p>b", "a\n\nb"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("<ul><li>one<li>two<ol><li>x<li>y</ol></ul>end", "* one\n* two\n  1. x\n  2. y\n\nend"),
        ("<table><tr><th>A<th>B<tr><td>1<td>2</table>", "A | B\n1 | 2"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("  a \n\t b&nbsp;c &amp; d ", "a b c & d"),
        ("a <a href='https://www.x.ru/'>x.ru</a> <a href='https://y.ru/z'>doc</a>", "a x.ru doc <https://y.ru/z>"),
        ("<a href='mailto:a@b.ru'>me</a>", "me"),
        ("<blockquote type=cite>q<blockquote>qq</blockquote></blockquote>a", "> q\n>\n>> qq\n\na"),
        ("<blockquote style='margin:0 0 0 40px;border:none'>indented</blockquote>", "indented"),
        ("<div class='yahoo_quoted'>q</div>", "> q"),
        ("x<hr>y", "x\n----------\ny"),
        ("<!-- c --><title>t</title><script>s</script><style>s</style>b", "b"),
        ("", ""),
    ],
)
def test_text(html: str, text: str):
    """Paragraphs, lists, tables, links and quotes read as a person would read them."""
    assert html_text(html) == text


GMAIL = (
    "<div>Да, дали.</div><div class='gmail_signature'>Иван<br>+7 900</div><br><div class='gmail_quote'>"
    "<div class='gmail_attr'>сб, 14 мар. 2026 г. в 10:00, Окно &lt;<a href='mailto:o@k.ru'>o@k.ru</a>&gt;:<br></div>"
    "<blockquote class='gmail_quote'>Воду дали?</blockquote></div>"
)
OUTLOOK = (
    "<p class='MsoNormal'>Всё плохо.</p><div id='appendonsend'></div><hr style='width:98%'><div id='divRplyFwdMsg'>"
    "<b>От:</b> Окно &lt;o@k.ru&gt;<br><b>Отправлено:</b> 3 марта 2026 г. 12:10<br><b>Кому:</b> Иван<br><b>Тема:</b> вода"
    "</div><div>Здравствуйте!</div>"
)
MAIL_RU = (
    "<div>Дом 5.<br><br><div data-signature-widget='container'><div>Иван</div></div><blockquote>Среда, 17 ноября 2025, "
    "15:32 +03:00 от Окно &lt;o@k.ru&gt;:<br><div>Какой дом?</div></blockquote></div>"
)
YANDEX = (
    "<div>Не работает.</div><div>12.03.2026, 18:30, Окно &lt;o@k.ru&gt;:</div><blockquote><p>Проверьте</p></blockquote>"
)
APPLE = (
    "Нет.<br id='lineBreakAtBeginningOfSignature'><div dir='ltr'>Отправлено с iPhone</div><div dir='ltr'><br>"
    "<blockquote type='cite'>14 марта 2026 г., в 10:00, Окно &lt;o@k.ru&gt; написал(а):<br><br></blockquote></div>"
    "<blockquote type='cite'><div>Воду дали?</div></blockquote>"
)
INLINE = (
    "<div class='moz-cite-prefix'>14.03.2026 10:00, Окно пишет:</div><blockquote type='cite'>Адрес?</blockquote>"
    "<p>Ленина, 5</p><blockquote type='cite'>Телефон?</blockquote><p>Нет</p>"
)


@pytest.mark.parametrize(
    ("html", "typed"),
    [
        (GMAIL, "Да, дали."),
        (OUTLOOK, "Всё плохо."),
        (MAIL_RU, "Дом 5."),
        (YANDEX, "Не работает."),
        (APPLE, "Нет."),
        (INLINE, "> Адрес?\n\nЛенина, 5\n\n> Телефон?\n\nНет"),
        ("<blockquote>всё письмо в цитате</blockquote>", "> всё письмо в цитате"),
        ("<div class='gmail_signature'>только подпись</div>", "только подпись"),
    ],
    ids=["gmail", "outlook", "mail.ru", "yandex", "apple", "inline", "only a quote", "only a signature"],
)
def test_quotes_and_signatures_of_html_mailers(html: str, typed: str):
    """What mailers mark as quote or signature is set aside, all of it stays one click away, and nothing is emptied."""
    mail = parse_mail(b"In-Reply-To: <a@b>\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + html.encode())
    assert mail.clean_text == typed
    assert mail.text == html_text(html)


@pytest.mark.parametrize(
    ("html", "cleaned"),
    [
        ("<img src=cid:a@b alt=x>", '<img src="cid:a@b" alt="x">'),
        ("<img src='http://t.example/x.gif' alt='photo'><img src='//t.example/y.gif'>", "[photo]"),
        ("<img src=cid:a srcset='http://t.example 2x'>", '<img src="cid:a">'),
        ("<p style='background:url(http://t.example)' onclick=x() class=c id=i>p</p>", "<p>p</p>"),
        ("<style>@import 'http://t.example'</style><link rel=stylesheet href=x>b", "b"),
        ("<script>x()</script><svg><image href=http://t.example></svg><iframe src=x>f</iframe>b", "b"),
        ("<form action=x><input value=y>t<button>z</button></form>", "tz"),
        ("<table background=http://t.example><tr><td colspan=2>c", '<table><tbody><tr><td colspan="2">c</td></tr></tbody></table>'),
        ("<video src=x poster=y></video><audio src=x></audio><base href=http://t.example><meta http-equiv=refresh content=0>b", "b"),
        ("<ul><li>a</ul>", "<ul><li>a</li></ul>"),
    ],
)  # fmt: skip
def test_the_view_loads_nothing(html: str, cleaned: str):
    """Scripts, forms, styles and whatever is loaded from outside are gone; tables, lists and own images stay."""
    assert clean_html(html) == cleaned


@pytest.mark.parametrize(
    "href", ["javascript:alert(1)", "data:text/html,x", "cid:a", "/relative", "//t.example", "file:///x", "vbscript:x"]
)
def test_bad_links_go_nowhere(href: str):
    """A link that is no http, https, mailto or tel loses its target."""
    assert clean_html(f"<a href='{href}'>x</a>") == '<a rel="noopener noreferrer nofollow">x</a>'


def test_good_links_stay():
    """The others keep it, and tell the other side nothing."""
    for href in ("https://x.ru/", "mailto:a@b.ru", "tel:+79000000000"):
        assert clean_html(f"<a href='{href}'>x</a>") == f'<a href="{href}" rel="noopener noreferrer nofollow">x</a>'


def test_pasted_images_become_files():
    """An image that stands in the HTML itself is a file with a content id, and the view refers to it."""
    html = b"<p>x</p><img src='data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==' alt=p>"
    mail = parse_mail(b"Content-Type: text/html\r\n\r\n" + html)
    (item,) = mail.files
    assert (item.detected_media_type, item.inline) == ("image/png", True)
    assert f'<img src="cid:{item.content_id}" alt="p">' in (mail.html or "")
    assert take_out_images(b"<img src='data:image/svg+xml;base64,AAAAAAAAAAAAAAAAAAAA'>")[1] == ()


def test_the_view_is_made_of_the_html_beside_the_text():
    """With both, the plain text is read and the HTML is shown; images keep their content ids."""
    raw = (
        b"Content-Type: multipart/related; boundary=r\r\n\r\n--r\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
        b"--a\r\n\r\nplain\r\n--a\r\nContent-Type: text/html\r\n\r\n<b>html</b><img src=cid:i@x>\r\n--a--\r\n--r\r\n"
        b"Content-Type: image/png; name=a.png\r\nContent-ID: <i@x>\r\n\r\n\x89PNG\r\n\x1a\nx\r\n--r--"
    )
    mail = parse_mail(raw)
    assert (mail.text, mail.html) == ("plain", '<b>html</b><img src="cid:i@x">')
    assert [(item.name, item.content_id, item.inline) for item in mail.files] == [("a.png", "i@x", True)]


@pytest.mark.parametrize(
    "html", ["<div>" * 390 + "x", "<div>" * 100_000 + "x", "<p>" * 50_000 + "x", "<b><i>" * 20_000 + "x", "<table><tr><td>" * 300 + "x", "<" * 100_000, "<a " * 50_000 + "x", "<!--" * 10_000, "&#0;&#xD800;x", "<p>\x00x\ud800"]
)  # fmt: skip
def test_hostile_html_is_read_and_cleaned(html: str):
    """Deep, endless or broken HTML takes linear time, and gives strings that UTF-8 can hold."""
    read = read_html_text(html)
    (read.text + read.typed + (clean_html(html) or "")).encode("utf-8")
    assert "\x00" not in read.text


_PIECES = st.lists(
    st.one_of(
        st.text(max_size=15),
        st.sampled_from(
            [
                "<p>", "</p>", "<div class='gmail_signature'>", "</div>", "<blockquote>", "</blockquote>", "<ul>", "<li>", "<ol>", "</ul>", "<table>", "<td>", "<br>",
                "<pre>", "</pre>", "<img src=", "cid:x>", "'http://t.example/i'>", "<a href='", "javascript:x'>", "https://y.ru'>", "</a>", "<svg>", "<math>", "<style>",
                "<script>", "<!--", "-->", "&lt;", "&#1;", "<noscript>", "<template>", "<select>", "<textarea>", "<img alt='<img src=http://t.example/z>'>",
            ]
        ),
    ),
    max_size=30,
)  # fmt: skip


@settings(deadline=None)
@given(_PIECES)
def test_any_html_loads_nothing(pieces: list[str]):
    """Whatever it is made of, the view holds no source but `cid:` and no script, also after a browser read it anew."""
    html = "".join(pieces)
    read_html_text(html)
    view = clean_html(html)
    for _ in range(2):
        if view is None:
            return
        for source in view.split(' src="')[1:]:
            assert source.lower().startswith("cid:")
        assert "<script" not in view
        assert "<style" not in view
        view = clean_html(view)
