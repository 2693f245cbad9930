"""A crowd: a year of scans and follows of a large community, made inside the database in a few minutes.

Merchants differ in size as shops do (a few are large), two thirds of a person's scans are at the merchant that won
them, one in eight leaves and a third of those come back. The rows are what the inbox would have written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from core.database import Role
from core.partitions import ensure_months
from core.runtime import Runtime
from tests.community import Neighbourhood
from tests.conftest import plain

YEAR = 365
CHUNKS = 20


@dataclass(frozen=True)
class Scale:
    fans: int
    scans: int
    merchants: int

    def __str__(self) -> str:
        return f"{self.fans:,} fans, {self.scans:,} scans, {self.merchants:,} merchants"


_MERCHANTS = """
    INSERT INTO community (account_id, name) SELECT %(account)s, '第' || n || '社区' FROM generate_series(1, 20) n;
    INSERT INTO merchant (account_id, community_id, name)
    SELECT %(account)s, (SELECT min(id) FROM community WHERE name LIKE '第%%') + n %% 20, '第' || n || '家店'
    FROM generate_series(1, %(merchants)s) n;
    INSERT INTO sub_qr_code (account_id, merchant_id, public_id, scene, label, kind, place, permanent, ticket, url,
        state, created_at)
    SELECT %(account)s, m.id, 'p' || m.id || '-' || k, 's' || m.id || '-' || k, '第' || k || '个码',
        (ARRAY['counter', 'table', 'promoter', 'poster'])[k], (ARRAY['门口', '前台', '电梯', ''])[k], true,
        'gQ' || m.id || '-' || k, 'http://weixin.qq.com/q/' || m.id || k, 'active', now() - interval '400 days'
    FROM merchant m CROSS JOIN generate_series(1, 4) k ORDER BY m.id, k;
    INSERT INTO code_owner (code_id, merchant_id, from_at)
    SELECT id, merchant_id, created_at FROM sub_qr_code;
    CREATE UNLOGGED TABLE crowd_shop AS
    SELECT n, m.id AS merchant_id, c.ids AS codes
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM merchant) m
    JOIN (SELECT merchant_id, array_agg(id ORDER BY id) AS ids FROM sub_qr_code GROUP BY merchant_id) c
        ON c.merchant_id = m.id;
    CREATE INDEX ON crowd_shop (n);
    CREATE UNLOGGED TABLE crowd_lot AS
    SELECT lot, 1 + width_bucket(lot / 100000.0 * everything, upto) AS n
    FROM (SELECT array_agg(upto ORDER BY n) AS upto, max(upto) AS everything
          FROM (SELECT n, sum(1 / n ^ 0.8) OVER (ORDER BY n) AS upto FROM generate_series(1, %(merchants)s) n) sums
    ) chances CROSS JOIN generate_series(0, 99999) lot;
    CREATE UNIQUE INDEX ON crowd_lot (lot);
    ANALYZE crowd_lot;
    CREATE FUNCTION crowd_moment(first timestamptz, last timestamptz) RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT least(last, greatest(first, date_trunc('day', first + random() * (last - first))
        + make_interval(mins => (ARRAY[0, 1, 2, 3, 3, 4, 4, 4, 5, 8, 9, 10, 10, 11, 11, 12])
            [1 + floor(random() * 16)::integer] * 60 + floor(random() * 60)::integer))) $$;"""

_PEOPLE = """
    CREATE UNLOGGED TABLE crowd_person AS
    SELECT p.id, CASE WHEN p.id %% 12 > 0 THEN crowd_lot.n END AS home, won_at, fate, again
    FROM (
        SELECT id, floor(random() * 100000)::integer AS lot, random() AS fate, random() AS again,
               crowd_moment(now() - interval '365 days', now()) AS won_at
        FROM generate_series(1, %(fans)s) id
    ) p JOIN crowd_lot USING (lot);
    INSERT INTO follower (id, account_id, openid, person_key, status, state_as_of, first_seen_at, last_seen_at)
    OVERRIDING SYSTEM VALUE
    SELECT id, %(account)s, 'oCrowd' || lpad(id::text, 22, '0'), sha256(id::text::bytea),
           CASE WHEN fate < 0.08 THEN 'gone' ELSE 'following' END, won_at, won_at, won_at
    FROM crowd_person;
    CREATE UNLOGGED TABLE crowd_stay AS
    SELECT row_number() OVER (ORDER BY started_at) AS id, stays.* FROM (
        SELECT p.id AS follower_id, 1 AS number, p.home, p.won_at AS started_at,
               CASE WHEN fate < 0.12 THEN least(now(), p.won_at + again ^ 3 * interval '60 days') END AS ended_at
        FROM crowd_person p
        UNION ALL
        SELECT p.id, 2, p.home, left_at + (now() - left_at) * random() ^ 3, NULL
        FROM crowd_person p CROSS JOIN LATERAL (
            SELECT least(now(), p.won_at + again ^ 3 * interval '60 days') AS left_at) o
        WHERE fate BETWEEN 0.08 AND 0.12
    ) stays;
    ANALYZE crowd_stay;
    INSERT INTO follow_episode (id, follower_id, started_at, ended_at, source, attribution_id)
    OVERRIDING SYSTEM VALUE SELECT id, follower_id, started_at, ended_at, 'event', id FROM crowd_stay;
    INSERT INTO attribution (id, episode_id, follower_id, merchant_id, code_id, kind, followed_at, rule, rule_version,
        source)
    OVERRIDING SYSTEM VALUE
    SELECT c.id, c.id, c.follower_id, s.merchant_id, s.codes[1 + c.follower_id %% 4],
           CASE c.number WHEN 1 THEN 'new' ELSE 'returning' END, c.started_at, 'first-follow', 1, 'event'
    FROM crowd_stay c LEFT JOIN crowd_shop s ON s.n = c.home;
    SELECT setval('follower_id_seq', (SELECT max(id) FROM follower)),
           setval('follow_episode_id_seq', (SELECT max(id) FROM crowd_stay)),
           setval('attribution_id_seq', (SELECT max(id) FROM crowd_stay))"""

# Written month by month in the order of time, as they would have come in.
_VISITS = """
    CREATE UNLOGGED TABLE crowd_visit AS
    SELECT c.follower_id, c.home, c.started_at AS at, true AS led_to_follow FROM crowd_stay c WHERE home IS NOT NULL
    UNION ALL
    SELECT v.id, CASE WHEN at_home AND v.home IS NOT NULL THEN v.home ELSE crowd_lot.n END, at, false
    FROM (
        SELECT p.id, p.home, random() < 0.65 AS at_home, floor(random() * 100000)::integer AS lot,
               crowd_moment(p.won_at, now()) AS at
        FROM crowd_person p
        -- How often differs from person to person, so it has to come from them.
        CROSS JOIN LATERAL generate_series(
            1, floor(-ln((p.id::bigint * 7919 %% 100003 + 1) / 100003.0) * %(more)s)::integer) n
    ) v JOIN crowd_lot USING (lot)"""
_SCANS = """
    INSERT INTO scan (id, month, inbox_id, follower_id, code_id, merchant_id, scene, scanned_at, led_to_follow)
    SELECT nextval('scan_id_seq'), date_trunc('month', at AT TIME ZONE 'UTC')::date, nextval('inbox_event_id_seq'),
           v.follower_id, s.codes[1 + floor(random() ^ 2 * 4)::integer], s.merchant_id, 's', v.at, v.led_to_follow
    FROM (SELECT * FROM crowd_visit WHERE at >= %(first)s AND at < %(end)s ORDER BY at) v
    JOIN crowd_shop s ON s.n = v.home"""


FILLED = ("community", "merchant", "sub_qr_code", "code_owner", "follower", "follow_episode", "attribution", "scan",
          "uncounted_scan", "uncounted_follow")  # fmt: skip


def _open(connection: psycopg.Connection[Any]) -> list[tuple[str, str, LiteralString]]:
    """Take away what is asked of every row: keys, triggers and policies; the rows fit by the way they are made."""
    for table in FILLED:
        connection.execute(sql.SQL("ALTER TABLE {0} NO FORCE ROW LEVEL SECURITY").format(sql.Identifier(table)))
        connection.execute(sql.SQL("ALTER TABLE {0} DISABLE TRIGGER USER").format(sql.Identifier(table)))
    keys = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0 AND conrelid = ANY(%s::regclass[])",
        (["scan", "attribution", "follow_episode"],),
    ).fetchall()
    for table, name, _ in keys:
        statement = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}")
        connection.execute(statement.format(sql.Identifier(table), sql.Identifier(name)))
    return keys


def _close(connection: psycopg.Connection[Any], keys: list[tuple[str, str, LiteralString]]) -> None:
    for table, name, definition in keys:
        statement = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}")
        connection.execute(statement.format(sql.Identifier(table), sql.Identifier(name), sql.SQL(definition)))
    for table in FILLED:
        connection.execute(sql.SQL("ALTER TABLE {0} FORCE ROW LEVEL SECURITY").format(sql.Identifier(table)))
        connection.execute(sql.SQL("ALTER TABLE {0} ENABLE TRIGGER USER").format(sql.Identifier(table)))


def settle(runtime: Runtime, scale: Scale, say: Callable[[str], None]) -> None:
    """Fill an empty, migrated database; nothing of it is counted yet, as on the first start of a new version."""
    street = Neighbourhood(runtime)
    assert runtime.settings.database_url is not None
    begun = time.monotonic()
    with psycopg.connect(plain(runtime.settings.database_url), autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        keys = _open(connection)
        connection.execute("SET work_mem = '256MB'")
        now = connection.execute("SELECT now(), (now() - interval '366 days')::date, now()::date").fetchone()
        assert now is not None
        end, first_day, last_day = now
        with runtime.transaction(Role.MIGRATE) as session:
            ensure_months(session, first_day, last_day)
        cursor = psycopg.ClientCursor(connection)
        given = {"account": street.account_id, "fans": scale.fans, "merchants": scale.merchants,
                 "more": scale.scans / scale.fans - 0.5}  # fmt: skip
        for name, statement in (("merchants", _MERCHANTS), ("people", _PEOPLE), ("visits", _VISITS)):
            cursor.execute(statement, given)
            say(f"{name}: {time.monotonic() - begun:.0f} s")
        connection.execute("CREATE INDEX ON crowd_visit (at)")
        connection.execute("ANALYZE crowd_visit")
        edges = [end - (end - end.replace(year=end.year - 1)) * (CHUNKS - step) / CHUNKS for step in range(CHUNKS + 1)]
        edges[0], edges[-1] = end.replace(year=end.year - 2), end.replace(year=end.year + 1)
        for first, last in pairwise(edges):
            cursor.execute(_SCANS, {"first": first, "end": last})
            say(f"scans before {last:%Y-%m-%d}: {time.monotonic() - begun:.0f} s")
        cursor.execute("""
            INSERT INTO uncounted_scan (follower_id, scan_id, is_news)
            SELECT follower_id, id, false FROM scan ORDER BY 1, 2;
            INSERT INTO uncounted_follow (attribution_id, ended_at, sign, is_news)
            SELECT attribution_id, ended_at, 1, false FROM follow_episode ORDER BY id;
            DROP FUNCTION crowd_moment;
            DROP TABLE crowd_visit, crowd_stay, crowd_person, crowd_lot, crowd_shop""")
        _close(connection, keys)
        connection.execute("VACUUM ANALYZE")
    say(f"settled: {time.monotonic() - begun:.0f} s")
