"""The operator's convenience directory: whom one calls when the lock jams, the drain is blocked, a parcel waits."""
