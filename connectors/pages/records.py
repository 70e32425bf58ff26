"""What reading a document yields. Imported on both sides: nothing heavy here."""

from dataclasses import dataclass

PDF = "application/pdf"
TIFF = "image/tiff"
PAGE_MEDIA_TYPES = frozenset({PDF, TIFF, "image/jpeg", "image/png"})  # what has pages to look at


@dataclass(frozen=True, kw_only=True, slots=True)
class PagedDocument:
    """A readable document. `viewing_pdf` is a PDF of the same pages where the original is none."""

    media_type: str
    pages: int
    viewing_pdf: bytes | None = None
    marks: tuple[str, ...] = ()  # truncated: pages or their ends are missing
    description: str = ""  # TIFF's ImageDescription: fax servers write there who called


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedPage:
    """A page made ready for text recognition: grey, upright pixels as high as wide, straightened."""

    png: bytes
    dpi: int
    ink: bytes  # how dark each cell is, 0 to 255, row by row
    ink_columns: int
    ink_cell_px: int  # of `png`
