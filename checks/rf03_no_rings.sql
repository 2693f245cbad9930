-- RF-3: going from each person to who brought them never comes round.
WITH RECURSIVE up AS (
    SELECT invitee_id AS person, inviter_id FROM referral
    UNION ALL
    SELECT r.invitee_id, r.inviter_id FROM up JOIN referral r ON r.invitee_id = up.inviter_id
) CYCLE person SET is_ring USING path
SELECT DISTINCT person FROM up WHERE is_ring
