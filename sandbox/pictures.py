"""QR pictures: drawn as the platform draws them, and read back."""

from __future__ import annotations

import functools
import io

import qrcode
from PIL import Image, UnidentifiedImageError
from qrcode.constants import ERROR_CORRECT_M
from qrcode.image.pil import PilImage

SIDE = 430


class CannotDecode(Exception):
    """Reading codes needs a library that is not installed here."""


@functools.lru_cache(maxsize=512)
def qr_jpeg(url: str) -> bytes:
    """The code of a url as a JPEG of 430 × 430."""
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=3)
    code.add_data(url)
    drawn = code.make_image(image_factory=PilImage).get_image()
    out = io.BytesIO()
    drawn.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST).save(out, "JPEG", quality=90)
    return out.getvalue()


def decode(content: bytes) -> str | None:
    """What the QR code in a picture says; None when there is none. Raises CannotDecode."""
    try:
        import zxingcpp
    except ImportError as error:
        raise CannotDecode from error
    try:
        picture = Image.open(io.BytesIO(content)).convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None
    found = zxingcpp.read_barcodes(picture)
    return str(found[0].text) if found else None
