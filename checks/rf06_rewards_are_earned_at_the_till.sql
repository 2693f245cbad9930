-- RF-6: a reward that stands has a confirmed spend that stands: the invited person's, at the card's merchant, after they
-- came; and what is paid was paid.
WITH spent AS (
    SELECT 'redemption' AS cause, id, merchant_id, follower_id, redeemed_at AS at FROM redemption
    WHERE reversed_at IS NULL
    UNION ALL
    SELECT 'visit', id, merchant_id, follower_id, at FROM visit WHERE reversed_at IS NULL AND bill_fen > 0)
SELECT w.id, 'cause' AS what
FROM referral_reward w JOIN referral r ON r.invitee_id = w.invitee_id
WHERE w.state IN ('held', 'paid')
  AND NOT EXISTS (SELECT 1 FROM spent s
                  WHERE s.cause = w.cause_type AND s.id = w.cause_id AND s.merchant_id = w.merchant_id
                    AND s.follower_id = w.invitee_id AND s.at >= r.at)
UNION ALL
SELECT w.id, 'transfer'
FROM referral_reward w LEFT JOIN points_transfer t ON t.id = w.transfer_id
WHERE w.state = 'paid'
  AND (t.follower_id, t.merchant_id, t.kind) IS DISTINCT FROM (w.beneficiary_id, w.merchant_id, 'earn')
