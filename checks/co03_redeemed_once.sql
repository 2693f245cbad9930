-- CO-3: the redemptions that stand for a coupon are its used uses, each with a number of its own.
SELECT c.id, c.state, c.uses, c.uses_left, count(r.id) AS standing
FROM coupon c LEFT JOIN redemption r ON r.coupon_id = c.id AND r.reversed_at IS NULL
GROUP BY c.id, c.state, c.uses, c.uses_left
HAVING count(r.id) <> c.uses - c.uses_left OR count(DISTINCT r.use_no) <> count(r.id) OR max(r.use_no) > c.uses
