"""The judge of coupons and points: what people and tills were answered, against what the database says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import text

from campaigns.coupons import alliance
from campaigns.points import proof
from core.database import Role
from core.runtime import Runtime
from tests.conftest import violations
from tests.faults.shoppers import YUAN, Hands, Told, Town

CHECK_IN_PAYS: Final = 20
SHARE: Final = 50
"""Percent of the discount that the issuer owes the neighbour."""


def ask_all_again(hands: Hands, told: Sequence[Told]) -> tuple[list[Told], list[str]]:
    """Everything once more with its nonce: what had no answer gets one, and what had one gets the same."""
    wrong, final = [], []
    for one in told:
        first = one.answer
        if first is None:
            final.append(Told(one.number, one.want, hands.get(one.number, one.want)))
            continue
        final.append(one)
        if "refused" in first:
            continue  # It may be possible by now.
        again = hands.get(one.number, one.want)
        # To an undo the second answer is that it was undone.
        if again != first and (one.want["act"], again) != ("undo", {"refused": "already_undone"}):
            wrong.append(f"{one.want}: answered {first}, then {again}")
    return final, wrong


def judge(runtime: Runtime, town: Town, told: Iterable[Told]) -> list[str]:
    """Everything that is not as it was answered."""
    good: dict[str, list[Told]] = defaultdict(list)
    for one in told:
        if one.answer is not None and ("refused" not in one.answer or one.answer["refused"] == "already_undone"):
            good[one.want["act"]].append(one)
    rows = _Rows(runtime, town)
    return [
        *rows.differ("given", [one.answer["coupon"] for act in ("claim", "exchange") for one in _answered(good[act])]),
        *rows.differ("passed on", [one.answer["coupon"] for one in _answered(good["take"])]),
        *rows.differ("redeemed", [one.answer["redemption_id"] for one in _answered(good["redeem"])]),
        *rows.differ("undone", [one.want["redemption"] for one in good["undo"]]),
        *_points(rows, good),
        *_money(rows, town, good),
        *rows.stocks(),
        *rows.proof(),
        *(f"check {name}: {found}" for name, found in violations(runtime.database).items()),
    ]


def _answered(told: Iterable[Told]) -> Iterable[Any]:
    return told


def _points(rows: _Rows, good: dict[str, list[Told]]) -> Iterable[str]:
    """What people can spend, less what they owe, by what they and the tills were answered alone."""
    wanted: Counter[tuple[int, int]] = Counter()
    for shop, who in {(one.want["shop"], one.want["who"]) for one in good["check_in"]}:
        wanted[shop, who] += CHECK_IN_PAYS
    undone = {one.want["redemption"] for one in good["undo"]}
    for one in _unique(good["redeem"]):
        if one["redemption_id"] not in undone:
            wanted[one["shop"], rows.holder(one["coupon_public_id"])] += one["bill_fen"] // YUAN
    for bought in good["exchange"]:
        assert bought.answer is not None
        wanted[rows.home, bought.want["who"]] -= bought.answer["points"]
    found = rows.points()
    for key in sorted(wanted.keys() | found.keys()):
        if wanted[key] != found.get(key, 0):
            yield f"points of {key}: {found.get(key, 0)} and not {wanted[key]}"


def _money(rows: _Rows, town: Town, good: dict[str, list[Told]]) -> Iterable[str]:
    undone = {one.want["redemption"] for one in good["undo"]}
    away = sum(
        alliance.split(one["discount_fen"], SHARE)[0]
        for one in _unique(good["redeem"])
        if one["shop"] != rows.home and one["redemption_id"] not in undone
    )
    if rows.owed() != away:
        yield f"the neighbour gets {rows.owed()} fen and not {away}"


def _unique(redeemed: Iterable[Told]) -> list[dict[str, Any]]:
    found = {}
    for one in redeemed:
        assert one.answer is not None
        found[one.answer["redemption_id"]] = {**one.answer, "shop": one.want["shop"]}
    return list(found.values())


_IDS: Final = {
    "given": "SELECT id FROM coupon WHERE passed_from_id IS NULL",
    "passed on": "SELECT id FROM coupon WHERE passed_from_id IS NOT NULL",
    "redeemed": "SELECT id FROM redemption",
    "undone": "SELECT redemption_id FROM redemption_reversal",
}


class _Rows:
    """What the database says; the run has it to itself."""

    def __init__(self, runtime: Runtime, town: Town) -> None:
        self._runtime = runtime
        self.home = next(iter(town.owners))
        self._holders = {
            row.public_id: row.follower_id for row in self._all("SELECT public_id, follower_id FROM coupon")
        }

    def _all(self, query: str, **values: Any) -> Sequence[Any]:
        with self._runtime.transaction(Role.PLATFORM) as session:
            return session.execute(text(query), values).all()

    def holder(self, public_id: str) -> int:
        return int(self._holders[public_id])

    def differ(self, what: str, answered: Sequence[int]) -> Iterable[str]:
        """Each is there once, and nothing is there that nobody was told of."""
        found = Counter(row[0] for row in self._all(_IDS[what]))
        told = set(answered)
        yield from (f"{what}, and lost: {one}" for one in sorted(told - found.keys()))
        yield from (f"{what}, and nobody was told: {one}" for one in sorted(found.keys() - told))
        if what != "undone":  # a second undo is told that it was done
            yield from (f"{what} for two: {one}" for one, times in Counter(answered).items() if times > 1)

    def points(self) -> dict[tuple[int, int], int]:
        rows = self._all("""
            SELECT merchant_id, follower_id, balance - debt AS points FROM points_account WHERE kind = 'fan'""")
        return {(row.merchant_id, row.follower_id): row.points for row in rows}

    def owed(self) -> int:
        query = "SELECT CAST(coalesce(sum(fen), 0) AS bigint) FROM alliance_entry WHERE party_id <> :home"
        return int(self._all(query, home=self.home)[0][0])

    def stocks(self) -> Iterable[str]:
        rows = self._all("""
            SELECT t.id, t.issued, t.stock, count(c.id) AS given FROM coupon_template t
            LEFT JOIN coupon c ON c.template_id = t.id AND c.passed_from_id IS NULL GROUP BY t.id""")
        return (f"template {row}" for row in rows if not row.issued == row.given <= row.stock)

    def proof(self) -> Iterable[str]:
        with self._runtime.transaction(Role.PLATFORM, statement_timeout_s=30) as session:
            found = proof.prove(session, self._runtime.now())
            if not proof.is_right(found):
                yield f"proof: {proof.what_is_wrong(session)}"
