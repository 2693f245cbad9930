"""A month's report for tests, and a small picture of how it is meant to look.

python -m tests.qrcodes.reports.sheets     draws it anew, after the design was changed on purpose: look at it
"""

from datetime import UTC, datetime
from pathlib import Path

import pypdfium2
from PIL import Image

from qrcodes.reports import paper
from qrcodes.reports.paper import Chart, Day, Figure, Line, Sheet, Table

AT = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = [Day(str(day), 7 * day % 40, day % 5, day % 3, is_incomplete=day == 12) for day in range(1, 32)]
MEANT = Path(__file__).with_name("month.png")
WIDTH = 320


def sheet(shop: str = "山茶小筑", *, codes: int = 3, place: str = "进门左手边") -> Sheet:
    heads = ("二维码", "扫码", "新关注", "7 天后还在", "每个新关注花费")
    cells = ("1,234", "60", "82%（45/55）", "¥12.30")
    lines = [Line(f"{number} 号桌", place, cells, 1 / (1 + number)) for number in range(codes)]
    return Sheet(
        language="zh-CN",
        shop=shop,
        community="桂花里",
        colour="#0b6b4f",
        title="商户月报",
        month="2026年10月",
        span="10月1日至10月31日，共 31 天",
        badge="到昨天为止",
        lead="312 人扫了 486 次本店的码，57 人第一次关注。到10月31日，本店带来的 245 人还在关注。",
        hero=Figure("带来且仍在关注", "1,234,567", "比上月末 +32", "good"),
        figures=[Figure("扫码", "1,234,567", "+123,456，上月 123,456", "bad")] * 6,
        chart=Chart("每天的扫码和关注", "扫码", "新关注和回来的", "取关", "有过中断", DAYS),
        table=Table("哪个码带来的", heads, lines, "另有 3 个码：扫码 12，新关注 2。"),
        empty=("没有人扫码", "把码放到看得见的地方。"),
        notes_title="这些数是什么意思",
        meanings=[("扫码", "本店的码被扫的次数，带来关注的那次也算。")] * 9,
        notes=["天按上海时间、按事情发生的那一刻算。"] * 3,
        foot="数到 2026年11月1日 00:00",
    )


def draw(given: Sheet) -> Image.Image:
    """Its first page, small."""
    page = pypdfium2.PdfDocument(paper.pdf(given, at=AT))[0]
    picture: Image.Image = page.render(scale=2 * WIDTH / page.get_width()).to_pil().convert("RGB")
    return picture.resize((WIDTH, round(WIDTH * picture.height / picture.width)), Image.Resampling.BOX)


if __name__ == "__main__":
    draw(sheet()).quantize(64).save(MEANT, optimize=True)
