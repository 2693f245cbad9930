-- CO-1: a template's count and money are those of its coupons, within stock and budget; one passed on counts once.
SELECT t.id, t.issued, t.stock, count(c.id) AS given, t.committed_fen, t.budget_fen,
       coalesce(sum(c.worth_fen), 0) AS worth
FROM coupon_template t LEFT JOIN coupon c ON c.template_id = t.id AND c.seq IS NOT NULL
GROUP BY t.id
HAVING t.issued <> count(c.id) OR t.issued > t.stock
    OR t.committed_fen <> coalesce(sum(c.worth_fen), 0) OR t.committed_fen > t.budget_fen
