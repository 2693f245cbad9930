"""Who and what: the community 桂花里, its eight merchants and the dozen residents a trainee plays.

Only words and numbers; nothing here knows a database. Phones are of the kind nobody is called under.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from qrcodes.models import CodeKind, WelcomeVariant

ACCOUNT_NAME: Final = "桂花里生活圈"
COMMUNITY: Final = "桂花里"
COMMUNITY_INTRO: Final = "老城东边的一片小区，四条弄堂，一千三百户人家。"
OPERATOR: Final = "本机运营"
"""Who approved the welcomes: the person who sits at this machine."""

OLD_SCENE: Final = "notice_board_2023"
"""Stands in a code that was printed for the notice boards before this house had any; it is nobody's until adopted."""
OLD_CAPTION: Final = "旧布告栏（还没有商户）"


@dataclass(frozen=True)
class Spot:
    """A code, where it hangs, and how much of its shop's traffic comes through it."""

    label: str
    kind: CodeKind
    place: str
    share: int
    days: int | None = None
    copies: int = 0
    yuan: int = 0
    """What it cost to print and to hang up."""
    goal: int = 0
    """New followers a day whoever carries it should bring."""


@dataclass(frozen=True)
class Greeting:
    """A welcome. `has_picture` puts the shop's picture into it; `label` says it of one code only."""

    text: str = ""
    title: str = ""
    description: str = ""
    variant: WelcomeVariant = WelcomeVariant.FIRST
    position: int = 0
    kind: str = "text"
    has_picture: bool = False
    label: str = ""


@dataclass(frozen=True)
class Shop:
    """A merchant.

    `size` is its share of all newcomers, `weekend` how much livelier a weekend day is, `busy` the hours at which
    people come (an hour named twice is twice as busy), `joined` the day of the five weeks on which it was admitted.
    """

    picture: str
    name: str
    kind: str
    contact: str
    phone: str
    intro: str
    hours: str
    address: str
    size: int
    weekend: float
    busy: tuple[int, ...]
    spots: tuple[Spot, ...]
    greetings: tuple[Greeting, ...]
    waiting: Greeting | None = None
    joined: int = 0


TEA_HOUSE: Final = Shop(
    picture="tea",
    name="山茶小筑",
    kind="茶馆",
    contact="林晚",
    phone="13800138001",
    intro="弄堂口的二层小楼，一楼散座，二楼靠窗。\n自己上山收的茶，冷泡、盖碗都有；带本书来，坐一下午也不催。",
    hours="10:00–22:00",
    address="桂花里 12 号",
    size=23,
    weekend=1.6,
    busy=(10, 11, 13, 14, 14, 15, 15, 15, 16, 16, 17, 19, 20, 20, 21),
    spots=(
        Spot("收银台", CodeKind.COUNTER, "一楼收银台", 46),
        Spot("靠窗桌牌", CodeKind.TABLE, "二楼 1–4 号桌", 30),
        Spot("电梯海报", CodeKind.LIFT, "3 幢电梯间", 16, copies=2, yuan=360),
        Spot("小满的名片", CodeKind.STAFF, "店员小满", 8, goal=1),
    ),
    greetings=(
        Greeting(
            kind="news",
            title="{商户}：坐下喝杯茶吧",
            description="今年的桂花乌龙到了，一楼可以先尝一小杯。点开看营业时间和怎么走。",
            has_picture=True,
        ),
        Greeting("二楼靠窗有四张桌子，想坐那里可以先打个电话留位：13800138001。", position=1),
        Greeting("好久不见，{商户}还在弄堂口，您常喝的茶也在。", variant=WelcomeVariant.BACK),
        Greeting("又见面了！您扫的是“{码}”，想喝什么跟我们说。", variant=WelcomeVariant.ALREADY),
    ),
)

