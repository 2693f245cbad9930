-- RF-1: nobody was brought twice.
SELECT invitee_id, count(*) FROM referral GROUP BY invitee_id HAVING count(*) > 1
