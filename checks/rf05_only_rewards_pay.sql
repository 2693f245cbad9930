-- RF-5: what a rule for invitations has paid and nobody took back is one reward's, of the rule's level.
SELECT t.id
FROM points_transfer t JOIN points_rule p ON p.id = t.rule_id AND p.trigger = 'referral'
WHERE t.kind = 'earn'
  AND NOT EXISTS (SELECT 1 FROM points_transfer back WHERE back.reverses_id = t.id)
  AND NOT EXISTS (SELECT 1 FROM referral_reward w
                  WHERE w.transfer_id = t.id AND w.level = p.level AND w.beneficiary_id = t.follower_id
                    AND w.merchant_id = t.merchant_id AND w.state IN ('paid', 'reversed'))
  AND NOT EXISTS (SELECT 1 FROM redemption d
                  WHERE t.source_type = 'referral_redemption' AND d.id = t.source_id AND d.reversed_at IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM visit v
                  WHERE t.source_type = 'referral_visit' AND v.id = t.source_id AND v.reversed_at IS NOT NULL)
