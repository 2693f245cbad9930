-- CO-2: a person's coupons of a template are numbered without gaps, up to the limit.
SELECT c.template_id, c.follower_id, max(c.seq) AS last, count(*) AS given, t.per_person
FROM coupon c JOIN coupon_template t ON t.id = c.template_id
WHERE c.seq IS NOT NULL
GROUP BY c.template_id, c.follower_id, t.per_person
HAVING max(c.seq) > t.per_person OR max(c.seq) <> count(*) OR min(c.seq) <> 1
