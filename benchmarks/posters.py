"""Posters for many codes as a ZIP, every code read back, beside two loops over qrcode and Pillow.

The peers draw the same sheet (ground, rings, picture, name, slogan, card, code, words) in the same pixels and read each
code back from its crop with the same decoder. `plain` draws every poster from nothing but loaded fonts and a decoded
picture; `prepared` keeps the drawn ground as well. Their print files are what Pillow makes of a drawing: one JPEG at
300 ppi in a PDF. All run in one thread; what counts is processor time, because it holds on a machine with others.
"""

import io
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import IO, Literal

import click
import qrcode
import zxingcpp
from PIL import Image, ImageDraw, ImageFont
from qrcode.constants import ERROR_CORRECT_M

from qrcodes.posters import batch, colours
from qrcodes.posters.batch import Item
from qrcodes.posters.formats import MM, SHEETS, Format, boxes
from qrcodes.posters.lettering import FONTS
from qrcodes.posters.press import SCAN, Look, PosterCode

Kind = Literal["pdf", "png"]
AT = datetime(2026, 1, 1, tzinfo=UTC)
PRINT_PPI = 300


def photo() -> bytes:
    """A picture as shops upload it: a full 1600 pixels, with texture."""
    noise = Image.effect_noise((400, 275), 60).resize((1600, 1100), Image.Resampling.BICUBIC)
    picture = Image.merge(
        "RGB", (noise, noise.point(lambda value: value * 3 // 4), noise.point(lambda value: value // 2))
    )
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


LOOK = Look("山茶小筑", "桂花里", "一杯好茶，半日清闲", colours.DEFAULT, photo())


def codes(number: int) -> list[PosterCode]:
    return [
        PosterCode(f"http://weixin.qq.com/q/02abcdEFGHijk{one:05}MNOPqr7", f"{one} 号桌", "大厅")
        for one in range(number)
    ]


def quanma(file: IO[bytes], wanted: list[PosterCode], kind: Kind) -> Iterator[int]:
    items = [Item(LOOK, Format.A4, (code,), code.label) for code in wanted]
    yield from batch.write_zip(file, items, at=AT, kind=kind)


class Peer:
    """The straightforward loop: one drawing after another."""

    def __init__(self, kind: Kind, *, keeps_ground: bool) -> None:
        sheet = SHEETS[Format.A4]
        self.kind = kind
        self.ppi = PRINT_PPI if kind == "pdf" else sheet.ppi
        self.size = round(self.px(sheet.width)), round(self.px(sheet.height))
        assert LOOK.picture is not None
        self.picture = Image.open(io.BytesIO(LOOK.picture)).convert("RGB")
        self.fonts = {size: self.font(size) for size in (29.0, 10.0, 8.6, 5.0)}
        self.ground = self.draw_ground() if keeps_ground else None

    def px(self, mm: float) -> float:
        return mm * self.ppi / MM

    def font(self, mm: float) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(FONTS / "NotoSansSC_700Bold.ttf", round(self.px(mm)))

    def draw_ground(self) -> Image.Image:
        shades, width = colours.shades(LOOK.colour), self.size[0]
        page = Image.new("RGB", self.size, shades.field)
        draw = ImageDraw.Draw(page)
        (box,) = boxes(Format.A4, LOOK.design, has_picture=True)
        x, y, side = (self.px(one) for one in (box.x, box.y, box.side))
        for part, shade in zip((1, 0.78, 0.58), shades.rings, strict=True):
            radius = self.px(158) * part
            centre = x + side / 2, y + side / 2
            draw.ellipse((*(one - radius for one in centre), *(one + radius for one in centre)), fill=shade)
        high = round(self.px(104))
        wide = round(self.picture.width * high / self.picture.height)
        scaled = self.picture.resize((max(wide, width), high), Image.Resampling.LANCZOS)
        page.paste(scaled.crop((0, 0, width, high)), (0, 0))
        pad = self.px(2.5)
        draw.rounded_rectangle((x - pad, y - pad, x + side + pad, y + side + self.px(21)), self.px(4.4), "white")
        middle = width / 2
        draw.text((middle, self.px(127)), LOOK.name, "white", self.fonts[29.0], "mm")
        draw.text((middle, y - self.px(15)), LOOK.slogan, "white", self.fonts[8.6], "mm")
        draw.text((middle, y + side + self.px(5)), SCAN, shades.deep, self.fonts[10.0], "mm")
        return page

    def poster(self, code: PosterCode) -> bytes:
        page = self.draw_ground() if self.ground is None else self.ground.copy()
        drawn = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=4)
        drawn.add_data(code.url)
        drawn.make(fit=True)
        (box,) = boxes(Format.A4, LOOK.design, has_picture=True)
        drawn.box_size = int(self.px(box.side) / (drawn.modules_count + 8))
        picture = drawn.make_image().get_image().convert("RGB")
        corner = round(self.px(box.x)), round(self.px(box.y))
        page.paste(picture, corner)
        words = f"{LOOK.community} · {code.label} · {code.place}"
        draw = ImageDraw.Draw(page)
        draw.text((self.size[0] / 2, self.px(283)), words, "white", self.fonts[5.0], "mm")
        crop = page.crop((*corner, corner[0] + picture.width, corner[1] + picture.height)).convert("L")
        found = zxingcpp.read_barcode(crop, formats=zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode]))
        assert found is not None
        assert found.text == code.url
        file = io.BytesIO()
        page.save(file, self.kind.upper(), **({"resolution": self.ppi} if self.kind == "pdf" else {}))
        return file.getvalue()

    def __call__(self, file: IO[bytes], wanted: list[PosterCode], _kind: Kind) -> Iterator[int]:
        with zipfile.ZipFile(file, "w") as archive:
            for done, code in enumerate(wanted, start=1):
                archive.writestr(f"{code.label}.{self.kind}", self.poster(code))
                yield done


