-- EV-10, QR-2: a scan counts for whoever owned the code at its CreateTime, and for nobody where nobody did.
SELECT s.id, s.scanned_at, s.merchant_id, o.merchant_id AS owner
FROM scan s
LEFT JOIN sub_qr_code c ON c.scene = s.scene
LEFT JOIN code_owner o ON o.code_id = c.id AND o.from_at <= s.scanned_at AND (o.to_at IS NULL OR s.scanned_at < o.to_at)
WHERE s.merchant_id IS NOT NULL AND s.merchant_id IS DISTINCT FROM o.merchant_id
