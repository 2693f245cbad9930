-- RF-2: inviter and invited are two people of one official account.
SELECT r.invitee_id, r.inviter_id
FROM referral r JOIN follower invitee ON invitee.id = r.invitee_id JOIN follower inviter ON inviter.id = r.inviter_id
WHERE invitee.id = inviter.id OR invitee.person_key = inviter.person_key OR invitee.account_id <> inviter.account_id
