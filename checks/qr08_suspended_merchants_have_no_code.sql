-- QR-8: a suspended merchant's codes are retired.
SELECT c.id, c.merchant_id
FROM sub_qr_code c JOIN merchant m ON m.id = c.merchant_id
WHERE m.state = 'suspended' AND c.state <> 'retired'
