-- FA-2: notes, tags, chat texts and bodies of an erased follower are gone, and so is where the person works, what they
-- told of themselves, where they live, whom they talked to, which notices they read, and every browser that was signed in.
SELECT f.id, 'card' AS what
FROM follower f JOIN fan ON fan.follower_id = f.id
WHERE f.erased_at IS NOT NULL AND (fan.note <> '' OR fan.erased_at IS NULL
    OR EXISTS (SELECT 1 FROM fan_tag t WHERE t.follower_id = f.id AND t.merchant_id = fan.merchant_id))
UNION ALL
SELECT f.id, 'chat'
FROM follower f JOIN inbox_event i ON i.follower_id = f.id
WHERE f.erased_at IS NOT NULL AND (i.body IS NOT NULL OR i.reply IS NOT NULL) AND i.received_at <= f.erased_at
UNION ALL
SELECT f.id, 'work'
FROM follower f JOIN staff_identity i ON i.follower_id = f.id
WHERE f.erased_at IS NOT NULL
UNION ALL
SELECT f.id, 'session'
FROM follower f JOIN owner_session s ON s.follower_id = f.id
WHERE f.erased_at IS NOT NULL
UNION ALL
SELECT f.id, 'profile'
FROM follower f JOIN owner_profile p ON p.follower_id = f.id
WHERE f.erased_at IS NOT NULL
UNION ALL
SELECT f.id, 'whom they talked to'
FROM follower f JOIN context_choice c ON c.follower_id = f.id
WHERE f.erased_at IS NOT NULL AND c.at <= f.erased_at
UNION ALL
SELECT f.id, 'question'
FROM follower f JOIN pending_question q ON q.follower_id = f.id
WHERE f.erased_at IS NOT NULL AND q.asked_at <= f.erased_at
UNION ALL
SELECT f.id, 'home'
FROM follower f JOIN owner_home h ON h.follower_id = f.id
WHERE f.erased_at IS NOT NULL
UNION ALL
SELECT f.id, 'notices'
FROM follower f JOIN notice_read r ON r.follower_id = f.id
WHERE f.erased_at IS NOT NULL
UNION ALL
SELECT f.id, 'talk'
FROM follower f JOIN talk t ON t.follower_id = f.id
WHERE f.erased_at IS NOT NULL AND (
    (t.preview IS NOT NULL AND t.last_message_at <= f.erased_at)
    OR EXISTS (
        SELECT 1 FROM talk_message m LEFT JOIN talk_media d ON d.message_id = m.id
        WHERE m.merchant_id = t.merchant_id AND m.talk_id = t.id AND m.created_at <= f.erased_at
          AND (m.content IS NOT NULL OR d.content IS NOT NULL OR d.media_id IS NOT NULL
               OR EXISTS (SELECT 1 FROM talk_gram g WHERE g.message_id = m.id))))
