"""Whatever is uploaded is drawn anew or refused; nothing of the file itself is kept."""

import io
from collections.abc import Callable

import pytest
from PIL import Image, ImageDraw
from sqlalchemy import func, select

from core.database import Role
from core.errors import Invalid
from core.models import Outbox
from core.runtime import Runtime
from merchants import merchants, pictures
from merchants.models import Picture
from qrcodes.codes import new_public_id


def file_of(image: Image.Image, format_: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def photo(width: int = 400, height: int = 300, mode: str = "RGB") -> Image.Image:
    return Image.radial_gradient("L").resize((width, height)).convert(mode)


def open_prepared(upload: bytes) -> Image.Image:
    prepared = pictures.prepare(upload)
    image = Image.open(io.BytesIO(prepared.content))
    assert image.format == "JPEG"
    assert image.mode == "RGB"
    assert image.size == (prepared.width, prepared.height)
    assert len(prepared.content) <= pictures.MAX_STORED_BYTES
    return image


@pytest.mark.parametrize(
    "upload",
    [
        pytest.param(file_of(photo()), id="jpeg"),
        pytest.param(file_of(photo(), "PNG"), id="png"),
        pytest.param(file_of(photo(mode="CMYK")), id="cmyk"),
        pytest.param(file_of(photo(mode="L"), "PNG"), id="grey"),
        pytest.param(file_of(photo(mode="P"), "PNG"), id="palette"),
        pytest.param(file_of(photo(mode="I;16"), "PNG"), id="16 bit"),
        pytest.param(file_of(photo(), progressive=True), id="progressive"),
        pytest.param(file_of(photo()) + b"PK\x03\x04 a jar", id="something behind the end"),
    ],
)
def test_pictures_of_all_kinds_become_plain_jpeg(upload: bytes) -> None:
    assert open_prepared(upload).size == (400, 300)


def test_large_picture_is_scaled_to_the_longest_side() -> None:
    assert open_prepared(file_of(photo(4000, 1000))).size == (1600, 400)


def test_transparent_becomes_white() -> None:
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    assert open_prepared(file_of(image, "PNG")).getpixel((50, 50)) == (255, 255, 255)


def test_position_and_camera_are_forgotten_and_the_picture_stands_upright() -> None:
    image = Image.new("RGB", (200, 100), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 99, 99), fill="red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8825)[1] = "N"
    prepared = open_prepared(file_of(image, exif=exif, comment=b"a secret remark"))
    assert prepared.size == (100, 200)
    assert not prepared.getexif()
    assert "comment" not in prepared.info
    top = prepared.getpixel((50, 20))
    assert isinstance(top, tuple)
    assert (top[0] > 200, top[1] < 100) == (True, True)


def animated_png() -> bytes:
    return file_of(photo(), "PNG", save_all=True, append_images=[photo().rotate(90), photo().rotate(180)])


def png_that_says_it_is(width: int, height: int) -> bytes:
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: b"", id="nothing"),
        pytest.param(lambda: b"<html><script>alert(1)</script>", id="html"),
        pytest.param(lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="svg"),
        pytest.param(lambda: file_of(photo(), "GIF"), id="gif"),
        pytest.param(lambda: file_of(photo(), "WEBP"), id="webp"),
        pytest.param(lambda: b"\x89PNG\r\n\x1a\n<?php", id="magic only"),
        pytest.param(lambda: file_of(photo())[:2000], id="half a jpeg"),
        pytest.param(lambda: file_of(photo(), "PNG")[:2000], id="half a png"),
        pytest.param(animated_png, id="animated"),
        pytest.param(lambda: png_that_says_it_is(50_000, 50_000), id="decompression bomb"),
        pytest.param(lambda: png_that_says_it_is(8_000, 6_000), id="too many pixels"),
        pytest.param(lambda: png_that_says_it_is(0, 0), id="no pixels"),
        pytest.param(lambda: file_of(photo(10, 10)), id="too small"),
        pytest.param(lambda: file_of(photo()) + b"\0" * pictures.MAX_UPLOAD_BYTES, id="over 10 MB"),
    ],
)
def test_anything_else_is_refused(make: Callable[[], bytes]) -> None:
    with pytest.raises(Invalid) as refusal:
        pictures.prepare(make())
    assert refusal.value.field == "picture"


def test_noise_still_fits_into_two_megabytes() -> None:
    noise = Image.effect_noise((1600, 1600), 200).convert("RGB")
    open_prepared(file_of(noise, "PNG"))


def test_same_picture_is_kept_once_and_its_upload_owed_once(runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        account_id = merchants.ensure_account(session, runtime.settings)
        community_id = merchants.ensure_community(session, account_id=account_id)
        ids = [
            merchants.add(session, account_id=account_id, community_id=community_id, name=name, now=runtime.now()).id
            for name in ("花店", "书店")
        ]
    prepared = pictures.prepare(file_of(photo()))
    kept = []
    for merchant_id in (ids[0], ids[0], ids[1]):
        with runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
            kept.append(pictures.save(session, merchant_id=merchant_id, picture=prepared, public_id=new_public_id()))
    assert kept[0] == kept[1] != kept[2]
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(func.count()).select_from(Picture)) == 2
        owed = session.scalars(select(Outbox.payload).order_by(Outbox.id)).all()
    assert owed == [{"picture_id": kept[0]}, {"picture_id": kept[2]}]
