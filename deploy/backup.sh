#!/usr/bin/env bash
# A dated dump of the database into a folder, keeping the last 14, and beside it the erasures up to now.
# BACKUP_DATABASE_URL names a superuser or a role with BYPASSRLS: row-level security is forced even on the owner.
# Usage: backup.sh FOLDER          everything, once a day
#        backup.sh FOLDER erasures only the erasures, once an hour
set -euo pipefail
folder=${1:?usage: backup.sh FOLDER [erasures]}
umask 077
mkdir -p "$folder"
quanma erasures export > "$folder/erasures.jsonl.part"
mv "$folder/erasures.jsonl.part" "$folder/erasures.jsonl"
[ "${2:-}" = erasures ] && exit 0
file="$folder/quanma-$(date -u +%Y%m%dT%H%M%SZ).dump"
pg_dump --format=custom --no-owner --file="$file.part" "${BACKUP_DATABASE_URL:?BACKUP_DATABASE_URL is not set}"
mv "$file.part" "$file"
find "$folder" -name 'quanma-*.dump' -printf '%T@ %p\n' | sort -rn | tail -n +15 | cut -d' ' -f2- | xargs -r rm --
echo "$file"
