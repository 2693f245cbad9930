-- CO-1: of a template with a limit a day, each Shanghai day's count is that of the coupons given on it.
WITH given AS (
    SELECT c.template_id, (c.given_at AT TIME ZONE 'Asia/Shanghai')::date AS day, count(*) AS given
    FROM coupon c JOIN coupon_template t ON t.id = c.template_id
    WHERE c.seq IS NOT NULL AND t.per_day IS NOT NULL
    GROUP BY 1, 2),
counted AS (
    SELECT d.template_id, d.day, d.given
    FROM coupon_template_day d JOIN coupon_template t ON t.id = d.template_id
    WHERE t.per_day IS NOT NULL)
SELECT template_id, day, g.given, c.given AS counted
FROM given g FULL JOIN counted c USING (template_id, day)
WHERE coalesce(g.given, 0) <> coalesce(c.given, 0)
