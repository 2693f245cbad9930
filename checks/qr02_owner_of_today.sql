-- QR-2, QR-8: a live code has one open owner, the merchant it names; a retired one has none.
SELECT c.id, c.state, c.merchant_id, o.merchant_id AS owner
FROM sub_qr_code c
LEFT JOIN code_owner o ON o.code_id = c.id AND o.to_at IS NULL
WHERE (c.state <> 'retired' AND o.merchant_id IS DISTINCT FROM c.merchant_id) OR (c.state = 'retired' AND o.id IS NOT NULL)
