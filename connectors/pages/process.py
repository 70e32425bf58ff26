"""A reading process: reads jobs from standard input and answers on standard output, until the daemon is gone.

Run by `connectors.pages.worker` as `python -m connectors.pages.process`.
"""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from appeals.errors import OknoError
from connectors.pages.frame import PREFIX, header_size, pack_header, read_header

MEMORY_BYTES = 2 * 1024**3  # of address space; the largest page we take unpacks to 200 MB, a PDF's may need some more
MAX_OPEN_FILES = 64
Answer = tuple[dict[str, Any], Sequence[bytes]]
Job = Callable[[dict[str, Any], Sequence[bytes]], Answer]


def main() -> None:
    """Serve until standard input ends."""
    jobs = _load_jobs()
    _confine()
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(2, 1)  # a library that prints must not garble the answers
    while prefix := source.read(PREFIX.size):
        header, sizes = read_header(source.read(header_size(prefix)))
        blobs = [source.read(size) for size in sizes]
        _answer(sink, _do(jobs, header, blobs))


def _load_jobs() -> dict[str, Job]:
    """Import what reads documents, before memory is bounded."""
    from connectors.pages import document, drawing, joining, preparation  # noqa: PLC0415 - only in this process

    warnings.simplefilter("ignore")
    return {
        "page_count": lambda _, blobs: ({"pages": drawing.count_pages(blobs[0])}, ()),
        "render_page": lambda header, blobs: (
            {},
            (drawing.render_page(blobs[0], header["page"], max_px=header["max_px"]),),
        ),
        "read_document": lambda header, blobs: document.read_as_answer(blobs[0], max_pages=header["max_pages"]),
        "join_pages": lambda _, blobs: ({}, (joining.join_pages(blobs),)),
        "prepare_page": lambda header, blobs: preparation.prepare_page(blobs[0], header["page"]),
    }


def _confine() -> None:
    """Bound memory, files and processes, where the system can."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,  # it writes no file
        resource.RLIMIT_NOFILE: MAX_OPEN_FILES,
    }
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (bound, bound))


def _do(jobs: dict[str, Job], header: dict[str, Any], blobs: Sequence[bytes]) -> Answer:
    try:
        return jobs[header.pop("job")](header, blobs)
    except OknoError as error:
        return {"error": str(error)}, ()
    except MemoryError:
        return {"error": "the document is too large to unpack"}, ()
    except Exception as error:  # noqa: BLE001 - whatever a library raises at a broken document
        return {"error": f"the document cannot be read: {type(error).__name__}"}, ()


def _answer(sink: BinaryIO, answer: Answer) -> None:
    header, blobs = answer
    sink.write(pack_header(header, blobs))
    sink.writelines(blobs)
    sink.flush()


if __name__ == "__main__":
    main()
