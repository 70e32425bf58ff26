"""The log is expendable."""

import io
import os
from contextlib import suppress

from okno.log import ExpendableStream


def test_a_pipe_without_a_reader_stops_nobody():
    """Whoever logs into a pipe whose reader has died goes on, and the words are lost."""
    reading, writing = os.pipe()
    os.close(reading)
    with suppress(BrokenPipeError), os.fdopen(writing, "w", buffering=1) as stream:  # closing it, too, fails
        log = ExpendableStream(stream)
        assert log.write("one line\n") == len("one line\n")
        log.flush()


def test_a_closed_stream_stops_nobody():
    """A stream that somebody has closed takes nothing, and raises nothing."""
    stream = io.StringIO()
    stream.close()
    log = ExpendableStream(stream)
    log.write("one line\n")
    log.flush()


def test_what_can_be_written_is_written():
    """A sound stream gets every word."""
    stream = io.StringIO()
    log = ExpendableStream(stream)
    log.write("one\n")
    log.write("two\n")
    assert stream.getvalue() == "one\ntwo\n"
