"""The merchants' inbox at 200,000 conversations, 20,000 of them one merchant's: list, search and open, at the database,
as the merchant role; beside the same words looked for by LIKE, as whoever has no bigrams would.

A crowd takes a few minutes to make, so that `--home` keeps it for another run.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import click
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.traffic import house
from bot.talks import answers, reading, search
from bot.talks.reading import Filter
from core.database import Role
from core.runtime import Runtime
from tests.community import Neighbourhood

SHOPS = 400
LIKE_TIMES = 20
STATEMENT_S = 900

PHRASES = (
    "请问 今天 明天 周末 早上 晚上 中午 下午 营业 时间 几点 开门 关门 榴莲 芒果 苹果 香蕉 葡萄 西瓜 草莓 樱桃 多少 "
    "价格 便宜 优惠 打折 会员 积分 送货 上门 小区 三号楼 五号楼 门口 快递 外卖 面条 饺子 包子 豆浆 油条 米线 火锅 烧烤 "
    "理发 烫发 染发 预约 排队 人多 停车 地址 电话 发票 退款 换货 质量 新鲜 好吃 不错 谢谢 麻烦 可以 不可以 有没有 "
    "还有吗 什么 怎么 哪里 师傅 老板 孩子 老人 阿姨 叔叔 生日 蛋糕 礼盒 牛奶 鸡蛋 蔬菜 水管 维修 空调 清洗 锁匠 钥匙 "
    "搬家 家政 月嫂 钢琴 舞蹈 补习 健身 瑜伽 洗车 轮胎 眼镜 药店 口罩 体温 宠物 猫粮 狗粮 鲜花 绿植 窗帘 地毯 "
)
WORDS = PHRASES.split()
RARE = ("琉璃", "鹦鹉", "珐琅", "麒麟")
"""In one message of two thousand."""

_LOAD_GRAMS = "ALTER TABLE talk_gram DROP CONSTRAINT fk_talk_gram_merchant_id_message_id_talk_message"
_GRAMS_LOADED = """
    ALTER TABLE talk_gram ADD CONSTRAINT fk_talk_gram_merchant_id_message_id_talk_message
    FOREIGN KEY (merchant_id, message_id) REFERENCES talk_message (merchant_id, id) ON DELETE CASCADE"""
"""Millions of rows of one statement are checked at once, and not one by one."""

_MAKE = (
    """
    INSERT INTO merchant (account_id, community_id, name)
    SELECT :account, (SELECT min(id) FROM community), '第' || n || '家店' FROM generate_series(1, :shops) n""",
    """
    INSERT INTO follower (account_id, openid, person_key, status, state_as_of, first_seen_at, last_seen_at)
    SELECT :account, 'oInbox' || lpad(n::text, 22, '0'), sha256(n::text::bytea), 'following', now(), now(), now()
    FROM generate_series(1, :talks) n""",
    """
    CREATE TEMPORARY TABLE who ON COMMIT DROP AS
    SELECT f.id AS follower_id, f.n,
           CASE WHEN f.n <= :large THEN :shop ELSE m.ids[1 + f.n % :shops] END AS merchant_id,
           now() - random() * interval '29 days' AS at
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM follower) f,
         (SELECT array_agg(id ORDER BY id) FILTER (WHERE id <> :shop) AS ids FROM merchant) m""",
    """
    INSERT INTO fan (merchant_id, follower_id, number, first_touch_at, last_touch_at, note)
    SELECT merchant_id, follower_id, 'F' || lpad(n::text, 9, '0'), at, at,
           CASE WHEN n % 10 = 0 THEN '老顾客' ELSE '' END
    FROM who""",
    """
    INSERT INTO fan_tag (merchant_id, follower_id, tag)
    SELECT merchant_id, follower_id, '常客' FROM who WHERE n % 20 = 0""",
    """
    INSERT INTO talk (merchant_id, follower_id, number, state, last_message_at, preview, preview_kind,
        preview_direction, unread, waiting_since)
    SELECT merchant_id, follower_id, 'F' || lpad(n::text, 9, '0'),
           CASE WHEN n % 50 = 0 THEN 'waiting' WHEN n % 10 < 3 THEN 'answered' ELSE 'closed' END, at,
           '请问今天几点关门', 'text', 'in', (n % 40 = 0)::integer, CASE WHEN n % 50 = 0 THEN at END
    FROM who""",
    "SELECT setseed(0.5)",
    """
    INSERT INTO talk_message (merchant_id, talk_id, direction, kind, content, inbox_id, state, window_id, at,
        created_at)
    SELECT t.merchant_id, t.id, CASE WHEN m.no % 2 = 1 THEN 'in' ELSE 'out' END, 'text',
           w.words[1 + floor(random() * w.many)::integer] || w.words[1 + floor(random() * w.many)::integer]
           || w.words[1 + floor(random() * w.many)::integer] || w.words[1 + floor(random() * w.many)::integer]
           || CASE WHEN random() < 0.0005 THEN (CAST(:rare AS text[]))[1 + floor(random() * 4)::integer] ELSE '' END,
           CASE WHEN m.no % 2 = 1 THEN nextval('inbox_event_id_seq') END,
           CASE WHEN m.no % 2 = 0 THEN 'sent' END, CASE WHEN m.no % 2 = 0 THEN t.id END,
           t.last_message_at - (:each - m.no) * interval '1 minute', t.last_message_at
    FROM talk t CROSS JOIN generate_series(1, :each) m(no)
    CROSS JOIN (SELECT CAST(:words AS text[]) AS words, cardinality(CAST(:words AS text[])) AS many) w
    ORDER BY t.last_message_at, t.id, m.no""",
    """
    INSERT INTO talk_gram (merchant_id, gram, message_id, talk_id)
    SELECT DISTINCT m.merchant_id, substr(m.content, i, 2), m.id, m.talk_id
    FROM talk_message m CROSS JOIN LATERAL generate_series(1, length(m.content) - 1) i""",
    """
    INSERT INTO message_window (inbox_id, follower_id, merchant_id, trigger, opened_at, expires_at, allowance, used)
    SELECT n, follower_id, merchant_id, 'message', at, at + interval '48 hours', 5, 2 FROM who""",
)


def make(runtime: Runtime, *, talks: int, large: int, each: int) -> None:
    """The crowd, as the inbox would have left it; nothing where it is there already."""
    with runtime.transaction(Role.PLATFORM) as session:
        if session.execute(text("SELECT EXISTS (SELECT 1 FROM talk)")).scalar():
            return
    street = Neighbourhood(runtime)
    shop = street.merchant("王记水果")
    begun = time.monotonic()
    owner = runtime.database.transaction
    with owner(Role.MIGRATE) as session:
        session.execute(text(_LOAD_GRAMS))
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=STATEMENT_S) as session:
        given = {"account": street.account_id, "shops": SHOPS, "talks": talks, "large": large, "shop": shop,
                 "each": each, "words": list(WORDS), "rare": list(RARE)}  # fmt: skip
        for statement in _MAKE:
            session.execute(text(statement), given)
    with owner(Role.MIGRATE) as session:
        session.execute(text(_GRAMS_LOADED))
    with runtime.database.engine(Role.MIGRATE).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    click.echo(f"made in {time.monotonic() - begun:.0f} s")


@dataclass(frozen=True)
class Bench:
    runtime: Runtime
    shop: int
    staff: int
    times: int

    def measure(self, name: str, query: Callable[[Session], object], times: int = 0) -> None:
        """Time a query, each in a transaction of its own on a connection that is open, as a page has it."""
        taken = []
        times = times or self.times
        for number in range(times + 5):
            with self.runtime.transaction(Role.MERCHANT, merchant_id=self.shop, statement_timeout_s=60) as session:
                session.execute(text("SELECT 1"))
                begun = time.perf_counter()
                query(session)
                if number >= 5:
                    taken.append((time.perf_counter() - begun) * 1000)
        taken.sort()
        p99 = taken[min(len(taken) - 1, int(len(taken) * 0.99))]
        click.echo(f"{name:44} {len(taken):6} {statistics.median(taken):8.1f} {p99:8.1f} {taken[-1]:8.1f}")

    def all(self, talk_ids: list[int]) -> None:
        """What the page of the inbox asks."""
        click.echo(f"{'as the merchant of 20,000':44} {'times':>6} {'p50 ms':>8} {'p99 ms':>8} {'worst':>8}")
        mine: dict[str, Any] = {"merchant_id": self.shop, "staff_id": self.staff}
        for only in Filter:
            self.measure(f"list: {only.value}", lambda s, only=only: reading.listed(s, only=only, **mine))  # type: ignore[misc]
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.shop) as session:
            after = None
            for _ in range(100):
                after = reading.listed(session, after=after, **mine).after
        self.measure("list: its hundredth page", lambda s: reading.listed(s, after=after, **mine))
        self.measure("counts", lambda s: reading.counts(s, **mine))
        chosen = cycle(random.Random(3).sample(talk_ids, min(500, len(talk_ids))))
        self.measure("open: talk, thread, clock", lambda s: self.open(s, next(chosen)))
        self.measure(
            "is there anything new in it", lambda s: reading.version(s, merchant_id=self.shop, talk_id=talk_ids[0])
        )
        for name, words in (
            ("two characters, in every tenth message", ["榴莲", "营业", "谢谢", "几点"]),
            ("two characters, rare", list(RARE)),
            ("two characters across words, rare", ["莲营", "点榴", "谢三"]),
            ("four characters", ["营业时间", "今天榴莲", "三号楼门", "老板还有"]),
            ("eight characters, mostly none", ["营业时间今天榴莲", "请问老板有没有芒果"]),
            ("none", ["囧囧", "龘龘"]),
        ):
            chosen_words = cycle(words)
            self.measure(f"search: {name}", lambda s, w=chosen_words: self.find(s, next(w)))  # type: ignore[misc]
            peers = cycle(words)
            self.measure(f"  LIKE: {name}", lambda s, w=peers: self.like(s, next(w)), LIKE_TIMES)  # type: ignore[misc]

    def open(self, session: Session, talk_id: int) -> None:
        """A talk with its thread and clock."""
        line = reading.talk(session, merchant_id=self.shop, talk_id=talk_id)
        reading.thread(session, merchant_id=self.shop, talk_id=talk_id)
        answers.clock(session, merchant_id=self.shop, follower_id=line.follower_id, now=self.runtime.now())

    def find(self, session: Session, words: str) -> int:
        """As the page searches: messages, and talks by number, note and tag."""
        return len(search.find(session, merchant_id=self.shop, words=words).messages)

    def like(self, session: Session, words: str) -> int:
        """The peer: the same page of messages by LIKE."""
        rows = session.execute(
            text("""
                SELECT m.id, m.talk_id, t.number, m.direction, m.kind, m.at, m.content
                FROM talk_message m JOIN talk t ON t.merchant_id = m.merchant_id AND t.id = m.talk_id
                WHERE m.merchant_id = :shop AND m.content LIKE '%' || :words || '%'
                ORDER BY m.id DESC LIMIT 31"""),
            {"shop": self.shop, "words": words},
        )
        return len(rows.all())


@click.command()
@click.option("--talks", default=200_000)
@click.option("--large", default=20_000)
@click.option("--each", default=4, help="Messages in a talk.")
@click.option("--times", default=300)
@click.option("--home", type=click.Path(path_type=Path))
def main(talks: int, large: int, each: int, times: int, home: Path | None) -> None:
    """Make the crowd, and ask what the page asks."""
    with house(home) as runtime:
        make(runtime, talks=talks, large=large, each=each)
        with runtime.transaction(Role.PLATFORM) as session:
            shop = session.execute(text("SELECT id FROM merchant WHERE name = '王记水果'")).scalar_one()
            ids = list(session.scalars(text("SELECT id FROM talk WHERE merchant_id = :id"), {"id": shop}))
            sizes = session.execute(
                text("""
                    SELECT relname, reltuples::bigint AS rows, pg_table_size(oid) / 1048576 AS table_mib,
                           pg_indexes_size(oid) / 1048576 AS index_mib
                    FROM pg_class WHERE relname IN ('talk', 'talk_message', 'talk_gram') ORDER BY relname""")
            ).all()
        for row in sizes:
            click.echo(f"{row.relname}: {row.rows:,} rows, {row.table_mib} MiB and {row.index_mib} MiB of indexes")
        Bench(runtime, shop, 1, times).all(ids)


if __name__ == "__main__":
    main()