@dataclass(frozen=True)
class Result:
    name: str
    posters: int
    processor_s: float
    wall_s: float
    size: int

    @property
    def rate(self) -> float:
        """Posters a second and core."""
        return self.posters / self.processor_s


def measure(
    name: str, make: Callable[[IO[bytes], list[PosterCode], Kind], Iterator[int]], number: int, kind: Kind
) -> Result:
    wanted = codes(number)
    file = io.BytesIO()
    # The first poster loads fonts and code; nobody's figure shall hold that.
    for _ in make(io.BytesIO(), [replace(wanted[0], label="warm")], kind):
        pass
    processor, wall = time.process_time(), time.perf_counter()
    assert list(make(file, wanted, kind))[-1] == number
    with zipfile.ZipFile(file) as archive:
        assert len(archive.namelist()) == number
    return Result(name, number, time.process_time() - processor, time.perf_counter() - wall, file.tell() // number)


@click.command()
@click.option("--posters", default=1_000, help="Posters of ours in the ZIP of PDFs.")
@click.option("--peers", default=150, help="Posters of each peer, and of every ZIP of PNGs.")
def main(posters: int, peers: int) -> None:
    """Print posters and say how many a second and core."""
    click.echo(f"A4 with a picture, every code read back; one thread; load {os.getloadavg()[0]:.1f}")
    kinds: tuple[Kind, Kind] = ("pdf", "png")
    for kind in kinds:
        results = [
            measure(f"{kind} quanma", quanma, posters if kind == "pdf" else peers, kind),
            measure(f"{kind} qrcode + Pillow, plain", Peer(kind, keeps_ground=False), peers, kind),
            measure(f"{kind} qrcode + Pillow, prepared", Peer(kind, keeps_ground=True), peers, kind),
        ]
        for one in results:
            click.echo(
                f"{one.name:34}{one.posters:6} posters {one.rate:7.1f} /s and core  {one.posters / one.wall_s:7.1f} /s"
                f"  {one.size / 1024:7.0f} KiB each   quanma × {results[0].rate / one.rate:.1f}"
            )


if __name__ == "__main__":
    main()
