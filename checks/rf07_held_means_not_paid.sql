-- RF-7: what is held or refused has moved nothing, and what was doubted was paid by the operator's decision alone.
SELECT w.id, w.state
FROM referral_reward w
WHERE (w.state IN ('held', 'refused') AND w.transfer_id IS NOT NULL)
   OR (w.state = 'paid' AND w.suspicion <> '' AND w.decided_by IS NULL)