SHOPS: Final = (
    TEA_HOUSE,
    Shop(
        picture="noodles",
        name="阿毛面馆",
        kind="面馆",
        contact="毛国强",
        phone="13800138002",
        intro="开了十九年的夫妻店。大骨汤每天四点半开始熬，面现煮，浇头现炒。",
        hours="06:00–14:00，16:30–20:30",
        address="桂花里 3 号（菜场对面）",
        size=25,
        weekend=0.9,
        busy=(6, 7, 7, 7, 8, 8, 11, 11, 12, 12, 12, 13, 17, 18, 18, 19),
        spots=(
            Spot("点单台", CodeKind.COUNTER, "点单台", 52),
            Spot("桌贴", CodeKind.TABLE, "店堂 1–12 号桌", 40),
            Spot("门口海报", CodeKind.POSTER, "店门左侧", 8),
        ),
        greetings=(
            Greeting("您好，{商户}欢迎您！\n早市六点开门，招牌是三鲜面和大排面，辣油在桌上自己加。"),
            Greeting("老样子？{商户}给您下面。", variant=WelcomeVariant.ALREADY),
        ),
    ),
    Shop(
        picture="fruit",
        name="鲜果记",
        kind="水果店",
        contact="周敏",
        phone="13800138003",
        intro="每天早上从批发市场挑回来的水果，不好吃可以退。可以切好装盒，放学路上带走。",
        hours="07:30–22:30",
        address="桂花里 28 号",
        size=18,
        weekend=1.3,
        busy=(8, 9, 10, 16, 17, 17, 18, 18, 19, 19, 20, 20, 21),
        spots=(
            Spot("收银台", CodeKind.COUNTER, "收银台", 60),
            Spot("电梯海报", CodeKind.LIFT, "5 幢、6 幢电梯间", 28, copies=4, yuan=720),
            Spot("宣传单", CodeKind.FLYER, "随袋附送", 12, copies=500, yuan=150),
        ),
        greetings=(
            Greeting(
                kind="news",
                title="{商户}今日到货",
                description="橘子、石榴、冬枣都是早上刚到的，可以先尝后买。",
                has_picture=True,
            ),
            Greeting("欢迎再来{商户}，今天的水果在门口第一排。", variant=WelcomeVariant.ALREADY),
        ),
    ),
    Shop(
        picture="bread",
        name="麦香烘焙",
        kind="面包房",
        contact="许佳",
        phone="13800138004",
        intro="小炉子，一天烤三炉：早上七点、中午十一点半、下午四点。吐司不放防腐剂，当天吃最好。",
        hours="07:00–20:00",
        address="桂花里 17 号",
        size=14,
        weekend=1.4,
        busy=(7, 7, 8, 8, 9, 11, 12, 15, 16, 16, 17, 18),
        spots=(
            Spot("收银台", CodeKind.COUNTER, "收银台", 66),
            Spot("橱窗海报", CodeKind.POSTER, "临街橱窗", 22),
            Spot("包装袋", CodeKind.FLYER, "面包纸袋", 12),
        ),
        greetings=(Greeting("您好，这里是{商户}。\n刚出炉的时间是 7:00、11:30 和 16:00，闻着香味来就对了。"),),
        waiting=Greeting(
            kind="news",
            title="{商户}：周三吐司日",
            description="每周三下午四点，南瓜吐司和全麦吐司一起出炉，到店就能买到。",
            has_picture=True,
        ),
    ),
    Shop(
        picture="barber",
        name="一剪梅理发店",
        kind="理发店",
        contact="梅师傅",
        phone="13800138005",
        intro="三把椅子，三位师傅。老人孩子都剪得来，不推销卡。",
        hours="09:00–20:30",
        address="桂花里 9 号",
        size=8,
        weekend=1.9,
        busy=(9, 10, 10, 11, 14, 15, 16, 17, 18, 19, 19),
        spots=(
            Spot("镜台贴", CodeKind.TABLE, "三张镜台", 74),
            Spot("门口海报", CodeKind.POSTER, "店门玻璃", 26),
        ),
        greetings=(Greeting("您好，欢迎来{商户}。\n周末上午人少，不用等；其他时间来之前可以打个电话问问。"),),
    ),
    Shop(
        picture="cat",
        name="喵汪之家",
        kind="宠物店",
        contact="何晓彤",
        phone="13800138006",
        intro="洗护、寄养、猫粮狗粮。店里的橘猫叫年糕，可以摸，不卖。",
        hours="10:00–21:00",
        address="桂花里 31 号",
        size=6,
        weekend=2.0,
        busy=(10, 11, 14, 15, 15, 16, 17, 19, 20),
        spots=(
            Spot("前台", CodeKind.COUNTER, "前台", 70),
            Spot("遛狗牌", CodeKind.POSTER, "中心花园入口", 30, copies=1, yuan=88),
        ),
        greetings=(
            Greeting(kind="image", has_picture=True),
            Greeting("年糕在柜台上等您来摸。", variant=WelcomeVariant.ALREADY),
        ),
    ),
    Shop(
        picture="flowers",
        name="半夏花店",
        kind="花店",
        contact="夏溪",
        phone="13800138007",
        intro="一周进两次花，按枝卖，也包花束。绿植坏了可以拿来，我们看看还能不能救。",
        hours="09:30–20:30",
        address="桂花里 22 号",
        size=6,
        weekend=1.7,
        busy=(10, 11, 12, 14, 15, 16, 17, 18, 18, 19),
        spots=(
            Spot("收银台", CodeKind.COUNTER, "收银台", 64),
            Spot("花束卡片", CodeKind.FLYER, "花束吊牌", 36, copies=300, yuan=120),
        ),
        greetings=(
            Greeting("您好，{商户}欢迎您。\n周二和周五到新花，鲜花按枝卖，一枝也可以。"),
            Greeting(
                "收到花的人，今天一定很被惦记。\n{商户}教您养：剪一厘米斜口，换清水，离空调远一点。", label="花束卡片"
            ),
        ),
        joined=9,
    ),
    Shop(
        picture="gym",
        name="元气健身",
        kind="健身房",
        contact="张驰",
        phone="13800138008",
        intro="小区里的小健身房，两百平，不挤。教练住在 6 幢，早上五点半就来开门。",
        hours="05:30–22:30",
        address="桂花里 6 幢底层",
        size=11,
        weekend=1.1,
        busy=(6, 6, 7, 7, 12, 18, 19, 19, 19, 20, 20, 21),
        spots=(
            Spot("前台", CodeKind.COUNTER, "前台", 40),
            Spot("电梯海报", CodeKind.LIFT, "6 幢、7 幢电梯间", 44, copies=4, yuan=720),
            Spot("张教练", CodeKind.STAFF, "教练张驰", 16, goal=1),
            Spot("体验周传单", CodeKind.FLYER, "小区东门", 0, days=30),
        ),
        greetings=(Greeting("您好，这里是{商户}。\n第一次来请穿运动鞋，教练先带您走一圈器械，再决定练什么。"),),
        joined=16,
    ),
)

