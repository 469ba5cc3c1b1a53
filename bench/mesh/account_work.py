"""What a request to the database is made of, on either side: a query, a call to another service, a second query."""

DOWNSTREAM_S = 0.01
"""How long the other service takes to answer."""
ACCOUNT = b"select 'acc-1'::text as account"
ORDERS = b"select count(*)::int as orders from generate_series(1, 200)"
QUERIES = 2
