"""What a neighbourhood reads besides its shops: the convenience directory, notices, and what is near."""
