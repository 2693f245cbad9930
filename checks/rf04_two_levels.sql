-- RF-4: rewarded is who brought the person, or who brought that one by the same merchant's card; nobody else.
SELECT w.id, w.level
FROM referral_reward w
LEFT JOIN referral r ON r.invitee_id = w.invitee_id AND r.merchant_id = w.merchant_id
LEFT JOIN referral above ON above.invitee_id = r.inviter_id AND above.merchant_id = w.merchant_id
WHERE w.beneficiary_id IS DISTINCT FROM
    CASE w.level WHEN 1 THEN r.inviter_id WHEN 2 THEN above.inviter_id END
