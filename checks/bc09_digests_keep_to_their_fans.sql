-- BC-9: nobody is in a digest's group with an item of a merchant whose fan they are not, and no group is another's.
SELECT r.broadcast_id, r.follower_id, r.group_no
FROM broadcast b
JOIN broadcast_recipient r ON r.broadcast_id = b.id AND r.route = 'mass'
LEFT JOIN digest_group g ON g.digest_id = b.id AND g.no = r.group_no
WHERE b.kind = 'digest' AND (
    g.no IS NULL
    OR EXISTS (
        SELECT 1 FROM digest_item i
        LEFT JOIN fan f ON f.merchant_id = i.merchant_id AND f.follower_id = r.follower_id
        WHERE i.digest_id = g.digest_id AND i.item_id = ANY (g.items) AND f.follower_id IS NULL))