PLATFORM_GREETING: Final = Greeting(
    f"您好，欢迎光临{{商户|{ACCOUNT_NAME}}}！\n弄堂里的店都有自己的二维码，用微信扫一扫，就能认识这家店。"
)

CHATTER: Final = (
    "你好",
    "今天几点关门？",
    "有停车的地方吗",
    "周末还有位子吗？",
    "谢谢",
    "可以外带吗",
    "请问在几号楼",
    "明天开门吗",
    "我的信息",
    "昨天的很好吃，下次还来",
    "小孩能带进去吗",
    "收到",
)
"""What people write to an account."""

UNUSABLE: Final[tuple[tuple[int, dict[str, str]], ...]] = (
    (11, {"ToUserName": "gh_2f7c0a91b3de", "FromUserName": "oAnotherAccountsFollower0001", "MsgType": "text"}),
    (3, {"FromUserName": "o", "MsgType": "event", "Event": "SCAN", "EventKey": "counter_7"}),
)
"""Deliveries that no event can be made of, and how many days ago they came."""

TAGS: Final = (
    ("常客",),
    ("常客", "桂花乌龙"),
    ("靠窗",),
    ("带孩子", "周末"),
    ("冷泡",),
    ("常客", "靠窗"),
    ("办公",),
)
NOTES: Final = (
    "喜欢坐二楼靠窗第二张桌",
    "",
    "每周四下午和朋友来打牌",
    "不喝浓茶，水温低一点",
    "",
    "问过生日能不能包场",
    "",
)
"""What the tea house knows of some of its fans, one of each per fan."""


class Deed(StrEnum):
    """What somebody does with the account."""

    FOLLOW = "follow"
    SCAN = "scan"
    LEAVE = "leave"
    WRITE = "write"
    VIEW = "view"


@dataclass(frozen=True)
class Step:
    """Something a resident has done before: how many days ago, at what time, at which shop's code."""

    deed: Deed
    days_ago: int
    at: str
    shop: str = ""
    label: str = ""


@dataclass(frozen=True)
class Resident:
    """Somebody with a phone a trainee can hold. `years_ago`: followed long before the account went live here."""

    name: str
    colour: str
    steps: tuple[Step, ...] = ()
    years_ago: int = 0


RESIDENTS: Final = (
    Resident("林阿姨", "#e8a87c"),
    Resident("小周", "#85b8cb"),
    Resident("陈先生", "#c38d9e"),
    Resident("阿杰", "#8fb98b"),
    Resident("赵师傅", "#d9b44a"),
    Resident(
        "王奶奶",
        "#b08ea2",
        (
            Step(Deed.FOLLOW, 24, "09:12:40", "鲜果记", "收银台"),
            Step(Deed.SCAN, 15, "18:05:11", "鲜果记", "收银台"),
            Step(Deed.SCAN, 9, "15:20:33", "山茶小筑", "靠窗桌牌"),
        ),
    ),
    Resident(
        "何老师",
        "#6fa8a0",
        (
            Step(Deed.FOLLOW, 29, "14:31:05", "山茶小筑", "靠窗桌牌"),
            Step(Deed.WRITE, 29, "14:33:50"),
            Step(Deed.SCAN, 22, "14:40:21", "山茶小筑", "靠窗桌牌"),
            Step(Deed.SCAN, 8, "15:02:44", "山茶小筑", "收银台"),
            Step(Deed.SCAN, 6, "07:48:10", "麦香烘焙", "收银台"),
        ),
    ),
    Resident("小满", "#e79aa0", (Step(Deed.FOLLOW, 1, "16:10:27", "麦香烘焙", "橱窗海报"),)),
    Resident("老李", "#9aa5b1", years_ago=2),
    Resident(
        "豆豆妈",
        "#d08c60",
        (
            Step(Deed.FOLLOW, 20, "15:44:09", "喵汪之家", "前台"),
            Step(Deed.LEAVE, 6, "21:15:30"),
        ),
    ),
    Resident(
        "安娜",
        "#a793c7",
        (
            Step(Deed.FOLLOW, 34, "12:20:18", "阿毛面馆", "桌贴"),
            Step(Deed.LEAVE, 32, "20:02:55"),
        ),
    ),
    Resident("小雨", "#7f9bd1", (Step(Deed.FOLLOW, 12, "22:41:36"),)),
)
"""Every case at hand: never followed, follows, came before us, left lately (stays with the former shop when back),
left more than thirty days ago (the next code wins), and followed without any code."""
