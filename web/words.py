"""What codes are called, in front of merchants and operators alike."""

from typing import Any

from flask_babel import lazy_gettext as _l

from qrcodes import batches, rules
from qrcodes.models import CodeKind
from qrcodes.posters.formats import Design, Format
from qrcodes.posters.jobs import PACK
from qrcodes.queries import Life

CODE_KINDS: dict[str, Any] = {
    CodeKind.COUNTER: _l("柜台"),
    CodeKind.TABLE: _l("桌台"),
    CodeKind.STAFF: _l("店员"),
    CodeKind.PROMOTER: _l("推广员"),
    CodeKind.POSTER: _l("海报"),
    CodeKind.FLYER: _l("传单"),
    CodeKind.LIFT: _l("电梯"),
    CodeKind.ONLINE: _l("线上"),
    CodeKind.INVITE: _l("邀请卡"),
}

POSTER_FORMATS: dict[Format, tuple[Any, Any]] = {
    Format.A4: (_l("A4 海报"), _l("贴门口、贴墙，210 × 297 毫米")),
    Format.A5: (_l("A5 台卡"), _l("立在收银台上，148 × 210 毫米")),
    Format.STICKERS: (_l("桌贴"), _l("一张 A4 八枚，每枚 90 × 62 毫米")),
    Format.BADGE: (_l("圆形胸牌"), _l("店员佩戴或贴杯子，直径 75 毫米")),
    Format.LIFT: (_l("电梯海报"), _l("电梯相框，420 × 594 毫米")),
    Format.WALLPAPER: (_l("手机壁纸"), _l("锁屏就能给人扫，1290 × 2796 像素")),
}
POSTER_DESIGNS: dict[Design, Any] = {
    Design.VIVID: _l("鲜明"),
    Design.PLAIN: _l("素雅"),
}

JOB_KINDS: dict[str, Any] = {
    rules.REPLAY: _l("试算归属规则"),
    PACK: _l("打包海报"),
    batches.MAKE: _l("批量生成二维码"),
}
"""What kinds of long jobs are called."""
CODE_LIVES: dict[str, Any] = {
    Life.PERMANENT: _l("永久码"),
    Life.TEMPORARY: _l("临时码"),
    Life.ENDING: _l("7 天内到期"),
    Life.OVER: _l("已过期"),
}
POSTER_KINDS: dict[str, Any] = {
    "pdf": _l("PDF"),
    "marks": _l("PDF，带出血和裁切线"),
    "png": _l("图片"),
}
