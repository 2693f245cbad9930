-- CO-5: nothing is used before its time or from its end on, and nothing ends by time before its end.
SELECT c.id, r.redeemed_at AS at, c.valid_from, c.valid_to, 'used' AS what
FROM redemption r JOIN coupon c ON c.id = r.coupon_id
WHERE r.redeemed_at < c.valid_from OR r.redeemed_at >= c.valid_to
UNION ALL
SELECT c.id, c.ended_at, c.valid_from, c.valid_to, 'expired'
FROM coupon c
WHERE c.state = 'expired' AND (c.ended_at IS NULL OR c.ended_at < c.valid_to)
