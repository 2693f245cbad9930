"""Pictures merchants upload: never trusted, always drawn anew, kept once, and copied to the account's material."""

import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageOps
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core import outbox
from core.errors import Invalid, Phrase
from merchants.models import Picture

MAX_UPLOAD_BYTES: Final = 10 * 1024 * 1024
MAX_PIXELS: Final = 40_000_000
LONGEST_SIDE: Final = 1600
SHORTEST_SIDE: Final = 32
MAX_STORED_BYTES: Final = 2 * 1024 * 1024
MIME: Final = "image/jpeg"
UPLOAD: Final = "upload_picture"
"""The outbox kind of the task that copies a picture to the platform."""

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_NOT_A_PICTURE = Phrase("这不是能用的图片，请上传 JPG 或 PNG。")


@dataclass(frozen=True)
class Prepared:
    """A picture drawn anew as JPEG: nothing of the uploaded file is left but what it shows."""

    content: bytes
    sha256: bytes
    width: int
    height: int


def prepare(upload: bytes) -> Prepared:
    """Check and redraw an uploaded file. Slow: call it before the transaction."""
    if len(upload) > MAX_UPLOAD_BYTES:
        raise Invalid("图片不能超过 10 MB。", field="picture")
    if not upload.startswith(_MAGIC):
        raise Invalid(_NOT_A_PICTURE, field="picture")
    try:
        with warnings.catch_warnings():
            # Its size is checked right below, before a single pixel is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(upload), formats=("JPEG", "PNG"))
        with image:
            content, width, height = _redraw(image)
    except Image.DecompressionBombError as error:
        raise Invalid("图片尺寸太大，请缩小后再传。", field="picture") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError) as error:
        # What Pillow raises over broken files depends on which part is broken.
        raise Invalid(_NOT_A_PICTURE, field="picture") from error
    return Prepared(content, hashlib.sha256(content).digest(), width, height)


def _redraw(image: Image.Image) -> tuple[bytes, int, int]:
    if image.width * image.height > MAX_PIXELS:
        raise Invalid("图片尺寸太大，请缩小后再传。", field="picture")
    # Phones write JPEGs with a second, small frame (MPO); of those the first one counts.
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise Invalid("不支持动图，请上传 JPG 或 PNG。", field="picture")
    if min(image.size) < SHORTEST_SIDE:
        raise Invalid("图片太小，每边至少 %(least)s 像素。", field="picture", least=SHORTEST_SIDE)
    # A large JPEG is decoded at a half or a quarter right away.
    image.draft(None, (LONGEST_SIDE, LONGEST_SIDE))
    upright = ImageOps.exif_transpose(image)
    upright.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    if upright.has_transparency_data:
        seen_through = upright.convert("RGBA")
        plain = Image.new("RGB", upright.size, "white")
        plain.paste(seen_through, mask=seen_through.getchannel("A"))
    else:
        plain = upright.convert("RGB")
    plain.info.clear()
    for quality in (85, 70, 50, 30):
        content = io.BytesIO()
        plain.save(content, "JPEG", quality=quality, optimize=True)
        if content.tell() <= MAX_STORED_BYTES:
            break
    return content.getvalue(), plain.width, plain.height


def save(session: Session, *, merchant_id: int, picture: Prepared, public_id: str) -> int:
    """Keep a picture and owe its upload; the same picture again is the same row. Returns its id."""
    mine = select(Picture.id).where(Picture.merchant_id == merchant_id, Picture.sha256 == picture.sha256)
    if (known := session.scalar(mine)) is not None:
        return known
    new = insert(Picture).values(
        merchant_id=merchant_id,
        public_id=public_id,
        content=picture.content,
        mime=MIME,
        sha256=picture.sha256,
        width=picture.width,
        height=picture.height,
    )
    session.execute(new.on_conflict_do_nothing(index_elements=["merchant_id", "sha256"]))
    picture_id = session.execute(mine).scalar_one()
    outbox.add(
        session,
        kind=UPLOAD,
        dedupe_key=f"{UPLOAD}:{picture_id}",
        payload={"picture_id": picture_id},
        merchant_id=merchant_id,
    )
    return picture_id
