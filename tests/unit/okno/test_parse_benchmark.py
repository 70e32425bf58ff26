"""The corpus and the figures of `okno bench parse`."""

from pathlib import Path

import pytest

from appeals.errors import ConfigurationError
from connectors.email.parsing.message_parser import parse_mail
from okno.benchmark.mail_corpus import KINDS, make_corpus, read_corpus
from okno.benchmark.parse import bench_parse


def test_the_corpus_is_the_same_for_the_same_seed():
    """Two runs with one seed read the same mails, another seed reads others, and each kind is what it says."""
    corpus = make_corpus(3, seed=1)
    assert list(corpus) == list(KINDS)
    assert {kind: len(mails) for kind, mails in corpus.items()} == dict.fromkeys(KINDS, 3)
    again, other = make_corpus(3, seed=1), make_corpus(3, seed=2)
    for kind in ("plain", "charsets"):  # the others hold boundaries that the standard library draws by itself
        assert corpus[kind] == again[kind]
        assert corpus[kind] != other[kind]
    for raw in corpus["charsets"]:
        assert "Здравствуйте!" in parse_mail(raw).text
    for raw in corpus["attachments"]:
        assert all(50 * 1024 <= len(item.content) < 210 * 1024 for item in parse_mail(raw).files)
    for raw in corpus["nested"]:
        assert len(parse_mail(raw).files) == 3
    for raw in corpus["html only"]:
        assert "pixel.gif" not in (parse_mail(raw).html or "")


def test_all_parsers_are_measured_on_all_kinds():
    """A run yields a rate for each kind and parser, and the ratio of the two that are compared."""
    lines: list[str] = []
    result = bench_parse(mails=1, rounds=2, seed=1, corpus=None, progress=lines.append)
    assert len(lines) == 2
    assert set(result.kinds) == set(KINDS)
    assert result.whole.mails == len(KINDS)
    for figures in (result.whole, *result.kinds.values()):
        rates = (figures.okno_per_s, figures.default_per_s, figures.default_read_per_s, figures.compat32_per_s)
        assert min(rates) > 0
        assert figures.ratio_low <= figures.ratio <= figures.ratio_high


def test_a_folder_of_mails_can_be_measured(tmp_path: Path):
    """Mails are read by sub-folder; a folder without any is an error that says what to do."""
    with pytest.raises(ConfigurationError, match=r"\.eml"):
        read_corpus(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "a.eml").write_bytes(b"Subject: a\n\nx")
    (tmp_path / "old" / "b.EML").write_bytes(b"Subject: b\n\nx")
    (tmp_path / "old" / "notes.txt").write_bytes(b"no mail")
    assert read_corpus(tmp_path) == {tmp_path.name: [b"Subject: a\n\nx"], "old": [b"Subject: b\n\nx"]}
    assert bench_parse(mails=1, rounds=1, seed=1, corpus=tmp_path, progress=lambda _: None).seed is None
