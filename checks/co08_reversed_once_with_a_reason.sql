-- CO-8: a redemption is taken back by a record of its own, with a reason and at the till where it was made; the coupon
-- is valid again only where its time is not over.
SELECT r.id AS redemption_id, v.redemption_id AS reversal_id
FROM redemption r
LEFT JOIN redemption_reversal v ON v.redemption_id = r.id
JOIN coupon c ON c.id = r.coupon_id
WHERE r.reversed_at IS DISTINCT FROM v.reversed_at
   OR v.merchant_id <> r.merchant_id OR v.reason = '' OR v.reversed_at < r.redeemed_at
   OR (v.is_valid_again AND v.reversed_at >= c.valid_to)
