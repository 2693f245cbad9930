-- RF-3: whoever was brought had neither brought somebody nor spent anything before.
SELECT r.invitee_id, 'brought' AS what
FROM referral r JOIN referral before ON before.inviter_id = r.invitee_id AND before.at < r.at
UNION ALL
SELECT r.invitee_id, 'redeemed' FROM referral r JOIN redemption d ON d.follower_id = r.invitee_id AND d.redeemed_at < r.at
UNION ALL
SELECT r.invitee_id, 'visited' FROM referral r JOIN visit v ON v.follower_id = r.invitee_id AND v.at < r.at
