-- CO-4: a coupon is redeemed by its issuer's staff, or by that of a merchant who agreed to honour it, for whoever holds
-- it; and a merchant's place among the acceptors is used as often as redemptions stand there.
SELECT r.id AS redemption_id, r.merchant_id, r.coupon_id
FROM redemption r
JOIN coupon c ON c.id = r.coupon_id
JOIN staff s ON s.id = r.staff_id
LEFT JOIN coupon_acceptor a ON a.template_id = r.template_id AND a.acceptor_id = r.merchant_id
WHERE s.merchant_id IS DISTINCT FROM r.merchant_id
   OR (r.issuer_id, r.template_id, r.follower_id) IS DISTINCT FROM (c.merchant_id, c.template_id, c.follower_id)
   OR (r.merchant_id <> r.issuer_id AND a.template_id IS NULL)
UNION ALL
SELECT NULL, a.acceptor_id, NULL
FROM coupon_acceptor a
WHERE a.redeemed <> (SELECT count(*) FROM redemption r
                     WHERE r.template_id = a.template_id AND r.merchant_id = a.acceptor_id AND r.reversed_at IS NULL)
