-- CO-2: a coupon that was passed on is its giver's no more, and somebody else's of the same template and time.
SELECT old.id, new.id AS passed_on
FROM coupon old LEFT JOIN coupon new ON new.passed_from_id = old.id
WHERE (old.state = 'given_away') <> (new.id IS NOT NULL)
   OR new.follower_id = old.follower_id OR new.template_id <> old.template_id
   OR new.valid_to <> old.valid_to OR new.uses > old.uses
