"""Networks and scripts that show what Tessera does; CI runs them."""
