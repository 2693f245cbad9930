"""Shops for poster tests, and another library's opinion of what a code says."""

import io

import deqr
import pypdfium2
from PIL import Image, ImageDraw

from qrcodes.posters.press import Look, PosterCode

URL = "http://weixin.qq.com/q/02abcdEFGHijklMNOPqr7W"
CODE = PosterCode(URL, "3 号桌", "进门左手边")
LONG = "桂花里社区老王家现磨豆浆油条早餐铺（东门店）"


def photo() -> bytes:
    """Something with edges, the same on every machine."""
    picture = Image.new("RGB", (640, 440), "#e8c48a")
    draw = ImageDraw.Draw(picture)
    for number in range(40):
        x, y = (97 * number) % 640, 120 + (61 * number) % 320
        draw.ellipse((x - 50, y - 50, x + 50, y + 50), fill=("#d7441f", "#f0a020", "#7aa22a")[number % 3])
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


FRUIT = Look("王记水果", "山茶小筑", "当季现摘，每天新鲜", "#b3312c", photo())
BREAKFAST = Look(LONG, "桂花里", "每天清晨五点半，现磨现炸", "#0b6b4f")


def drawn(document: bytes, *, ppi: float = 100, page: int = 0) -> Image.Image:
    """A page of a PDF as a viewer shows it."""
    opened = pypdfium2.PdfDocument(document)
    picture: Image.Image = opened[page].render(scale=ppi / 72).to_pil().convert("RGB")
    opened.close()
    return picture


def read_by_another(picture: Image.Image) -> set[str]:
    """What quirc reads, which shares nothing with the library that draws our codes and checks them."""
    found = deqr.QuircDecoder().decode(picture.convert("L")) or []
    return {str(entry.data) for code in found for entry in code.data_entries}


def stickers(sheet: Image.Image) -> list[Image.Image]:
    """Each sticker by itself, as a phone sees it."""
    width, height = sheet.width // 2, sheet.height // 4
    corners = [(x, y) for y in range(0, 4 * height, height) for x in (0, width)]
    return [sheet.crop((x, y, x + width, y + height)) for x, y in corners]
