-- PT-6: an entry is in the ledger of its transfer and its account, and moves the points of the transfer's own person.
SELECT e.transfer_id, e.account_id, e.merchant_id
FROM points_entry e JOIN points_transfer t ON t.id = e.transfer_id JOIN points_account a ON a.id = e.account_id
WHERE e.merchant_id <> t.merchant_id OR e.merchant_id <> a.merchant_id OR a.follower_id <> t.follower_id
