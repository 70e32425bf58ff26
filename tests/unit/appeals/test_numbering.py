"""Numbers, codes and tokens."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from appeals.numbering import (
    CODE_ALPHABET,
    check_secret_code,
    find_number,
    mask_secret_codes,
    new_number,
    normalise_number,
    read_reply_token,
    reply_token,
    secret_code,
)

KEY = b"k" * 32


def test_numbers_are_normal_and_random():
    """A fresh number is its own normal form, and two are not alike."""
    numbers = {new_number() for _ in range(1_000)}
    assert len(numbers) > 990
    assert all(normalise_number(number) == number for number in numbers)


@given(st.integers(0, 9), st.integers(0, 9))
def test_every_single_wrong_digit_is_noticed(place: int, digit: int):
    """The check digit finds any one wrong digit."""
    digits = new_number().replace("-", "")
    wrong = digits[:place] + str(digit) + digits[place + 1 :]
    assert (normalise_number(wrong) is None) == (wrong != digits)


@given(st.integers(0, 8))
def test_every_swap_of_neighbours_is_noticed(place: int):
    """The check digit finds two neighbouring digits that changed places."""
    digits = new_number().replace("-", "")
    swapped = digits[:place] + digits[place + 1] + digits[place] + digits[place + 2 :]
    assert (normalise_number(swapped) is None) == (swapped != digits)


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_none(text: str):
    """Whatever a citizen types, normalising never raises, and what it returns is stable."""
    number = normalise_number(text)
    assert number is None or normalise_number(number) == number


def test_a_number_is_found_however_it_is_written():
    """Spaces, dashes, a numero sign and words around it do not matter."""
    number = new_number()
    plain = number.replace("-", "")
    assert find_number(f"Re: обращение № {number}, прошу ответить") == number
    assert find_number(f"appeal {number.replace('-', ' ')}") == number
    assert find_number(f"[{plain}]") == number
    assert find_number(f"1{plain}") is None
    assert find_number("call 12345") is None


def test_codes_open_only_their_own_appeal():
    """A code is checked without regard to case, dashes and look-alikes, and opens no other appeal."""
    one, other = UUID(int=1), UUID(int=2)
    code = secret_code(KEY, one)
    assert set(code.replace("-", "")) <= set(CODE_ALPHABET)
    assert check_secret_code(KEY, one, f" {code.lower().replace('-', '')} ")
    assert check_secret_code(KEY, one, code.replace("0", "O").replace("1", "l"))
    assert not check_secret_code(KEY, other, code)
    assert not check_secret_code(b"another key", one, code)


@given(st.uuids())
def test_a_token_comes_back_as_its_appeal(appeal_id: UUID):
    """What we signed we can read, also when a mail server changed its case."""
    token = reply_token(KEY, appeal_id)
    assert len(token) == 39
    assert read_reply_token(KEY, token) == appeal_id
    assert read_reply_token(KEY, token.upper()) == appeal_id
    assert read_reply_token(b"another key", token) is None


@given(st.text(max_size=60))
def test_no_text_is_a_token_unless_signed(text: str):
    """Forged or broken tokens are None, never an error."""
    assert read_reply_token(KEY, text) is None


@given(st.uuids())
def test_agents_do_not_see_a_citizen_s_code(appeal_id: UUID):
    """The code is masked wherever it stands in a text; the number stays."""
    number, code = new_number(), secret_code(KEY, appeal_id)
    text = mask_secret_codes(f"Номер: {number}, секретный код: {code}\nhttps://okno.example/status#n={number}&c={code}")
    assert code not in text
    assert text.count(number) == 2
