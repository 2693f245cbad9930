"""What is done with fans: whom a merchant means when it speaks to some of them."""
